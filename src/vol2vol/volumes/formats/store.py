"""Read, write, list and delete keys in folders, on S3 and over HTTP, through tensorstore.

A location is a local path or an address (`addresses.py`). On S3 the endpoint comes from `AWS_ENDPOINT_URL`; where no
credentials are configured, requests are anonymous. Google's storage finds its own credentials.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, CannotWrite, Unreadable, UserError, one_line
from vol2vol.files import parse_json
from vol2vol.volumes.addresses import absolute, is_remote, is_web, join, kvstore
from vol2vol.volumes.formats.documents import SECONDS, read_document
from vol2vol.volumes.leftovers import empty_leftovers

CACHE_BYTES = 16 << 20
"""Shard indices and chunks kept by tensorstore, per process; this takes about four times as much memory."""


def context() -> Any:
    """Return the tensorstore context of this process; its threads do not survive a fork."""
    process, shared = _context()
    if process != os.getpid():
        raise RuntimeError("a Zarr or N5 volume was opened before this process was forked: spawn processes that read")
    return shared


@functools.cache
def _context() -> tuple[int, Any]:
    """Return the process and its context, with limits on cache, threads and waiting for a host."""
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
    """Convert an error of tensorstore to one line: what, where, the cure."""
    text = str(error).partition("\n")[0].partition(" [tensorstore_spec")[0]
    if any(word in text for word in ("No space left", "RESOURCE_EXHAUSTED", "quota", "os_error_code='28'")):
        return CannotWrite(f"{location}: the disk is full: free some space and start again")
    if any(word in text for word in ("PERMISSION_DENIED", "UNAUTHENTICATED", "Permission denied", "Read-only")):
        verb = "write" if writing else "read"
        kind = CannotWrite if writing else Unreadable
        return kind(f"{location}: no permission to {verb}: change the permissions or choose another place")
    if number := re.search(r"os_error_code='(\d+)'", text):  # what the system says, without tensorstore's words
        text = os.strerror(int(number[1]))
    if writing:
        return CannotWrite(f"{location} cannot be written ({one_line(text, 300)}): choose another place")
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
    """Return the document stored under a key of a location, or None; raise `Unreadable` for one that is too long."""
    if is_web(location) or not is_remote(location):
        return read_document(join(location, key))
    try:
        result = _keys(absolute(location)).read(key).result()
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error) from error
    return None if result.state == "missing" else bytes(result.value)


def read_range(location: str, key: str, part: slice) -> bytes | None:
    """Return a byte range of a key, None if it does not exist or cannot be read."""
    try:
        result = _keys(absolute(location)).read(key, byte_range=part).result()
    except (ValueError, OSError):
        return None
    return None if result.state == "missing" else bytes(result.value)


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
    """Store a JSON object under a key, durably and atomically."""
    try:
        text = json.dumps(value, indent=1, allow_nan=False)
    except ValueError:
        raise BadInput(f"{join(location, key)} holds NaN or infinity, which JSON cannot: correct it") from None
    write_key(location, key, text.encode())


def write_key(location: str, key: str, value: bytes) -> None:
    """Store bytes under a key, durably and atomically."""
    make_way(location, [key])
    try:
        _keys(absolute(location)).write(key, value).result()
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error, writing=True) from error


def exchange_key(location: str, key: str, value: bytes, *, expected: bytes | None) -> bool:
    """Store bytes under a key if its present content is `expected` (None: no key), and say whether they were stored."""
    store = _keys(absolute(location))
    make_way(location, [key])
    try:
        present = store.read(key).result()
        if expected != (None if present.state == "missing" else bytes(present.value)):
            return False
        return bool(store.write(key, value, if_equal=present.stamp.generation).result().generation)
    except (ValueError, OSError) as error:
        raise refusal(join(location, key), error, writing=True) from error


def make_way(location: str, keys: Iterable[str]) -> None:
    """Empty the partial files of killed writers of these keys in a local folder."""
    if not is_remote(location):
        empty_leftovers(location, keys)


def list_keys(location: str, prefix: str = "") -> list[str]:
    """Return all keys below a location that start with a prefix, relative to it; not over HTTP."""
    import tensorstore as ts

    store = _keys(absolute(location))
    span = ts.KvStore.KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)) if prefix else ts.KvStore.KeyRange()
    try:
        return [key.decode().lstrip("/") for key in store.list(span).result()]
    except (ValueError, OSError) as error:
        raise refusal(location, error) from error


def stamp_keys(location: str, most: int = 20_000) -> str:
    """Return a digest that changes when keys below a location appear, vanish or are rewritten.

    Local: sizes and times of files. Buckets: versions of objects. Of more than `most` keys (in buckets a fiftieth), an
    evenly spaced selection is used. Empty over HTTP, or where a bucket may not be listed.
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
            info = (Path(location) / key).stat()
            digest.update(f"{key} {info.st_size} {info.st_mtime_ns}\n".encode())
        return digest.hexdigest()
    try:
        for key, reading in [(key, _keys(absolute(location)).read(key, byte_range=slice(0, 0))) for key in chosen]:
            digest.update(key.encode() + reading.result().stamp.generation)
    except (ValueError, OSError) as error:
        raise refusal(location, error) from error
    return digest.hexdigest()


def delete_keys(location: str, *keys: str) -> None:
    """Delete keys of a location; missing keys are ignored."""
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
