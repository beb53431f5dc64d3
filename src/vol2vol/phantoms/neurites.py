"""Compute the neurites of a phantom: Voronoi cells of thick line segments, in space bent by smooth noise.

Neurites are tubes that fill space and are separated by membranes. Each cell of a lattice of `LATTICE` voxels has one
segment. Everything is a pure function of scene and position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vol2vol.geometry import Box
from vol2vol.phantoms.noise import hashes, key, smooth, uniform

LATTICE = 56
LENGTH = 80
"""Greatest half-length of a segment, in voxels."""
UNIT = 8
"""Side, in voxels, of the cubes whose voxels share one list of nearest neurites."""
NEAR = 6
"""Number of nearest neurites that are considered for a cube of `UNIT` voxels."""
SIGHT = 125
"""Greatest distance, in voxels, to the nearest neurites of a cube, including the bending of space (up to 25)."""
BEND = ((48.0, 8.0), (18.0, 2.2))
"""Period and amplitude of the noise that bends space."""


@dataclass(frozen=True)
class Scene:
    """An unbounded piece of tissue; scenes of different seeds are independent."""

    seed: int
    mitochondria: float = 0.5
    """Probability that a slot on a neurite's axis holds a mitochondrion."""
    vesicles: float = 0.5
    """Fraction of the terminals that are filled with vesicles."""

    def key(self, *quantity: object) -> int:
        """Return the key of one quantity of this scene's tissue."""
        return key(self.seed, *quantity)


@dataclass(frozen=True, eq=False)
class Neurites:
    """The `n` segments of some lattice cells, in the order of the cells; lengths in voxels, vectors in ZYX order."""

    name: np.ndarray
    """(n,) uint32, random, identifies a neurite."""
    centre: np.ndarray
    """(n, 3)."""
    axis: np.ndarray
    """(n, 3), unit vectors."""
    half: np.ndarray
    """(n,) half-lengths."""
    radius: np.ndarray
    """(n,)."""
    tone: np.ndarray
    """(n,) brightness of the cytoplasm, -1 to 1."""


def lattice(box: Box, margin: int) -> Box:
    """Return the lattice cells within a margin of a box."""
    return Box(tuple((a - margin) // LATTICE for a in box.start), tuple((b + margin) // LATTICE + 1 for b in box.stop))


def bend(scene: Scene, grid: Box) -> np.ndarray:
    """Return the displacements (3, Z, Y, X), in voxels, that bend space at the points `4 * index`, index in `grid`."""
    fields = [sum(smooth(scene.key("bend", axis, p), grid, p, 4) * np.float32(a) for p, a in BEND) for axis in range(3)]
    return np.stack(fields)


@lru_cache(maxsize=8)
def neurites_of(scene: Scene, cells: Box) -> Neurites:
    """Return the segments of a box of lattice cells; neighbours are roughly parallel, and most are thin."""

    def draw(quantity: str) -> np.ndarray:
        return uniform(scene.key(quantity), cells).ravel().astype(np.float64)

    corner = np.stack(np.meshgrid(*map(np.arange, cells.start, cells.stop), indexing="ij"), -1).reshape(-1, 3)
    jitter = np.stack([draw(f"centre {axis}") for axis in "zyx"], -1)
    turn, height = 2 * np.pi * draw("turn"), 2 * draw("height") - 1
    flat = np.sqrt(1 - height**2)
    axis = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)], -1)
    axis += 0.45 * np.stack([smooth(scene.key("flow", a), cells, 6.0).ravel() for a in "zyx"], -1)
    axis /= np.sqrt(axis[:, :1] ** 2 + axis[:, 1:2] ** 2 + axis[:, 2:] ** 2)
    return Neurites(
        name=hashes(scene.key("name"), cells).ravel(),
        centre=(corner + jitter) * LATTICE,
        axis=axis,
        half=LENGTH * (0.5 + 0.5 * draw("half")),
        radius=22 * draw("radius") ** 3,
        tone=2 * draw("tone") - 1,
    )


def distance_to(points: list[np.ndarray], axis: list[np.ndarray], half: np.ndarray | np.float32) -> np.ndarray:
    """Return the distance of points, relative to the centre of a segment, from that segment."""
    z, y, x = points
    along = z * axis[0] + y * axis[1] + x * axis[2]
    beyond = along - np.clip(along, -half, half)
    squared = z * z + y * y + x * x - along * along + beyond * beyond
    result: np.ndarray = np.sqrt(np.maximum(squared, 0))
    return result


def cells(neurites: Neurites, whole: Box, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return gap, tone and owner (name of the neurite) of every voxel of a box of whole cubes, layer by layer."""
    gap, tone = np.empty(whole.shape, np.float32), np.empty(whole.shape, np.float32)
    owner = np.empty(whole.shape, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(bend, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2]
    rows, columns = (np.arange(a, b, UNIT) for a, b in zip(whole.start[1:], whole.stop[1:], strict=True))
    for layer in range(windows.shape[1]):
        z = whole.start[0] + layer * UNIT
        corners = np.stack(np.meshgrid([z], rows, columns, indexing="ij"), -1).reshape(-1, 3)
        shifts = windows[:, layer].reshape(3, len(corners), 1, 3, 3, 3)
        near = _nearest(neurites, corners, shifts[:, :, 0, 1, 1, 1])
        distance = _to_neurites(neurites, near, corners, shifts)
        first = np.full((len(corners), UNIT, UNIT, UNIT), np.inf, np.float32)
        second, shade, names = first.copy(), np.zeros_like(first), np.zeros(first.shape, np.uint32)
        for k in range(NEAR):
            d, index = distance[:, k], near[:, k, None, None, None]
            nearer = d < first
            np.minimum(second, np.maximum(d, first), out=second)
            np.minimum(first, d, out=first)
            np.copyto(shade, neurites.tone[index].astype(np.float32), where=nearer)
            np.copyto(names, neurites.name[index], where=nearer)
        span = slice(layer * UNIT, (layer + 1) * UNIT)
        for target, values in ((gap, (second - first) * np.float32(0.5)), (tone, shade), (owner, names)):
            units = values.reshape(len(rows), len(columns), UNIT, UNIT, UNIT).transpose(2, 0, 3, 1, 4)
            target[span] = units.reshape(UNIT, *whole.shape[1:])
    return gap, tone, owner


def _nearest(neurites: Neurites, corners: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the indices (n, NEAR) of the neurites nearest to the centres of cubes."""
    middle = [corners[:, a, None] + UNIT / 2 + shifts[a][:, None] for a in range(3)]
    points = [(m - neurites.centre[:, a]).astype(np.float32) for a, m in enumerate(middle)]
    axis = [neurites.axis[:, a].astype(np.float32) for a in range(3)]
    distance = distance_to(points, axis, neurites.half.astype(np.float32)) - neurites.radius
    return np.argpartition(distance, NEAR, axis=1)[:, :NEAR]


def _to_neurites(neurites: Neurites, near: np.ndarray, corners: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return distances (n, NEAR, UNIT, UNIT, UNIT): exact at every fourth voxel, interpolated linearly between."""
    wide = (..., None, None, None)
    centre = (corners[:, None] - neurites.centre[near]).astype(np.float32)
    offsets = np.arange(3, dtype=np.float32) * 4
    shapes = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    points = [centre[..., a][wide] + (offsets.reshape(shapes[a]) + shifts[a]) for a in range(3)]
    axis = [neurites.axis[near][..., a].astype(np.float32)[wide] for a in range(3)]
    half, radius = (v[near].astype(np.float32)[wide] for v in (neurites.half, neurites.radius))
    values: np.ndarray = distance_to(points, axis, half) - radius
    weight = np.arange(4, dtype=np.float32) / 4
    for array_axis in (2, 3, 4):
        values = np.moveaxis(values, array_axis, -1)
        values = values[..., :2, None] + (values[..., 1:] - values[..., :2])[..., None] * weight
        values = np.moveaxis(values.reshape(*values.shape[:-2], UNIT), -1, array_axis)
    return values
