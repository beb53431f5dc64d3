"""Seams of stored volumes: the grids a volume was made on, and the tests on all of them."""

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
    """Test a volume for seams: one report per pass of its prediction, or per given grid; blind for equal spacings.

    Without `grid` the tiles are those that the volume says it was made with. The reports' p are corrected for the tests
    of all of them. Raises `BadInput` where the volume says nothing.
    """
    if blind:
        if source is not None or grid is not None:
            raise BadInput("a blind test knows neither source nor grid: leave out --blind, or --source and --step")
        return comb_test(volume)
    grids = [grid] if grid is not None else grids_of(volume)
    if not grids:
        raise BadInput(f"{volume.path} does not say how it was tiled: give --step Z,Y,X (and --origin), or --blind")
    return judge_together([seam_tests(volume, one, source=source) for one in grids])


def grids_of(volume: Volume) -> list[Grid]:
    """Return the grids of a volume's prediction, one per pass that differs; empty where it was not predicted.

    Raises `BadInput` where what it says of itself cannot be read.
    """
    record = Record.of(volume, cure="give --step")
    if record is None:
        return []
    grids = [_grid(one, record.layout, record.footprint.period) for one in record.layout.passes]
    return list(dict.fromkeys(grids))


def _grid(one: Pass, layout: Layout, period: Shape) -> Grid:
    """Return the grid of one pass in voxels of the output, which starts where its region does."""
    grid, start = Grid.of(one.plan), layout.region.start
    step, origin, overlap = ([*part] for part in (grid.step, grid.origin, grid.overlap))
    repeats = [*period]
    if len(repeats) == 2:
        repeats.insert(one.planar or 0, 1)
    if (stretch := one.planes / layout.spatial[0]) != 1:
        step[0], origin[0] = _unstretched(grid, one.planes, layout)
        overlap[0] = math.ceil(overlap[0] / stretch)
        repeats[0] = max(1, round(repeats[0] / stretch))
    moved = tuple((o - a) % s for o, a, s in zip(origin, start, step, strict=True))
    return Grid(step=tuple(step), origin=moved, overlap=tuple(overlap), period=tuple(repeats))


def _unstretched(grid: Grid, planes: int, layout: Layout) -> tuple[int, int]:
    """Return step and origin along a z axis that was stretched to so many planes for the network.

    Where the factor does not divide the tiles they meet between planes, if they meet within the region at all.
    """
    whole, region = layout.spatial[0], layout.region
    step, origin = (part[0] * whole / planes for part in (grid.step, grid.origin))
    if grid.step[0] == 1 or (step.is_integer() and origin.is_integer()):
        return max(1, int(step)), int(origin)
    number = (region.start[0] * planes // whole - grid.origin[0]) // grid.step[0] + 1
    first = grid.origin[0] + number * grid.step[0]  # to start behind the region's first plane
    met = first < planes and first * whole < region.stop[0] * planes
    return (BETWEEN, 0) if met else (2 * whole, 0)


def seam_planes(volume: Volume) -> list[list[int]]:
    """Return where tiles of a predicted volume meet along Z, Y, X, in any of its passes.

    Raises `BadInput` where tiles of several passes have different steps, or what it says of them cannot be read.
    """
    return borders_of(grids_of(volume), volume.spatial, volume.path)
