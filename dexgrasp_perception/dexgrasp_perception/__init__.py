"""Sensor frames in; restored depth and point clouds out."""

from dexgrasp_perception.restoration import DEPTH_RESTORATIONS
from dexgrasp_perception.sources import DEPTH_SOURCES

__all__ = ["DEPTH_RESTORATIONS", "DEPTH_SOURCES"]
