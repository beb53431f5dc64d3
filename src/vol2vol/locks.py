"""Lock outputs, so that only one process at a time writes an output.

The lock is a file lock on `.NAME.lock` in the folder of the output; the operating system releases it when the process
ends for any reason. Where the file system has no locks, or the file cannot be written, nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vol2vol.errors import AlreadyExists


@contextmanager
def writing(*outputs: str | Path) -> Iterator[None]:
    """Lock these outputs (local paths only); raise `AlreadyExists` where another process has locked one."""
    with ExitStack() as locks:
        for output in outputs:
            if "://" not in str(output):
                locks.enter_context(_locked(Path(output)))
        yield


def check_idle(output: str | Path) -> None:
    """Raise `AlreadyExists` where another process is writing an output; for commands that read before they lock."""
    if "://" not in str(output) and _lock_path(output).exists():
        with writing(output):
            pass


def _lock_path(output: str | Path) -> Path:
    path = Path(os.path.abspath(output))
    return path.with_name(f".{path.name}.lock")


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    lock = _lock_path(output)
    file = _lock(lock, output)
    try:
        yield
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)  # removed while locked, so that a waiting process notices
            os.close(file)


def _lock(lock: Path, output: Path) -> int | None:
    """Return the descriptor of the locked file, None where locking is not possible."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None  # the writer of the output reports what is wrong
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise AlreadyExists(
                f"another process is writing {output}: wait until it has finished, or choose another name"
            ) from None
        except OSError:  # a file system without locks
            os.close(file)
            return None
        if _is_same_file(file, lock):
            return file
        os.close(file)  # its holder has just removed it


def _is_same_file(file: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(lock))
    except OSError:
        return False
