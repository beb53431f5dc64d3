"""Test stored volumes for seams on the grids of their tiles."""

from __future__ import annotations

import math

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.seams.grid import BETWEEN, Grid, borders_of
from vol2vol.metrics.seams.known_grid import seam_tests
from vol2vol.metrics.seams.unknown_grid import CombReport, comb_test
from vol2vol.metrics.seams.verdicts import SeamReport, judge_together
from vol2vol.plans.layout import Layout, Pass
from vol2vol.plans.record import Record
from vol2vol.volumes import Volume


def evaluate_seams(
    volume: Volume, source: Volume | None = None, *, grid: Grid | None = None, blind: bool = False
) -> list[SeamReport] | CombReport:
    """Test a volume for seams and return one report per pass of its prediction, or one for `grid`.

    Without `grid`, the tiles are read from the volume's metadata; `blind` instead searches for unknown tiles at equal
    spacings. The p values are corrected for the tests of all reports. Raises `BadInput` if no tiles are recorded.
    """
    if blind:
        if source is not None or grid is not None:
            raise BadInput("a blind test uses neither source nor grid: leave out `blind`, or `source` and `step`")
        return comb_test(volume)
    grids = [grid] if grid is not None else grids_of(volume)
    if not grids:
        raise BadInput(f"{volume.path} does not record how it was tiled: give `step` Z,Y,X (and `origin`), or `blind`")
    return judge_together([seam_tests(volume, grid, source=source) for grid in grids])


def grids_of(volume: Volume) -> list[Grid]:
    """Return the distinct grids of the passes of a volume's prediction; empty if it was not predicted.

    Raises `BadInput` if its record is not valid.
    """
    record = Record.of(volume, cure="give `step`")
    if record is None:
        return []
    grids = [_grid(pass_, record.layout, record.footprint.period) for pass_ in record.layout.passes]
    return list(dict.fromkeys(grids))


def statistics_of(volume: Volume) -> str | None:
    """Return by which statistics a prediction was normalised, as in its settings; None if it was not predicted.

    "tile", the third cause of seams, also for networks that have no other statistics (norm instance). Raises `BadInput`
    if its record is not valid.
    """
    record = Record.of(volume, cure="give `step`")
    if record is None:
        return None
    own = record.network.arguments.get("norm") == "instance"
    return "tile" if own else str(record.settings.get("statistics", "calibrated"))


def _grid(pass_: Pass, layout: Layout, period: Shape) -> Grid:
    """Return the grid of one pass in voxels of the output, which starts at the start of the region."""
    grid, start = Grid.of(pass_.plan), layout.region.start
    step, origin, overlap = ([*part] for part in (grid.step, grid.origin, grid.overlap))
    repeats = [*period]
    if len(repeats) == 2:
        repeats.insert(pass_.planar or 0, 1)
    if (stretch := pass_.planes / layout.spatial[0]) != 1:
        step[0], origin[0] = _unstretched(grid, pass_.planes, layout)
        overlap[0] = math.ceil(overlap[0] / stretch)
        repeats[0] = max(1, round(repeats[0] / stretch))
    between = None
    if layout.march is not None:  # the first and the last tile reach to the ends of the volume
        borders = [layout.march.borders(axis) for axis in range(3)]
        between = (
            tuple(line.start - a for line, a in zip(borders, start, strict=True)),
            tuple(line.stop - line.step - a for line, a in zip(borders, start, strict=True)),
        )
    moved = tuple((o - a) % s for o, a, s in zip(origin, start, step, strict=True))
    return Grid(step=tuple(step), origin=moved, overlap=tuple(overlap), period=tuple(repeats), between=between)


def _unstretched(grid: Grid, planes: int, layout: Layout) -> tuple[int, int]:
    """Return step and origin in the output along a z axis that was stretched to `planes` for the network.

    If the stretch factor does not divide the tiles, they meet between planes (if they meet within the region at all).
    """
    whole, region = layout.spatial[0], layout.region
    step, origin = (part[0] * whole / planes for part in (grid.step, grid.origin))
    if grid.step[0] == 1 or (step.is_integer() and origin.is_integer()):
        return max(1, int(step)), int(origin)
    number = (region.start[0] * planes // whole - grid.origin[0]) // grid.step[0] + 1
    first = grid.origin[0] + number * grid.step[0]  # first tile that starts after the region's first plane
    met = first < planes and first * whole < region.stop[0] * planes
    return (BETWEEN, 0) if met else (2 * whole, 0)


def seam_planes(volume: Volume) -> list[list[int]]:
    """Return the positions along Z, Y, X at which tiles of a predicted volume meet, in any of its passes.

    Raises `BadInput` if the tiles of its passes have different steps, or its record is not valid.
    """
    return borders_of(grids_of(volume), volume.spatial, volume.path)
