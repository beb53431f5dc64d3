"""Cut patches from volumes for distances between distributions; each read of chunks serves several patches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.volumes import Volume

Axis = Literal["xy", "xz", "yz", "xyz"]
SPANS: dict[str, tuple[int, int, int]] = {"xy": (0, 1, 1), "xz": (1, 0, 1), "yz": (1, 1, 0), "xyz": (1, 1, 1)}
"""Axes, Z, Y, X, along which a patch extends."""
CELL = (32, 256)
"""Minimum and maximum voxels per axis of a cell, from which positions are drawn together; whole chunks if small."""
MAX_ENUMERATED = 1 << 22
"""Maximum number of positions in a volume from which positions are drawn without replacement."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How patches are cut."""

    count: int = 20_000
    """Maximum number of patches; a small volume holds fewer."""
    size: int = 128
    """Voxels along each side."""
    axis: Axis = "xy"
    """Plane of the patches; `xyz` cuts cubes."""
    layout: Literal["random", "grid"] = "random"
    """`grid`: side by side in the plane, evenly spaced across it."""
    seed: int = 0
    per_cell: int = 8
    """Minimum number of patches cut from one read."""

    def __post_init__(self) -> None:
        if self.axis not in SPANS or self.layout not in ("random", "grid"):
            raise BadInput(f"patches cannot be cut by {self.axis!r} and {self.layout!r}: use xy, xz, yz; random, grid")
        if min(self.count, self.size, self.per_cell) < 1:
            raise BadInput(f"patches need a positive count and size, not {self.count} of {self.size}")

    @property
    def shape(self) -> Shape:
        """Voxels of a patch along Z, Y, X."""
        return tuple(self.size if along else 1 for along in SPANS[self.axis])


def positions(volume: Volume, cutting: Cutting) -> np.ndarray:
    """Return the first voxels of all patches, int64 `(n, 3)` ZYX, distinct, in reading order.

    For random positions, cells of whole chunks are drawn with a probability proportional to the positions they hold,
    and then a few positions in each cell, so that all positions of the volume are equally likely and reads are shared.
    Raises `BadInput` if the volume is smaller than a patch.
    """
    extent = tuple(n - s + 1 for n, s in zip(volume.spatial, cutting.shape, strict=True))
    if min(extent) < 1:
        raise BadInput(
            f"{volume.path} of shape {volume.spatial} holds no {cutting.axis} patch of {cutting.size} voxels: "
            "use smaller patches or another plane"
        )
    cell = cell_of(volume.chunks[1:])
    if cutting.layout == "grid":
        candidates = _grid(extent, cutting)
    elif prod(extent) <= max(MAX_ENUMERATED, 4 * cutting.count):
        candidates = _without_replacement(extent, cutting)
    else:
        candidates = _sparse(extent, cell, cutting)
    return candidates[np.lexsort((*candidates.T[::-1], *(candidates // cell).T[::-1]))]


def cell_of(chunks: Shape) -> Shape:
    """Return the cell by which positions are grouped: whole chunks, enlarged or cut to the limits of `CELL`."""
    smallest, largest = CELL
    return tuple(c * max(1, smallest // c) if c <= largest else largest for c in chunks)


def _grid(extent: Shape, cutting: Cutting) -> np.ndarray:
    """Return evenly spaced positions of patches that do not overlap in their plane."""
    steps = [cutting.size if along else 1 for along in SPANS[cutting.axis]]
    tiles = prod(-(-r // s) for r, s, along in zip(extent, steps, SPANS[cutting.axis], strict=True) if along)
    for axis, along in enumerate(SPANS[cutting.axis]):
        if not along:
            steps[axis] = max(1, -(-extent[axis] * tiles // cutting.count))
    axes = np.meshgrid(*(np.arange(0, r, s) for r, s in zip(extent, steps, strict=True)), indexing="ij")
    candidates = np.stack([a.ravel() for a in axes], axis=1)
    result: np.ndarray = candidates[
        np.unique(np.linspace(0, len(candidates) - 1, min(cutting.count, len(candidates))).round().astype(int))
    ]
    return result


def _without_replacement(extent: Shape, cutting: Cutting) -> np.ndarray:
    """Draw without replacement from all positions."""
    rng = np.random.default_rng(cutting.seed)
    flat = rng.choice(prod(extent), min(cutting.count, prod(extent)), replace=False, shuffle=False)
    return np.stack(np.unravel_index(flat, extent), axis=1)


def _sparse(extent: Shape, cell: Shape, cutting: Cutting) -> np.ndarray:
    """Draw cells by a random position, then positions within each cell, until enough distinct ones are drawn."""
    rng = np.random.default_rng(cutting.seed)
    size = np.array(cell)
    candidates = np.zeros((0, 3), np.int64)
    while len(candidates) < cutting.count:
        draws = -(-(cutting.count - len(candidates)) // cutting.per_cell)
        low = rng.integers(0, extent, (draws, 3)) // size * size
        high = np.minimum(low + size, extent)
        inside = rng.random((draws, cutting.per_cell, 3)) * (high - low)[:, None] + low[:, None]
        candidates = _distinct(np.concatenate([candidates, inside.astype(np.int64).reshape(-1, 3)]))
    return candidates[: cutting.count]


def _distinct(candidates: np.ndarray) -> np.ndarray:
    """Drop repeated rows, keeping the order."""
    return candidates[np.sort(np.unique(candidates, axis=0, return_index=True)[1])]


def cut(volume: Volume, places: np.ndarray, cutting: Cutting) -> Iterator[np.ndarray]:
    """Yield the patches at `places`, in their order, `(C, *shape)` of the volume's dtype.

    Places in the same cell are read together; the next cell is read while the current one is used.
    """
    groups = _groups(places, np.array(cell_of(volume.chunks[1:])))
    with ThreadPoolExecutor(1) as pool:
        pending: Future[np.ndarray] | None = None
        for number, (group, box) in enumerate(boxes := [(g, _hull(g, cutting.shape)) for g in groups]):
            block = pending.result() if pending else volume.read(box)
            pending = pool.submit(volume.read, boxes[number + 1][1]) if number + 1 < len(boxes) else None
            for place in group:
                at = tuple(slice(p - a, p - a + n) for p, a, n in zip(place, box.start, cutting.shape, strict=True))
                yield block[:, *at]


def _groups(places: np.ndarray, cell: np.ndarray) -> list[np.ndarray]:
    """Split places where the cell changes."""
    cells = places // cell
    return np.split(places, np.flatnonzero((cells[1:] != cells[:-1]).any(1)) + 1) if len(places) else []


def _hull(group: np.ndarray, shape: Shape) -> Box:
    """Return the smallest box that contains all patches of a group."""
    start = tuple(int(n) for n in group.min(0))
    return Box(start, tuple(int(n) + s for n, s in zip(group.max(0), shape, strict=True)))
