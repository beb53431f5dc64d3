"""Read HDF5, named `file.h5:/dataset`, chunk by chunk through h5py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.volumes.calibration import Calibration, agree, letters
from vol2vol.volumes.formats import imaris, spimdata
from vol2vol.volumes.formats.attributes import SIZES, UNITS, Dialect
from vol2vol.volumes.formats.hdf5parts import read_block, source, walk
from vol2vol.volumes.formats.tiff import stamp
from vol2vol.volumes.stored import Slices, Stored

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".ims")
NAME = re.compile(r"(?P<file>.*?\.(?:h5|hdf5|hdf|he5|ims))(?::(?P<dataset>.*))?", re.IGNORECASE | re.DOTALL)
"""The first `.h5` that ends the name or is followed by a colon ends the file: `C:\\x.h5:/raw` has drive C."""


def open_hdf5(name: str, *, level: int = 0) -> Stored:
    """Open the named array of a file, or its only one; raise `BadInput` or `NotFound` listing its arrays.

    Files of Imaris and BigDataViewer have levels, and a group in them can be named too.
    """
    import h5py

    parts = NAME.fullmatch(name)
    assert parts is not None, name
    path, dataset = Path(parts["file"]), (parts["dataset"] or "").strip("/")
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    except OSError as error:
        raise Unreadable(f"{path} is not a readable HDF5 file ({one_line(error, 300)}): restore it") from error
    try:
        if imaris.is_imaris(file, dataset):
            return imaris.open_imaris(file, path, dataset, level)
        view = _view(file, path, dataset, level)
        data = _dataset(file, path, dataset) if view is None else view
        if level and view is None:
            raise BadInput(f"{path}:{data.name} is not a multiscale image and has no level {level}: leave out `level`")
        return _stored(file, path, data)
    except BaseException:
        file.close()
        raise


def _view(file: Any, path: Path, dataset: str, level: int) -> Any:
    """Return a level of the only image of a BigDataViewer container, or of the one that is named; None elsewhere."""
    import h5py

    views = [
        f"{time}/{setup}"
        for time in file
        for setup in _groups(file, path, time)
        if _is_view(file, path, f"{time}/{setup}")
    ]
    named = [view for view in views if view == dataset or (not dataset and len(views) == 1)]
    if not views or (dataset and not named):
        return None
    if not named:
        inside = ", ".join(f"/{view}" for view in views[:8]) + (" and more" if len(views) > 8 else "")
        raise BadInput(f"{path} holds the images {inside}: name one, such as {path}:/{views[0]}")
    levels = [int(key) for key in file[named[0]] if key.isdecimal()]
    if level not in levels:
        raise BadInput(f"{path}:/{named[0]} has no level {level}: choose 0 to {max(levels)}")
    item = walk(file, path, f"{named[0]}/{level}/cells")
    if not isinstance(item, h5py.Dataset):
        raise Unreadable(f"{path}:/{named[0]} lists a level {level} that is not there: restore it")
    return item


def _groups(file: Any, path: Path, name: str) -> list[str]:
    import h5py

    group = walk(file, path, name) if re.fullmatch(r"t\d{5,}", name) else None
    return list(group) if isinstance(group, h5py.Group) else []


def _is_view(file: Any, path: Path, name: str) -> bool:
    return bool(spimdata.CELLS.fullmatch(f"{name}/0/cells")) and walk(file, path, f"{name}/0/cells") is not None


def _dataset(file: Any, path: Path, name: str) -> Any:
    """Return a data set by name, or the only one with two axes or more."""
    import h5py

    names: list[str] = []

    def note(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2:
            names.append(key)

    if name and isinstance(item := walk(file, path, name), h5py.Dataset):
        return item
    file.visititems(note)
    inside = ", ".join(f"/{key}" for key in names[:8]) or "none"
    if name:
        raise NotFound(f"{path} has no array /{name}: it holds {inside}")
    if not names:
        raise BadInput(f"{path} holds no array of its own: choose another file, or name a link to an array")
    if len(names) != 1:
        raise BadInput(f"{path} holds the arrays {inside}: name one, such as {path}:/{names[0]}")
    return file[names[0]]


def _stored(file: Any, path: Path, data: Any) -> Stored:
    if data.dtype.kind not in "biuf":
        raise BadInput(f"{path}:{data.name} holds {data.dtype}: name an array of numbers")
    voxels, others = source(data, path)
    kind = _actual_type(data)
    attrs = {key: _plain(value) for key, value in data.attrs.items()}
    stated = agree(f"{path}:{data.name}", _statements(file, path, data, attrs), data.ndim)
    info = path.stat()

    def read(slices: Slices) -> np.ndarray:
        block = read_block(data, slices) if voxels is data else np.asarray(voxels[slices])
        return block.view(kind)

    return Stored(
        path=f"{path}:{data.name}",
        format="HDF5",
        shape=data.shape,
        dtype=kind,
        axes=stated.axes,
        voxel_size=stated.voxel_size,
        unit=stated.unit,
        offset=stated.offset,
        chunks=data.chunks or (1,) * (data.ndim - 2) + data.shape[-2:],
        attrs=attrs,
        read=read,
        stamp=lambda: [data.name, info.st_size, info.st_mtime_ns, *stamp(others)],
        close=file.close,
    )


def _actual_type(data: Any) -> np.dtype:
    """Return the actual type of the values: BigDataViewer keeps uint16 in its HDF5 as the bits of int16."""
    stored: np.dtype = data.dtype
    keeps_bits = spimdata.CELLS.fullmatch(data.name.strip("/")) and (stored.kind, stored.itemsize) == ("i", 2)
    return np.dtype(stored.str.replace("i", "u")) if keeps_bits else stored


def _statements(file: Any, path: Path, data: Any, attrs: dict[str, Any]) -> list[Calibration]:
    """Return the statements of an array, its groups and, for BigDataViewer, the XML next to the file."""
    labels = letters(dim.label for dim in data.dims)
    dialect = Dialect(ndim=data.ndim, units={**UNITS, "resolution": "nanometer"})
    own = dialect.statements(attrs, "the array")
    axes = next((statement.axes for statement in own if statement.axes), labels)
    statements = [
        Calibration(source="its dimension labels", axes=labels),
        *dialect.statements(attrs, "the array", axes=axes),
    ]
    if view := spimdata.CELLS.fullmatch(data.name.strip("/")):
        factors = spimdata.factors_of(file, view["setup"], int(view["level"]))
        cells = [Calibration(source="BigDataViewer", axes="zyx")]
        if factors is not None:
            cells += spimdata.calibrate(path, int(view["setup"]), factors=factors, shape=data.shape)
        return [*cells, *statements]
    group = data.parent
    while group.name != "/" and not any(key in group.attrs for key in SIZES):
        group = group.parent
    around = {key: _plain(value) for key, value in group.attrs.items() if key in (*SIZES, "offset", "unit", "units")}
    return statements + dialect.statements(around, f"the group {group.name}", axes=axes)


def _plain(value: Any) -> Any:
    """Return an attribute as plain data."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, list) else value if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or value is None
