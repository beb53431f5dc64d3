"""Everything tensorstore opens: keys and chunked arrays in folders, on S3 and behind HTTP.

A location is a local path or an address (`addresses.py`). On S3 the endpoint comes from `AWS_ENDPOINT_URL`; where no
credentials are configured, requests are anonymous. Google's storage finds its own credentials.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import BadInput, CannotWrite, Unreadable, UserError, one_line
from vol2vol.files import check_regular, parse_json
from vol2vol.volumes.addresses import absolute, is_remote, is_web, join, kvstore
from vol2vol.volumes.formats.documents import SECONDS, read_document
from vol2vol.volumes.leftovers import empty_leftovers
from vol2vol.volumes.stored import Slices

CACHE_BYTES = 16 << 20
"""Shard indices and chunks kept by tensorstore, per process; it takes about four times as much memory to do so."""


def context() -> Any:
    """Return the tensorstore context of this process; its threads do not survive a fork."""
    process, made = _context()
    if process != os.getpid():
        raise RuntimeError("a Zarr or N5 volume was opened before this process was forked: spawn processes that read")
    return made


@functools.cache
def _context() -> tuple[int, Any]:
    """Bound the cache and the threads, and give up on a host that is unreachable or sends nothing."""
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", f"{SECONDS:.0f}")
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "10")
    import tensorstore as ts

    threads = max(2, min(8, os.cpu_count() or 1))
    retries = {"max_retries": 4, "initial_delay": "100ms", "max_delay": "1s"}
    limits = {
        "cache_pool": {"total_bytes_limit": CACHE_BYTES},
        "data_copy_concurrency": {"limit": threads},
        "file_io_concurrency": {"limit": 2 * threads},
        "gcs_request_retries": retries,
        "http_request_retries": retries,
        "s3_request_retries": retries,
    }
    return os.getpid(), ts.Context(limits)


def refusal(location: str, error: Exception, *, writing: bool = False) -> UserError:
    """Turn what tensorstore raises into one line: what, where, the cure."""
    text = str(error).partition("\n")[0].partition(" [tensorstore_spec")[0]
    if any(word in text for word in ("No space left", "RESOURCE_EXHAUSTED", "quota", "os_error_code='28'")):
        return CannotWrite(f"{location}: the disk is full: free some space and start again")
    if any(word in text for word in ("PERMISSION_DENIED", "UNAUTHENTICATED", "Permission denied", "Read-only")):
        verb = "write" if writing else "read"
        kind = CannotWrite if writing else Unreadable
        return kind(f"{location}: no permission to {verb}: change the permissions or choose another place")
    if writing:
        return CannotWrite(f"{location} cannot be written ({one_line(text, 300)})")
    return Unreadable(f"{location} cannot be read ({one_line(text, 300)})")


@functools.lru_cache(maxsize=64)
def _keys(location: str) -> Any:
    import tensorstore as ts

    try:
        return ts.KvStore.open(kvstore(location), context=context()).result()
    except UserError:
        raise
    except ValueError as error:
        raise refusal(location, error) from error


def read_key(location: str, key: str) -> bytes | None:
    """Return the document stored under a key of a location, or None; raise `Unreadable` for one that is endless."""
    if is_web(location) or not is_remote(location):
        return read_document(join(location, key))
    try:
        found = _keys(absolute(location)).read(key).result()
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error) from error
    return None if found.state == "missing" else bytes(found.value)


def read_json(location: str, key: str) -> dict[str, Any] | None:
    """Return the JSON object under a key, or None if there is none; raise `Unreadable` if it is something else."""
    text = read_key(location, key)
    if text is None:
        return None
    try:
        value = parse_json(text)
    except ValueError as error:
        raise Unreadable(
            f"{join(location, key)} is not valid JSON ({one_line(error, 300)}): restore the file"
        ) from error
    if not isinstance(value, dict):
        raise Unreadable(f"{join(location, key)} does not hold a JSON object: restore the file")
    return value


def write_json(location: str, key: str, value: Mapping[str, Any]) -> None:
    """Store a JSON object under a key, durably and whole."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        raise BadInput(f"{join(location, key)} holds NaN or infinity, which JSON cannot: correct it") from None
    write_key(location, key, text.encode())


def write_key(location: str, key: str, value: bytes) -> None:
    """Store bytes under a key, durably and whole."""
    _make_way(location, [key])
    try:
        _keys(absolute(location)).write(key, value).result()
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error, writing=True) from error


def exchange_key(location: str, key: str, value: bytes, *, expected: bytes | None) -> bool:
    """Store bytes under a key if it still holds what is expected (None: nothing), and say whether it did."""
    store = _keys(absolute(location))
    _make_way(location, [key])
    try:
        found = store.read(key).result()
        if expected != (None if found.state == "missing" else bytes(found.value)):
            return False
        return bool(store.write(key, value, if_equal=found.stamp.generation).result().generation)
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error, writing=True) from error


def _make_way(location: str, keys: Iterable[str]) -> None:
    if not is_remote(location):
        empty_leftovers(location, keys)


def list_keys(location: str, prefix: str = "") -> list[str]:
    """Return all keys below a location that start with a prefix, relative to it; not behind HTTP."""
    import tensorstore as ts

    store = _keys(absolute(location))
    span = ts.KvStore.KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)) if prefix else ts.KvStore.KeyRange()
    try:
        return [key.decode().lstrip("/") for key in store.list(span).result()]
    except (ValueError, OSError) as error:
        raise refusal(location, error) from error


def stamp_keys(location: str, most: int = 20_000) -> str:
    """Return a digest that changes when keys below a location appear, vanish or are written anew.

    Local: sizes and times of files. Buckets: versions of objects. Of more than `most` keys (a fiftieth there) an even
    selection is looked at; nothing is known behind HTTP, or where a bucket may not be listed.
    """
    if is_web(location):
        return ""
    remote = is_remote(location)
    try:
        keys = sorted(key for key in list_keys(location) if not key.endswith(".__lock") and ".vol2vol/" not in key)
    except Unreadable:
        return ""
    digest = hashlib.sha256(repr(len(keys)).encode())
    chosen = keys[:: max(1, -(-len(keys) // (most // 50 if remote else most)))]
    if not remote:
        for key in chosen:
            about = (Path(location) / key).stat()
            digest.update(f"{key} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()
    try:
        for key, found in [(key, _keys(absolute(location)).read(key, byte_range=slice(0, 0))) for key in chosen]:
            digest.update(key.encode() + found.result().stamp.generation)
    except (ValueError, OSError) as error:
        raise refusal(location, error) from error
    return digest.hexdigest()


def delete_keys(location: str, *keys: str) -> None:
    """Delete some keys of a location; those that are not there are left at that."""
    store = _keys(absolute(location))
    try:
        for key in keys:
            store.write(key, None).result()
    except (ValueError, OSError) as error:
        raise refusal(location, error, writing=True) from error


def delete_all(location: str) -> None:
    """Delete everything below a location."""
    import tensorstore as ts

    try:
        _keys(absolute(location)).delete_range(ts.KvStore.KeyRange()).result()
    except (ValueError, OSError) as error:
        raise refusal(location, error, writing=True) from error


_LOST = re.compile(r'NOT_FOUND: chunk .*"([^"]+)" is missing')


def _bounded(slices: Slices, shape: Sequence[int]) -> list[slice]:
    return [slice(*s.indices(n)) for s, n in zip(slices, shape, strict=True)]


def lacking(location: str, key: str, more: int = 0) -> Unreadable:
    """Return the error of a volume that has lost a shard, and so many more."""
    others = f" and {more} more" if more else ""
    return Unreadable(
        f"{location} lacks {key}{others}: copy it again, or repeat the command that wrote it, which adds what is lost"
    )


class ChunkedArray:
    """A tensorstore array that is used only in the process that opened it, and waits for its writes."""

    def __init__(self, location: str, spec: dict[str, Any]) -> None:
        import tensorstore as ts

        self.location = location
        writing = bool(spec.get("create"))
        self._kind = spec["driver"]
        if writing:
            _make_way(location, ["zarr.json", ".zarray"])
        try:
            self._array = ts.open({**spec, "kvstore": kvstore(location)}, context=context()).result()
        except (ValueError, OSError) as error:
            raise refusal(location, error, writing=writing) from error
        self.shape = tuple(int(n) for n in self._array.domain.shape)
        self.dtype = np.dtype(self._array.dtype.numpy_dtype)
        layout = self._array.chunk_layout
        self.chunks = tuple(int(n or 1) for n in layout.read_chunk.shape or self.shape)
        self.shards = tuple(int(n or 1) for n in layout.write_chunk.shape or self.shape)

    def keys(self, slices: Slices) -> list[str]:
        """Return the keys of the shards (or chunks) that a block lies in, of an array as `create_volume` makes them."""
        first = ["c"] if self._kind == "zarr3" else []
        spans = [
            range(s.start // n, -(-s.stop // n)) for s, n in zip(_bounded(slices, self.shape), self.shards, strict=True)
        ]
        return ["/".join([*first, *map(str, index)]) for index in product(*spans)]

    def read(self, slices: Slices) -> np.ndarray:
        """Return a block; chunks are decoded by a few threads.

        Raises `Unreadable` where a pipe stands for a chunk, or one is not there that must not be taken for one of the
        fill value.
        """
        context()
        for key in self.keys(slices) if not is_remote(self.location) else ():
            check_regular(os.path.join(self.location, key))
            if self._kind == "zarr":
                check_regular(os.path.join(self.location, key.replace("/", ".")))
        try:
            return np.asarray(self._array[slices].read().result())
        except ValueError as error:
            if lost := _LOST.search(str(error)):
                raise lacking(self.location, lost[1].rpartition(f"{Path(self.location).name}/")[2]) from error
            raise

    def missing(self) -> list[str]:
        """Return the keys of the shards (or chunks) that are not there."""
        there = set(list_keys(self.location))
        return [key for key in self.keys((slice(None),) * len(self.shape)) if key not in there]

    def write(self, slices: Slices, block: np.ndarray) -> None:
        """Store a block; it is on disk when this returns."""
        context()
        _make_way(self.location, self.keys(slices))
        try:
            self._array[slices].write(block).result()
        except (ValueError, OSError) as error:
            raise refusal(self.location, error, writing=True) from error
