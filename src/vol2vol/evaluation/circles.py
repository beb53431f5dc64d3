"""Evaluate predicted images of circles: how many have several colours, and where those lie relative to tiles."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.evaluation.compare import measured, plain
from vol2vol.evaluation.seams import grids_of
from vol2vol.files import check_place, write_text
from vol2vol.geometry import Shape
from vol2vol.metrics.objects.colours import Coloured, Colouring, colour_errors, coloured_objects, coloured_planes
from vol2vol.metrics.objects.lattice import colour_shortcut, common_period
from vol2vol.metrics.seams.grid import BETWEEN, Grid
from vol2vol.phantoms.circle_files import is_stack
from vol2vol.volumes import Volume


def evaluate_circles(
    outputs: Sequence[Volume],
    labels: Sequence[Volume],
    *,
    how: Colouring | None = None,
    border: bool = True,
    grid: Grid | None = None,
    period: Shape | None = None,
    planes: bool = False,
    rows: str | Path | None = None,
) -> dict[str, Any]:
    """Return the shares of circles, or spheres, with several colours and with not exactly one, 0 to 1.

    `labels` are the label images of the outputs, in their order; with `planes` every plane Z is an image of its own.
    Intervals are those of a bootstrap over images. What is cut by the border of an image so that it cannot show a
    colour is left out; without `border` so is whatever touches it. Tiles are those of `grid`, or those that the outputs
    record. With a `period` (Z, Y, X), by default that of the network in the record, the result also says what a
    circle's place in its tile, modulo the period, says of its colour (see `shortcut`). `rows` is a CSV or JSON file for
    a row per circle with its centre, its colours and its distance from the nearest border between tiles, in voxels.

    Raises `BadInput` where numbers or shapes of outputs and labels differ or there is no circle.
    """
    if len(outputs) != len(labels) or not outputs:
        raise BadInput(f"{len(outputs)} outputs and {len(labels)} label images: give the labels of each output")
    if rows is not None:
        _check_rows(rows)
    if not planes and (stacks := [each.path for each in labels if is_stack(each)]):
        raise BadInput(f"{stacks[0]} holds an image in each plane: set `planes`")
    images: list[_Image] = []
    for output, own in zip(outputs, labels, strict=True):
        tiles = [grid] if grid is not None else grids_of(output)
        objects = coloured_planes(output, own, how) if planes else [coloured_objects(output, own, how)]
        names = [f"{output.path}, z = {z}" for z in range(len(objects))] if planes else [output.path]
        images += [_Image(*each, border, tiles) for each in zip(names, objects, strict=True)]
    if not any(image.judged.any() for image in images):
        raise BadInput(f"{labels[0].path} has no circle that can show a colour: give label images with larger objects")
    if rows is not None:
        _write_rows(rows, images)
    return _found(images, how or Colouring(), period)


@dataclass(frozen=True, eq=False)
class _Image:
    """What was measured of one image."""

    name: str
    objects: Coloured
    border: bool
    """Whether objects at the border of the image count."""
    grids: Sequence[Grid]
    """Where tiles meet; empty where nothing says so."""

    @cached_property
    def judged(self) -> np.ndarray:
        """Which objects count."""
        return self.objects.judged(border=self.border)

    @cached_property
    def near(self) -> tuple[np.ndarray, np.ndarray]:
        """How far each object is from a border between tiles, and whether one cuts it."""
        return near_borders(self.objects, self.grids)


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


def _found(images: Sequence[_Image], how: Colouring, period: Shape | None) -> dict[str, Any]:
    """Return all that the images say together, as JSON data."""
    errors = colour_errors([image.objects for image in images], border=images[0].border)
    shares = {name: measured(value) for name, value in errors.items()}
    parts = {**_counts(images), **_by_place(images), **_shortcut(images, period)}
    least = sorted({image.objects.least for image in images})
    stated = {**how.model_dump(), "least": least[0] if len(least) == 1 else least, "border": images[0].border}
    result: dict[str, Any] = plain({**shares, **parts, "measured": stated})
    return result


def _counts(images: Sequence[_Image]) -> dict[str, Any]:
    """Return how many circles were judged, and how many have each number of colours."""
    colours = np.concatenate([image.objects.colours[image.judged] for image in images])
    times = np.bincount(colours, minlength=images[0].objects.areas.shape[1] + 1)
    everything = sum(len(image.judged) for image in images)
    return {
        "images": len(images),
        "circles": {"judged": len(colours), "left out at the border": everything - len(colours)},
        "circles by number of colours": {str(number): int(count) for number, count in enumerate(times)},
    }


def _by_place(images: Sequence[_Image]) -> dict[str, Any]:
    """Return the errors of circles that a border between tiles cuts, and of all others; nothing without tiles."""
    if not any(image.grids for image in images):
        return {}
    found = {}
    for name, wanted in (("cut by a tile border", True), ("elsewhere", False)):
        colours = np.concatenate([image.objects.colours[image.judged & (image.near[1] == wanted)] for image in images])
        shares = {"multi": (colours > 1).mean(), "not-1": (colours != 1).mean()} if len(colours) else {}
        found[name] = {"circles": len(colours), **{key: float(value) for key, value in shares.items()}}
    return {"by place": found}


def _shortcut(images: Sequence[_Image], period: Shape | None) -> dict[str, Any]:
    """Return what place says of colour; nothing where the outputs' networks have no period in common."""
    grids = [image.grids for image in images]
    if (repeat := period or common_period(grids)) is None:
        return {}
    found = colour_shortcut([image.objects for image in images], grids, repeat)
    if found is None:
        return {"colour by place": {"period": list(repeat), "circles": 0}}
    named = {"circles": found.objects, "places": found.cells, "bits": found.bits, "most bits": found.entropy}
    shares = {"colours predicted": measured(found.predicted), "most frequent colour": measured(found.majority)}
    return {"colour by place": {"period": list(repeat), **named, "p": found.p, **shares}}


def _table(image: _Image) -> Iterator[dict[str, Any]]:
    """Yield what is known of each circle of an image, by column."""
    objects, (distance, crosses) = image.objects, image.near
    columns = {
        "image": [image.name] * len(objects.labels),
        "label": objects.labels.tolist(),
        **{axis: objects.centres[:, n].round(3).tolist() for n, axis in enumerate("zyx")},
        "voxels": objects.sizes.tolist(),
        "colours": objects.colours.tolist(),
        "colour": objects.colour.tolist(),
        **{f"area {channel}": areas.tolist() for channel, areas in enumerate(objects.areas.T)},
        "judged": image.judged.tolist(),
        "at image border": objects.at_border.tolist(),
        "from tile border": [None if np.isinf(d) else round(d, 3) for d in distance.tolist()],
        "cut by tile border": crosses.tolist(),
    }
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _check_rows(path: str | Path) -> None:
    """Raise, before anything is measured, unless rows can be written to a path."""
    if Path(path).suffix.lower() not in (".csv", ".json"):
        raise BadInput(f"rows cannot be written to {path}: let its name end in .csv or .json")
    check_place(path)


def _write_rows(path: str | Path, images: Sequence[_Image]) -> None:
    rows = [row for image in images for row in _table(image)]
    if Path(path).suffix.lower() == ".json":
        write_text(Path(path), json.dumps(rows, indent=1))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(Path(path), text.getvalue())
