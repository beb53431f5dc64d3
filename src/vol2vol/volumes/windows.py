"""Measure the intensity range in which viewers show each channel of a finished OME-Zarr, and store it."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from vol2vol.geometry import Box
from vol2vol.volumes.display import Window, full_window, is_rgb, make_omero
from vol2vol.volumes.formats.nodes import merge_attributes, read_node
from vol2vol.volumes.opening import is_tiff, open_volume
from vol2vol.volumes.volume import Volume

MOST = 1 << 24
"""Values from which windows are measured."""
_PERCENTILES = (0.1, 99.9)


def store_windows(location: str) -> None:
    """Measure the windows of an OME-Zarr made by `create_volume` and write them with the names of its channels.

    They come from the finest level of at most `MOST` values, or without such a level from boxes spread over the
    coarsest one; a TIFF cannot store them. Equal voxels give equal windows.
    """
    node = None if is_tiff(location) else read_node(location)
    if node is None:
        return
    with open_volume(location) as volume:
        levels, names, dtype = len(volume.describe()["levels"]), volume.channel_names, volume.dtype
    for level in range(max(1, levels)):
        with open_volume(location, level=level) as volume:
            if prod(volume.shape) <= MOST or level + 1 >= levels:
                values = _sample(volume)
                break
    omero = make_omero(names, dtype, measured(values, names))
    ome = node.attributes.get("ome")
    merge_attributes(node, {"ome": {**ome, "omero": omero}} if isinstance(ome, dict) else {"omero": omero})


def measured(values: np.ndarray, names: tuple[str, ...]) -> list[Window]:
    """Return one window for each channel of values (C, N).

    The slider spans the type of integers, and all values of floats. The displayed range lies between the
    percentiles 0.1 and 99.9; the channels of a colour image share a window, and one of 8 bits shows the full range.
    """
    shown = [_displayed(channel) for channel in values]
    if is_rgb(names, len(values), values.dtype):
        shown = [(min(low for low, _ in shown), max(high for _, high in shown))] * 3
        if values.dtype == np.uint8:
            return [full_window(values.dtype)] * 3
    if values.dtype.kind in "iu":
        return [(*full_window(values.dtype)[:2], *ends) for ends in shown]
    kept = [channel[np.isfinite(channel)] for channel in values]
    spans = [(float(k.min()), float(k.max())) if k.size else (0.0, 1.0) for k in kept]
    return [(min(a, low), max(b, high), low, high) for (a, b), (low, high) in zip(spans, shown, strict=True)]


def _displayed(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the displayed range of a channel; they always differ."""
    finite = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(finite, _PERCENTILES)) if finite.size else (0.0, 1.0)
    if values.dtype.kind in "iu":
        low, high = float(np.floor(low)), float(np.ceil(high))
    return low, high if high > low else low + 1.0


def _sample(volume: Volume) -> np.ndarray:
    """Return values (C, N) of a volume, all of them or at most about `MOST` from boxes spread evenly over it."""
    whole = Box.of(volume.spatial)
    if prod(volume.shape) <= MOST:
        return volume.read(whole).reshape(volume.channels, -1)
    side = (64, 64, 64) if volume.spatial[0] > 1 else (1, 512, 512)
    free = [max(0, n - s) for n, s in zip(volume.spatial, side, strict=True)]
    starts = [sorted({n * i // 3 for i in range(4)}) for n in free]
    boxes = [Box(start, tuple(a + s for a, s in zip(start, side, strict=True))) & whole for start in product(*starts)]
    return np.concatenate([volume.read(box).reshape(volume.channels, -1) for box in boxes], axis=1)
