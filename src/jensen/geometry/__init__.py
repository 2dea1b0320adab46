"""Regions and frontiers of a network: all of them, enumerated with certainty."""

from jensen.geometry._jumps import Violation
from jensen.geometry._regions import Region, Regions, regions
from jensen.geometry._scan import Scan, scan

__all__ = ["Region", "Regions", "Scan", "Violation", "regions", "scan"]
