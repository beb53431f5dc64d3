"""Read groups and arrays of Zarr 2, Zarr 3 and N5, local or remote, and their attributes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vol2vol.errors import Unreadable
from vol2vol.volumes.addresses import is_remote, join, parent
from vol2vol.volumes.formats.store import read_json, read_key, write_json

Kind = Literal["zarr3", "zarr", "n5"]


@dataclass(frozen=True)
class Node:
    """A group or an array of a hierarchy."""

    location: str
    kind: Kind
    array: Mapping[str, Any] | None
    """The metadata of an array; None for a group."""
    attributes: Mapping[str, Any]


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


def above(location: str, most: int = 3) -> Iterator[Node]:
    """Yield the groups that hold a location, nearest first, until there is none.

    Remote groups that cannot be read count as none.
    """
    for _ in range(most):
        location = parent(location)
        try:
            node = read_group(location) if location else None
        except Unreadable:
            if not is_remote(location):
                raise
            return
        if node is None:
            return
        yield node


def read_group(location: str) -> Node | None:
    """Return the group or array at a location; any folder inside an N5 container is a group."""
    node = read_node(location)
    if node is None and re.search(r"\.n5[/\\]", location):
        return Node(location, "n5", None, {})
    return node


def name_of(location: str) -> str:
    """Return the last part of a location."""
    return location.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def n5_levels(location: str) -> Iterator[str]:
    """Yield s0, s1, ... as far as an N5 group has them."""
    number = 0
    while (node := read_node(join(location, f"s{number}"))) and node.kind == "n5" and node.array is not None:
        yield f"s{number}"
        number += 1


def merge_attributes(node: Node, new: Mapping[str, Any]) -> None:
    """Add attributes to those stored with a group or array, in one atomic write."""
    if node.kind == "zarr3":
        meta = read_json(node.location, "zarr.json") or {}
        meta["attributes"] = {**(meta.get("attributes") or {}), **new}
        write_json(node.location, "zarr.json", meta)
        return
    key = ".zattrs" if node.kind == "zarr" else "attributes.json"
    write_json(node.location, key, {**(read_json(node.location, key) or {}), **json.loads(json.dumps(new))})
