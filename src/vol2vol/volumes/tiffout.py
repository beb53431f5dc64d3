"""Create OME-TIFF files whose blocks may be written in any order, also by a process that starts again."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.geometry import Shape
from vol2vol.volumes import ome

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def clear_tiff(path: Path, *, overwrite: bool) -> None:
    """Make room for a new TIFF: delete an old one if told so; anything but a TIFF is left alone.

    Raises `AlreadyExists`.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise AlreadyExists(f"{path} exists: give --overwrite to replace it, or another name")
    if path.is_symlink() or not path.is_file():
        raise AlreadyExists(f"{path} is not a plain file: choose another name or remove it yourself")
    with path.open("rb") as file:
        if file.read(4) not in MAGIC:
            raise AlreadyExists(f"{path} is not a TIFF: choose another name or remove it yourself")
    try:
        path.unlink()
    except OSError as error:
        raise CannotWrite(f"{path} cannot be replaced ({error.strerror}): remove it yourself") from error


def create_tiff(
    path: Path,
    *,
    shape: Shape,
    dtype: np.dtype,
    voxel_size: Sequence[float],
    unit: str,
    attrs: Mapping[str, Any],
) -> None:
    """Create an uncompressed OME-TIFF of zeros (BigTIFF above 2 GiB), its disk space taken at once.

    All voxels lie in one run behind the header, so that the file can be memory-mapped. Taking the space first turns a
    disk that is too small into `CannotWrite` now instead of a crash later.
    """
    import tifffile

    if dtype.name not in DTYPES:
        raise BadInput(f"{path}: TIFF holds no {dtype.name}: write OME-Zarr instead")
    size = {f"PhysicalSize{a}": float(v) for a, v in zip("ZYX", voxel_size, strict=True)}
    units = {f"PhysicalSize{a}Unit": ome.SYMBOLS[unit] for a in "ZYX"}
    metadata = {"axes": "CZYX", **size, **units}
    nbytes = prod(shape) * dtype.itemsize
    options: dict[str, Any] = {"photometric": "minisblack", "ome": True, "bigtiff": nbytes > 2**31, "align": 4096}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < nbytes:
            raise CannotWrite(f"{path} needs {nbytes} bytes, the disk has {free}: free some space")
        tifffile.imwrite(path, shape=shape, dtype=dtype, metadata=metadata, **options)
        if attrs:
            store_attrs(path, attrs)
        _take_space(path)
    except CannotWrite:
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({error.strerror or error}): choose another place") from error


def _take_space(path: Path) -> None:
    """Reserve the disk space of a sparse file where the system can, so that a full disk shows now."""
    with path.open("rb+") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
        os.fsync(file.fileno())


def store_attrs(path: Path, attrs: Mapping[str, Any]) -> None:
    """Put attributes into the OME-XML of a file made by `create_tiff`; voxels stay where they are."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as file:
        root = ome.parse_xml(str(path), file.ome_metadata or "")
        file.pages.first.tags["ImageDescription"].overwrite(ome.xml_with_attrs(root, attrs).encode(), dtype="s")
