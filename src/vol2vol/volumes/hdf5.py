"""HDF5, named `file.h5:/dataset`; read chunk by chunk by h5py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import parse_json
from vol2vol.volumes.axes import known_unit
from vol2vol.volumes.stored import Slices, Stored

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".ims")
NAME = re.compile(r"(?P<file>.*?\.(?:h5|hdf5|hdf|he5|ims))(?::(?P<dataset>.*))?", re.IGNORECASE | re.DOTALL)
"""The first `.h5` that ends the name or is followed by a colon ends the file: `C:\\x.h5:/raw` has drive C."""


def open_hdf5(name: str) -> Stored:
    """Open the named array of a file, or its only one; raise `BadInput` or `NotFound` listing what there is."""
    import h5py

    parts = NAME.fullmatch(name)
    assert parts is not None, name
    path = Path(parts["file"])
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except OSError as error:
        raise Unreadable(f"{path} is not a readable HDF5 file ({one_line(error, 300)}): restore it") from error
    try:
        data = _dataset(file, path, (parts["dataset"] or "").strip("/"))
        return _stored(file, path, data)
    except BaseException:
        file.close()
        raise


def _dataset(file: Any, path: Path, wanted: str) -> Any:
    """Return a data set by name, or the only one with two axes or more."""
    import h5py

    found: list[str] = []

    def note(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2:
            found.append(key)

    if wanted and isinstance(item := file.get(wanted), h5py.Dataset):
        return item
    file.visititems(note)
    inside = ", ".join(f"/{key}" for key in found[:8]) or "none"
    if wanted:
        raise NotFound(f"{path} has no array /{wanted}: it holds {inside}")
    if len(found) != 1:
        example = f": name one, such as {path}:/{found[0]}" if found else ": choose another file"
        raise BadInput(f"{path} holds the arrays {inside}{example}")
    return file[found[0]]


def _stored(file: Any, path: Path, data: Any) -> Stored:
    if data.dtype.kind not in "biuf":
        raise BadInput(f"{path}:{data.name} holds {data.dtype}: name an array of numbers")
    attrs = {key: _plain(value) for key, value in data.attrs.items()}
    axes = _axes(data, attrs)
    size, unit = _size(attrs, axes)
    info = path.stat()

    def read(slices: Slices) -> np.ndarray:
        return data[slices]

    return Stored(
        path=f"{path}:{data.name}",
        format="HDF5",
        shape=data.shape,
        dtype=data.dtype,
        axes=axes,
        voxel_size=size,
        unit=unit,
        chunks=data.chunks or (1,) * (data.ndim - 2) + data.shape[-2:],
        attrs=attrs,
        read=read,
        stamp=lambda: [data.name, info.st_size, info.st_mtime_ns],
        close=file.close,
    )


def _plain(value: Any) -> Any:
    """Return an attribute as plain data."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, list) else value if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or value is None


def _axes(data: Any, attrs: dict[str, Any]) -> str:
    """Return the axis letters from ilastik's `axistags` or HDF5's dimension labels."""
    tags = attrs.get("axistags")
    if isinstance(tags, str):
        try:
            letters = "".join(axis["key"] for axis in parse_json(tags)["axes"]).lower()
        except (ValueError, LookupError, TypeError):
            letters = ""
    else:
        letters = "".join((dim.label or "?")[:1].lower() for dim in data.dims)
    good = len(letters) == data.ndim and len(set(letters)) == data.ndim and set(letters) <= set("tczyx")
    return letters if good else "?" * data.ndim


def _size(attrs: dict[str, Any], axes: str) -> tuple[dict[str, float], str]:
    """Return the voxel size: `element_size_um` in micrometers, `resolution` in nanometers (CREMI) or its `unit`.

    Both list the spatial axes in stored order.
    """
    order = [a for a in axes if a in "zyx"] if "?" not in axes else list("zyx")
    for key, default in (("element_size_um", "micrometer"), ("resolution", "nanometer")):
        values = attrs.get(key)
        if isinstance(values, list) and len(values) == len(order) and all(_is_positive(v) for v in values):
            named = known_unit(str(attrs.get("unit") or attrs.get("units") or ""))
            unit = default if key == "element_size_um" else named or default
            return dict(zip(order, map(float, values), strict=True)), unit
    return {}, ""


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0
