"""Read untrusted files within limits of kind and size; write files and folders whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vol2vol.errors import CannotWrite, NotFound, Unreadable, UserError, one_line

DOCUMENT = 64 << 20
"""Maximum bytes of a JSON document: consolidated metadata of many arrays take several megabytes."""
SETTINGS = 1 << 20
"""Maximum bytes of a YAML document: a model or a recipe takes some thousand, and parsing more takes minutes."""
NO_PERMISSION = "no permission to read: change the permissions or choose another place"
"""Message for a file without read permission."""
EXPANSION, SLACK = 8, 64 << 20
"""An archive may expand to `EXPANSION` times its size plus `SLACK` bytes: weights and images hardly compress."""


def check_regular(path: str | Path) -> None:
    """Raise `Unreadable` for a pipe, a socket or a device, whose data may never end, and without read permission."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # the reader reports what is wrong
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise Unreadable(f"{path} is a {kind}, not a file: write its data to a file and give that")
    if not os.access(path, os.R_OK):
        raise Unreadable(f"{path}: {NO_PERMISSION}")


def read_bytes(path: str | Path, most: int = DOCUMENT) -> bytes:
    """Return the content of a regular file.

    Raises `NotFound` where it does not exist, and `Unreadable` where it may not be read, is not a regular file or has
    more than `most` bytes; nothing is read in these cases.
    """
    check_regular(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise Unreadable(f"{path} has {size} bytes, at most {most} are read: restore the file")
            data = file.read(min(size, most) + 1)  # read() allocates as many bytes as requested
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path} does not exist") from None
    except PermissionError:
        raise Unreadable(f"{path}: {NO_PERMISSION}") from None
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}): choose another file") from None
    if len(data) > size:
        raise Unreadable(f"{path} grew while it was read: wait until it is written and start again")
    return data


def read_text(path: str | Path, most: int = SETTINGS) -> str:
    """Return the text (UTF-8) of a regular file; raise `Unreadable` for other encodings, and as `read_bytes` does."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not UTF-8 text (byte {error.start}): restore the file") from None


def parse_json(text: str | bytes) -> Any:
    """Return the data of a JSON document; raise `ValueError` where it is invalid or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def real_path(path: str | Path) -> Path:
    """Return the absolute path with links resolved; a link to itself stays as it is."""
    return Path(os.path.realpath(path))


def check_zip(path: str | Path) -> None:
    """Raise `Unreadable` where a zip archive (PyTorch files are archives, too) would expand far beyond its size.

    Damaged archives and other files pass this check; their reader reports them.
    """
    check_regular(path)
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as file:
            expanded = sum(entry.file_size for entry in file.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return
    size = os.stat(path).st_size
    if expanded > EXPANSION * size + SLACK:
        raise Unreadable(f"{path} has {size} bytes and would expand to {expanded}: get the file again from its source")


def check_place(path: str | Path) -> None:
    """Raise `CannotWrite` unless a file or folder of this name can be created; called before a long computation."""
    folder = Path(path).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise CannotWrite(f"{path} cannot be written: {folder} is not a folder: choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotWrite(f"{path} cannot be written: no permission to write in {folder}: choose another place")


@contextmanager
def written_whole(path: Path, *failures: type[Exception]) -> Iterator[Path]:
    """Give the path of a file or folder to write, which takes the place of `path` when the block ends.

    It lies in the same folder and keeps the suffix. After an error, or a kill, the old file or folder is still there
    and whole; what a kill leaves is removed by the next call. Raises `CannotWrite` for an `OSError` and for `failures`,
    which other libraries raise when they cannot write.
    """
    partial, old = (path.with_name(f".{path.stem}.{word}{path.suffix}") for word in ("partial", "old"))
    try:
        _remove(partial)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _flush(partial)
        if path.is_dir():  # a folder cannot be replaced by another in one step
            _remove(old)
            os.replace(path, old)
        os.replace(partial, path)
        _remove(old)
    except UserError:
        raise
    except (OSError, *failures) as error:  # type: ignore[misc]
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error, 300)
        raise CannotWrite(f"{path} cannot be written ({reason}): free space or choose another place") from None
    finally:
        _remove(partial)


def write_text(path: Path, text: str) -> Path:
    """Write a text file (UTF-8) whole or not at all and return its path; raises `CannotWrite`."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _flush(path: Path) -> None:
    """Wait until the files of a path are on disk, so that a crash of the machine leaves no empty ones."""
    for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with file.open("r+b") as written:
            os.fsync(written.fileno())


def _remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
