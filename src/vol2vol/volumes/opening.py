"""Open and create volumes: find the format that a path means, and hand over to its module."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable, UserError, one_line, quoted
from vol2vol.files import check_regular
from vol2vol.geometry import Shape
from vol2vol.volumes import memory
from vol2vol.volumes.addresses import address, is_remote, is_web
from vol2vol.volumes.axes import settle_axes, user_unit
from vol2vol.volumes.completeness import MAKERS
from vol2vol.volumes.formats import hdf5, imagegroups, mrc, ometiff, omezarr, pictures, slices, tiff, tiffout
from vol2vol.volumes.formats.chunked import open_chunked
from vol2vol.volumes.formats.chunked_array import lacking
from vol2vol.volumes.readers import open_by_suffix
from vol2vol.volumes.selection import some_channels
from vol2vol.volumes.stated import Stated
from vol2vol.volumes.stored import READ_ERRORS, Stored
from vol2vol.volumes.volume import Volume

VOLUME_FORMATS = (
    "OME-Zarr 0.1 to 0.6",
    "Zarr 2 and 3",
    "N5",
    "TIFF",
    "PNG and JPEG",
    "folder of TIFF, PNG or JPEG slices",
    "HDF5 (file.h5:/dataset), Imaris and BigDataViewer",
    "MRC",
    "s3://, gs:// and http(s):// Zarr and N5",
)


def open_volume(path: str | Path | np.ndarray, *, level: int = 0, **stated: Unpack[Stated]) -> Volume:
    """Open a stored volume or image lazily, or an array as one; see `VOLUME_FORMATS`, and readers of other packages.

    `axes` (letters of `tczyx` in stored order), `voxel_size` (z, y, x; y, x for images) and `unit` fill in what the
    metadata lacks; they may not contradict it. Without `axes`, two unnamed axes are `yx` and three `zyx`. `time` picks
    one of several time points, from 0; `channels` some of the channels, `image` one image of a TIFF that holds several,
    `pattern` the files of a folder; `level` picks from a multiscale image. What `create_volume` made can be written to
    as well.

    Raises `NotFound`, `Unreadable`, and `BadInput` naming the flag that mends it.
    """
    volume = _volume(path, level, stated)
    refuse_idle_time([volume], stated)
    return volume


def _volume(path: str | Path | np.ndarray, level: int, stated: Stated) -> Volume:
    """Open a volume; one with a single time point is opened whichever time point is requested."""
    name = path if isinstance(path, np.ndarray) else address(path)
    again = functools.partial(_volume, name, level, stated)
    try:
        stored = _open(name, level, stated)
        try:
            if (channels := stated.get("channels")) is not None:
                axes = settle_axes(stored.path, stored.axes, stored.shape, stated.get("axes"))
                stored = some_channels(stored, axes, channels)
            return Volume(stored, reopen=again, **stated)
        except BaseException:
            stored.close()
            raise
    except UserError:
        raise
    except (*READ_ERRORS, MemoryError) as error:
        reason = one_line(error, 300)
        raise Unreadable(f"{one_line(name)} cannot be opened ({reason}): restore or re-save it") from error


def refuse_idle_time(volumes: Sequence[Volume], stated: Stated) -> None:
    """Raise `BadInput` where a time point is requested and no volume has several."""
    time = stated.get("time") or 0
    if time and all(volume.time_points == 1 for volume in volumes):
        for volume in volumes:
            volume.close()
        raise BadInput(f"{volumes[0].path} has one time point, 0, and no {time}: leave out `time`")


def open_finished(path: str | Path | np.ndarray, *, level: int = 0, **stated: Unpack[Stated]) -> Volume:
    """Open a complete stored volume as `open_volume` does.

    Raises also `Unreadable` where its attributes state that it is unfinished, and where a part of it was lost.
    """
    return _finished(open_volume(path, level=level, **stated))


def open_together(paths: Iterable[str | Path], **stated: Unpack[Stated]) -> list[Volume]:
    """Open volumes that are used together as `open_finished` does.

    `time` picks from those that have several time points, such as a movie used with a mask of one time point.
    """
    volumes = [open_member(path, **stated) for path in paths]
    refuse_idle_time(volumes, stated)
    return volumes


def open_member(path: str | Path, **stated: Unpack[Stated]) -> Volume:
    """Open one of several volumes that are used together; one of a single time point goes with any of another."""
    return _finished(_volume(path, 0, stated))


def _finished(volume: Volume) -> Volume:
    if verb := unfinished(volume):
        volume.close()
        raise Unreadable(
            f"{volume.path} is not finished: run the same vol2vol {verb} again, which continues it, then repeat this"
        )
    if lost := volume.missing():
        volume.close()
        raise lacking(volume.path, lost[0], len(lost) - 1)
    return volume


def unfinished(volume: Volume) -> str:
    """Return the verb that started a volume and has not finished it, "" where it is complete."""
    records = [(verb, volume.attrs.get(key)) for key, verb in MAKERS.items()]
    return next((verb for verb, record in records if isinstance(record, dict) and record.get("complete") is False), "")


def _open(name: str | np.ndarray, level: int, stated: Stated) -> Stored:
    """Open a path; its address, its suffix or its content decides the format."""
    chosen: dict[str, Any] = {key: stated.get(key) for key in ("pattern", "image") if stated.get(key) is not None}
    if isinstance(name, np.ndarray):
        _refuse_level(memory.NAME, level)
        return _without_choice(memory.hold(name), chosen)
    if not name:
        raise NotFound("the path of a volume is empty: name a file, a folder or an address")
    if is_remote(name):
        stored = open_chunked(name, level=level)
        if stored is None:
            cure = "download files of other formats, or check the address (and, for s3://, AWS_ENDPOINT_URL)"
            raise NotFound(f"{name} holds no Zarr or N5: {cure}")
        return _without_choice(stored, chosen)
    if named := hdf5.NAME.fullmatch(name):
        _check_exists(Path(named["file"]))
        if Path(named["file"]).is_file():
            return _without_choice(hdf5.open_hdf5(name, level=level), chosen)
    path = Path(name)
    _check_exists(path)
    if (stored := open_by_suffix(path, level)) is not None:
        return _without_choice(stored, chosen)
    if path.is_dir():
        if (stored := open_chunked(name, level=level)) is not None:
            return _without_choice(stored, chosen)
        _refuse_level(name, level)
        pattern = chosen.pop("pattern", None)
        return _without_choice(slices.open_folder(path, pattern), chosen)
    return _open_file(path, level, chosen, stated.get("axes"))


def _open_file(path: Path, level: int, chosen: dict[str, Any], axes: str | None) -> Stored:
    start = b"" if path.suffix.lower() in tiff.SUFFIXES else _first_bytes(path)
    if path.suffix.lower() in mrc.SUFFIXES and start not in tiffout.MAGIC:
        _refuse_level(str(path), level)
        return _without_choice(mrc.open_mrc(path), chosen)
    companion = path.name.lower().endswith(ometiff.COMPANIONS)
    if path.suffix.lower() in tiff.SUFFIXES or start in tiffout.MAGIC or companion:
        _refuse_level(str(path), level)
        return _without_choice(tiff.open_tiff(path, image=chosen.pop("image", None), axes=axes), chosen)
    if path.suffix.lower() in pictures.SUFFIXES or start.startswith(pictures.MAGIC):
        _refuse_level(str(path), level)
        return _without_choice(pictures.open_picture(path), chosen)
    raise BadInput(f"{path} has a format that cannot be read: convert it to one of {', '.join(VOLUME_FORMATS[:-1])}")


def _without_choice(stored: Stored, chosen: dict[str, Any]) -> Stored:
    """Return an opened array; raise `BadInput` where the user chose a part that its format does not have."""
    kinds = {"pattern": "a folder of images", "image": "a TIFF"}
    for key in chosen:
        stored.close()
        raise BadInput(f"{stored.path} is not {kinds[key]}: leave out `{key}`")
    return stored


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}): change its permissions") from error


def _refuse_level(name: str, level: int) -> None:
    if level:
        raise BadInput(f"{name} is not a multiscale image and has no level {level}: leave out `level`")


def _check_exists(path: Path) -> None:
    """Raise `NotFound`, with the nearest names, unless a path exists; `Unreadable` for pipes and devices."""
    check_regular(path)
    try:
        if path.exists():
            return
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except PermissionError:
        raise Unreadable(f"{path}: no permission to read: change the permissions or choose another file") from None
    near = get_close_matches(path.name, names, n=3)
    inside = next((p for p in path.parents if p.suffix.lower() in hdf5.SUFFIXES and p.is_file()), None)
    if inside is not None:
        raise NotFound(f"{path} does not exist: name an array of an HDF5 file as {inside}:/{path.relative_to(inside)}")
    hint = f": did you mean {' or '.join(near)}?" if near else ": check the path"
    if "*" in path.name and path.parent.is_dir():
        hint = f": for a stack of several files, name the folder {path.parent} and give `pattern` {quoted(path.name)}"
    raise NotFound(f"{path} does not exist{hint}")


def create_volume(
    path: str | Path,
    *,
    shape: Sequence[int],
    dtype: Any,
    voxel_size: Sequence[float],
    unit: str,
    offset: Sequence[float] | None = None,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    version: str = "0.5",
    overwrite: bool = False,
    attrs: Mapping[str, Any] | None = None,
    channel_names: Sequence[str] = (),
    fill: float = 0,
    flat: bool = False,
) -> Volume:
    """Create a volume to write to: OME-Zarr, or OME-TIFF where the name ends in `.tif` or `.tiff`.

    `shape` is (C, Z, Y, X); `voxel_size`, `chunks` and `shards` are (z, y, x). With shards, a whole shard is written at
    once and by one writer; TIFF has neither chunks nor shards, and its blocks may be written in any order. `unit` may
    be "" where it is unknown; `offset` (z, y, x, in `unit`) is the place of the centre of the first voxel, None where
    it is not known. `attrs` is plain data stored with the volume. Voxels that are never written read as `fill` (0 in a
    TIFF). `overwrite` replaces only what vol2vol wrote. Three channels of `uint8` or `uint16` with the
    `channel_names` red, green and blue are a colour image, which a TIFF stores as RGB. A `flat` OME-Zarr has no z axis.

    Raises `AlreadyExists` (naming `--overwrite`), `BadInput`, `CannotWrite`. Long because it explains every option.
    """
    name, kind = address(path), np.dtype(dtype).newbyteorder("=")
    voxels: Shape = tuple(int(n) for n in shape)
    size, place = _floats(voxel_size), None if offset is None else _floats(offset)
    _check_request(name, voxels, kind, size, place)
    metadata: dict[str, Any] = {"voxel_size": size, "unit": user_unit(unit), "offset": place}
    assert len(channel_names) in (0, voxels[0]), (channel_names, voxels)
    metadata |= {"attrs": dict(attrs or {}), "channel_names": tuple(channel_names)}
    chunking = _default_chunks(voxels) if chunks is None else tuple(chunks), None if shards is None else tuple(shards)
    options: dict[str, Any] = {"version": version, "fill": fill, "flat": flat}
    layout = omezarr.ArrayLayout(shape=voxels, dtype=kind, chunks=chunking[0], shards=chunking[1], **options)
    _create(name, layout, overwrite, metadata)
    return open_volume(name, voxel_size=size, unit=unit or None)


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _create(name: str, layout: omezarr.ArrayLayout, overwrite: bool, metadata: dict[str, Any]) -> None:
    """Remove what may be replaced and write an empty volume in the format its name ends in."""
    if is_tiff(name):
        tiffout.clear_tiff(Path(name), overwrite=overwrite)
        tiffout.create_tiff(Path(name), shape=layout.shape, dtype=layout.dtype, **metadata)
    elif (name.rstrip("/\\").lower().endswith(".zarr") or imagegroups.is_expected(name)) and not is_web(name):
        omezarr.clear_group(name, overwrite=overwrite)
        omezarr.create_group(name, layout, **metadata)
    elif is_web(name):
        raise BadInput(f"{name} cannot be written: write to a local path, s3:// or gs://")
    else:
        suffixes = ".zarr: other formats are local" if is_remote(name) else ".zarr (OME-Zarr) or .tif"
        raise BadInput(f"{name} cannot be written: let its name end in {suffixes}")


def is_tiff(path: str) -> bool:
    """Say whether an output of this name is a TIFF."""
    return Path(path).suffix.lower() in tiff.SUFFIXES and not is_remote(path)


def _check_request(
    name: str, shape: Shape, dtype: np.dtype, size: Sequence[float], offset: Sequence[float] | None
) -> None:
    if len(shape) != 4 or min(shape) < 1 or dtype.kind not in "iuf":
        raise BadInput(f"{name}: no volume can have shape {shape} and type {dtype}: give C,Z,Y,X and numbers")
    if len(size) != 3 or not all(isfinite(value) and value > 0 for value in size):
        raise BadInput(f"{name}: voxel size {size} must be three positive numbers, Z,Y,X: give `voxel_size`")
    if offset is not None and (len(offset) != 3 or not all(isfinite(value) for value in offset)):
        raise BadInput(f"{name}: offset {offset} must be three finite numbers, Z,Y,X")


def _default_chunks(shape: Shape) -> Shape:
    """Return cubes of 64 voxels, squares of 256 for a plane, no larger than the volume."""
    return tuple(min(n, 64 if shape[1] > 1 else 256) for n in shape[1:])
