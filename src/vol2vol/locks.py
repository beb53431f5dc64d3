"""One process at a time writes an output: everything that must not be done twice at once is locked here.

The lock is that of a file beside the output, `.NAME.lock`, which the system releases when its process ends, however it
ends. It is only kept where the file system knows locks and files can be written; elsewhere nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vol2vol.errors import AlreadyExists


@contextmanager
def writing(*outputs: str | Path) -> Iterator[None]:
    """Be the one process that writes these outputs; raise `AlreadyExists` where another one does. Local paths only."""
    with ExitStack() as held:
        for output in outputs:
            if "://" not in str(output):
                held.enter_context(_locked(Path(output)))
        yield


def check_idle(output: str | Path) -> None:
    """Raise `AlreadyExists` where another process writes an output now; for verbs that lock it after long reading."""
    if "://" not in str(output) and _beside(output).exists():
        with writing(output):
            pass


def _beside(output: str | Path) -> Path:
    place = Path(os.path.abspath(output))
    return place.with_name(f".{place.name}.lock")


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    lock = _beside(output)
    file = _lock(lock, output)
    try:
        yield
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)  # while it is locked: whoever waits for it sees that it is gone
            os.close(file)


def _lock(lock: Path, output: Path) -> int | None:
    """Return the locked file, None where there can be no lock."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None  # whoever writes the output says what is wrong
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
        if _still(file, lock):
            return file
        os.close(file)  # its holder has just removed it


def _still(file: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(lock))
    except OSError:
        return False
