"""Neurites of a phantom: Voronoi cells of line segments with thicknesses, in space bent by smooth noise.

Tubes that fill space, separated by membranes. The lattice has one segment per cell of `LATTICE` voxels; everything is
a pure function of a scene and a position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vol2vol.geometry import Box
from vol2vol.phantoms.noise import hashes, key, smooth, uniform

LATTICE = 56
LENGTH = 80
"""Longest half of a segment."""
UNIT = 8
"""Voxels on a side of the blocks that look up their neurites together."""
NEAR = 6
"""Neurites that a block may meet."""
SIGHT = 125
"""No unit's nearest neurites are further than this many voxels away, the bending of space (up to 25) included."""
BEND = ((48.0, 8.0), (18.0, 2.2))
"""Period and amplitude of the noise that bends space."""


@dataclass(frozen=True)
class Scene:
    """A piece of tissue without end; two scenes of different seed have nothing in common."""

    seed: int
    mitochondria: float = 0.5
    """Chance that a place on a neurite's axis is taken by a mitochondrion."""
    vesicles: float = 0.5
    """Share of the terminals that are filled with vesicles."""

    def key(self, *what: object) -> int:
        """Return the key of one property of this scene's tissue."""
        return key(self.seed, *what)


@dataclass(frozen=True, eq=False)
class Neurites:
    """Segments in voxels: `n` of them, in the order of their lattice cells."""

    name: np.ndarray
    centre: np.ndarray
    axis: np.ndarray
    half: np.ndarray
    radius: np.ndarray
    tone: np.ndarray


def lattice(box: Box, margin: int) -> Box:
    """Return the lattice cells within a margin of a box."""
    return Box(tuple((a - margin) // LATTICE for a in box.start), tuple((b + margin) // LATTICE + 1 for b in box.stop))


def bend(scene: Scene, grid: Box) -> np.ndarray:
    """Return the displacements (3, ...) that bend space, at the points `4 * index` of a box of indices."""
    fields = [sum(smooth(scene.key("bend", axis, p), grid, p, 4) * np.float32(a) for p, a in BEND) for axis in range(3)]
    return np.stack(fields)


@lru_cache(maxsize=8)
def neurites_of(scene: Scene, cells: Box) -> Neurites:
    """Return the segments of a box of lattice cells; neighbours tend to run alike, most are thin."""

    def draw(what: str) -> np.ndarray:
        return uniform(scene.key(what), cells).ravel().astype(np.float64)

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
    """Return gap, tone and owner of a box on the grid of units, one layer of units at a time."""
    gap, tone = np.empty(whole.shape, np.float32), np.empty(whole.shape, np.float32)
    owner = np.empty(whole.shape, np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(bend, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2]
    rows, columns = (np.arange(a, b, UNIT) for a, b in zip(whole.start[1:], whole.stop[1:], strict=True))
    for layer in range(windows.shape[1]):
        z = whole.start[0] + layer * UNIT
        corners = np.stack(np.meshgrid([z], rows, columns, indexing="ij"), -1).reshape(-1, 3)
        moved = windows[:, layer].reshape(3, len(corners), 1, 3, 3, 3)
        near = _nearest(neurites, corners, moved[:, :, 0, 1, 1, 1])
        distance = _to_neurites(neurites, near, corners, moved)
        first = np.full((len(corners), UNIT, UNIT, UNIT), np.inf, np.float32)
        second, shade, named = first.copy(), np.zeros_like(first), np.zeros(first.shape, np.uint32)
        for k in range(NEAR):
            d, which = distance[:, k], near[:, k, None, None, None]
            nearer = d < first
            np.minimum(second, np.maximum(d, first), out=second)
            np.minimum(first, d, out=first)
            np.copyto(shade, neurites.tone[which].astype(np.float32), where=nearer)
            np.copyto(named, neurites.name[which], where=nearer)
        span = slice(layer * UNIT, (layer + 1) * UNIT)
        for target, values in ((gap, (second - first) * np.float32(0.5)), (tone, shade), (owner, named)):
            units = values.reshape(len(rows), len(columns), UNIT, UNIT, UNIT).transpose(2, 0, 3, 1, 4)
            target[span] = units.reshape(UNIT, *whole.shape[1:])
    return gap, tone, owner


def _nearest(neurites: Neurites, corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return the indices (n, NEAR) of the neurites nearest to the middles of units."""
    middle = [corners[:, a, None] + UNIT / 2 + moved[a][:, None] for a in range(3)]
    points = [(m - neurites.centre[:, a]).astype(np.float32) for a, m in enumerate(middle)]
    axis = [neurites.axis[:, a].astype(np.float32) for a in range(3)]
    distance = distance_to(points, axis, neurites.half.astype(np.float32)) - neurites.radius
    return np.argpartition(distance, NEAR, axis=1)[:, :NEAR]


def _to_neurites(neurites: Neurites, near: np.ndarray, corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return distances (n, NEAR, UNIT, UNIT, UNIT): exact at every fourth voxel, linear between."""
    wide = (..., None, None, None)
    centre = (corners[:, None] - neurites.centre[near]).astype(np.float32)
    offsets = np.arange(3, dtype=np.float32) * 4
    shapes = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    points = [centre[..., a][wide] + (offsets.reshape(shapes[a]) + moved[a]) for a in range(3)]
    axis = [neurites.axis[near][..., a].astype(np.float32)[wide] for a in range(3)]
    half, radius = (v[near].astype(np.float32)[wide] for v in (neurites.half, neurites.radius))
    values: np.ndarray = distance_to(points, axis, half) - radius
    weight = np.arange(4, dtype=np.float32) / 4
    for axis_of in (2, 3, 4):
        values = np.moveaxis(values, axis_of, -1)
        values = values[..., :2, None] + (values[..., 1:] - values[..., :2])[..., None] * weight
        values = np.moveaxis(values.reshape(*values.shape[:-2], UNIT), -1, axis_of)
    return values
