"""MRC maps and tomograms, memory-mapped. Source: the MRC2014 format description (CCP-EM)."""

from __future__ import annotations

import logging
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import Unreadable, one_line
from vol2vol.volumes.stored import READ_ERRORS, Slices, Stored

log = logging.getLogger(__name__)
SUFFIXES = (".mrc", ".map", ".rec", ".mrcs")
IMOD_STAMP, IMOD_SIGNED = 1146047817, 1


def open_mrc(path: Path) -> Stored:
    """Open an MRC file; its voxel size is in Angstrom. Raises `Unreadable` where the file is damaged."""
    file = _mapped(path)
    data, header = file.data, file.header
    if data is None:
        raise Unreadable(f"{path} is not a readable MRC file (no voxels): restore it")
    if data.dtype == np.int8 and _bytes_are_unsigned(header):
        data = data.view(np.uint8)
    letters = {1: "x", 2: "y", 3: "z"}
    axes = "".join(letters.get(int(n), "?") for n in (header.maps, header.mapr, header.mapc))
    axes = axes if set(axes) == set("zyx") else "zyx"
    sizes = {a: float(f"{float(file.voxel_size[a]):.7g}") for a in "zyx"}
    info = path.stat()

    def read(slices: Slices) -> np.ndarray:
        return np.array(data[slices])

    shape = tuple(data.shape)
    return Stored(
        path=str(path),
        format="MRC",
        shape=shape,
        dtype=data.dtype,
        axes=axes[-len(shape) :] if len(shape) <= 3 else "?" * len(shape),
        voxel_size=sizes if min(sizes.values()) > 0 else {},
        unit="angstrom",
        chunks=(1,) * (len(shape) - 2) + shape[-2:],
        read=read,
        stamp=lambda: [info.st_size, info.st_mtime_ns],
        close=file.close,
    )


def _mapped(path: Path) -> Any:
    """Return an MRC file that is read when it is asked; what mrcfile warns of is said in one line."""
    import mrcfile

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            file = mrcfile.mmap(path, mode="r")
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except READ_ERRORS as error:
        raise Unreadable(f"{path} is not a readable MRC file ({one_line(error, 300)}): restore it") from error
    for one in said:
        log.warning("%s: %s", path, one.message)
    return file


def _bytes_are_unsigned(header: Any) -> bool:
    """Say whether IMOD wrote this file with unsigned bytes, which mode 0 does not tell."""
    order = ">" if header.dtype.fields["nx"][0].byteorder == ">" else "<"
    stamp, flags = struct.unpack(f"{order}2i", header.extra2.tobytes()[40:48])
    return stamp == IMOD_STAMP and not flags & IMOD_SIGNED
