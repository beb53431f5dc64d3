"""Generate phantoms with ground truth: EM-like tissue as two microscopes would show it, and circles or stripes.

Every voxel is a pure function of scene (with its seed), domain and position. Blocks may therefore be computed in any
order and size, and volumes larger than memory are written block by block.
"""

from vol2vol.phantoms.appearance import DOMAINS, Domain, mask, render
from vol2vol.phantoms.circle_files import write_circles
from vol2vol.phantoms.circles import Circles, Picture
from vol2vol.phantoms.neurites import Scene
from vol2vol.phantoms.stripes import Stripes
from vol2vol.phantoms.writing import scene_of, write_phantom, write_tissue

__all__ = [
    "DOMAINS",
    "Circles",
    "Domain",
    "Picture",
    "Scene",
    "Stripes",
    "mask",
    "render",
    "scene_of",
    "write_circles",
    "write_phantom",
    "write_tissue",
]
