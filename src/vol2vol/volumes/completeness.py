"""Find missing and damaged shards of an output: vol2vol stores every chunk, so a missing one was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vol2vol.errors import BadInput, Unreadable, UserError
from vol2vol.geometry import Box, grid
from vol2vol.volumes.addresses import is_web, join
from vol2vol.volumes.formats import ngff
from vol2vol.volumes.formats.chunked_array import ChunkedArray
from vol2vol.volumes.formats.nodes import Node, read_node

MAKERS = {"vol2vol": "predict", "preparation": "prepare"}
"""Attributes that hold the record of an output and whether it is complete, and the verbs that write them."""


def is_output(attributes: Mapping[str, Any]) -> bool:
    """Say whether attributes are those of an output of vol2vol, of which every chunk is stored."""
    return any(isinstance(attributes.get(name), dict) for name in MAKERS)


@dataclass(frozen=True, kw_only=True)
class LevelCheck:
    """Result of reading all of one level."""

    level: int
    shards: int
    """How many there should be; without shards, chunks."""
    missing: list[str]
    """Keys of missing shards."""
    damaged: dict[str, str] = field(default_factory=dict)
    """By key: why it cannot be read."""


def missing(output: str) -> dict[int, list[str]]:
    """Return by level the keys of the shards that an OME-Zarr output should have and lacks; reads no voxel."""
    lacking = {number: ["all of it"] if array is None else array.missing() for number, array in _levels(output)}
    return {number: keys for number, keys in lacking.items() if keys}


def check_all(output: str, *, readers: int = 4, progress: Callable[[int, int], None] | None = None) -> list[LevelCheck]:
    """Read every shard of every level, comparing checksums (OME-Zarr 0.5), and list what is missing or damaged.

    `progress` is called with the number of shards read and the total. Holds one shard per reader. Raises `BadInput`
    where the output is not an OME-Zarr written by vol2vol.
    """
    levels = dict(_levels(output))
    total = sum(len(grid(Box.of(array.shape), array.shards)) for array in levels.values() if array is not None)
    checked, read = [], 0
    for number, array in levels.items():
        if array is None:
            checked.append(LevelCheck(level=number, shards=0, missing=["all of it"]))
            continue
        boxes, damaged = grid(Box.of(array.shape), array.shards), {}
        lacking = set(array.missing())
        with ThreadPoolExecutor(readers) as pool:
            for box, damage in zip(boxes, pool.map(lambda box, array=array: _damage(array, box), boxes), strict=True):
                key, read = array.keys(box.slices)[0], read + 1
                if damage and key not in lacking:
                    damaged[key] = damage
                if progress is not None:
                    progress(read, total)
        checked.append(LevelCheck(level=number, shards=len(boxes), missing=sorted(lacking), damaged=damaged))
    return checked


def _damage(array: ChunkedArray, box: Box) -> str:
    """Return why a shard cannot be read, "" if it can."""
    try:
        array.read(box.slices)
    except UserError as error:
        return str(error)
    except (ValueError, OSError) as error:
        return str(error).partition("\n")[0].partition(" [source locations")[0][:300]
    return ""


def _levels(output: str) -> Iterator[tuple[int, ChunkedArray | None]]:
    """Yield the arrays of all levels, None for a coarser one that is missing."""
    node = None if is_web(output) else read_node(output)
    image = ngff.multiscale(node.attributes) if node is not None else None
    if node is None or image is None or not is_output(node.attributes):
        raise BadInput(
            f"{output} is not an OME-Zarr that vol2vol wrote: only its outputs can be checked for missing parts"
        )
    for number, dataset in enumerate(image["datasets"]):
        yield number, _array(node, str(dataset["path"]))


def _array(node: Node, path: str) -> ChunkedArray | None:
    level = read_node(join(node.location, path))
    if level is None or level.array is None:
        if path != "0":
            return None
        raise Unreadable(f"{node.location} names a level {path!r} that is not there: restore it")
    return ChunkedArray(level.location, {"driver": level.kind, "open": True, "fill_missing_data_reads": False})
