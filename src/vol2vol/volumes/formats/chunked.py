"""Zarr 2, Zarr 3, OME-Zarr and N5, local or remote: find the array that a path means, and read its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, Unreadable, UserError, one_line
from vol2vol.volumes.addresses import is_remote, is_web, within
from vol2vol.volumes.calibration import Calibration, agree, letters
from vol2vol.volumes.completeness import is_output
from vol2vol.volumes.display import channel_names, stated_omero
from vol2vol.volumes.formats import codecs, n5, ngff, ome, spimdata
from vol2vol.volumes.formats.attributes import Dialect, native
from vol2vol.volumes.formats.chunked_array import ChunkedArray
from vol2vol.volumes.formats.containers import from_companion, only_node
from vol2vol.volumes.formats.nodes import Node, above, merge_attributes, n5_levels, name_of, read_group, read_node
from vol2vol.volumes.formats.store import read_key, stamp_keys
from vol2vol.volumes.stored import READ_ERRORS, Stored

FORMATS = {"zarr3": "Zarr 3", "zarr": "Zarr 2", "n5": "N5"}
KEYS = {"zarr3": "zarr.json", "zarr": ".zarray", "n5": "attributes.json"}


@dataclass(frozen=True)
class Located:
    """The array that a path means, with its group and multiscale image."""

    name: str
    node: Node
    holder: Node
    image: Mapping[str, Any] | None = None
    dataset: Mapping[str, Any] | None = None


def open_chunked(location: str, *, level: int) -> Stored | None:
    """Open the array a path means: itself, a level of a multiscale image, or the only array in a group.

    Returns None where there is no Zarr or N5. Raises `NotFound` and `BadInput`, listing the available arrays.
    """
    try:
        located = _locate(location, level)
        return None if located is None else _stored(located)
    except UserError:
        raise
    except READ_ERRORS as error:
        raise Unreadable(f"{location} has invalid metadata ({one_line(error, 300)}): correct its JSON files") from error


def _locate(location: str, level: int) -> Located | None:
    node = read_node(location) if is_remote(location) else read_group(location)
    if node is None:
        return None
    return _in_group(node, level) if node.array is None else _array(node, level)


def _array(node: Node, level: int) -> Located:
    located = _with_image(node)
    if level:
        kind = "is a single array" if located.image is None else "is a level itself"
        raise BadInput(f"{node.location} {kind} and has no level {level}: leave out `level`")
    return located


def _in_group(group: Node, level: int) -> Located:
    image = ngff.multiscale(group.attributes)
    if image:
        ngff.refuse_unknown(group.location, group.attributes)
    levels = [d["path"] for d in image["datasets"]] if image else []
    if not levels and group.kind == "n5":
        levels = list(n5_levels(group.location))
    if not levels:
        inner = only_node(group)
        located = _in_group(inner, level) if inner.array is None else _array(inner, level)
        return replace(located, name=group.location)
    if not 0 <= level < len(levels):
        raise BadInput(f"{group.location} has no level {level}: choose 0 to {len(levels) - 1}")
    node_at = read_node(within(group.location, str(levels[level]), f"{group.location}, level {level},"))
    if node_at is None or node_at.array is None:
        raise Unreadable(f"{group.location} names a level {levels[level]!r} that does not exist: restore it")
    return Located(group.location, node_at, group, image, image["datasets"][level] if image else None)


def _with_image(node: Node) -> Located:
    """Find the multiscale image of which an array is a level, looking up to three groups above it."""
    inner = name_of(node.location)
    for group in above(node.location):
        image = ngff.multiscale(group.attributes)
        for dataset in image["datasets"] if image else ():
            if dataset.get("path", "").strip("/") == inner:
                ngff.refuse_unknown(group.location, group.attributes)
                return Located(node.location, node, group, image, dataset)
        inner = f"{name_of(group.location)}/{inner}"
    return Located(node.location, node, node)


def _stored(located: Located) -> Stored:
    """Open an array with the metadata of its own and of its image."""
    node, holder, image = located.node, located.holder, located.image
    assert node.array is not None
    mended = codecs.readable(node.location, node.kind, node.array)
    writable = node.kind != "n5" and mended is None and not is_web(node.location)
    complete = is_output(holder.attributes) and not is_web(node.location)
    array = _decoded(node, mended, writable=writable, complete=complete)
    stated = _calibration(located, len(array.shape))
    count = array.shape[stated.axes.index("c")] if "c" in stated.axes else 1
    hidden = n5.RESERVED if node.kind == "n5" else ome.RESERVED
    attrs = {key: value for key, value in holder.attributes.items() if key not in hidden}

    def set_attrs(new: Mapping[str, Any]) -> None:
        assert not set(new) & set(hidden), f"{sorted(new)}: these names belong to the format"
        merge_attributes(holder, new)
        attrs.update(new)

    return Stored(
        path=located.name,
        format=f"OME-Zarr {ngff.version_of(holder.attributes)}" if image else FORMATS[node.kind],
        shape=array.shape,
        dtype=array.dtype,
        axes=stated.axes,
        voxel_size=stated.voxel_size,
        unit=stated.unit,
        offset=stated.offset,
        chunks=array.chunks,
        shards=array.shards if array.shards != array.chunks else None,
        levels=ngff.levels_of(located.name, image, len(array.shape)) if image else (),
        attrs=attrs,
        channel_names=channel_names(stated_omero(holder.attributes) if image else None, count),
        read=array.read,
        stamp=lambda: [sha256(read_key(node.location, KEYS[node.kind]) or b"").hexdigest(), stamp_keys(node.location)],
        missing=array.missing if complete else tuple,
        write=array.write if writable else None,
        set_attrs=set_attrs if writable else None,
    )


def _decoded(node: Node, mended: dict[str, Any] | None, *, writable: bool, complete: bool) -> ChunkedArray:
    """Open an array, with `mended` metadata in place of its own if given; name a codec that cannot be read.

    In a `complete` array every chunk is stored, so a missing chunk is an error and does not mean the fill value.
    """
    assert node.array is not None
    own = {"store_data_equal_to_fill_value": True} if writable else {}
    own |= {"fill_missing_data_reads": False} if complete else {}
    assumed = {} if mended is None else {"metadata": mended, "assume_metadata": True}
    try:
        return ChunkedArray(node.location, {"driver": node.kind, "open": True, **own, **assumed})
    except Unreadable as error:
        if problem := codecs.refused(node.kind, node.array):
            raise Unreadable(f"{node.location} {problem}") from error
        raise


def _calibration(located: Located, ndim: int) -> Calibration:
    """Merge the statements of an array, of its image and of the groups above it."""
    node, image, dataset = located.node, located.image, located.dataset
    assert node.array is not None
    groups = [group.attributes for group in above(node.location, 2)]
    of_image = [] if image is None or dataset is None else [ngff.calibrate(located.name, image, dataset, ndim)]
    if node.kind == "n5":
        of_image = [replace(statement, axes=native(statement.axes)) for statement in of_image]
        stated = [*of_image, *n5.statements(node.attributes, groups, name_of(node.location), ndim)]
        stated += _of_viewer(node, groups)
        merged = agree(located.name, stated, ndim)
        return merged if set(merged.axes) != {"?"} else replace(merged, axes=n5.default_axes(ndim))
    named = letters(node.array.get("dimension_names") or ())
    stated = [*of_image, Calibration(source="its dimension_names", axes=named)]
    dialect = Dialect(ndim=ndim)
    axes = next((statement.axes for statement in stated if statement.axes), "")
    stated += dialect.statements(node.attributes, "the array", axes=axes)
    if not of_image and groups and not re.fullmatch(r"s[1-9]\d*", name_of(node.location)):
        stated += dialect.statements(groups[0], "the group above", axes=axes)
    if image and of_image and not of_image[0].voxel_size and dataset is image["datasets"][0]:
        stated += [statement for statement in [from_companion(located.holder)] if statement]
    return agree(located.name, stated, ndim)


def _of_viewer(node: Node, groups: list[Mapping[str, Any]]) -> list[Calibration]:
    """Return the statements about an array in the XML next to an N5 container of BigDataViewer."""
    view = spimdata.N5_LEVEL.fullmatch(Path(node.location).resolve().as_posix())
    factors = n5.factors_of(node.attributes, groups, name_of(node.location))
    if is_remote(node.location) or view is None or factors is None or node.array is None:
        return []
    shape = [int(n) for n in node.array["dimensions"][::-1]]
    return spimdata.calibrate(Path(view["container"]), int(view["setup"]), factors=factors, shape=shape)
