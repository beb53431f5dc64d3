"""Map stored values to the network's range and back, by statistics of whole volumes.

Statistics are never measured per tile, which would cause seams.
"""

from vol2vol.intensity.affine import METHODS, PROBABILITY, Intensity, Method, SideBySide, fixed
from vol2vol.intensity.comparing import Likeness, Sample, apart, likeness, sample
from vol2vol.intensity.measuring import Histogram, histograms, measure, measure_like
from vol2vol.intensity.streaming import Readable

__all__ = [
    "METHODS",
    "PROBABILITY",
    "Histogram",
    "Intensity",
    "Likeness",
    "Method",
    "Readable",
    "Sample",
    "SideBySide",
    "apart",
    "fixed",
    "histograms",
    "likeness",
    "measure",
    "measure_like",
    "sample",
]
