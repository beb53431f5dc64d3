"""Find the only image or array below a group, or list those to choose from.

Handles containers of bioformats2raw, plates and wells of OME-Zarr, groups of BigDataViewer and other groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.volumes.addresses import is_remote, join, within
from vol2vol.volumes.axes import natural
from vol2vol.volumes.calibration import Calibration
from vol2vol.volumes.formats import ome
from vol2vol.volumes.formats.ngff import multiscale, own
from vol2vol.volumes.formats.nodes import Node, above, n5_levels, name_of, read_node
from vol2vol.volumes.formats.store import read_json, read_key

LAYOUT = "bioformats2raw.layout"
_LISTED = 8
"""Maximum number of names in a message."""


def only_node(group: Node) -> Node:
    """Return the only image (a group) or array below a group; raise `BadInput` listing the choice."""
    images = list(islice((name for name in _declared(group) if _exists(group, name)), _LISTED + 1))
    names, kind = (images, "images") if images else _inside(group)
    if len(names) == 1 and (node := read_node(within(group.location, names[0]))) is not None:
        return node
    example = names[0] if names else "0"
    more = " and more" if len(names) > _LISTED else ""
    inside = f"holds the {kind} {', '.join(names[:_LISTED])}{more}"
    if not names:
        inside = "is a group without a list of its arrays"
    raise BadInput(f"{group.location} {inside}: name one of them, such as {join(group.location, example)}")


def _declared(group: Node) -> Iterator[str]:
    """Yield the images listed in a plate, a well or a container of bioformats2raw."""
    stated = own(group.attributes)
    if isinstance(stated.get("plate"), dict):
        for well in stated["plate"].get("wells") or ():
            node = read_node(within(group.location, str(well["path"])))
            yield from (f"{well['path']}/{field}" for field in (_fields(node) if node else ()))
    elif isinstance(stated.get("well"), dict):
        yield from _fields(group)
    elif LAYOUT in stated:
        yield from series(group)


def _fields(well: Node) -> list[str]:
    images = (own(well.attributes).get("well") or {}).get("images") or ()
    return [str(image["path"]) for image in images]


def series(container: Node) -> Iterator[str]:
    """Yield the images of a container of bioformats2raw in the order of its OME-XML."""
    metadata = read_node(join(container.location, "OME"))
    listed = own(metadata.attributes).get("series") if metadata else None
    if isinstance(listed, list):
        yield from map(str, listed)
        return
    for number in count():
        if not _exists(container, str(number)):
            return
        yield str(number)


def _exists(group: Node, name: str) -> bool:
    return read_node(within(group.location, name)) is not None


def from_companion(image: Node) -> Calibration | None:
    """Return the voxel size and place of an image in the OME-XML of its bioformats2raw container, or None."""
    for container in above(image.location):
        if LAYOUT not in own(container.attributes):
            continue
        text = read_key(join(container.location, "OME"), "METADATA.ome.xml")
        names = list(series(container)) if text is not None else []
        inner = join(image.location)[len(container.location) :].strip("/\\").replace("\\", "/")
        inner = inner if inner in names else name_of(image.location)
        if text is None or inner not in names:
            return None
        root = ome.parse_xml(join(container.location, "OME", "METADATA.ome.xml"), text.decode(errors="replace"))
        root = ome.only_image(root, names.index(inner))
        size, unit = ome.size_from_xml(root)
        offset = ome.offset_from_xml(root, unit)
        return Calibration(source="OME/METADATA.ome.xml", voxel_size=size, offset=offset, unit=unit)
    return None


def _inside(group: Node) -> tuple[list[str], str]:
    """Return the names of the images below a group, or else of its arrays, and a word for their kind."""
    nodes = dict(_nodes(group))
    images = [name for name, is_image in nodes.items() if is_image]
    arrays = [name for name, is_image in nodes.items() if not is_image]
    if not images or arrays:
        return sorted(nodes, key=natural), "images and arrays" if images else "arrays"
    return sorted(images, key=natural), "images"


def _nodes(group: Node) -> Iterator[tuple[str, bool]]:
    """Yield images and arrays below a group, from consolidated metadata or the local folder."""
    if (listed := _consolidated(group)) is not None:
        images = [name for name, (_, attributes) in listed.items() if multiscale(attributes)]
        for name, (is_array, _) in listed.items():
            if name in images:
                yield name, True
            elif is_array and not any(name.startswith(f"{image}/") for image in images):
                yield name, False
        return
    if is_remote(group.location):
        return
    if not Path(group.location).is_dir():
        raise NotFound(f"{group.location} does not exist")
    yield from _walk(Path(group.location), "")


def _consolidated(group: Node) -> dict[str, tuple[bool, Mapping[str, Any]]] | None:
    """Return the nodes below a group in consolidated metadata: whether each is an array, and its attributes."""
    meta = read_json(group.location, "zarr.json") or {}
    if listed := (meta.get("consolidated_metadata") or {}).get("metadata"):
        return {k: (v.get("node_type") == "array", v.get("attributes") or {}) for k, v in listed.items()}
    listed = (read_json(group.location, ".zmetadata") or {}).get("metadata")
    if not listed:
        return None
    names = {key.rpartition("/")[0] for key in listed if "/" in key}
    return {name: (f"{name}/.zarray" in listed, listed.get(f"{name}/.zattrs") or {}) for name in sorted(names)}


def _walk(folder: Path, name: str, depth: int = 0) -> Iterator[tuple[str, bool]]:
    """Yield images and arrays below a local folder without looking into images or chunks."""
    node = read_node(str(folder)) if depth else None
    if node is not None and node.array is not None:
        yield name, False
    elif depth and ((node and multiscale(node.attributes)) or next(islice(n5_levels(str(folder)), 1), None)):
        yield name, True
    elif depth < 6:
        try:
            entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except PermissionError:
            raise Unreadable(f"{folder}: no permission to read: change the permissions") from None
        for entry in entries:
            if not entry.startswith("."):
                yield from _walk(folder / entry, f"{name}/{entry}".lstrip("/"), depth + 1)
