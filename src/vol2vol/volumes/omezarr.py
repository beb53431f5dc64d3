"""Write OME-Zarr: sharded 0.5 (Zarr 3) or 0.4 (Zarr 2), locally or on S3."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, CannotWrite
from vol2vol.geometry import Box, Shape
from vol2vol.volumes import ome
from vol2vol.volumes.chunked import read_node
from vol2vol.volumes.store import (
    ChunkedArray,
    delete_all,
    delete_keys,
    is_remote,
    join,
    list_keys,
    write_json,
)
from vol2vol.volumes.volume import Volume

VERSIONS = ("0.5", "0.4")
OWN = frozenset({".vol2vol", "zarr.json", ".zgroup", ".zattrs", ".zmetadata", ".zarray"})
"""What lies in an OME-Zarr beside its levels: metadata, and the ledger of an unfinished prediction."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one level is stored; spatial numbers in ZYX order."""

    shape: Shape
    """C, Z, Y, X."""
    dtype: np.dtype
    chunks: Shape
    shards: Shape | None
    version: str
    fill: float = 0

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise BadInput(f"OME-Zarr version {self.version} cannot be written: use 0.5 or 0.4")
        if len(self.chunks) != 3 or min(self.chunks) < 1:
            raise BadInput(f"chunks {self.chunks} must be three positive numbers, Z,Y,X")
        if self.shards is None:
            return
        if self.version == "0.4":
            raise BadInput("OME-Zarr 0.4 has no shards: leave them out or write version 0.5")
        if len(self.shards) != 3 or any(s < c or s % c for s, c in zip(self.shards, self.chunks, strict=True)):
            raise BadInput(f"shards {self.shards} must be multiples of the chunks {self.chunks}")

    @property
    def channels(self) -> bool:
        """Say whether the channel axis is stored; a single channel is not."""
        return self.shape[0] > 1

    def spec(self) -> dict[str, Any]:
        """Return the tensorstore specification of the array, without its place."""
        driver = "zarr3" if self.version == "0.5" else "zarr"
        metadata = self._zarr3() if self.version == "0.5" else self._zarr2()
        return {"driver": driver, "metadata": metadata, "create": True, "store_data_equal_to_fill_value": True}

    def _stored(self, spatial: Sequence[int]) -> list[int]:
        return [1] * self.channels + list(spatial)

    @property
    def _blosc(self) -> dict[str, Any]:
        return {"cname": "zstd", "clevel": 3}

    def _zarr2(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape[not self.channels :]),
            "chunks": self._stored(self.chunks),
            "dtype": self.dtype.newbyteorder("<").str,
            "fill_value": self.dtype.type(self.fill).item(),
            "dimension_separator": "/",
            "compressor": {"id": "blosc", **self._blosc, "shuffle": 1 if self.dtype.itemsize > 1 else 0},
        }

    def _zarr3(self) -> dict[str, Any]:
        shuffle = "shuffle" if self.dtype.itemsize > 1 else "noshuffle"
        blosc = {**self._blosc, "shuffle": shuffle, "typesize": self.dtype.itemsize, "blocksize": 0}
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        codecs: list[dict[str, Any]] = [little, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}]
        if self.shards is not None:
            inner = {"chunk_shape": self._stored(self.chunks), "codecs": codecs}
            inner["index_codecs"] = [little, {"name": "crc32c"}]
            codecs = [{"name": "sharding_indexed", "configuration": inner}]
        outer = self._stored(self.shards or self.chunks)
        return {
            "shape": list(self.shape[not self.channels :]),
            "data_type": self.dtype.name,
            "fill_value": self.dtype.type(self.fill).item(),
            "dimension_names": ["c"] * self.channels + ["z", "y", "x"],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
            "codecs": codecs,
        }


def create_group(
    location: str,
    layout: Layout,
    *,
    voxel_size: Sequence[float],
    unit: str,
    attrs: Mapping[str, Any],
) -> None:
    """Create an OME-Zarr image with an empty level "0"; nothing may be there yet."""
    ChunkedArray(join(location, "0"), layout.spec())
    write_group(location, layout, unit=unit, scales=[voxel_size], attrs=attrs)


def write_group(
    location: str, layout: Layout, *, unit: str, scales: Sequence[Sequence[float]], attrs: Mapping[str, Any]
) -> None:
    """Write the metadata of an image with one voxel size (z, y, x) per level, in one atomic write."""
    name = location.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    image = ome.image_attributes(layout.version, name, unit, scales, channels=layout.channels)
    attributes = {**attrs, **image}
    if layout.version == "0.5":
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        write_json(location, "zarr.json", group)
        return
    write_json(location, ".zattrs", attributes)
    write_json(location, ".zgroup", {"zarr_format": 2})


def clear_group(location: str, *, overwrite: bool) -> None:
    """Make room for a new image: delete an old one, if told so and if it holds nothing else.

    Raises `AlreadyExists` naming `--overwrite`, or naming what is not part of a Zarr image.
    """
    names = _top_level(location)
    if not names:
        return
    if not overwrite:
        raise AlreadyExists(f"{location} exists: give --overwrite to replace it, or another name")
    strangers = sorted(name for name in names if name not in OWN and read_node(join(location, name)) is None)
    if strangers or (read_node(location) is None and "0" not in names):
        found = f"holds {strangers[0]}, which" if strangers else "is a folder that"
        raise AlreadyExists(
            f"{location} {found} is not part of a Zarr image: choose another name or remove it yourself"
        )
    if is_remote(location):
        delete_all(location)
        return
    if Path(location).is_symlink():
        raise AlreadyExists(f"{location} is a link: choose another name or remove it yourself")
    try:
        shutil.rmtree(location)
    except OSError as error:
        raise CannotWrite(f"{location} cannot be replaced ({error.strerror}): remove it yourself") from error


def _top_level(location: str) -> set[str]:
    """Return the names directly inside a location; a file counts as itself."""
    if is_remote(location):
        return {key.partition("/")[0] for key in list_keys(location)}
    if not os.path.lexists(location):
        return set()
    if not Path(location).is_dir():
        return {Path(location).name}
    return set(os.listdir(location))


def erase(volume: Volume, box: Box) -> None:
    """Delete the shards (or chunks) under a box of an image's finest level: damaged ones cannot be written over."""
    node = read_node(join(volume.path, "0"))
    if node is None:
        return
    array = ChunkedArray(node.location, {"driver": node.kind, "open": True})
    channels = (slice(None),) * (len(array.shape) - 3)
    delete_keys(node.location, *array.keys((*channels, *box.slices)))
