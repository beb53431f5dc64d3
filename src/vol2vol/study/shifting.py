"""Measure how a stitched volume depends on the position of its tiles: predict again with the grid shifted by a period.

The source is cropped by one period of the network along every tiled axis and predicted again with the same settings.
Voxels whose context lies in both predictions differ only by their tiles: if the stitching is exact, by rounding.
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
"""Voxels per axis that are predicted again, at most."""


def disagreement(volume: Path, source: Path, model: Path, which: str, settings: PredictSettings) -> tuple[float, float]:
    """Return the mean and largest |difference| of two predictions on shifted grids, in standard deviations of `volume`.

    Raises `BadInput` if no voxel has its whole context in both, or if the volume is constant.
    """
    prediction, whole = open_volume(volume), open_volume(source)
    period, reach = _geometry(prediction)
    start = tuple(p if p > 1 else 0 for p in period)
    box = Box(start, tuple(min(n, a + LARGEST) for a, n in zip(start, whole.spatial, strict=True)))
    inner = box.grow(*(tuple(-r for r in reach),) * 2)
    if not inner.size:
        raise BadInput(f"{source} of {whole.spatial} voxels is too small to move the grid with a reach of {reach}")
    cropped, shifted = (volume.with_name(f".{volume.stem}.{word}.zarr") for word in ("cut", "moved"))
    shutil.rmtree(cropped, ignore_errors=True)
    shutil.rmtree(shifted, ignore_errors=True)
    write_part(cropped, origin_of(whole), box)
    predict(model, cropped, shifted, settings, which=which)
    differences = _differences(prediction, open_volume(shifted), inner, start)
    shutil.rmtree(cropped, ignore_errors=True)
    shutil.rmtree(shifted, ignore_errors=True)
    return differences


def _geometry(prediction: Volume) -> tuple[Shape, Shape]:
    """Return the period and the reach of a volume's prediction along `(Z, Y, X)`, over all of its passes."""
    record = Record.of(prediction)
    assert record is not None, f"{prediction.path} was predicted by this study"
    reach = [max(pair) for pair in zip(*record.footprint.reach, strict=True)]
    period = record.footprint.period
    if len(period) == 3:
        return period, tuple(reach)
    widest_period, widest_reach = [1, 1, 1], [0, 0, 0]
    for tiling in record.layout.passes:
        axes = [axis for axis in range(3) if axis != (tiling.planar or 0)]
        for axis, p, r in zip(axes, period, reach, strict=True):
            widest_period[axis] = int(np.lcm(widest_period[axis], p))
            widest_reach[axis] = max(widest_reach[axis], r)
    return tuple(widest_period), tuple(widest_reach)


def _differences(prediction: Volume, shifted: Volume, inner: Box, start: Shape) -> tuple[float, float]:
    absolute, largest, total, squares, count = 0.0, 0.0, 0.0, 0.0, 0
    for box in grid(inner, BLOCK):
        values = prediction.read(box).astype(np.float64)
        difference = np.abs(values - shifted.read(box.relative_to(start)))
        absolute, largest = absolute + float(difference.sum()), max(largest, float(difference.max()))
        total, squares, count = total + float(values.sum()), squares + float((values**2).sum()), count + values.size
    deviation = max(squares / count - (total / count) ** 2, 0) ** 0.5
    if not deviation:
        raise BadInput(f"{prediction.path} is constant, so that differences have no scale: look at its training")
    return absolute / count / deviation, largest / deviation
