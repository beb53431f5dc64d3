"""Find the files that hold the voxels of an HDF5 data set, and check its filters.

An HDF5 file may refer to others: external links, external storage and sources of virtual data sets. Those in its own
folder are read, others refused; a missing or truncated one is an error, where HDF5 itself would return zeros.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from contextlib import suppress
from importlib import import_module
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import check_regular
from vol2vol.volumes.addresses import within
from vol2vol.volumes.stored import Slices

FILTERS = {
    4: "szip",
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "zstd",
    32017: "SZ",
    32024: "SZ3",
    32026: "Blosc2",
    32027: "Sperr",
}
"""Names of filters by their registered numbers."""
SEL_ALL = 3
"""HDF5's code for a selection of the whole data set."""
_HOPS = 32
"""Maximum length of a chain of links or virtual data sets."""
_DEFLATE = 1
"""HDF5's code of the deflate filter."""
_RATIO = 1032
"""Largest compression ratio of deflate."""
_LARGEST = 1 << 30
"""Bytes that a chunk may inflate to without a check."""
_PIECE = 1 << 20
_LOOKED_AT = 8
"""Number of chunks that are checked for whether a filter was applied."""


def walk(file: Any, path: Path, name: str) -> Any:
    """Return the object with a name inside a file, None if there is none; links to other files are checked first.

    Raises `BadInput` and `NotFound`, naming the other file.
    """
    import h5py

    item, parts, hops = file, deque(part for part in name.split("/") if part), 0
    while parts:
        part = parts.popleft()
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.HardLink):
            item = item.get(part)
            continue
        if (hops := hops + 1) > _HOPS:
            raise BadInput(f"{path}:/{name} is a chain of links without end: name another array")
        if isinstance(link, h5py.SoftLink):
            item = item.file if link.path.startswith("/") else item
            parts.extendleft(reversed([step for step in link.path.split("/") if step]))
            continue
        other = _other(Path(item.file.filename), link.filename, path)
        with _opened(other) as target:
            if walk(target, other, link.path) is None:
                raise NotFound(f"{path}:/{name} leads to {other}:{link.path}, which does not exist: restore it")
        item = item.get(part)
    return item


def source(data: Any, path: Path) -> tuple[Any, list[Path]]:
    """Return the array to slice for a data set, and the other files that hold its voxels.

    `path` is the file that the user named. Raises `BadInput` where one lies outside its folder, `NotFound` where one
    does not exist, `Unreadable` where one is truncated or a filter is not installed.
    """
    return _source(data, path, 0)


def _source(data: Any, path: Path, depth: int) -> tuple[Any, list[Path]]:
    if depth > _HOPS:
        raise BadInput(f"{path}:{data.name} is composed of itself: name another array")
    here, files, home = Path(data.file.filename), [], os.path.realpath(path.parent)
    if os.path.realpath(here) != os.path.realpath(path):
        files.append(_other(path, os.path.relpath(os.path.realpath(here), home), path))
    _check_filters(data, f"{path}:{data.name}")
    if data.external:
        voxels = _outside(data, here, path)
        return voxels, [*files, Path(str(voxels.filename))]
    if data.is_virtual:
        files += _check_virtual(data, here, path, depth)
    return data, files


def _other(holder: Path, name: str, path: Path) -> Path:
    """Return the path of a file that another one (`holder`) names, within the folder of the file that was opened."""
    target = Path(within(holder.parent, name, holder))
    if not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(path.parent)):
        raise BadInput(f"{holder} names {name!r}, which lies outside the folder of {path}: copy it there")
    if not target.exists():
        raise NotFound(f"{holder} names {name!r}, which does not exist: copy it into {holder.parent}")
    check_regular(target)
    return target


def _opened(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise Unreadable(f"{path} is not a readable HDF5 file ({one_line(error, 300)}): restore it") from error


def _outside(data: Any, here: Path, path: Path) -> np.memmap:
    """Return the voxels of external storage, which HDF5 would look for in the current folder and pad with 0."""
    if len(data.external) != 1 or data.size == 0:
        raise BadInput(f"{path}:{data.name} is spread over {len(data.external)} raw files: save it again as one array")
    name, offset, _ = data.external[0]
    other, needed = _other(here, name, path), offset + data.size * data.dtype.itemsize
    if (size := other.stat().st_size) < needed:
        raise Unreadable(f"{other} is cut off: it has {size} of {needed} bytes of {path}: restore the file")
    return np.memmap(other, data.dtype, "r", offset, data.shape)


def _check_virtual(data: Any, here: Path, path: Path, depth: int) -> list[Path]:
    """Return the source files of a virtual data set; raise where one is missing or cannot be read."""
    import h5py

    files: list[Path] = []
    parts: dict[tuple[str, str], list[Any]] = {}
    for mapping in data.virtual_sources():
        parts.setdefault((mapping.file_name, mapping.dset_name), []).append(mapping)
    for (name, inner), mappings in parts.items():
        if "%b" in name or "%b" in inner:
            raise BadInput(f"{path}:{data.name} is composed of numbered files ({name}): save it again as one array")
        other = here if name == "." else _other(here, name, path)
        with _opened(other) as file:
            item = walk(file, other, inner)
            if not isinstance(item, h5py.Dataset):
                raise NotFound(f"{path}:{data.name} is composed of {other}:{inner}, which does not exist: restore it")
            if item.external:
                raise BadInput(f"{other}:{inner} keeps its voxels in another file: save {path} again as one array")
            if any(not _holds(item, mapping) for mapping in mappings):
                raise Unreadable(f"{other}:{inner} has {item.shape} values, {path} needs more of it: restore it")
            files += [*([] if name == "." else [other]), *_source(item, path, depth + 1)[1]]
    return list(dict.fromkeys(files))


def _holds(item: Any, mapping: Any) -> bool:
    """Say whether a data set is large enough for the part of a virtual one that is mapped to it."""
    space = mapping.src_space
    if space.get_select_type() == SEL_ALL:
        return bool(item.size == mapping.vspace.get_select_npoints())
    ends = space.get_select_bounds()[1] if space.get_select_npoints() else ()
    return all(last < size for last, size in zip(ends, item.shape, strict=False))


def _check_filters(data: Any, name: str) -> None:
    """Raise `Unreadable`, naming the filter and the cure, where a filter of the stored chunks is not installed."""
    import h5py

    settings = data.id.get_create_plist()
    filters = [settings.get_filter(number) for number in range(settings.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        return
    with suppress(ImportError):
        import_module("hdf5plugin")  # makes its filters known to HDF5
    for number, (code, flags, _, label) in enumerate(filters):
        optional = flags & h5py.h5z.FLAG_OPTIONAL
        if h5py.h5z.filter_avail(code) or (optional and not _is_applied(data, number)):
            continue
        what = FILTERS.get(code) or label.decode(errors="replace") or "of another program"
        raise Unreadable(
            f"{name} is compressed with filter {code} ({one_line(what, 40)}), which is not installed: "
            "pip install hdf5plugin, or write it again with gzip where it can be read (h5repack -f GZIP=4 IN OUT)"
        )


def read_block(data: Any, slices: Slices) -> np.ndarray:
    """Return a block of a data set; raise `ValueError` where a chunk inflates to more than its size.

    HDF5 allocates as much memory as a deflated chunk inflates to, up to a thousand times its length. Therefore chunks
    whose stored length is suspicious, or so long that they may inflate to `_LARGEST`, are first inflated in pieces.
    """
    settings = data.id.get_create_plist()
    codes = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())] if data.chunks else []
    if _DEFLATE in codes:
        number, last = codes.index(_DEFLATE), len(codes) - 1 - codes[::-1].index(_DEFLATE)
        if number != last:
            raise ValueError("it is deflated twice")
        _check_inflated(data, slices, number)
    return np.asarray(data[slices])


def _check_inflated(data: Any, slices: Slices, number: int) -> None:
    limit = prod(data.chunks) * data.dtype.itemsize + 4  # and a checksum that another filter has added
    spans = [range(s.start // n * n, s.stop, n) for s, n in zip(slices, data.chunks, strict=True)]
    for place in product(*spans):
        stored = data.id.get_chunk_info_by_coord(place)
        if stored.byte_offset is None or stored.size <= min(limit, _LARGEST // _RATIO):
            continue
        skipped, raw = data.id.read_direct_chunk(place)
        if not skipped & (1 << number) and _inflates(raw, limit):
            raise ValueError(f"the chunk at {place} inflates to more than the {limit} bytes that a chunk has")


def _inflates(raw: bytes, most: int) -> bool:
    """Say whether deflated bytes inflate to more than `most` bytes."""
    stream = zlib.decompressobj()
    count = len(stream.decompress(raw, _PIECE))
    while count <= most and stream.unconsumed_tail:
        count += len(stream.decompress(stream.unconsumed_tail, _PIECE))
    return count > most


def _is_applied(data: Any, number: int) -> bool:
    """Say whether any of the first chunks went through an optional filter, which a writer may skip."""
    count = min(data.id.get_num_chunks(), _LOOKED_AT)
    return any(not data.id.get_chunk_info(index).filter_mask & (1 << number) for index in range(count))
