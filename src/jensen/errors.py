"""The exceptions that jensen raises on bad input; each says what was wrong and what to do."""


class JensenError(Exception):
    """Base class of every error that jensen raises on purpose."""


class ArgumentError(JensenError, ValueError):
    """An argument makes no sense: a time limit that is no number, an unknown method."""


class NetworkError(JensenError, ValueError):
    """A network is malformed: shapes that do not fit, weights that are not finite, no output."""


class UnsupportedOperatorError(JensenError):
    """A model holds an operator that cannot be lowered to affine maps and ReLUs.

    Parameters
    ----------
    operator : str
        The operator's name as its format spells it, for instance ``aten.sigmoid.default``.
    place : str
        Where in the model it stands.
    hint : str, optional
        What can be done about it.
    """

    def __init__(self, operator: str, place: str, hint: str = "") -> None:
        self.operator = operator
        self.place = place
        self.hint = hint
        super().__init__(f"cannot lower operator {operator!r} at {place}" + (f": {hint}" if hint else ""))

    def __reduce__(self) -> tuple[type["UnsupportedOperatorError"], tuple[str, str, str]]:
        return type(self), (self.operator, self.place, self.hint)


class ModelFileError(JensenError, ValueError):
    """A model file cannot be read: missing, torn, of an unknown kind, or unsafe to open."""


class DomainError(JensenError, ValueError):
    """A domain is malformed: shapes that do not fit the network, NaN, or an empty set."""


class JournalError(JensenError, ValueError):
    """A progress file cannot be used: it belongs to another check, is in use, or cannot be written."""


class ConvergenceWarning(UserWarning):
    """Some problems of a batch were not solved to the accuracy that was asked for."""


class CertificateError(JensenError, ValueError):
    """A certificate does not prove what it claims about this network, domain and choice of inputs."""


class CertificateFileError(CertificateError):
    """A certificate cannot be read: missing, torn, altered, of another kind or of a later version."""


class NotConvexError(JensenError, ValueError):
    """A function that is to be minimised globally is not convex, or not known to be."""
