"""Write OME-Zarr: sharded 0.5 (Zarr 3) or 0.4 (Zarr 2), locally or on S3."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.files import parse_json
from vol2vol.geometry import Box, Shape
from vol2vol.volumes.addresses import is_remote, join
from vol2vol.volumes.axes import where_stored
from vol2vol.volumes.display import full_window, make_omero
from vol2vol.volumes.formats import ome
from vol2vol.volumes.formats.chunked_array import ChunkedArray
from vol2vol.volumes.formats.imagegroups import images_of, within
from vol2vol.volumes.formats.nodes import read_node
from vol2vol.volumes.formats.store import delete_all, delete_keys, list_keys, read_key, write_json
from vol2vol.volumes.volume import Volume

VERSIONS = ("0.5", "0.4")
_BLOSC = {"cname": "zstd", "clevel": 3}
_PLAN = ".vol2vol/plan.json"
_ROOT = ("zarr.json", ".zattrs")
_FIRST_WRITE = re.compile(r"(zarr\.json|\.zattrs|\.zgroup)\.__lock")
"""Files that a creation leaves behind when it is killed at its first write."""
_ABORTED = re.compile(
    r"(zarr\.json|\.zattrs|\.zgroup|0/(zarr\.json|\.zarray)?|\.vol2vol/(plan\.json|done/)?)(\.__lock)?"
)
"""Files that a creation leaves behind when it is killed before its plan is written."""
_PART = re.compile(
    r"(zarr\.json|\.zgroup|\.zattrs|\.zmetadata"
    r"|\.vol2vol/(plan\.json|spoiled|(done|leases)/[^/]*)?"
    r"|\d+/(zarr\.json|\.zarray|\.zattrs|c/|(c/)?\d+(/\d+)*/?)?)(\.__lock)?"
)
"""Files of an image and of the ledger of an unfinished output; empty folders end in a slash."""


@dataclass(frozen=True, kw_only=True)
class ArrayLayout:
    """Shape, type and chunks of one level; spatial numbers in Z, Y, X order."""

    shape: Shape
    """C, Z, Y, X."""
    dtype: np.dtype
    chunks: Shape
    shards: Shape | None
    version: str
    fill: float = 0
    flat: bool = False
    """Whether it is an image: its single plane is stored without a z axis."""

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise BadInput(f"OME-Zarr version {self.version} cannot be written: use 0.5 or 0.4")
        assert self.shape[1] == 1 or not self.flat, self
        if len(self.chunks) != 3 or min(self.chunks) < 1:
            raise BadInput(f"chunks {self.chunks} must be three positive numbers, Z,Y,X")
        if self.shards is None:
            return
        if self.version == "0.4":
            raise BadInput("OME-Zarr 0.4 has no shards: leave them out or write version 0.5")
        if len(self.shards) != 3 or any(s < c or s % c for s, c in zip(self.shards, self.chunks, strict=True)):
            raise BadInput(f"shards {self.shards} must be multiples of the chunks {self.chunks}")

    @property
    def axes(self) -> str:
        """The letters of the stored axes; a single channel has no axis."""
        return "c" * (self.shape[0] > 1) + "z" * (not self.flat) + "yx"

    def spec(self) -> dict[str, Any]:
        """Return the tensorstore specification of the array, without its location."""
        driver = "zarr3" if self.version == "0.5" else "zarr"
        metadata = self._zarr3() if self.version == "0.5" else self._zarr2()
        return {"driver": driver, "metadata": metadata, "create": True, "store_data_equal_to_fill_value": True}

    def _stored(self, spatial: Sequence[int], channels: int = 1) -> list[int]:
        """Return lengths along the stored axes."""
        lengths = dict(zip("czyx", (channels, *spatial), strict=True))
        return [lengths[axis] for axis in self.axes]

    def _zarr2(self) -> dict[str, Any]:
        return {
            "shape": self._stored(self.shape[1:], self.shape[0]),
            "chunks": self._stored(self.chunks),
            "dtype": self.dtype.newbyteorder("<").str,
            "fill_value": self.dtype.type(self.fill).item(),
            "dimension_separator": "/",
            "compressor": {"id": "blosc", **_BLOSC, "shuffle": 1 if self.dtype.itemsize > 1 else 0},
        }

    def _zarr3(self) -> dict[str, Any]:
        shuffle = "shuffle" if self.dtype.itemsize > 1 else "noshuffle"
        blosc = {**_BLOSC, "shuffle": shuffle, "typesize": self.dtype.itemsize, "blocksize": 0}
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        codecs: list[dict[str, Any]] = [little, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}]
        if self.shards is not None:
            inner = {"chunk_shape": self._stored(self.chunks), "codecs": codecs}
            inner["index_codecs"] = [little, {"name": "crc32c"}]
            codecs = [{"name": "sharding_indexed", "configuration": inner}]
        outer = self._stored(self.shards or self.chunks)
        return {
            "shape": self._stored(self.shape[1:], self.shape[0]),
            "data_type": self.dtype.name,
            "fill_value": self.dtype.type(self.fill).item(),
            "dimension_names": list(self.axes),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
            "codecs": codecs,
        }


def create_group(
    location: str,
    layout: ArrayLayout,
    *,
    voxel_size: Sequence[float],
    unit: str,
    offset: Sequence[float] | None,
    attrs: Mapping[str, Any],
    channel_names: Sequence[str],
) -> None:
    """Create an OME-Zarr image with an empty level "0"; the location must be free.

    The attribute that names vol2vol is written first: an array without it was written by another program.
    """
    omero = make_omero(channel_names, layout.dtype, [full_window(layout.dtype)] * layout.shape[0])
    write_group(
        location, layout, unit=unit, scales=[voxel_size], offset=offset, attrs={**attrs, **ome.MARK}, omero=omero
    )
    ChunkedArray(join(location, "0"), layout.spec())


def write_group(
    location: str,
    layout: ArrayLayout,
    *,
    unit: str,
    scales: Sequence[Sequence[float]],
    offset: Sequence[float] | None,
    attrs: Mapping[str, Any],
    omero: Mapping[str, Any],
) -> None:
    """Write the metadata of an image with one voxel size (z, y, x) per level, in one atomic write.

    `offset` (z, y, x, in `unit`) is the place of the centre of the finest level's first voxel, None where it is not
    known; `omero` says how the image is shown.
    """
    name = location.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    options: dict[str, Any] = {"offset": offset, "axes": layout.axes, "omero": omero}
    image = ome.image_attributes(layout.version, name, unit, scales, **options)
    attributes = {**attrs, **image}
    if layout.version == "0.5":
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        write_json(location, "zarr.json", group)
        return
    write_json(location, ".zattrs", attributes)
    write_json(location, ".zgroup", {"zarr_format": 2})


def refuse_foreign(location: str) -> None:
    """Raise `AlreadyExists`, naming an obstacle, unless vol2vol wrote everything at a location."""
    cure = "choose another name or remove it yourself"
    keys, images = contents(location), images_of(location)
    if strangers := sorted(key for key in keys if not _PART.fullmatch(within(key, images))):
        raise AlreadyExists(f"{location} holds {strangers[0]}, which is not part of an image of vol2vol: {cure}")
    if keys and not (_names_vol2vol(location) or _PLAN in keys or _is_first_write(location, keys)):
        raise AlreadyExists(f"{location} does not say that vol2vol wrote it: {cure}")


def clear_aborted_group(location: str, *, ours: bool) -> None:
    """Remove the metadata of an image whose creation was killed before its plan and any voxel were written.

    Raises `AlreadyExists` for anything else that exists. `ours` says that its attributes hold the record of this run.
    """
    keys = contents(location)
    if not keys:
        return
    if not _is_first_write(location, keys) and not (ours and _is_aborted(location, keys)):
        refuse_foreign(location)  # names an obstacle that --overwrite would not remove
        raise AlreadyExists(f"{location} exists and was not begun by this command: choose another name or `overwrite`")
    clear_group(location, overwrite=True)


def _is_aborted(location: str, keys: Sequence[str]) -> bool:
    """Say whether all keys were left by a creation that was killed before its plan was written."""
    images = images_of(location)
    return all(_ABORTED.fullmatch(within(key, images)) for key in keys)


def contents(location: str) -> list[str]:
    """Return all keys at a location, at any depth; locally also special files and empty folders.

    Raises `AlreadyExists` where the location is not a folder.
    """
    if is_remote(location):
        return list_keys(location)
    if not os.path.lexists(location):
        return []
    if Path(location).is_symlink() or not Path(location).is_dir():
        raise AlreadyExists(f"{location} is not a folder: choose another name or remove it yourself")
    return _local(Path(location))


def _local(folder: Path) -> list[str]:
    """Return files, empty folders (ending in a slash) and special files (followed by a remark)."""
    keys = []
    for here, folders, names in os.walk(folder):
        inside = Path(here).relative_to(folder)
        for name in (*names, *(name for name in folders if Path(here, name).is_symlink())):
            plain = S_ISREG(os.lstat(Path(here, name)).st_mode)
            keys.append((inside / name).as_posix() + ("" if plain else " (no plain file)"))
        if not folders and not names and inside.parts:
            keys.append(f"{inside.as_posix()}/")
    return keys


def _is_first_write(location: str, keys: Sequence[str]) -> bool:
    """Say whether all keys were left by a creation of vol2vol that was killed at its first write."""
    if is_remote(location) or not all(_FIRST_WRITE.fullmatch(key) for key in keys):
        return False
    return all(not (text := Path(location, key).read_bytes()) or b'"vol2vol"' in text for key in keys)


def _names_vol2vol(location: str) -> bool:
    """Say whether the attributes of an image name vol2vol as its creator; damaged ones are searched as text."""
    for key in _ROOT:
        text = read_key(location, key)
        try:
            meta = parse_json(text or b"{}")
        except ValueError:
            return b'"vol2vol"' in (text or b"")
        attributes = (meta.get("attributes") if key == "zarr.json" else meta) if isinstance(meta, dict) else None
        if isinstance(attributes, dict) and (
            attributes.get(ome.CREATOR) == ome.MARK[ome.CREATOR]
            or any(isinstance(attributes.get(name), dict) for name in ("vol2vol", "preparation"))
        ):
            return True
    return False


def clear_group(location: str, *, overwrite: bool) -> None:
    """Delete an old image where a new one is to be written, with `overwrite` and if vol2vol wrote all of it.

    The plan of an unfinished one is deleted first, so that no other process continues it, and the attributes that name
    vol2vol last, so that a killed deletion can be repeated. Raises `AlreadyExists` naming `--overwrite`, or naming what
    vol2vol did not write.
    """
    names = _top_level(location)
    if not names:
        return
    if not overwrite:
        raise AlreadyExists(f"{location} exists: give `overwrite` to replace it, or another name")
    refuse_foreign(location)
    if ".vol2vol" in names:
        delete_keys(location, _PLAN)
    if is_remote(location):
        for name in names - set(_ROOT):
            delete_all(join(location, name))
        delete_all(location)
        return
    try:
        for name in sorted(names, key=lambda name: name in _ROOT):
            path = Path(location, name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(location)
    except OSError as error:
        raise CannotWrite(f"{location} cannot be replaced ({error.strerror}): remove it yourself") from error


def _top_level(location: str) -> set[str]:
    """Return the names directly inside a location; a file or a link counts as itself."""
    if is_remote(location):
        return {key.partition("/")[0] for key in list_keys(location)}
    if not os.path.lexists(location):
        return set()
    if Path(location).is_symlink() or not Path(location).is_dir():
        return {Path(location).name}
    return set(os.listdir(location))


def erase(volume: Volume, box: Box) -> None:
    """Delete the shards (or chunks) under a box of the finest level; damaged shards cannot be overwritten."""
    node = read_node(join(volume.path, "0"))
    if node is None:
        return
    array = ChunkedArray(node.location, {"driver": node.kind, "open": True})
    delete_keys(node.location, *array.keys(where_stored(box, volume.axes)))
