"""Define networks for images and volumes, and derive footprint, cost and variants from their layers.

Tensors are (B, C, [Z,] Y, X). A network does not depend on volumes, devices or losses. Its geometry is derived from its
layers (`footprint`), never declared; variants for prediction (`frozen`, `cropped`, `padded`) are new networks.
"""

from vol2vol.nets.calibration import calibrate
from vol2vol.nets.catalogue import CATALOGUE, build, count_parameters
from vol2vol.nets.channels import repeated, with_noise
from vol2vol.nets.checkpointing import checkpointed
from vol2vol.nets.cost import flops, peak_memory
from vol2vol.nets.footprint import extents, footprint
from vol2vol.nets.lattice import position_dependence
from vol2vol.nets.norm import tile_dependent
from vol2vol.nets.reference import from_reference, load_reference
from vol2vol.nets.trace import Layer, layers
from vol2vol.nets.variants import croppable, cropped, frozen, padded, remeasurable, tilewise, unmeasured

__all__ = [
    "CATALOGUE",
    "Layer",
    "build",
    "calibrate",
    "checkpointed",
    "count_parameters",
    "croppable",
    "cropped",
    "extents",
    "flops",
    "footprint",
    "from_reference",
    "frozen",
    "layers",
    "load_reference",
    "padded",
    "peak_memory",
    "position_dependence",
    "remeasurable",
    "repeated",
    "tile_dependent",
    "tilewise",
    "unmeasured",
    "with_noise",
]
