"""Read MRC maps and tomograms as memory maps, including nonstandard headers of older programs.

Sources: the MRC2014 format description (CCP-EM), IMOD's description of its MRC files.
"""

from __future__ import annotations

import logging
import struct
import warnings
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import Unreadable, one_line
from vol2vol.files import check_regular
from vol2vol.volumes.stored import Slices, Stored

log = logging.getLogger(__name__)
SUFFIXES = (".mrc", ".map", ".rec", ".mrcs", ".st", ".ali", ".preali", ".ccp4")
_IMOD, _IMOD_SIGNED = 1146047817, 1
_HEADER, _EXTENDED = 1024, slice(92, 96)
_STANDARD = 20140
"""Header version of MRC2014, in which bytes are signed."""


def open_mrc(path: Path) -> Stored:
    """Open an MRC file; its voxel size is in Angstrom. Raises `Unreadable` where the file is damaged or cut off."""
    file, start = _interpreted(path)
    header = file.header
    dtype, shape = _layout(header)
    info = path.stat()
    raw: np.ndarray = np.memmap(path, dtype, "r", start, shape)
    shift = 0
    if dtype == np.int8:
        dtype, shift = _bytes(path, header)
        raw = raw.view(np.uint8) if dtype == np.uint8 else raw
    letters = {1: "x", 2: "y", 3: "z"}
    axes = "".join(letters.get(int(n), "?") for n in (header.maps, header.mapr, header.mapc))
    axes = axes if set(axes) == set("zyx") else "zyx"
    with np.errstate(all="ignore"):  # a header may count no voxels along an axis of its cell
        sizes = {a: float(f"{float(file.voxel_size[a]):.7g}") for a in "zyx"}

    def read(slices: Slices) -> np.ndarray:
        return np.array(raw[slices]) ^ np.uint8(shift) if shift else np.array(raw[slices])

    return Stored(
        path=str(path),
        format="MRC",
        shape=shape,
        dtype=dtype,
        axes=axes[-len(shape) :] if len(shape) <= 3 else "?" * len(shape),
        voxel_size=sizes if all(0 < size < np.inf for size in sizes.values()) else {},
        unit="angstrom",
        chunks=(1,) * (len(shape) - 2) + shape[-2:],
        read=read,
        stamp=lambda: [info.st_size, info.st_mtime_ns],
    )


def _interpreted(path: Path) -> tuple[Any, int]:
    """Return the header as mrcfile reads it, in the byte order that fits the file, and the offset of the voxels.

    Harmless oddities are logged. Raises `Unreadable` for files of other formats and for those that are cut off.
    """
    text, size = _head(path), path.stat().st_size
    file, oddities = _parsed(path, text)
    needed = _needed(file.header, text)
    if needed is None or needed > size:  # the machine stamp may be wrong: look at the other byte order
        declared, swapped = file.header.dtype, file.header.dtype.newbyteorder()
        file.header.dtype = swapped
        swapped_size = _needed(file.header, text)
        if swapped_size is not None and swapped_size <= size:
            oddities, needed = [*oddities, "its machine stamp does not fit its byte order"], swapped_size
        else:
            file.header.dtype = declared
    if needed is None:
        mode = int(file.header.mode)
        cure = "restore it, or convert it to mode 1, 2 or 6"
        raise Unreadable(f"{path} is not a readable MRC file (mode {mode}): {cure}")
    if needed > size:
        raise Unreadable(f"{path} is not a readable MRC file: it has {size} of {needed} bytes: restore it")
    if size > needed:
        oddities.append(f"it has {size - needed} bytes more than its header counts: look at its first plane")
    for line in oddities:
        log.warning("%s is an odd MRC file: %s", path, line)
    return file, _HEADER + _extended(file.header, text)


def _head(path: Path) -> bytes:
    check_regular(path)
    try:
        with path.open("rb") as file:
            text = file.read(_HEADER)
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except OSError as error:
        raise Unreadable(f"{path} is not a readable MRC file ({one_line(error, 300)}): restore it") from error
    if len(text) < _HEADER:
        raise Unreadable(f"{path} is not a readable MRC file: its header ends after {len(text)} bytes: restore it")
    return text


def _parsed(path: Path, text: bytes) -> tuple[Any, list[str]]:
    """Return the header alone, and one line for each oddity that mrcfile reports."""
    from mrcfile.mrcinterpreter import MrcInterpreter

    alone = bytearray(text)
    alone[_EXTENDED] = bytes(4)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        file = MrcInterpreter(iostream=BytesIO(bytes(alone)), permissive=True, header_only=True)
    kept = [one_line(warning.message, 200) for warning in raised]
    return file, ['it does not say "MAP " at byte 208' if line.startswith("Map ID") else line for line in kept]


def _extended(header: Any, text: bytes) -> int:
    """Return the bytes between header and voxels."""
    return int(np.frombuffer(text[_EXTENDED], np.dtype("i4").newbyteorder(header.nx.dtype.byteorder))[0])


def _needed(header: Any, text: bytes) -> int | None:
    """Return the length in bytes of a file with this header, None where the header is invalid."""
    extended = _extended(header, text)
    try:
        dtype, shape = _layout(header)
    except (ValueError, ZeroDivisionError):
        return None
    if extended < 0 or min(shape) < 1:
        return None
    return _HEADER + extended + prod(shape) * dtype.itemsize


def _layout(header: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Return type and shape of the voxels; mrcfile raises `ValueError` for modes it does not know."""
    from mrcfile import utils

    return utils.data_dtype_from_header(header), tuple(utils.data_shape_from_header(header))


def _bytes(path: Path, header: Any) -> tuple[np.dtype, int]:
    """Return the type of the bytes of mode 0, and the bits to flip (XOR) in them.

    With IMOD's stamp they are 0 to 255, stored as they are or, where its flags state signed bytes, minus 128. Without
    it, statistics above 127 indicate unsigned bytes; otherwise they are signed, as in MRC2014. Where a file neither
    states that version nor has statistics, this is logged.
    """
    order = ">" if header.nx.dtype.byteorder == ">" else "<"
    stamp, flags = struct.unpack(f"{order}2i", header.extra2.tobytes()[40:48])
    if stamp == _IMOD:
        return np.dtype(np.uint8), 128 if flags & _IMOD_SIGNED else 0
    least, most = float(header.dmin), float(header.dmax)
    if least >= 0 and most > 127:
        return np.dtype(np.uint8), 0
    if int(header.nversion) < _STANDARD and not least < most:
        log.warning("%s does not say whether its bytes are signed; they are taken as -128 to 127 (MRC2014)", path)
    return np.dtype(np.int8), 0
