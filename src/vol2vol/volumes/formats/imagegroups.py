"""Several OME-Zarr images side by side in one group, as bioformats2raw lays them out: `OUT.zarr/NAME`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from vol2vol.errors import Unreadable
from vol2vol.volumes.addresses import join, parent
from vol2vol.volumes.formats import ome
from vol2vol.volumes.formats.nodes import merge_attributes, name_of, read_node
from vol2vol.volumes.formats.store import write_json

IMAGES = "images"
"""Attribute of such a group: the names of its images."""
LAYOUT = {"bioformats2raw.layout": 3}
SERIES = "OME"
"""The group that lists the images."""


def create_group(location: str, names: Sequence[str], *, version: str, attrs: Mapping[str, Any]) -> None:
    """Create a group for images of these names, which are written into it afterwards; it must not exist yet."""
    _write_group(location, version, {**attrs, IMAGES: list(names), **ome.MARK}, LAYOUT)
    _write_group(join(location, SERIES), version, {}, {"series": list(names)})


def _write_group(location: str, version: str, attrs: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write the metadata of a group, each file in one atomic write."""
    if version == "0.5":
        attributes = {**attrs, "ome": {"version": version, **metadata}}
        write_json(location, "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
        return
    write_json(location, ".zattrs", {**attrs, **metadata})
    write_json(location, ".zgroup", {"zarr_format": 2})


def set_attributes(location: str, attrs: Mapping[str, Any]) -> None:
    """Add attributes to those of a group."""
    node = read_node(location)
    assert node is not None, f"{location} is not a group"
    merge_attributes(node, attrs)


def images_of(location: str) -> set[str]:
    """Return the names of the images in a group written by vol2vol, and of the group that lists them."""
    try:
        node = read_node(location)
    except Unreadable:
        return set()
    if node is None or node.attributes.get(ome.CREATOR) != ome.MARK[ome.CREATOR]:
        return set()
    names = node.attributes.get(IMAGES)
    return {SERIES, *map(str, names)} if isinstance(names, list) else set()


def volumes_in(location: str) -> list[str]:
    """Return the images of a group written by vol2vol; for any other location, the location itself."""
    return [join(location, name) for name in sorted(images_of(location) - {SERIES})] or [location]


def is_expected(location: str) -> bool:
    """Say whether a location lies in a group written by vol2vol that lists it as an image."""
    return name_of(location) in images_of(parent(location)) - {SERIES}


def within(key: str, images: Container[str]) -> str:
    """Return a key of a group relative to the image that it belongs to, other keys unchanged."""
    image, _, inner = key.partition("/")
    return inner or "zarr.json" if image in images else key
