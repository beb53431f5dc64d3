"""Whether a stitched volume depends on where its tiles lie: the same prediction with the grid moved by one period.

The source is cut off by one period of the network along every tiled axis and predicted again in the same way. Voxels
whose context lies in both differ by nothing but their tiles: rounding, if the stitching is exact.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, grid
from vol2vol.plans.record import Record
from vol2vol.prediction import PredictSettings, predict
from vol2vol.study.origins import BLOCK, origin_of, write_part
from vol2vol.volumes import Volume, open_volume

LARGEST = 384
"""Voxels per axis that are predicted again."""


def disagreement(volume: Path, source: Path, model: Path, which: str, settings: PredictSettings) -> tuple[float, float]:
    """Return mean and largest |difference| over the standard deviation of two predictions on shifted grids.

    Raises `BadInput` where no voxel has its whole context in both.
    """
    made, whole = open_volume(volume), open_volume(source)
    period, reach = _geometry(made)
    start = tuple(p if p > 1 else 0 for p in period)
    box = Box(start, tuple(min(n, a + LARGEST) for a, n in zip(start, whole.spatial, strict=True)))
    inner = box.grow(*(tuple(-r for r in reach),) * 2)
    if not inner.size:
        raise BadInput(f"{source} of {whole.spatial} voxels is too small to move the grid with a reach of {reach}")
    cut, again = (volume.with_name(f".{volume.stem}.{word}.zarr") for word in ("cut", "moved"))
    shutil.rmtree(cut, ignore_errors=True)
    shutil.rmtree(again, ignore_errors=True)
    write_part(cut, origin_of(whole), box)
    predict(model, cut, again, settings, which=which)
    found = _apart(made, open_volume(again), inner, start)
    shutil.rmtree(cut, ignore_errors=True)
    shutil.rmtree(again, ignore_errors=True)
    return found


def _geometry(made: Volume) -> tuple[Shape, Shape]:
    """Return period and reach of a volume's prediction along Z, Y, X, over all of its passes."""
    record = Record.of(made)
    assert record is not None, f"{made.path} was predicted by this study"
    reach = [max(pair) for pair in zip(*record.footprint.reach, strict=True)]
    period = record.footprint.period
    if len(period) == 3:
        return period, tuple(reach)
    widest_period, widest_reach = [1, 1, 1], [0, 0, 0]
    for one in record.layout.passes:
        axes = [axis for axis in range(3) if axis != (one.planar or 0)]
        for axis, p, r in zip(axes, period, reach, strict=True):
            widest_period[axis] = int(np.lcm(widest_period[axis], p))
            widest_reach[axis] = max(widest_reach[axis], r)
    return tuple(widest_period), tuple(widest_reach)


def _apart(made: Volume, again: Volume, inner: Box, start: Shape) -> tuple[float, float]:
    absolute, largest, total, squares, count = 0.0, 0.0, 0.0, 0.0, 0
    for box in grid(inner, BLOCK):
        one = made.read(box).astype(np.float64)
        difference = np.abs(one - again.read(box.relative_to(start)))
        absolute, largest = absolute + float(difference.sum()), max(largest, float(difference.max()))
        total, squares, count = total + float(one.sum()), squares + float((one**2).sum()), count + one.size
    deviation = max(squares / count - (total / count) ** 2, 0) ** 0.5
    if not deviation:
        raise BadInput(f"{made.path} is constant: differences have no scale")
    return absolute / count / deviation, largest / deviation
