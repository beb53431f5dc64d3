"""Metadata that a user states where the file of a volume lacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class Stated(TypedDict, total=False):
    """Keywords of `open_volume` and of every verb that opens volumes; None leaves it to the file."""

    axes: str | None
    """One letter of `tczyx` per stored axis, in stored order."""
    voxel_size: Sequence[float] | None
    """Z, Y, X (or Y, X for an image), in `unit`."""
    unit: str | None
    """Unit of length, such as `nanometer` or `um`."""
    time: int | None
    """Which of several time points, from 0."""
    channels: Sequence[int | str] | None
    """Which channels, in this order: names, or numbers from 0."""
    pattern: str | None
    """Which files of a folder are the planes of one stack, such as `cell_z{z}_c{c}.tif`: `{z}`, `{c}` and `{t}` stand
    for the numbers of planes, channels and time points, `*` for anything."""
    image: int | str | None
    """Which image of a file that holds several (OME-TIFF): its name, or its number from 0."""
