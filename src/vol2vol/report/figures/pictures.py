"""The report's pictures: which planes to read, beside which, with which borders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.report.figures import planes, residuals, style
from vol2vol.report.figures.panels import Range, Sheet, Shown, draw, grey_range, svg
from vol2vol.report.figures.planes import Plane
from vol2vol.volumes import Volume, open_volume

MOST_GROUPS = 4
MOST_STRATEGIES = 4
ZOOM = 64
"""Side of a close-up in voxels."""
LETTERS = "ABCDEFGH"


@dataclass(frozen=True, kw_only=True)
class Output:
    """A predicted volume and what it is shown beside; paths are relative to the report's folder, empty if unknown."""

    output: str
    strategy: str
    model: str = ""
    assembly: str = ""
    """slices, ortho or volume."""
    source: str = ""
    target: str = ""
    answer: str = ""
    """The known answer, where there is one."""


@dataclass(frozen=True)
class Group:
    """Predictions that differ in their strategy alone, the reference first."""

    model: str
    assembly: str
    results: tuple[Output, ...]

    @property
    def name(self) -> str:
        """Model and assembly in words."""
        return f"{self.model}, {self.assembly}" if self.model and self.assembly else self.model or self.assembly

    @property
    def reference(self) -> Output:
        """The seamless one where there is one."""
        return self.results[0]


def groups(results: Iterable[Output]) -> list[Group]:
    """Sort predictions into groups, in order of appearance; `exact` first in each, then `average`, then the others."""
    order = ("exact", "printed", "average", "blend")
    found: dict[tuple[str, str], list[Output]] = {}
    for result in results:
        found.setdefault((result.model, result.assembly), []).append(result)
    rank = {name: index for index, name in enumerate(order)}
    return [
        Group(*key, tuple(sorted(rows, key=lambda row: rank.get(row.strategy, len(order)))))
        for key, rows in found.items()
    ]


def overview(folder: Path, result: Output, found: Sequence[Group]) -> Sheet:
    """Show source, the seamless translation of every group, known answer and target in all three views."""
    columns = [("source", result.source)] if result.source else []
    columns += [(group.name, group.reference.output) for group in found[:MOST_GROUPS]]
    columns += [("known answer", result.answer)] if result.answer else []
    columns += [("target", result.target)] if result.target else []
    volumes = {title: open_volume(folder / path) for title, path in columns}
    first = volumes[columns[0][0]]
    rows: list[list[Plane]] = []
    for view in planes.views(first.spatial):
        rows.append([_central(volume, view, first, title) for title, volume in volumes.items()])
    shared = grey_range([plane for row in rows for plane in row])
    return Sheet(
        title="",
        rows=[
            [
                draw(plane, title, f"{title}, {volumes[title].path}", shared, caption=_said(plane))
                for plane, title in zip(row, volumes, strict=True)
            ]
            for row in rows
        ],
        ranges=[shared],
    )


def _central(volume: Volume, view: str, first: Volume, title: str) -> Plane:
    """Cut the middle plane: of the target its own, of all others the source's, so that the same place is shown."""
    if title == "target":
        return planes.cut(volume, view, planes.window(volume.spatial, view, planes.middle(volume.spatial)))
    start = planes.origin(volume)
    at = tuple(m - s for m, s in zip(planes.middle(first.spatial), start, strict=True))
    inside = tuple(min(max(a, 0), n - 1) for a, n in zip(at, volume.spatial, strict=True))
    return planes.cut(volume, view, planes.window(volume.spatial, view, inside))


def _said(plane: Plane) -> str:
    return f"{plane.view}, {plane.where}"


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """The same plane of every strategy of a group, with each one's tile borders."""

    group: Group
    shown: list[Output]
    planes: list[Plane]
    borders: list[tuple[list[int], list[int]]]

    @property
    def seamed(self) -> int:
        """Which strategy shows seams best: `disjoint`, else the last."""
        names = [result.strategy for result in self.shown]
        return names.index("disjoint") if "disjoint" in names else len(names) - 1


def cuts(folder: Path, group: Group, view: str) -> Cuts | None:
    """Read one plane of every strategy, crossed by tile borders but not lying on one, near the middle.

    None where the group's volumes have no such view.
    """
    shown = list(group.results[:MOST_STRATEGIES])
    volumes = [open_volume(folder / result.output) for result in shown]
    spatial = volumes[0].spatial
    if view not in planes.views(spatial):
        return None
    positions = [planes.borders(volume) for volume in volumes]
    box = planes.window(spatial, view, _centre(spatial, positions[-1], view))
    found = [planes.cut(volume, view, box) for volume in volumes]
    return Cuts(
        group=group,
        shown=shown,
        planes=found,
        borders=[planes.borders_in(plane, at) for plane, at in zip(found, positions, strict=True)],
    )


def _centre(spatial: Shape, positions: tuple[list[int], ...], view: str) -> Shape:
    """Return the middle, moved onto a border within the plane and away from borders across it."""
    centre = list(planes.middle(spatial))
    for axis in planes.inside(view):
        if positions[axis]:
            centre[axis] = min(positions[axis], key=lambda p: abs(p - spatial[axis] // 2))
    across = planes.VIEWS[view]
    edges = [0, *positions[across], spatial[across]]
    if len(edges) > 2:
        centre[across] = min(((a + b) // 2 for a, b in pairwise(edges)), key=lambda p: abs(p - spatial[across] // 2))
    return tuple(centre)


def residual_sheet(found: Sequence[Cuts]) -> Sheet:
    """Show every strategy with its tile borders, and its residual from the first, as in Fig. 2 of the paper."""
    grey = grey_range([plane for one in found for plane in one.planes])
    maps = [[residuals.residual(one.planes[0].pixels, plane.pixels) for plane in one.planes[1:]] for one in found]
    pooled = np.concatenate([m.ravel() for row in maps for m in row]) if any(maps) else np.zeros(1)
    top = float(np.percentile(pooled, 99.5)) or 1.0
    heat = Range(low=0.0, high=top, unit="of the crop's own grey range", colours="magma")
    return Sheet(
        title=found[0].group.name,
        rows=[_residual_row(one, row, grey, heat) for one, row in zip(found, maps, strict=True)],
        ranges=[grey, heat] if any(maps) else [grey],
    )


def _residual_row(one: Cuts, maps: list[np.ndarray], grey: Range, heat: Range) -> list[Shown]:
    row = []
    for index, (result, plane, at) in enumerate(zip(one.shown, one.planes, one.borders, strict=True)):
        lines = style.Borders(rows=at[0], columns=at[1], length=0.07)
        title = f"{LETTERS[index]}: {result.strategy}"
        row.append(
            draw(plane, title, f"{one.group.name}, {result.strategy}", grey, borders=lines, caption=_said(plane))
        )
    for index, difference in enumerate(maps, start=1):
        name, at = one.shown[index].strategy, one.borders[index]
        lines = style.Borders(rows=at[0], columns=at[1], length=0.07)
        plane = replace(one.planes[index], pixels=difference)
        title = f"|A \N{MINUS SIGN} {LETTERS[index]}|"
        what = f"Absolute difference between {one.shown[0].strategy} and {name} of {one.group.name}"
        caption = f"mean {difference.mean():.4f}, largest {difference.max():.3f}"
        row.append(draw(plane, title, what, heat, borders=lines, caption=caption))
    return row


def close_up(one: Cuts) -> Sheet | None:
    """Magnify the border at which the seam stands out most, beside the difference by distance from all borders.

    None where no border crosses the plane.
    """
    seamed = one.seamed
    at = one.borders[seamed]
    where = residuals.worst_border(one.planes[seamed].pixels, one.planes[0].pixels, *at)
    if where is None:
        return None
    box = planes.window((1, *one.planes[0].pixels.shape), "xy", (0, *where), ZOOM)
    crops = [replace(plane, pixels=plane.pixels[box.slices[1:]]) for plane in one.planes]
    shared = grey_range(crops)
    lines = marks(at, box)
    row = [
        draw(crop, result.strategy, f"Close-up of {one.group.name}, {result.strategy}", shared, borders=lines)
        for crop, result in zip(crops, one.shown, strict=True)
    ]
    told = _gathering(one)
    return Sheet(title=one.group.name, rows=[[*row, _profile_plot(one, told)]], ranges=[shared], note=told)


def _gathering(one: Cuts) -> str:
    """Say how much more every strategy differs from the first within 4 voxels of its tile borders than elsewhere."""
    first = one.planes[0].pixels.astype(np.float64)
    told = []
    for result, plane, at in list(zip(one.shown, one.planes, one.borders, strict=True))[1:]:
        near = np.zeros(first.shape, bool)
        for p in at[0]:
            near[max(0, p - 4) : p + 4] = True
        for p in at[1]:
            near[:, max(0, p - 4) : p + 4] = True
        difference = np.abs(plane.pixels - first)
        if near.any() and not near.all() and difference[~near].mean() > 0:
            told.append(f"{result.strategy} {difference[near].mean() / difference[~near].mean():.2f}")
    return f"difference from {one.shown[0].strategy} near tile borders, relative to elsewhere: {', '.join(told)}"


def marks(at: tuple[list[int], list[int]], box: Box) -> style.Borders:
    """Return marks of the borders that cross a close-up."""
    rows, columns = (
        [p - box.start[axis] for p in positions if box.start[axis] < p < box.stop[axis]]
        for axis, positions in zip((1, 2), at, strict=True)
    )
    return style.Borders(rows=rows, columns=columns, length=0.1)


def _profile_plot(one: Cuts, told: str) -> Shown:
    """Plot the difference from the first strategy by distance from the borders, for each strategy at its own."""
    first, reach = one.planes[0].pixels, 16
    offsets = np.arange(-reach, reach + 1)
    lines = {
        result.strategy: (offsets, residuals.border_profile(plane.pixels, first, *at, reach=reach))
        for result, plane, at in list(zip(one.shown, one.planes, one.borders, strict=True))[1:]
    }
    data = style.plot(
        lines,
        x="voxels from the tile border",
        y=f"difference from {one.shown[0].strategy} (grey values)",
        mark_zero=True,
        size=(3.1, 2.9),
        lettering=9,
    )
    return Shown(
        source=svg(data),
        title="where the difference is",
        alt=f"Difference by distance from the tile border of {one.group.name}; {told}",
    )
