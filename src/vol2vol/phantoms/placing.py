"""Place ellipsoids at random without overlap: circles in images, spheres and nuclei in volumes.

An image is a volume of one plane whose ellipsoids are centred in it. Candidates are drawn uniformly and kept in the
order in which they were drawn unless they meet an earlier one (random sequential addition), many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gamma, pi, prod
from typing import Annotated

import numpy as np
from scipy.spatial import cKDTree

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.shapes import shaped

TRIES = 200
"""Candidates per object after which placing gives up: at twice the published density of circles 40 are enough."""
SPARE = 10_000
"""Candidates allowed in any case."""
ROUNDING = 1e-9
SHARES = np.linspace(0, 1, 21)[1:-1]
"""Where the contact function is evaluated; each value that reaches 1 proves that two ellipsoids do not overlap."""


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """Ellipsoids: points x, in voxels ZYX, with (x - centre)' spread^-1 (x - centre) < 1."""

    centres: Annotated[np.ndarray, "objects 3"]
    spreads: Annotated[np.ndarray, "objects 3 3"]

    def __len__(self) -> int:
        return len(self.centres)

    def __getitem__(self, chosen: np.ndarray) -> Ellipsoids:
        return Ellipsoids(self.centres[chosen], self.spreads[chosen])

    def __add__(self, other: Ellipsoids) -> Ellipsoids:
        return Ellipsoids(np.concatenate([self.centres, other.centres]), np.concatenate([self.spreads, other.spreads]))


Draw = Callable[[int], Ellipsoids]
"""A number of candidates to that many ellipsoids, drawn at random."""


def place(count: int, draw: Draw, name: str) -> Ellipsoids:
    """Return `count` ellipsoids that do not overlap; they may touch.

    Raises `BadInput`, with `name` for what is placed and where, after 200 candidates per object and 10 000 more.
    """
    placed, left = draw(0), TRIES * count + SPARE
    while len(placed) < count and left > 0:
        batch = min(left, max(64, 3 * (count - len(placed))))
        together = placed + draw(batch)
        kept = _first_come(together, len(placed))
        placed, left = together[np.flatnonzero(kept)[:count]], left - batch
    if len(placed) < count:
        raise BadInput(
            f"only {len(placed)} of {count} {name} could be placed without overlap: ask for fewer or smaller"
        )
    return placed


def measure(diameter: float, dims: int) -> float:
    """Return the area of a circle, or the volume of a sphere, in voxels."""
    return float(pi ** (dims / 2) / gamma(dims / 2 + 1) * (diameter / 2) ** dims)


def refuse_more_than_fit(count: int, diameter: float, spatial: Shape, name: str) -> None:
    """Raise `BadInput` where objects of this mean diameter take more than all space, borders included."""
    sides = [n + diameter for n in spatial if n > 1]
    share = count * measure(diameter, len(sides)) / prod(sides)
    if share > 1:
        raise BadInput(f"{count} {name} would take {share:.2g} times its space: ask for fewer or smaller")


def _first_come(bodies: Ellipsoids, certain: int) -> np.ndarray:
    """Return which ellipsoids meet none that was kept before them; the first `certain` are known to be free."""
    kept = np.ones(len(bodies), bool)
    radii = np.sqrt(np.linalg.eigvalsh(bodies.spreads)[:, [0, -1]])
    pairs = cKDTree(bodies.centres).query_pairs(2 * float(radii.max(initial=0)), output_type="ndarray")
    pairs = pairs[pairs[:, 1] >= certain]
    apart = np.sqrt(((bodies.centres[pairs[:, 0]] - bodies.centres[pairs[:, 1]]) ** 2).sum(1))
    nearest, furthest = (radii[pairs].sum(1) * (1 - ROUNDING)).T
    pairs, between = pairs[apart < furthest], (apart >= nearest)[apart < furthest]
    near = pairs[between]
    meet = ~between
    meet[between] = ~separate(bodies[near[:, 0]], bodies[near[:, 1]])
    pairs = pairs[meet]
    for earlier, later in pairs[np.argsort(pairs[:, 1], kind="stable")].tolist():
        if kept[earlier]:
            kept[later] = False
    return kept


def separate(first: Ellipsoids, second: Ellipsoids) -> Annotated[np.ndarray, "pairs"]:
    """Return for each pair whether its ellipsoids share no inner point (contact function of Perram & Wertheim 1985).

    Exact for spheres; ellipsoids that nearly touch may be taken for overlapping.
    """
    offsets, most = second.centres - first.centres, np.zeros(len(first))
    for share in SHARES:
        mixed = (1 - share) * first.spreads + share * second.spreads
        solved = np.linalg.solve(mixed, offsets[..., None])[..., 0]
        np.maximum(most, share * (1 - share) * (offsets * solved).sum(1), out=most)
    return most >= 1 - ROUNDING


@shaped
def paint(bodies: Ellipsoids, box: Box) -> Annotated[np.ndarray, "z y x"]:
    """Return the numbers of the ellipsoids in a box, counted from 1, uint32 `(Z, Y, X)`; 0 is background.

    A voxel belongs to an ellipsoid whose inside holds its centre; the same in every box that contains it.
    """
    labels = np.zeros(box.shape, np.uint32)
    halves = np.sqrt(np.diagonal(bodies.spreads, axis1=1, axis2=2))
    lows, highs = np.ceil(bodies.centres - halves), np.floor(bodies.centres + halves) + 1
    near = np.flatnonzero(((highs > box.start) & (lows < box.stop)).all(1))
    inverse = np.linalg.inv(bodies.spreads)
    for number in near.tolist():
        part = Box(tuple(map(int, lows[number])), tuple(map(int, highs[number]))) & box
        inside = _form(inverse[number], bodies.centres[number], part) < 1 - ROUNDING
        labels[part.relative_to(box.start).slices][inside] = number + 1
    return labels


def _form(matrix: np.ndarray, centre: np.ndarray, part: Box) -> np.ndarray:
    """Return (x - centre)' matrix (x - centre) at the voxels of a box, float64 `(Z, Y, X)`."""
    axes = [
        (np.arange(a, b) - c).reshape([-1 if n == axis else 1 for n in range(3)])
        for axis, (a, b, c) in enumerate(zip(part.start, part.stop, centre, strict=True))
    ]
    total = np.zeros(part.shape)
    for i in range(3):
        for j in range(i, 3):
            if factor := matrix[i, j] * (1 if i == j else 2):
                total += factor * axes[i] * axes[j]
    return total
