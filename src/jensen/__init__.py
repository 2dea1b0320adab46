"""Is this neural network convex? Exact verdicts, with proof.

Public names are imported from their rooms when they are first asked for, so that `import jensen` and the
command's help are quick and torch is only loaded where a torch model comes in.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen import blocks, fit, minimize, nn, training
    from jensen.calculus import Atom, Counterexample, Curvature, curvature, refute, register_atom
    from jensen.certify import NeuronReport, Progress, StageReport, Verdict, Witness, check
    from jensen.errors import (
        ArgumentError,
        CertificateError,
        CertificateFileError,
        DomainError,
        JensenError,
        JournalError,
        ModelFileError,
        NetworkError,
        NotConvexError,
        UnsupportedOperatorError,
    )
    from jensen.geometry import Regions, regions
    from jensen.network import (
        Box,
        Domain,
        Layer,
        Lowered,
        Polytope,
        ReLUNetwork,
        WholeSpace,
        as_network,
        from_arrays,
        from_onnx,
        from_torch,
        load_domain,
        load_model,
        load_network,
        save_network,
    )
    from jensen.plot import plot_jumps, plot_regions, plot_verdict, plot_witness
    from jensen.verifier import Certificate, Verification, verify

_HOMES = {
    "jensen.calculus": ("Atom", "Counterexample", "Curvature", "curvature", "refute", "register_atom"),
    "jensen.certify": ("NeuronReport", "Progress", "StageReport", "Verdict", "Witness", "check"),
    "jensen.errors": (
        "ArgumentError",
        "CertificateError",
        "CertificateFileError",
        "DomainError",
        "JensenError",
        "JournalError",
        "ModelFileError",
        "NetworkError",
        "NotConvexError",
        "UnsupportedOperatorError",
    ),
    "jensen.geometry": ("Regions", "regions"),
    "jensen.network": (
        "Box",
        "Domain",
        "Layer",
        "Lowered",
        "Polytope",
        "ReLUNetwork",
        "WholeSpace",
        "as_network",
        "from_arrays",
        "from_onnx",
        "from_torch",
        "load_domain",
        "load_model",
        "load_network",
        "save_network",
    ),
    "jensen.plot": ("plot_jumps", "plot_regions", "plot_verdict", "plot_witness"),
    "jensen.verifier": ("Certificate", "Verification", "verify"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

_ROOMS = ("blocks", "fit", "minimize", "nn", "training")

__all__ = [
    "ArgumentError",
    "Atom",
    "Box",
    "Certificate",
    "CertificateError",
    "CertificateFileError",
    "Counterexample",
    "Curvature",
    "Domain",
    "DomainError",
    "JensenError",
    "JournalError",
    "Layer",
    "Lowered",
    "ModelFileError",
    "NetworkError",
    "NeuronReport",
    "NotConvexError",
    "Polytope",
    "Progress",
    "ReLUNetwork",
    "Regions",
    "StageReport",
    "UnsupportedOperatorError",
    "Verdict",
    "Verification",
    "WholeSpace",
    "Witness",
    "as_network",
    "blocks",
    "check",
    "curvature",
    "fit",
    "from_arrays",
    "from_onnx",
    "from_torch",
    "load_domain",
    "load_model",
    "load_network",
    "minimize",
    "nn",
    "plot_jumps",
    "plot_regions",
    "plot_verdict",
    "plot_witness",
    "refute",
    "regions",
    "register_atom",
    "save_network",
    "training",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its room, or a room that users see as such."""
    if name in _ROOMS:
        return import_module(f"jensen.{name}")
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'jensen' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
