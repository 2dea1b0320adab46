"""Regions, frontiers and kinks of a network."""

from jensen.geometry._jumps import Violation
from jensen.geometry._scan import Scan, scan

__all__ = ["Scan", "Violation", "scan"]
