"""Names, colours and intensity windows of channels, by which viewers show an image (`omero` in OME-Zarr)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vol2vol.errors import one_line

RGB = ("red", "green", "blue")
"""Names of the channels of a colour image."""
_RGB = ["FF0000", "00FF00", "0000FF"]
_SINGLE = ["FFFFFF"]
_SEVERAL = ["00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF"]
Window = tuple[float, float, float, float]
"""Ends of the slider, ends of the displayed range."""


def is_rgb(names: Sequence[str], channels: int, dtype: np.dtype) -> bool:
    """Say whether channels of these names and this type make a colour image."""
    return tuple(name.lower() for name in names) == RGB and channels == 3 and dtype in (np.uint8, np.uint16)


def stated_omero(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the `omero` attribute of a group, which version 0.5 keeps under `ome`."""
    ome = attributes.get("ome")
    omero = (ome if isinstance(ome, Mapping) else attributes).get("omero")
    return omero if isinstance(omero, Mapping) else None


def channel_names(omero: Mapping[str, Any] | None, count: int) -> tuple[str, ...]:
    """Return the names of the channels that an `omero` attribute states, none unless each has one."""
    channels = omero.get("channels") if omero else None
    if not isinstance(channels, list) or not all(isinstance(channel, Mapping) for channel in channels):
        return ()
    names = tuple(one_line(channel.get("label") or "", 60) for channel in channels)
    return names if all(names) and len(names) == count else ()


def make_omero(names: Sequence[str], dtype: np.dtype, windows: Sequence[Window]) -> dict[str, Any]:
    """Return the `omero` attribute of an image with one window per channel; names may be unknown."""
    rgb = is_rgb(names, len(windows), dtype)
    colours = _RGB if rgb else _SINGLE if len(windows) == 1 else _SEVERAL
    channels = []
    for i, (least, greatest, start, end) in enumerate(windows):
        window = {"min": least, "max": greatest, "start": start, "end": end}
        channel: dict[str, Any] = {"color": colours[i % len(colours)], "window": window, "active": True}
        channels.append({"label": names[i], **channel} if names else channel)
    return {"channels": channels, "rdefs": {"model": "color" if len(windows) > 1 else "greyscale"}}


def full_window(dtype: np.dtype) -> Window:
    """Return the window of an image whose intensities are not measured: all values of integers, 0 to 1 of floats."""
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (0, 1)
    return float(low), float(high), float(low), float(high)
