"""What a killed writer leaves behind, and must not become part of the next one's file.

tensorstore writes a local key `k` into `k.__lock`, which it locks, and renames it when it is whole. A file left by a
killed process is taken up by the next writer *without being emptied* (0.1.86): where the new content is shorter, the
end of the old stays behind it, and JSON, or a shard with its index at the end, cannot be read any more.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path


def empty_leftovers(location: str, keys: Iterable[str]) -> None:
    """Empty what killed writers of these keys left in a local folder; what a living one has locked is left alone."""
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
        if _locked(file) and _still(file, path):
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _still(file: int, path: Path) -> bool:
    """Say whether a path still means an open file: a writer that was quicker has renamed it, and it is whole."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _locked(file: int) -> bool:
    """Lock a file as tensorstore does, until it is closed; return False where another has locked it."""
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
