"""Training patches at random offsets from lazily read volumes.

Item i of epoch e is a pure function of (seed, e, i): the number of readers, processes or interruptions changes nothing.
"""

from vol2vol.sampling.jitter import Jitter
from vol2vol.sampling.labelled import Labelled, LabelledPatches
from vol2vol.sampling.patches import Patches, UnpairedPatches

__all__ = ["Jitter", "Labelled", "LabelledPatches", "Patches", "UnpairedPatches"]
