"""Read Imaris (`.ims`): HDF5 with one padded array per channel and time point.

Source: the Imaris 5.5 file format. Attributes of each channel hold the true size, those of the image extents and unit;
extents reach from the outer edge of the first voxel to that of the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.geometry import Shape
from vol2vol.volumes.calibration import lengths
from vol2vol.volumes.formats.hdf5parts import read_block, source
from vol2vol.volumes.stored import Slices, Stored

_PART = re.compile(
    r"DataSet(?:/ResolutionLevel (?P<level>\d+)(?:/TimePoint (?P<time>\d+)(?:/Channel (?P<channel>\d+)(?:/Data)?)?)?)?"
)
_PARTS = {"level": "ResolutionLevel", "time": "TimePoint", "channel": "Channel"}


def is_imaris(file: Any, dataset: str) -> bool:
    """Say whether a name inside an HDF5 file ("" for the whole file) is an image of Imaris or a part of one."""
    known = "DataSet/ResolutionLevel 0" in file and "DataSetInfo/Image" in file
    return known and (not dataset or _PART.fullmatch(dataset) is not None)


def open_imaris(file: Any, path: Path, dataset: str, level: int) -> Stored:
    """Open the image of a file, or the part of it that is named: channels together, time points along `t`.

    Raises `BadInput` where channels differ in size or type, and where the file contradicts itself.
    """
    number, group, times, channels = _select(file, path, dataset, level)
    first, shape = _array(group, times[0], channels[0], path)
    _check_alike(group, times[0], channels, path, (shape, first.dtype))
    stated = _image(file)
    if number == 0 and (whole := _shape(stated, "")) and whole != shape:
        raise BadInput(f"{path}: its image has shape {whole} by DataSetInfo, but {shape} by its channels: correct it")
    size, unit, offset = _space(stated, shape)
    lead = [(a, numbers) for a, numbers in (("t", times), ("c", channels)) if len(numbers) > 1]
    info = path.stat()

    return Stored(
        path=f"{path}:/{dataset}" if dataset else str(path),
        format="Imaris",
        shape=(*(len(numbers) for _, numbers in lead), *shape),
        dtype=first.dtype,
        axes="".join(a for a, _ in lead) + "zyx",
        voxel_size=size,
        unit=unit,
        offset=offset,
        chunks=(1,) * len(lead) + tuple(first.chunks or shape),
        levels=[] if dataset else [_level(file, n, stated, path) for n in _numbers(file["DataSet"], "level")],
        read=_reader(group, lead, (times, channels), path),
        stamp=lambda: [dataset, info.st_size, info.st_mtime_ns],
        close=file.close,
    )


def _reader(
    group: Any, lead: Sequence[tuple[str, list[int]]], parts: tuple[list[int], list[int]], path: Path
) -> Callable[[Slices], np.ndarray]:
    """Return a reader of blocks whose leading axes run over time points and channels."""
    times, channels = parts

    def read(slices: Slices) -> np.ndarray:
        selection = dict(zip([a for a, _ in lead], slices, strict=False))
        region = slices[len(lead) :]
        blocks = [
            read_block(_array(group, time, channel, path)[0], region)
            for time in times[selection.get("t", slice(None))]
            for channel in channels[selection.get("c", slice(None))]
        ]
        outer = [len(numbers[selection[a]]) for a, numbers in lead]
        return np.stack(blocks).reshape(*outer, *blocks[0].shape)

    return read


def _select(file: Any, path: Path, dataset: str, level: int) -> tuple[int, Any, list[int], list[int]]:
    """Return the number and group of the chosen level, and the chosen time points and channels."""
    named = _PART.fullmatch(dataset or "DataSet")
    assert named is not None, dataset
    if level and named["level"]:
        raise BadInput(f"{path}:/{dataset} is in a level itself: leave out `level`, or the part behind the colon")
    number = _chosen(_numbers(file["DataSet"], "level"), named["level"] or str(level), "resolution level", path)
    group = file[f"DataSet/ResolutionLevel {number}"]
    times = _some(_numbers(group, "time"), named["time"], "time point", path)
    channels = _some(_numbers(group[f"TimePoint {times[0]}"], "channel"), named["channel"], "channel", path)
    return number, group, times, channels


def _numbers(group: Any, part: str) -> list[int]:
    """Return the numbers of the levels, time points or channels in a group, in order."""
    matches = (re.fullmatch(rf"{_PARTS[part]} (\d+)", name) for name in group)
    return sorted(int(name[1]) for name in matches if name)


def _chosen(numbers: Sequence[int], choice: str, kind: str, path: Path) -> int:
    if int(choice) not in numbers:
        error = BadInput if kind == "resolution level" else NotFound
        raise error(f"{path} has no {kind} {choice}: choose {', '.join(map(str, numbers[:8])) or 'another file'}")
    return int(choice)


def _some(numbers: Sequence[int], choice: str | None, kind: str, path: Path) -> list[int]:
    """Return the chosen number, or all numbers if none is chosen."""
    if choice is None and numbers:
        return list(numbers)
    return [_chosen(numbers, choice or "0", kind, path)]


def _array(group: Any, time: int, channel: int, path: Path) -> tuple[Any, Shape]:
    """Return an array, padded, and its true shape (z, y, x)."""
    holder = group[f"TimePoint {time}/Channel {channel}"]
    data, shape = holder["Data"], _shape(holder.attrs, "ImageSize")
    where = f"{path}:{holder.name}"
    if source(data, path)[1]:
        raise BadInput(
            f"{where} keeps its voxels in another file, which Imaris files never do: save it again as one file"
        )
    if shape is None:
        raise BadInput(f"{where} does not state its ImageSizeX, Y and Z, without which padding is part of the image")
    if data.ndim != 3 or any(n > padded for n, padded in zip(shape, data.shape, strict=True)):
        raise Unreadable(f"{where} should hold {shape} voxels and has {data.shape}: restore the file")
    return data, shape


def _check_alike(group: Any, time: int, channels: Sequence[int], path: Path, first: tuple[Shape, np.dtype]) -> None:
    for channel in channels[1:]:
        data, shape = _array(group, time, channel, path)
        if (shape, data.dtype) != first:
            raise BadInput(
                f"{path}: channel {channel} is {shape} {data.dtype}, channel {channels[0]} {first[0]} {first[1]}: "
                f"name one of them, such as {path}:{data.parent.name}"
            )


def _image(file: Any) -> dict[str, str]:
    attrs = file["DataSetInfo/Image"].attrs
    keys = ["X", "Y", "Z", "Unit", *(f"Ext{end}{number}" for end in ("Min", "Max") for number in "012")]
    return {key: _text(attrs[key]) for key in keys if key in attrs}


def _text(value: Any) -> str:
    """Return an attribute of Imaris, which keeps text as an array of single letters."""
    if isinstance(value, np.ndarray):
        return b"".join(np.asarray(value, "S").ravel().tolist()).decode(errors="replace").strip("\0 ")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shape(attrs: Mapping[str, Any], prefix: str) -> Shape | None:
    """Return the shape (z, y, x) that attributes state, None where they do not."""
    texts = [_text(attrs[f"{prefix}{a}"]) for a in "ZYX" if f"{prefix}{a}" in attrs]
    sizes = [int(n) for n in texts if n.isdecimal() and int(n) > 0]
    return tuple(sizes) if len(sizes) == 3 else None


def _space(stated: Mapping[str, str], shape: Shape) -> tuple[dict[str, float], str, dict[str, float]]:
    """Return voxel size, unit and place of the first voxel's centre of a level of this shape (z, y, x)."""
    units = dict.fromkeys("xyz", stated.get("Unit", ""))
    sizes, places = {}, {}
    for number, (axis, count) in enumerate(zip("xyz", shape[::-1], strict=True)):
        try:
            low, high = (float(stated[f"Ext{end}{number}"]) for end in ("Min", "Max"))
        except (KeyError, ValueError):
            continue
        if high > low:
            sizes[axis] = (high - low) / count
            places[axis] = low + sizes[axis] / 2
    size, unit = lengths({a: float(f"{v:.9g}") for a, v in sizes.items()}, units)
    place, _ = lengths({a: float(f"{v:.9g}") for a, v in places.items()}, units)
    return size, unit, place


def _level(file: Any, number: int, stated: Mapping[str, str], path: Path) -> dict[str, Any]:
    group = file[f"DataSet/ResolutionLevel {number}"]
    time = _numbers(group, "time")[0]
    _, shape = _array(group, time, _numbers(group[f"TimePoint {time}"], "channel")[0], path)
    size = _space(stated, shape)[0]
    return {"path": f"DataSet/ResolutionLevel {number}", "voxel_size": [size.get(a, 1.0) for a in "zyx"]}
