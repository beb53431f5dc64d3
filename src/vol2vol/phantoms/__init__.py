"""Seeded EM-like volumes with a known answer: the same tissue as two microscopes would show it, and its mitochondria.

Every voxel is a pure function of scene, domain and position: blocks may be made in any order and size, volumes of any
size are written without being held.
"""

from vol2vol.phantoms.appearance import DOMAINS, Domain, mask, render
from vol2vol.phantoms.neurites import Scene
from vol2vol.phantoms.writing import scene_of, write_pair, write_phantom

__all__ = ["DOMAINS", "Domain", "Scene", "mask", "render", "scene_of", "write_pair", "write_phantom"]
