"""From trained networks to ones with a certificate, changed as little as can be found."""

from jensen.training.mend._repair import Repair, repair

__all__ = ["Repair", "repair"]
