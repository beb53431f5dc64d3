"""Rewrite the codec metadata of other programs for Zarr and N5 so that tensorstore accepts them.

Only unambiguous metadata are rewritten: settings that matter only to writers (levels, threads, checksums stated in the
frame), different names of the same codec, types and fill values as text. Other codecs are refused by name.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from vol2vol.errors import Unreadable
from vol2vol.volumes.addresses import is_remote

READ = {
    "zarr": ("blosc", "gzip", "zlib", "bz2", "zstd"),
    "zarr3": ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed"),
    "n5": ("raw", "gzip", "bzip2", "xz", "blosc", "zstd"),
}
"""Codecs by format."""
_KEPT = {
    "zarr": [
        "zarr_format",
        "shape",
        "chunks",
        "dtype",
        "compressor",
        "fill_value",
        "order",
        "filters",
        "dimension_separator",
    ],
    "n5": ("dimensions", "blockSize", "dataType", "compression"),
}
"""Keys that decide how chunks are read. In Zarr 3 all keys but `_ANNOTATIONS` do."""
_ANNOTATIONS = ("attributes", "consolidated_metadata")
_LEVELS = {
    "gzip": ("level", 0, 9, 6),
    "zlib": ("level", 0, 9, 6),
    "bz2": ("level", 1, 9, 1),
    "zstd": ("level", -131072, 22, 3),
    "blosc": ("clevel", 0, 9, 5),
}
"""Name, minimum, maximum and usual value of the level, which only writers need."""
_WRITERS = {"nthreads", "nbWorkers", "checksum", "typesize"}
_TYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])|bool|u?int(8|16|32|64)|float(16|32|64)")
_SHARED = {f"numcodecs.{name}": name for name in ("blosc", "gzip", "zstd")} | {"endian": "bytes"}
"""Codecs of zarr-python's numcodecs, and of drafts, whose bytes are those of a standard codec."""


def readable(location: str, kind: str, array: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the rewritten metadata of an array, None where its own can be used.

    `kind` is `zarr3`, `zarr` or `n5`. Raises `Unreadable` for a fill value that is not a value of the array's type.
    """
    kept = {key: array[key] for key in _KEPT.get(kind, array) if key in array and key not in _ANNOTATIONS}
    mended = {"zarr": _zarr2, "zarr3": _zarr3, "n5": _n5}[kind](location, {**kept, **_old_n5(kind, array)})
    same = json.dumps(mended, sort_keys=True) == json.dumps(kept, sort_keys=True)  # where 1 is not true
    dialect = kind == "n5" and not {"axes", "units", "resolution"}.isdisjoint(array)  # tensorstore refuses dialects
    return None if same and not dialect and _is_strict(array) else mended


def refused(kind: str, array: Mapping[str, Any]) -> str:
    """Return which codec or type of an array cannot be read, and the cure; "" if all can."""
    cure = "save it again with zstd, gzip or Blosc"
    program = "Fiji, or another program that reads it," if kind == "n5" else "zarr-python"
    unknown = [name for name in _names(kind, array) if name not in READ[kind]]
    if unknown:
        return f"is stored with the codec {unknown[0]}, which vol2vol cannot read: open it in {program} and {cure}"
    if array.get("filters"):
        names = ", ".join(str(_name(filter_)) for filter_ in array["filters"])
        return f"is stored with the filter {names}, which vol2vol cannot read: open it in {program} and save it without"
    if kind == "zarr" and not (isinstance(array.get("dtype"), str) and _TYPE.fullmatch(array["dtype"])):
        return f"holds {json.dumps(array.get('dtype'))}: convert it to integers or floats"
    return ""


def _names(kind: str, array: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of all codecs of an array, those inside shards too."""
    if kind == "zarr3":
        yield from _inner_names(array.get("codecs"))
    elif coder := array.get("compressor" if kind == "zarr" else "compression"):
        yield _name(coder)


def _inner_names(codecs: Any) -> Iterator[str]:
    for codec in codecs if isinstance(codecs, list) else ():
        yield _SHARED.get(_name(codec), _name(codec))
        configuration = codec.get("configuration") if isinstance(codec, dict) else None
        if isinstance(configuration, dict):
            yield from _inner_names(configuration.get("codecs"))
            yield from _inner_names(configuration.get("index_codecs"))


def _name(codec: Any) -> str:
    return str(codec.get("name") or codec.get("id") or codec.get("type")) if isinstance(codec, dict) else str(codec)


def _is_strict(array: Mapping[str, Any]) -> bool:
    """Say whether metadata are JSON without NaN and infinity, which Python writes but tensorstore refuses."""
    try:
        json.dumps(array, allow_nan=False)
    except ValueError:
        return False
    return True


def _zarr2(location: str, meta: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind := meta.get("dtype"), str) and _TYPE.fullmatch(kind):
        meta["dtype"] = np.dtype(kind).str
        meta["fill_value"] = _fill(location, meta.get("fill_value"), np.dtype(kind))
    if meta.get("dimension_separator") is None and _is_nested(location):
        meta["dimension_separator"] = "/"
    if isinstance(coder := meta.get("compressor"), dict) and "id" in coder:
        meta["compressor"] = _for_readers(str(coder["id"]).lower(), coder, "id")
    usual = ("dimension_separator", "order")
    return {key: value for key, value in meta.items() if value is not None or key not in usual}


def _is_nested(location: str) -> bool:
    """Say whether the chunks of a local array lie in nested folders; early programs did not state it."""
    if is_remote(location):
        return False
    with os.scandir(location) as entries:
        first = next((entry for entry in entries if entry.name[:1].isdecimal()), None)
        return first is not None and first.name.isdecimal() and first.is_dir()


def _zarr3(location: str, meta: dict[str, Any]) -> dict[str, Any]:
    named = meta.get("data_type")
    if isinstance(named, dict) and not named.get("configuration"):
        meta["data_type"] = named = named.get("name")
    if isinstance(named, str) and _TYPE.fullmatch(named):
        meta["data_type"] = np.dtype(named).name
        if not str(meta.get("fill_value")).startswith("0x"):  # the bits of a float, which tensorstore reads
            meta["fill_value"] = _fill(location, meta.get("fill_value"), np.dtype(named))
    for key in ("chunk_grid", "chunk_key_encoding"):
        if isinstance(meta.get(key), str):
            meta[key] = {"name": meta[key]}
    if isinstance(meta.get("codecs"), list):
        meta["codecs"] = [_codec3(codec) for codec in meta["codecs"]]
    return meta


def _codec3(codec: Any) -> Any:
    """Return a codec of Zarr 3 under its standard name, with settings that tensorstore takes."""
    if isinstance(codec, str):
        codec = {"name": codec}
    if not isinstance(codec, dict) or not isinstance(codec.get("configuration", {}), dict):
        return codec
    name = _SHARED.get(str(codec.get("name")), codec.get("name"))
    configuration = dict(codec.get("configuration", {}))
    for key in ("codecs", "index_codecs"):
        if isinstance(configuration.get(key), list):
            configuration[key] = [_codec3(inner) for inner in configuration[key]]
    if name in ("gzip", "zstd"):
        configuration = _usual_level(name, {"level": None, **configuration})
    elif name == "blosc" and (str(codec["name"]) in _SHARED or not _is_whole_blosc(configuration)):
        configuration = {
            "cname": configuration.get("cname", "lz4"),
            "clevel": 5,
            "shuffle": "noshuffle",
            "blocksize": 0,
        }
    return (
        {"name": name, "configuration": configuration} if configuration or "configuration" in codec else {"name": name}
    )


def _is_whole_blosc(configuration: Mapping[str, Any]) -> bool:
    """Say whether Blosc settings have all that tensorstore requires; to read, the headers of chunks suffice."""
    return "blocksize" in configuration and ("typesize" in configuration or configuration.get("shuffle") == "noshuffle")


def _old_n5(kind: str, array: Mapping[str, Any]) -> dict[str, Any]:
    """Return the compression that the first version of N5 stated as `compressionType`."""
    old = array.get("compressionType")
    return {"compression": {"type": old}} if kind == "n5" and old and not array.get("compression") else {}


def _n5(location: str, meta: dict[str, Any]) -> dict[str, Any]:
    coder = meta.get("compression")
    if isinstance(coder, str):
        coder = {"type": coder}
    if isinstance(coder, dict) and "type" in coder:
        coder = coder if coder["type"] == "gzip" else _for_readers(str(coder["type"]), coder, "type")
    return {**meta, "compression": coder, "dataType": str(meta.get("dataType")).lower()}


def _for_readers(name: str, coder: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return a compressor without settings that only writers need."""
    return _usual_level(name, {**{key: value for key, value in coder.items() if key not in _WRITERS}, label: name})


def _usual_level(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """Return settings with a level within the limits; any level can be read."""
    if name in _LEVELS:
        key, low, high, usual = _LEVELS[name]
        if key in configuration and not (isinstance(configuration[key], int) and low <= configuration[key] <= high):
            configuration[key] = usual
    return configuration


def _fill(location: str, value: Any, kind: np.dtype) -> Any:
    """Return a fill value as JSON of its type, from a number, text, base64 or NaN."""
    if value is None:
        return None
    try:
        number = _number(value, kind)
    except (ValueError, OverflowError, TypeError):
        shown = repr(str(value)[:40])
        raise Unreadable(f"{location}: its fill value {shown} is not {kind.name}: correct the metadata") from None
    if kind.kind == "f" and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return value if type(value) is not str and not isinstance(number, bool) else number


def _number(value: Any, kind: np.dtype) -> Any:
    if isinstance(value, str) and value.endswith("="):
        raw = base64.b64decode(value, validate=True)
        return np.frombuffer(raw, kind)[0].item() if len(raw) == kind.itemsize else int(value)
    if kind.kind == "b":
        words: dict[Any, bool] = {"true": True, "false": False, "1": True, "0": False}
        return words[str(value).lower()] if str(value).lower() in words else int("?")
    if kind.kind == "f":
        return float(value)
    number = int(value) if isinstance(value, str) else value
    limits = np.iinfo(kind)
    if int(number) != number or not limits.min <= number <= limits.max:
        raise ValueError(value)
    return number
