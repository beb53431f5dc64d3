"""Create OME-TIFF files whose blocks may be written in any order, also by a process that continues a killed run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.geometry import Shape
from vol2vol.volumes.display import is_rgb
from vol2vol.volumes.formats import ome
from vol2vol.volumes.stored import READ_ERRORS

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAKER = "vol2vol"
"""Software tag of every TIFF written by vol2vol."""
HEAD = 1 << 16
"""Number of bytes at the start that hold the tags of the first page."""
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def refuse_foreign(path: Path) -> None:
    """Raise `AlreadyExists` unless a path is free or holds a TIFF written by vol2vol."""
    cure = "choose another name or remove it yourself"
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file():
        raise AlreadyExists(f"{path} is not a plain file: {cure}")
    with path.open("rb") as file:
        if file.read(4) not in MAGIC:
            raise AlreadyExists(f"{path} is not a TIFF: {cure}")
    if not _ours(path):
        raise AlreadyExists(f"{path} does not say that vol2vol wrote it: {cure}")


def _ours(path: Path) -> bool:
    """Say whether vol2vol wrote a TIFF, by the ledger next to it, its tags, or its first bytes if it is damaged."""
    import tifffile

    if Path(f"{path}.vol2vol", "plan.json").is_file():
        return True
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return page.software == MAKER or ome.says_ours(page.description)
    except READ_ERRORS:
        with path.open("rb") as file:
            return b"\0" + MAKER.encode() + b"\0" in file.read(HEAD)


def clear_tiff(path: Path, *, overwrite: bool) -> None:
    """Delete an old TIFF written by vol2vol where a new one is to be written, with `overwrite`.

    Raises `AlreadyExists` without `overwrite`, and for anything that vol2vol did not write.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise AlreadyExists(f"{path} exists: give `overwrite` to replace it, or another name")
    refuse_foreign(path)
    delete_tiff(path)


def delete_tiff(path: Path) -> None:
    """Delete a TIFF that may be replaced; raise `CannotWrite` where that is not allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be replaced ({error.strerror}): remove it yourself") from error


def create_tiff(
    path: Path,
    *,
    shape: Shape,
    dtype: np.dtype,
    voxel_size: Sequence[float],
    unit: str,
    offset: Sequence[float] | None = None,
    attrs: Mapping[str, Any],
    channel_names: Sequence[str] = (),
) -> None:
    """Create an uncompressed OME-TIFF of zeros (BigTIFF above 2 GiB), and reserve its disk space.

    All voxels are contiguous after the header, so that the file can be memory-mapped. As the space is reserved first, a
    disk that is too small raises `CannotWrite` now instead of a crash later. The file appears under its name when it is
    complete, with attributes and software tag; equal arguments give equal bytes. Colours become RGB.
    """
    import tifffile

    if dtype.name not in DTYPES:
        raise BadInput(f"{path}: a TIFF of type {dtype.name} cannot be written: write OME-Zarr instead")
    rgb = is_rgb(channel_names, shape[0], dtype)
    place = [] if offset is None else [list(offset)]
    description = json.dumps(
        [shape, dtype.name, list(voxel_size), unit, *place, *channel_names, dict(attrs)], sort_keys=True
    )
    metadata = _metadata(voxel_size, unit, () if rgb else channel_names)
    metadata |= {"axes": "ZYXS" if rgb else "CZYX", "UUID": str(uuid5(NAMESPACE_URL, description))}
    nbytes = prod(shape) * dtype.itemsize
    options: dict[str, Any] = {"ome": True, "bigtiff": nbytes > 2**31, "align": 4096, "software": MAKER}
    options |= {"photometric": "rgb" if rgb else "minisblack", "shape": (*shape[1:], 3) if rgb else shape}
    with _whole_or_nothing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < nbytes:
            raise CannotWrite(f"{path} needs {nbytes} bytes, the disk has {free}: free some space")
        tifffile.imwrite(partial, dtype=dtype, metadata=metadata, **options)
        if attrs or offset is not None:
            _store(partial, attrs, offset, unit)
        _reserve_space(partial)
        os.replace(partial, path)


def _metadata(voxel_size: Sequence[float], unit: str, channel_names: Sequence[str]) -> dict[str, Any]:
    """Return voxel size and names of channels as the writer of OME-XML takes them."""
    size = {f"PhysicalSize{a}": float(v) for a, v in zip("ZYX", voxel_size, strict=True)}
    units = {f"PhysicalSize{a}Unit": ome.SYMBOLS[unit] for a in "ZYX"}
    return {**size, **units, **({"Channel": {"Name": list(channel_names)}} if channel_names else {})}


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    """Yield a temporary name for a file that must appear complete; remove it after a failure."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
    except CannotWrite:
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CannotWrite(f"{path} cannot be written ({error.strerror or error}): choose another place") from error


def _reserve_space(path: Path) -> None:
    """Reserve the disk space of a sparse file where the system can, so that a full disk is noticed now."""
    with path.open("rb+") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
        os.fsync(file.fileno())


def store_attrs(path: Path, attrs: Mapping[str, Any]) -> None:
    """Write attributes into the OME-XML of a file made by `create_tiff`; its voxels do not move."""
    _store(path, attrs)


def _store(path: Path, attrs: Mapping[str, Any], offset: Sequence[float] | None = None, unit: str = "") -> None:
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as file:
        root = ome.parse_xml(str(path), file.ome_metadata or "")
        if offset is not None:
            ome.place_in_xml(root, offset, unit)
        file.pages.first.tags["ImageDescription"].overwrite(ome.xml_with_attrs(root, attrs).encode(), dtype="s")
