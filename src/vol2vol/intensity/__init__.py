"""Intensities: stored values to the network's range and back, from whole-volume statistics.

Never measured per tile, which would be a seam.
"""

from vol2vol.intensity.affine import METHODS, Intensity, Method, SideBySide, fixed
from vol2vol.intensity.measuring import Histogram, histograms, measure
from vol2vol.intensity.streaming import Readable

__all__ = ["METHODS", "Histogram", "Intensity", "Method", "Readable", "SideBySide", "fixed", "histograms", "measure"]
