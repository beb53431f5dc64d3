"""Evaluate predicted images of circles: how many have several colours, and where those lie relative to tiles."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.evaluation.compare import measured, plain
from vol2vol.evaluation.seams import grids_of
from vol2vol.files import check_place, write_text
from vol2vol.geometry import Shape
from vol2vol.metrics.objects.colours import Coloured, Colouring, colour_errors, coloured_objects
from vol2vol.metrics.objects.lattice import shortcut
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.volumes import Volume


def evaluate_circles(
    outputs: Sequence[Volume],
    labels: Sequence[Volume],
    *,
    how: Colouring | None = None,
    border: bool = True,
    grid: Grid | None = None,
    period: Shape | None = None,
    rows: str | Path | None = None,
    block: Shape | None = None,
) -> dict[str, Any]:
    """Return the shares of circles, or spheres, with several colours and with not exactly one, 0 to 1.

    `labels` are the label images of the outputs, in their order. Intervals are those of a bootstrap over images. What
    is cut by the border of an image so that it cannot show a colour is left out; without `border` so is whatever
    touches it. Tiles are those of `grid`, or those that the outputs record. With a `period` (Z, Y, X), by default that
    of the network in the record, the result also says what a circle's place in its tile, modulo the period, says of its
    colour (see `shortcut`). `rows` is a CSV or JSON file for a row per circle with its centre, its colours and its
    distance from the nearest border between tiles, in voxels.

    Raises `BadInput` where numbers or shapes of outputs and labels differ or there is no circle.
    """
    if len(outputs) != len(labels) or not outputs:
        raise BadInput(f"{len(outputs)} outputs and {len(labels)} label images: give the labels of each output")
    if rows is not None:
        _check_rows(rows)
    images = [coloured_objects(one, two, how, block=block) for one, two in zip(outputs, labels, strict=True)]
    judged = [image.judged(border=border) for image in images]
    if not sum(int(kept.sum()) for kept in judged):
        raise BadInput(f"{labels[0].path} has no circle that can show a colour: give label images with larger objects")
    grids = [[grid] if grid is not None else grids_of(output) for output in outputs]
    near = [near_borders(image, each) for image, each in zip(images, grids, strict=True)]
    if rows is not None:
        paths = [output.path for output in outputs]
        _write_rows(rows, [_columns(*each) for each in zip(paths, images, judged, near, strict=True)])
    errors = {name: measured(value) for name, value in colour_errors(images, border=border).items()}
    crossing = {} if not any(grids) else {"by place": _by_place(images, judged, [crosses for _, crosses in near])}
    found = {**errors, **_counts(images, judged), **crossing, **_shortcut(images, judged, grids, period)}
    result: dict[str, Any] = plain({**found, "measured": _stated(images, how or Colouring(), border)})
    return result


def near_borders(image: Coloured, grids: Sequence[Grid]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each object the distance of its centre from the nearest border between tiles, and whether one cuts it.

    Distances are in voxels along an axis; infinite where tiles do not meet in the image.
    """
    distance, crosses = np.full(len(image.labels), np.inf), np.zeros(len(image.labels), bool)
    for axis, size in enumerate(image.spatial):
        borders = sorted({int(p) for g in grids if 1 < g.step[axis] < BETWEEN for p in g.borders(size, axis)})
        if borders:
            positions = np.array(borders)
            between = np.abs(image.centres[:, axis, None] - (positions - 0.5)).min(1)
            distance = np.minimum(distance, between)
            after = np.searchsorted(positions, image.lows[:, axis], side="right")
            crosses |= np.append(positions, np.iinfo(np.int64).max)[after] < image.highs[:, axis]
    return distance, crosses


def _counts(images: Sequence[Coloured], judged: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return how many circles were judged, and how many have each number of colours."""
    colours = np.concatenate([image.colours[kept] for image, kept in zip(images, judged, strict=True)])
    times = np.bincount(colours, minlength=images[0].areas.shape[1] + 1)
    everything = sum(len(image.labels) for image in images)
    return {
        "images": len(images),
        "circles": {"judged": len(colours), "left out at the border": everything - len(colours)},
        "circles by number of colours": {str(number): int(count) for number, count in enumerate(times)},
    }


def _by_place(
    images: Sequence[Coloured], judged: Sequence[np.ndarray], crossing: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Return the errors of circles that a border between tiles cuts, and of all others."""
    found = {}
    for name, wanted in (("cut by a tile border", True), ("elsewhere", False)):
        colours = np.concatenate(
            [image.colours[kept & (cut == wanted)] for image, kept, cut in zip(images, judged, crossing, strict=True)]
        )
        shares = {"multi": (colours > 1).mean(), "not-1": (colours != 1).mean()} if len(colours) else {}
        found[name] = {"circles": len(colours), **{key: float(value) for key, value in shares.items()}}
    return found


def _shortcut(
    images: Sequence[Coloured], judged: Sequence[np.ndarray], grids: Sequence[Sequence[Grid]], period: Shape | None
) -> dict[str, Any]:
    """Return what place says of colour; nothing where the outputs' networks have no period in common."""
    periods = {period} if period is not None else {grid.period for each in grids for grid in each}
    if period is None and (len(periods) != 1 or max(max(periods)) == 1):
        return {}
    kept = [which & (image.colours == 1) & ~image.at_border for image, which in zip(images, judged, strict=True)]
    found = shortcut(
        np.concatenate([image.colour[which] for image, which in zip(images, kept, strict=True)]),
        np.concatenate([_in_tile(image, each)[which] for image, each, which in zip(images, grids, kept, strict=True)]),
        np.repeat(np.arange(len(images)), [int(which.sum()) for which in kept]),
        next(iter(periods)),
    )
    named = {"circles": found.objects, "places": found.cells, "bits": found.bits, "most bits": found.entropy}
    shares = {"colours predicted": measured(found.predicted), "most frequent colour": measured(found.majority)}
    return {"colour by place": {"period": list(next(iter(periods))), **named, "p": found.p, **shares}}


def _in_tile(image: Coloured, grids: Sequence[Grid]) -> np.ndarray:
    """Return the centres of objects from the start of what is kept of their tile, or of the image, `(objects, 3)`."""
    if len(grids) != 1:
        return image.centres
    step, origin = np.array(grids[0].step), np.array(grids[0].origin)
    return np.where(step < BETWEEN, (np.rint(image.centres) - origin) % step, image.centres)


def _stated(images: Sequence[Coloured], how: Colouring, border: bool) -> dict[str, Any]:
    """Return the settings, and what they came to where they depend on the images."""
    least = sorted({image.least for image in images})
    return {**how.model_dump(), "least": least[0] if len(least) == 1 else least, "border": border}


def _columns(
    path: str, image: Coloured, judged: np.ndarray, near: tuple[np.ndarray, np.ndarray]
) -> dict[str, list[Any]]:
    """Return what is known of each circle of an image, by column."""
    distance, crosses = near
    return {
        "image": [path] * len(image.labels),
        "label": image.labels.tolist(),
        **{axis: image.centres[:, n].round(3).tolist() for n, axis in enumerate("zyx")},
        "voxels": image.sizes.tolist(),
        "colours": image.colours.tolist(),
        "colour": image.colour.tolist(),
        **{f"area {channel}": areas.tolist() for channel, areas in enumerate(image.areas.T)},
        "judged": judged.tolist(),
        "at image border": image.at_border.tolist(),
        "from tile border": [None if np.isinf(d) else round(d, 3) for d in distance.tolist()],
        "cut by tile border": crosses.tolist(),
    }


def _check_rows(path: str | Path) -> None:
    """Raise, before anything is measured, unless rows can be written to a path."""
    if Path(path).suffix.lower() not in (".csv", ".json"):
        raise BadInput(f"rows cannot be written to {path}: let its name end in .csv or .json")
    check_place(path)


def _write_rows(path: str | Path, tables: Sequence[dict[str, list[Any]]]) -> None:
    rows = [dict(zip(table, row, strict=True)) for table in tables for row in zip(*table.values(), strict=True)]
    if Path(path).suffix.lower() == ".json":
        write_text(Path(path), json.dumps(rows, indent=1))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for table in tables for key in table)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(path), text.getvalue())
