"""Zarr 2, Zarr 3, OME-Zarr and N5, local or remote: find the array a path means, and what its metadata says of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from vol2vol.errors import BadInput, NotFound, Unreadable, UserError, one_line
from vol2vol.volumes import n5, ome
from vol2vol.volumes.addresses import is_remote, is_web, join, parent, within
from vol2vol.volumes.axes import natural
from vol2vol.volumes.store import (
    ChunkedArray,
    read_json,
    read_key,
    stamp_keys,
    write_json,
)
from vol2vol.volumes.stored import Stored

Kind = Literal["zarr3", "zarr", "n5"]
FORMATS = {"zarr3": "Zarr 3", "zarr": "Zarr 2", "n5": "N5"}
KEYS = {"zarr3": "zarr.json", "zarr": ".zarray", "n5": "attributes.json"}


@dataclass(frozen=True)
class Node:
    """A group or an array of a hierarchy."""

    location: str
    kind: Kind
    array: Mapping[str, Any] | None
    """The metadata of an array; None for a group."""
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """The array a path means, and the group and multiscale image it belongs to."""

    name: str
    node: Node
    holder: Node
    image: Mapping[str, Any] | None = None
    dataset: Mapping[str, Any] | None = None


def read_node(location: str) -> Node | None:
    """Return the group or array at a location, or None if there is neither."""
    if (meta := read_json(location, "zarr.json")) is not None:
        array = meta if meta.get("node_type") == "array" else None
        return Node(location, "zarr3", array, meta.get("attributes") or {})
    if (meta := read_json(location, ".zarray")) is not None:
        return Node(location, "zarr", meta, read_json(location, ".zattrs") or {})
    attributes = read_json(location, ".zattrs")
    if attributes is not None or read_key(location, ".zgroup") is not None:
        return Node(location, "zarr", None, attributes or {})
    meta = read_json(location, "attributes.json")
    if meta is not None:
        return Node(location, "n5", meta if {"dimensions", "dataType"} <= meta.keys() else None, meta)
    if location.rstrip("/\\").endswith(".n5") and not is_remote(location):
        return Node(location, "n5", None, {})
    return None


def open_chunked(location: str, *, level: int) -> Stored | None:
    """Open the array a path means: itself, a level of a multiscale image, or the only array in a group.

    Returns None where there is no Zarr or N5. Raises `NotFound` and `BadInput`, listing what there is.
    """
    try:
        found = _find(location, level)
        return None if found is None else _stored(found)
    except UserError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Unreadable(
            f"{location} has metadata that make no sense ({one_line(error, 300)}): correct its JSON files"
        ) from error


def _find(location: str, level: int) -> Found | None:
    node = read_node(location)
    if node is None and not is_remote(location) and any(".n5" in part for part in Path(location).parts):
        node = Node(location, "n5", None, {})
    if node is None:
        return None
    if node.array is None:
        return _in_group(node, level)
    found = _with_image(node)
    if found.image is None and level:
        raise BadInput(f"{location} is a single array and has no level {level}: leave out --level")
    return found


def _in_group(group: Node, level: int) -> Found:
    image = ome.multiscale(group.attributes)
    levels = [d["path"] for d in image["datasets"]] if image else []
    if not levels and group.kind == "n5":
        levels = list(_scales(group.location))
    if not levels:
        node = _only_array(group)
        return Found(group.location, node, node)
    if not 0 <= level < len(levels):
        raise BadInput(f"{group.location} has no level {level}: choose 0 to {len(levels) - 1}")
    node_at = read_node(within(group.location, str(levels[level]), f"{group.location}, level {level},"))
    if node_at is None or node_at.array is None:
        raise Unreadable(f"{group.location} names a level {levels[level]!r} that is not there: restore it")
    return Found(group.location, node_at, group, image, image["datasets"][level] if image else None)


def _scales(location: str) -> Iterator[str]:
    """Yield s0, s1, ... as far as an N5 group has them."""
    number = 0
    while (node := read_node(join(location, f"s{number}"))) is not None and node.array is not None:
        yield f"s{number}"
        number += 1


def _with_image(node: Node) -> Found:
    """Find the multiscale image of which an array is a level, looking up to three groups above it."""
    above, inner = parent(node.location), node.location.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    for _ in range(3):
        group = read_node(above) if above else None
        if group is None:
            break
        image = ome.multiscale(group.attributes)
        for dataset in image["datasets"] if image else ():
            if dataset.get("path", "").strip("/") == inner:
                return Found(node.location, node, group, image, dataset)
        above, inner = parent(above), f"{above.rstrip('/').rpartition('/')[2]}/{inner}"
    return Found(node.location, node, node)


def _only_array(group: Node) -> Node:
    names = _arrays_inside(group)
    if len(names) == 1 and (node := read_node(within(group.location, names[0]))) is not None:
        return node
    example = names[0] if names else "0"
    inside = f"holds the arrays {', '.join(names[:8])}" if names else "is a group without a list of its arrays"
    raise BadInput(f"{group.location} {inside}: name one of them, such as {join(group.location, example)}")


def _arrays_inside(group: Node) -> list[str]:
    """Return the names of the arrays below a group, from consolidated metadata or the local folder."""
    meta = read_json(group.location, "zarr.json") or {}
    if listed := (meta.get("consolidated_metadata") or {}).get("metadata"):
        return sorted((k for k, v in listed.items() if v.get("node_type") == "array"), key=natural)
    if listed := (read_json(group.location, ".zmetadata") or {}).get("metadata"):
        return sorted((k.removesuffix("/.zarray") for k in listed if k.endswith("/.zarray")), key=natural)
    if is_remote(group.location):
        return []
    if not Path(group.location).is_dir():
        raise NotFound(f"{group.location} does not exist")
    return sorted(_walk(Path(group.location), ""), key=natural)


def _walk(folder: Path, name: str, depth: int = 0) -> Iterator[str]:
    """Yield the arrays below a local folder without looking into their chunks."""
    node = read_node(str(folder)) if depth else None
    if node is not None and node.array is not None:
        yield name
    elif depth < 6:
        for entry in os.scandir(folder):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _walk(Path(entry.path), f"{name}/{entry.name}".lstrip("/"), depth + 1)


def _stored(found: Found) -> Stored:
    """Open the array with what its own attributes and the image it belongs to say."""
    node, holder, image = found.node, found.holder, found.image
    writable = node.kind != "n5" and not is_web(node.location)
    own = {"store_data_equal_to_fill_value": True} if writable else {}
    array = ChunkedArray(node.location, {"driver": node.kind, "open": True, **own})
    axes, size, unit = _n5_meaning(found) if node.kind == "n5" else _zarr_meaning(found)
    hidden = n5.RESERVED if node.kind == "n5" else ome.RESERVED
    attrs = {key: value for key, value in holder.attributes.items() if key not in hidden}

    def set_attrs(new: Mapping[str, Any]) -> None:
        assert not set(new) & set(hidden), f"{sorted(new)}: these names belong to the format"
        merge_attributes(holder, new)
        attrs.update(new)

    return Stored(
        path=found.name,
        format=f"OME-Zarr {ome.version_of(holder.attributes)}" if image else FORMATS[node.kind],
        shape=array.shape,
        dtype=array.dtype,
        axes=axes,
        voxel_size=size,
        unit=unit,
        offset=ome.offset_of(image, found.dataset, axes) if image and found.dataset else {},
        chunks=array.chunks,
        shards=array.shards if array.shards != array.chunks else None,
        levels=ome.levels_of(image, axes) if image else (),
        attrs=attrs,
        read=array.read,
        stamp=lambda: [sha256(read_key(node.location, KEYS[node.kind]) or b"").hexdigest(), stamp_keys(node.location)],
        write=array.write if writable else None,
        set_attrs=set_attrs if writable else None,
    )


def _n5_meaning(found: Found) -> tuple[str, dict[str, float], str]:
    """Return axes, voxel size and unit of an N5 array, from it or the group around it."""
    assert found.node.array is not None
    group = read_node(parent(found.node.location))
    size, unit = n5.size_of(found.node.attributes, group.attributes if group else {})
    return n5.axes_of(found.node.array), size, unit


def _zarr_meaning(found: Found) -> tuple[str, dict[str, float], str]:
    """Return axes, voxel size and unit of a Zarr array, from its image or the names of its dimensions."""
    assert found.node.array is not None
    ndim = len(found.node.array["shape"])
    if found.image is not None and found.dataset is not None:
        axes = ome.axes_of(found.image, ndim)
        return axes, *ome.scale_of(found.image, found.dataset, axes)
    names = found.node.array.get("dimension_names") or found.node.attributes.get("_ARRAY_DIMENSIONS") or []
    letters = "".join(str(name or "?")[:1].lower() for name in names)
    known = len(set(letters)) == ndim and set(letters) <= set("tczyx")
    return letters if known else "?" * ndim, {}, ""


def merge_attributes(node: Node, new: Mapping[str, Any]) -> None:
    """Add attributes to those stored with a group or array, in one atomic write."""
    if node.kind == "zarr3":
        meta = read_json(node.location, "zarr.json") or {}
        meta["attributes"] = {**(meta.get("attributes") or {}), **new}
        write_json(node.location, "zarr.json", meta)
        return
    key = ".zattrs" if node.kind == "zarr" else "attributes.json"
    write_json(node.location, key, {**(read_json(node.location, key) or {}), **json.loads(json.dumps(new))})
