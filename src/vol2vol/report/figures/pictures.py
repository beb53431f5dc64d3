"""Choose the planes of the report's pictures, and arrange them in sheets with their tile borders."""

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
    """A predicted volume and those it is compared with; paths are relative to the report's folder, "" if unknown."""

    output: str
    strategy: str
    model: str = ""
    assembly: str = ""
    """Slices, ortho or volume."""
    source: str = ""
    target: str = ""
    answer: str = ""
    """The known answer, if there is one."""


@dataclass(frozen=True)
class Group:
    """Predictions that differ only in their strategy; the reference is the first."""

    model: str
    assembly: str
    results: tuple[Output, ...]

    @property
    def name(self) -> str:
        """Model and assembly in words."""
        return f"{self.model}, {self.assembly}" if self.model and self.assembly else self.model or self.assembly

    @property
    def reference(self) -> Output:
        """The first prediction, which is seamless if any of them is."""
        return self.results[0]


def groups(results: Iterable[Output]) -> list[Group]:
    """Group predictions by model and assembly, in order of appearance; strategies with few seams come first."""
    order = ("exact", "printed", "average", "blend")
    by_group: dict[tuple[str, str], list[Output]] = {}
    for result in results:
        by_group.setdefault((result.model, result.assembly), []).append(result)
    rank = {name: index for index, name in enumerate(order)}
    return [
        Group(*key, tuple(sorted(rows, key=lambda row: rank.get(row.strategy, len(order)))))
        for key, rows in by_group.items()
    ]


def overview(folder: Path, result: Output, shown_groups: Sequence[Group]) -> Sheet:
    """Show the source, the reference of every group, the known answer and the target in all views."""
    columns = [("source", result.source)] if result.source else []
    columns += [(group.name, group.reference.output) for group in shown_groups[:MOST_GROUPS]]
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
                draw(plane, title, f"{title}, {volumes[title].path}", shared, caption=_position(plane))
                for plane, title in zip(row, volumes, strict=True)
            ]
            for row in rows
        ],
        ranges=[shared],
    )


def _central(volume: Volume, view: str, first: Volume, title: str) -> Plane:
    """Cut the middle plane of the target, or of another volume the plane at the middle of the source."""
    if title == "target":
        return planes.cut(volume, view, planes.window(volume.spatial, view, planes.middle(volume.spatial)))
    start = planes.origin(volume)
    at = tuple(m - s for m, s in zip(planes.middle(first.spatial), start, strict=True))
    inside = tuple(min(max(a, 0), n - 1) for a, n in zip(at, volume.spatial, strict=True))
    return planes.cut(volume, view, planes.window(volume.spatial, view, inside))


def _position(plane: Plane) -> str:
    return f"{plane.view}, {plane.where}"


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """The same plane of all strategies of a group, with the tile borders of each."""

    group: Group
    shown: list[Output]
    planes: list[Plane]
    borders: list[tuple[list[int], list[int]]]

    @property
    def seamed(self) -> int:
        """Index of the strategy that shows seams best: `disjoint`, else the last."""
        names = [result.strategy for result in self.shown]
        return names.index("disjoint") if "disjoint" in names else len(names) - 1


def cuts(folder: Path, group: Group, view: str) -> Cuts | None:
    """Read a plane near the middle of every strategy, which tile borders cross and which does not lie on a border.

    Returns None if the group's volumes are too thin for the view.
    """
    shown = list(group.results[:MOST_STRATEGIES])
    volumes = [open_volume(folder / result.output) for result in shown]
    spatial = volumes[0].spatial
    if view not in planes.views(spatial):
        return None
    positions = [planes.borders(volume) for volume in volumes]
    box = planes.window(spatial, view, _centre(spatial, positions[-1], view))
    cut_planes = [planes.cut(volume, view, box) for volume in volumes]
    return Cuts(
        group=group,
        shown=shown,
        planes=cut_planes,
        borders=[planes.borders_in(plane, at) for plane, at in zip(cut_planes, positions, strict=True)],
    )


def _centre(spatial: Shape, positions: tuple[list[int], ...], view: str) -> Shape:
    """Return the middle voxel, moved onto borders that cross the plane and away from borders parallel to it."""
    centre = list(planes.middle(spatial))
    for axis in planes.inside(view):
        if positions[axis]:
            centre[axis] = min(positions[axis], key=lambda p: abs(p - spatial[axis] // 2))
    across = planes.VIEWS[view]
    edges = [0, *positions[across], spatial[across]]
    if len(edges) > 2:
        centre[across] = min(((a + b) // 2 for a, b in pairwise(edges)), key=lambda p: abs(p - spatial[across] // 2))
    return tuple(centre)


def residual_sheet(views: Sequence[Cuts]) -> Sheet:
    """Show every strategy with its tile borders and its residual from the first, as in Fig. 2 of the paper."""
    grey = grey_range([plane for group_cuts in views for plane in group_cuts.planes])
    maps = [
        [residuals.residual(group_cuts.planes[0].pixels, plane.pixels) for plane in group_cuts.planes[1:]]
        for group_cuts in views
    ]
    pooled = np.concatenate([m.ravel() for row in maps for m in row]) if any(maps) else np.zeros(1)
    top = float(np.percentile(pooled, 99.5)) or 1.0
    heat = Range(low=0.0, high=top, unit="fraction of the crop's grey range", colours="magma")
    return Sheet(
        title=views[0].group.name,
        rows=[_residual_row(group_cuts, row, grey, heat) for group_cuts, row in zip(views, maps, strict=True)],
        ranges=[grey, heat] if any(maps) else [grey],
    )


def _residual_row(group_cuts: Cuts, maps: list[np.ndarray], grey: Range, heat: Range) -> list[Shown]:
    row = []
    for index, (result, plane, at) in enumerate(
        zip(group_cuts.shown, group_cuts.planes, group_cuts.borders, strict=True)
    ):
        lines = style.Borders(rows=at[0], columns=at[1], length=0.07)
        title = f"{LETTERS[index]}: {result.strategy}"
        row.append(
            draw(
                plane,
                title,
                f"{group_cuts.group.name}, {result.strategy}",
                grey,
                borders=lines,
                caption=_position(plane),
            )
        )
    for index, difference in enumerate(maps, start=1):
        name, at = group_cuts.shown[index].strategy, group_cuts.borders[index]
        lines = style.Borders(rows=at[0], columns=at[1], length=0.07)
        plane = replace(group_cuts.planes[index], pixels=difference)
        title = f"|A \N{MINUS SIGN} {LETTERS[index]}|"
        what = f"Absolute difference between {group_cuts.shown[0].strategy} and {name} of {group_cuts.group.name}"
        caption = f"mean {difference.mean():.4f}, largest {difference.max():.3f}"
        row.append(draw(plane, title, what, heat, borders=lines, caption=caption))
    return row


def close_up(group_cuts: Cuts) -> Sheet | None:
    """Magnify the border with the clearest seam, and plot the difference against the distance from all borders.

    Returns None if no border crosses the plane.
    """
    seamed = group_cuts.seamed
    at = group_cuts.borders[seamed]
    where = residuals.worst_border(group_cuts.planes[seamed].pixels, group_cuts.planes[0].pixels, *at)
    if where is None:
        return None
    box = planes.window((1, *group_cuts.planes[0].pixels.shape), "xy", (0, *where), ZOOM)
    crops = [replace(plane, pixels=plane.pixels[box.slices[1:]]) for plane in group_cuts.planes]
    shared = grey_range(crops)
    lines = marks(at, box)
    row = [
        draw(crop, result.strategy, f"Close-up of {group_cuts.group.name}, {result.strategy}", shared, borders=lines)
        for crop, result in zip(crops, group_cuts.shown, strict=True)
    ]
    ratios = _ratios_near_borders(group_cuts)
    return Sheet(
        title=group_cuts.group.name, rows=[[*row, _profile_plot(group_cuts, ratios)]], ranges=[shared], note=ratios
    )


def _ratios_near_borders(group_cuts: Cuts) -> str:
    """Return, in words, the difference from the first strategy near tile borders (4 voxels) relative to elsewhere."""
    first = group_cuts.planes[0].pixels.astype(np.float64)
    ratios = []
    for result, plane, at in list(zip(group_cuts.shown, group_cuts.planes, group_cuts.borders, strict=True))[1:]:
        near = np.zeros(first.shape, bool)
        for p in at[0]:
            near[max(0, p - 4) : p + 4] = True
        for p in at[1]:
            near[:, max(0, p - 4) : p + 4] = True
        difference = np.abs(plane.pixels - first)
        if near.any() and not near.all() and difference[~near].mean() > 0:
            ratios.append(f"{result.strategy} {difference[near].mean() / difference[~near].mean():.2f}")
    return (
        f"difference from {group_cuts.shown[0].strategy} near tile borders, relative to elsewhere: {', '.join(ratios)}"
    )


def marks(at: tuple[list[int], list[int]], box: Box) -> style.Borders:
    """Return short marks for the borders that cross a close-up."""
    rows, columns = (
        [p - box.start[axis] for p in positions if box.start[axis] < p < box.stop[axis]]
        for axis, positions in zip((1, 2), at, strict=True)
    )
    return style.Borders(rows=rows, columns=columns, length=0.1)


def _profile_plot(group_cuts: Cuts, ratios: str) -> Shown:
    """Plot the difference of each strategy from the first against the distance from its tile borders."""
    first, reach = group_cuts.planes[0].pixels, 16
    offsets = np.arange(-reach, reach + 1)
    lines = {
        result.strategy: (offsets, residuals.border_profile(plane.pixels, first, *at, reach=reach))
        for result, plane, at in list(zip(group_cuts.shown, group_cuts.planes, group_cuts.borders, strict=True))[1:]
    }
    data = style.plot(
        lines,
        x="distance from the tile border (voxels)",
        y=f"difference from {group_cuts.shown[0].strategy} (grey values)",
        mark_zero=True,
        size=(3.1, 2.9),
        lettering=9,
    )
    return Shown(
        source=svg(data),
        title="difference near borders",
        alt=f"Difference against the distance from the tile border of {group_cuts.group.name}; {ratios}",
    )
