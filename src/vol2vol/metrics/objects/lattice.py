"""Whether the colour of objects can be read off their place on a network's lattice: the shortcut of the benchmark.

A network of total stride s can tell places apart that differ modulo s. If it chooses colours by them, tiles that start
at multiples of s agree for free, though nothing made them agree. Two numbers say so: the mutual information of
colour and place modulo s, and how many colours the place predicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.special import xlogy
from scipy.stats import random_table

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.objects.colours import Coloured
from vol2vol.metrics.objects.scores import count_ratio
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.shapes import shaped

PERMUTATIONS = 999
FOLDS = 10
"""Parts of the objects of a single image, each predicted by the others; several images are parts themselves."""


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """What place modulo the period says of colours."""

    objects: int
    cells: int
    """Places modulo the period that occur."""
    bits: float
    """Mutual information of colour and place, corrected for bias (Miller 1955); about 0, or just below, for none."""
    entropy: float
    """Bits of the colours themselves: the most that place can say."""
    p: float
    """Of no information: share of permutations of colours within images with as much information as observed."""
    predicted: Blockwise
    """Share of colours that place predicts, by the most frequent colour there in the other images."""
    majority: Blockwise
    """Share that has the most frequent colour of the other images."""


@shaped
def shortcut(
    colours: Annotated[np.ndarray, "objects"],
    places: Annotated[np.ndarray, "objects 3"],
    images: Annotated[np.ndarray, "objects"],
    period: Shape,
    *,
    seed: int = 0,
) -> Shortcut:
    """Return what the place of objects (voxels Z, Y, X, rounded) modulo a period says of their colours, from 0 on.

    `images` numbers the image of each object. Raises `BadInput` without objects, or where no period exceeds 1.
    """
    if len(period) != 3 or min(period) < 1 or max(period) == 1:
        raise BadInput(f"period {period}: give three numbers of voxels, Z,Y,X, one of them above 1")
    if not len(colours):
        raise BadInput("no object has exactly one colour, so none can be compared with its place")
    rng = np.random.default_rng(seed)
    cells = np.ravel_multi_index(tuple((np.rint(places).astype(np.int64) % period).T), period)
    _, cell = np.unique(cells, return_inverse=True)
    kinds, colour = np.unique(colours, return_inverse=True)
    names, image = np.unique(images, return_inverse=True)
    tables = np.zeros((len(names), len(kinds), int(cell.max()) + 1), np.int64)
    np.add.at(tables, (image, colour, cell), 1)
    if len(names) > 1:
        parts = tables
    else:
        parts = np.zeros((min(FOLDS, len(colour)), *tables.shape[1:]), np.int64)
        np.add.at(parts, (rng.permutation(len(colour)) % len(parts), colour, cell), 1)
    whole = tables.sum(0)
    return Shortcut(
        objects=len(colours),
        cells=tables.shape[2],
        bits=_information(whole, corrected=True),
        entropy=_entropy(whole.sum(1)),
        p=_permuted(tables, rng),
        predicted=_predicted("predicted", parts),
        majority=_predicted("majority", parts.sum(2, keepdims=True)),
    )


def common_period(grids: Iterable[Sequence[Grid]]) -> Shape | None:
    """Return the period of the network that all tilings have in common, None where they differ or it is 1."""
    periods = {grid.period for each in grids for grid in each}
    return next(iter(periods)) if len(periods) == 1 and max(max(periods)) > 1 else None


def colour_shortcut(images: Sequence[Coloured], grids: Sequence[Sequence[Grid]], period: Shape) -> Shortcut | None:
    """Return what the places of the objects of some images say of their colours; None where no object counts.

    Objects count that have exactly one colour and do not touch the border of their image. `grids` are the tilings of
    each image: with a single one, places count from the start of the tile that holds the centre.
    """
    kept = [image.judged(border=False) & (image.colours == 1) for image in images]
    if not any(which.any() for which in kept):
        return None
    return shortcut(
        np.concatenate([image.colour[which] for image, which in zip(images, kept, strict=True)]),
        np.concatenate([_in_tile(image, each)[which] for image, each, which in zip(images, grids, kept, strict=True)]),
        np.repeat(np.arange(len(images)), [int(which.sum()) for which in kept]),
        period,
    )


def _in_tile(image: Coloured, grids: Sequence[Grid]) -> np.ndarray:
    """Return the centres of objects from the start of what is kept of their tile, or of the image, `(objects, 3)`."""
    if len(grids) != 1:
        return image.centres
    step, origin = np.array(grids[0].step), np.array(grids[0].origin)
    return np.where(step < BETWEEN, (np.rint(image.centres) - origin) % step, image.centres)


def _entropy(counts: np.ndarray, *, corrected: bool = False) -> float:
    """Return the entropy in bits of counts, with the correction of Miller (1955) if wanted."""
    some = counts[counts > 0]
    total = some.sum()
    bias = (len(some) - 1) / (2 * total * np.log(2)) if corrected else 0.0
    return float(np.log2(total) - (some * np.log2(some)).sum() / total + bias)


def _information(table: np.ndarray, *, corrected: bool = False) -> float:
    """Return the mutual information in bits of rows and columns of a table of counts."""
    margins = _entropy(table.sum(1), corrected=corrected) + _entropy(table.sum(0), corrected=corrected)
    return margins - _entropy(table.ravel(), corrected=corrected)


def _permuted(tables: np.ndarray, rng: np.random.Generator) -> float:
    """Return the p of no information: tables `(images, colours, cells)` against random ones of the same margins.

    Margins being the same, there is more information where sum n log n of the table of all images is larger.
    """
    total = np.zeros((PERMUTATIONS, *tables.shape[1:]), np.int64)
    every = np.arange(PERMUTATIONS)
    for table in tables:
        rows, columns = table.sum(1), table.sum(0)
        some = np.flatnonzero(rows), np.flatnonzero(columns)
        if min(map(len, some)) < 2:
            total += table
            continue
        drawn = random_table(rows[some[0]], columns[some[1]]).rvs(PERMUTATIONS, random_state=rng)
        total[np.ix_(every, *some)] += drawn.astype(np.int64)
    observed, permuted = (xlogy(each, each).sum((-2, -1)) for each in (tables.sum(0), total))
    return float((1 + (permuted >= observed * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS))


def _predicted(name: str, parts: np.ndarray) -> Blockwise:
    """Return the share of colours predicted right, per part `(parts, colours, cells)`, by all other parts.

    Where the others have no object in a cell, their most frequent colour is taken.
    """
    others = parts.sum(0) - parts
    fallback = others.sum(2).argmax(1)
    guess = np.where(others.any(1), others.argmax(1), fallback[:, None])
    right = np.take_along_axis(parts, guess[:, None], axis=1).sum((1, 2))
    return Blockwise(
        name=name, sums=np.stack([right, parts.sum((1, 2))], axis=1).astype(np.float64), combine=count_ratio
    )
