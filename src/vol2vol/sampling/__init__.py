"""Training patches at random offsets from lazily read volumes.

Item i of epoch e depends on (seed, e, i) alone, not on the number of readers or processes, nor on interruptions.
"""

from vol2vol.sampling.aligned import Aligned, AlignedPatches
from vol2vol.sampling.augment import STILL, Augment, Elastic
from vol2vol.sampling.centres import Weight
from vol2vol.sampling.dataset import Alone, PatchSets, check_settings, dataset
from vol2vol.sampling.patches import Patches
from vol2vol.sampling.settings import DataSettings, LabelSettings

__all__ = [
    "STILL",
    "Aligned",
    "AlignedPatches",
    "Alone",
    "Augment",
    "DataSettings",
    "Elastic",
    "LabelSettings",
    "PatchSets",
    "Patches",
    "Weight",
    "check_settings",
    "dataset",
]
