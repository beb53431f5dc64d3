"""Empty the partial files of killed writers, so that they do not become part of the next file.

tensorstore writes a local key `k` into `k.__lock`, which it locks, and renames it when it is complete. The next writer
opens the file of a killed process *without emptying it* (0.1.86): where the new content is shorter, the end of the old
content follows it, and JSON, or a shard with its index at the end, cannot be read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path


def empty_leftovers(location: str, keys: Iterable[str]) -> None:
    """Empty the partial files of killed writers of these keys in a folder; skip those locked by running writers."""
    for key in keys:
        path = Path(location, f"{key}.__lock")
        if path.exists():
            _empty(path)


def _empty(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return  # its writer has just renamed it
    try:
        if _locked(file) and _is_same(file, path):
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _is_same(file: int, path: Path) -> bool:
    """Say whether a path still names an open file; if not, its writer has completed and renamed it."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _locked(file: int) -> bool:
    """Lock a file as tensorstore does, until it is closed; return False where another process has locked it."""
    try:
        import fcntl
    except ImportError:
        return False  # Windows deletes the file with the process that held it
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
