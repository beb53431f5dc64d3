"""Compute the structures of a phantom in a box: membranes, cytoplasm, mitochondria and vesicles as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Box
from vol2vol.phantoms.neurites import LENGTH, SIGHT, UNIT, Scene, bend, cells, lattice, neurites_of
from vol2vol.phantoms.noise import nodes
from vol2vol.phantoms.organelles import NEIGHBOURS, bent, mitochondria, shape_of, vesicles


@dataclass(frozen=True, eq=False)
class Tissue:
    """Structures in a box; float32 arrays (Z, Y, X) of its shape."""

    gap: np.ndarray
    """Distance to the nearest membrane, in voxels."""
    tone: np.ndarray
    """Brightness of the cytoplasm of the neurite, -1 to 1."""
    mito: np.ndarray
    """Signed distance to the surface of a mitochondrion, negative inside."""
    cristae: np.ndarray
    """0 to 1; 1 on the sheets inside mitochondria."""
    vesicle: np.ndarray
    """-1 in the membrane of a vesicle to 1 in its lumen."""


def tissue(scene: Scene, box: Box) -> Tissue:
    """Return the structures in a box; a voxel has the same values in every box that contains it."""
    wide = box.grow((1, 1, 1), (1, 1, 1))
    whole = Box(tuple(a // UNIT * UNIT for a in wide.start), tuple(-(-b // UNIT) * UNIT for b in wide.stop))
    points = nodes(whole, 4)
    displacement = bend(scene, points)
    neurites = neurites_of(scene, lattice(box, SIGHT + LENGTH))
    between, tone, owner = cells(neurites, whole, displacement)
    gap = _steepened(between[wide.relative_to(whole.start).slices])
    between, tone, owner = (field[box.relative_to(whole.start).slices] for field in (between, tone, owner))
    mito = np.full(box.shape, 2.0, np.float32)
    cristae = np.zeros(box.shape, np.float32)
    for organelle in mitochondria(scene, neurites_of(scene, lattice(box, NEIGHBOURS)), box):
        near, rest = bent(organelle, box, displacement, points)
        if near.size:
            part = near.relative_to(box.start).slices
            inside = np.where(owner[part] == organelle.owner, between[part], -between[part])
            surface, sheets = shape_of(organelle, rest)
            np.maximum(surface, np.float32(3.0) - inside, out=surface)
            cristae[part] = np.where(surface < mito[part], sheets, cristae[part])
            np.minimum(mito[part], surface, out=mito[part])
    return Tissue(gap, tone, mito, cristae, vesicles(scene, box, gap, owner))


def _steepened(between: np.ndarray) -> np.ndarray:
    """Return distances in voxels from half the difference of two distances, divided by its slope; trims one voxel."""
    inner = (slice(1, -1),) * 3
    slope = np.zeros_like(between[inner])
    for axis in range(3):
        after, before = list(inner), list(inner)
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        slope += (between[tuple(after)] - between[tuple(before)]) ** 2
    result: np.ndarray = between[inner] / np.maximum(np.sqrt(slope) * np.float32(0.5), np.float32(0.4))
    return result
