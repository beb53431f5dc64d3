"""Define `Stored`, the interface between file formats and volumes."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vol2vol.geometry import Shape

READ_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)
"""Errors that libraries raise for damaged files, at open and at read.

`MemoryError` is not among them, since a smaller box may still be readable.
"""

Slices = tuple[slice, ...]


def nothing() -> None:
    """Do nothing: for arrays that need no flush and no close."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An array as its format stores it, in its own axis order; every format module returns one."""

    path: str
    """As a user types it, for messages."""
    format: str
    shape: Shape
    dtype: np.dtype
    axes: str
    """One letter of `tczyx` per axis, `?` where the format does not say."""
    voxel_size: Mapping[str, float] = field(default_factory=dict)
    """Per axis letter, all in `unit`; empty where the format does not say."""
    unit: str = ""
    offset: Mapping[str, float] = field(default_factory=dict)
    """Place of the centre of the first voxel per axis letter, all in `unit`; empty where the format does not say."""
    chunks: Shape
    """Voxels that are read at once, per axis."""
    shards: Shape | None = None
    """Voxels that have to be written at once, per axis, if more than a chunk."""
    aligned: bool = True
    """Whether only whole shards (or chunks) may be written."""
    levels: Sequence[Mapping[str, Any]] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    channel_names: Sequence[str] = ()
    """One per channel; empty where the format does not say."""
    members: Sequence[str] = ()
    """Names of the files of a stack's planes, in order, where each plane has a file of its own."""
    read: Callable[[Slices], np.ndarray]
    stamp: Callable[[], Any]
    """Returns plain data that change when the stored array does, without reading voxels."""
    missing: Callable[[], Sequence[str]] = tuple
    """Returns the names of missing parts, where the format can tell, without reading voxels."""
    write: Callable[[Slices, np.ndarray], None] | None = None
    set_attrs: Callable[[Mapping[str, Any]], None] | None = None
    flush: Callable[[], None] = nothing
    close: Callable[[], None] = nothing
