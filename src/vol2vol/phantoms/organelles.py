"""Place mitochondria and vesicles inside the neurites of a phantom, as pure functions of scene and position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Box
from vol2vol.phantoms.neurites import LENGTH, Neurites, Scene, distance_to
from vol2vol.phantoms.noise import enlarge, nodes, scramble, smooth, uniform

NEIGHBOURS = 250
"""Segments centred further than this many voxels from a box do not limit the mitochondria that touch it."""
SLOTS = 3
"""Number of slots for mitochondria along a segment."""


@dataclass(frozen=True, eq=False)
class Mitochondrion:
    """A capsule in bent space, inside the neurite of the name `owner`; lengths in voxels, vectors in ZYX order."""

    owner: int
    centre: np.ndarray
    axis: np.ndarray
    side: np.ndarray
    half: float
    radius: float
    phase: float


def mitochondria(scene: Scene, neurites: Neurites, box: Box) -> list[Mitochondrion]:
    """Return the mitochondria that may touch a box; each fits into its neurite."""
    margin = LENGTH / SLOTS + 45
    placed = []
    for slot in range(SLOTS):
        place, kind, length, width, phase = (
            _unit_floats(neurites.name, scene.key(name, slot)) for name in ("place", "kind", "length", "width", "phase")
        )
        along = neurites.half * ((2 * slot + 0.6 + 0.8 * place) / SLOTS - 1)
        centre = neurites.centre + along[:, None] * neurites.axis
        half = neurites.half / SLOTS * (0.2 + 0.8 * length)
        near = ((centre > np.array(box.start) - margin) & (centre < np.array(box.stop) + margin)).all(1)
        for n in np.flatnonzero(near & (kind < scene.mitochondria)):
            radius = min(17.0, (0.6 + 0.3 * width[n]) * _clearance(neurites, int(n), centre[n], half[n]))
            if radius < 5.5:
                continue
            axis = neurites.axis[n]
            side = np.cross(axis, np.roll(axis, 1) + 0.1)
            placed.append(
                Mitochondrion(
                    owner=int(neurites.name[n]),
                    centre=centre[n],
                    axis=axis,
                    side=side / np.sqrt((side * side).sum()),
                    half=float(half[n]),
                    radius=float(radius),
                    phase=float(2 * np.pi * phase[n]),
                )
            )
    return placed


def _unit_floats(names: np.ndarray, salt: int) -> np.ndarray:
    """Return one float64 in [0, 1) per name."""
    return (scramble(names ^ np.uint32(salt)) >> np.uint32(8)) * 2.0**-24


def _clearance(neurites: Neurites, own: int, centre: np.ndarray, half: float) -> float:
    """Return the smallest distance, in voxels, from three points on a neurite's axis to its membrane."""
    points = centre + np.array([[-0.8], [0.0], [0.8]]) * half * neurites.axis[own]
    offsets = [points[:, a, None] - neurites.centre[:, a] for a in range(3)]
    distance = distance_to(offsets, list(neurites.axis.T), neurites.half) - neurites.radius
    inside = distance[:, own].copy()
    distance[:, own] = np.inf
    return float((distance.min(1) - inside).min()) / 2


def bent(mito: Mitochondrion, box: Box, bend: np.ndarray, grid: Box) -> tuple[Box, list[np.ndarray]]:
    """Return the part of a box that may hold a mitochondrion, and that part's coordinates in bent space.

    `bend` are the displacements at the nodes `grid`. Coordinates are three arrays (Z, Y, X) relative to the centre of
    the mitochondrion; an empty box comes with none.
    """
    wide = np.ceil(np.abs(mito.axis) * mito.half + mito.radius + 26).astype(int)
    centre = np.floor(mito.centre).astype(int)
    part = Box(tuple(map(int, centre - wide)), tuple(map(int, centre + wide + 1))) & box
    for margin in (8.0, None):
        if not part.size:
            break
        coarse = nodes(part, 4)
        local = bend[:, *coarse.relative_to(grid.start).slices]
        if margin is None:
            return part, [
                enlarge(local[a], part, 4) + _column(part.start[a], part.stop[a], mito.centre[a], a) for a in range(3)
            ]
        rest = [local[a] + _column(coarse.start[a], coarse.stop[a], mito.centre[a], a, 4) for a in range(3)]
        close = np.argwhere(_capsule(mito, rest) < margin)
        if not len(close):
            break
        low, high = (close.min(0) + coarse.start) * 4 - 3, (close.max(0) + coarse.start) * 4 + 4
        part = part & Box(tuple(map(int, low)), tuple(map(int, high)))
    return Box((0, 0, 0), (0, 0, 0)), []


def _column(start: int, stop: int, zero: float, axis: int, spacing: int = 1) -> np.ndarray:
    """Return float32 positions along one axis, relative to `zero`, to be broadcast."""
    shape = [-1 if n == axis else 1 for n in range(3)]
    return (np.arange(start, stop) * spacing - zero).astype(np.float32).reshape(shape)


def _capsule(mito: Mitochondrion, rest: list[np.ndarray]) -> np.ndarray:
    return distance_to(rest, list(mito.axis.astype(np.float32)), np.float32(mito.half)) - np.float32(mito.radius)


def shape_of(mito: Mitochondrion, rest: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the signed distance to the surface in voxels, and each voxel's share (0 to 1) in the cristae."""
    (z, y, x), (u, v) = rest, (mito.axis.astype(np.float32), mito.side.astype(np.float32))
    along = z * u[0] + y * u[1] + x * u[2]
    across = z * v[0] + y * v[1] + x * v[2]
    swell = np.sin(along * np.float32(0.16) + np.float32(mito.phase))
    surface = _capsule(mito, rest) - np.float32(0.12 * mito.radius) * swell
    lean = np.float32(0.7 * np.sin(3 * mito.phase))
    ripple = np.sin(across * np.float32(0.45) + np.float32(mito.phase))
    sheets = np.sin((along + lean * across + ripple) * np.float32(2 * np.pi / 7.5))
    return surface, np.clip(sheets * np.float32(1.6) - np.float32(0.3), 0, 1)


def vesicles(scene: Scene, box: Box, gap: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return the membranes (-1) and lumens (1) of vesicles, float32 (Z, Y, X): small shells, crowded in some neurites.

    `gap` and `owner` (Z, Y, X) are the distance to the nearest membrane and the name of the neurite of each voxel.
    """
    result = np.zeros(box.shape, np.float32)
    cells = Box(tuple((a - 4) // 8 for a in box.start), tuple((b + 4) // 8 + 1 for b in box.stop))
    crowd = smooth(scene.key("crowd"), cells, 6.0) + uniform(scene.key("vesicle"), cells) > 1.3
    jitter = [uniform(scene.key("jitter", a), cells) for a in "zyx"]
    for index in np.argwhere(crowd):
        offsets = [2 + 4 * float(j[tuple(index)]) for j in jitter]
        spot = [(i + c) * 8 + offset for i, c, offset in zip(index.tolist(), cells.start, offsets, strict=True)]
        part = Box(tuple(int(a) - 4 for a in spot), tuple(int(a) + 6 for a in spot)) & box
        if part.size:
            z, y, x = (_column(a, b, c, n) for n, (a, b, c) in enumerate(zip(part.start, part.stop, spot, strict=True)))
            r = np.sqrt(z * z + y * y + x * x)
            shell = np.clip(2.2 - r, 0, 1) - np.exp(-(((r - np.float32(2.6)) / np.float32(0.9)) ** 2))
            result[part.relative_to(box.start).slices] += shell
    filled = (owner >> np.uint32(20) & np.uint32(0xFF)).astype(np.float32) < 256 * scene.vesicles
    result *= np.clip(gap - np.float32(2), 0, 1) * filled
    return result
