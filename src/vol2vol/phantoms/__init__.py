"""Generate EM-like volumes with ground truth: one tissue as two microscopes would show it, and its mitochondria.

Every voxel is a pure function of scene (with its seed), domain and position. Blocks may therefore be computed in any
order and size, and volumes larger than memory are written block by block.
"""

from vol2vol.phantoms.appearance import DOMAINS, Domain, mask, render
from vol2vol.phantoms.neurites import Scene
from vol2vol.phantoms.writing import scene_of, write_pair, write_phantom

__all__ = ["DOMAINS", "Domain", "Scene", "mask", "render", "scene_of", "write_pair", "write_phantom"]
