"""Which blocks of an output are done: logs that writers append to, and that readers follow.

    done/<beginning>-<writer>-<number>    a line per mark: block, generation, checksum of its voxels, and of the line

Every process that writes has a log of its own, so nothing is locked, and a mark costs one short write. A reader goes on
where it stopped reading, so that following 100 000 blocks costs as much as reading them once. Where nothing can be
appended to (S3), a log is written anew for every mark, and another one begun after `SEGMENT` marks.

Of several lines about a block the one of the highest *generation* counts: odd ones mark it, even ones take the mark
back. A line that a killed process left unfinished has a wrong checksum, and is passed over.
"""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from pathlib import Path

from vol2vol.errors import CannotWrite, Mismatch, Unreadable
from vol2vol.volumes.addresses import is_remote
from vol2vol.volumes.formats.store import list_keys, read_key, write_key

SEGMENT = 256
"""Marks in a log that cannot be appended to."""


class Marks:
    """The blocks that one beginning of an output has done, as far as they have been read.

    `folder` is that of the ledger. Marks are made after the block was flushed, and are not flushed themselves: a mark
    that is lost with the machine costs the work on its block.
    """

    def __init__(self, folder: str, begun: str) -> None:
        self.done: set[str] = set()
        """Names of the blocks that are done."""
        self._folder, self._prefix = folder, f"done/{begun}-"
        self._own, self._number, self._lines = f"{self._prefix}{uuid.uuid4().hex[:12]}", 0, list[bytes]()
        self._known: dict[str, tuple[int, int]] = {}
        self._read: dict[str, int] = {}
        self._broken = False
        self._lock = threading.Lock()

    def refresh(self) -> set[str]:
        """Read what is new, also what other processes wrote; return the names of the blocks it is about."""
        with self._lock:
            lines = self._new_remote() if is_remote(self._folder) else self._new_local()
            return {name for line in lines if (name := self._take(line))}

    def checksum(self, block: str) -> int | None:
        """Return the checksum in a block's mark, None where it is not done."""
        return self._known[block][1] if block in self.done else None

    def mark(self, block: str, checksum: int) -> None:
        """Record that a block is on disk, and its voxels' checksum; call only after it was flushed."""
        with self._lock:
            generation, before = self._known.get(block, (0, -1))
            if generation % 2 and before == checksum:
                return
            self._append(f"{block} {generation + 1 + generation % 2} {checksum:08x}".encode())

    def unmark(self, block: str) -> None:
        """Forget that a block was done."""
        with self._lock:
            generation, _ = self._known.get(block, (0, -1))
            if generation % 2:
                self._append(f"{block} {generation + 1} -".encode())

    def _take(self, line: bytes) -> str | None:
        """Take up a line of a log and return its block, None where the line is damaged or outdated."""
        about, _, check = line.rpartition(b" ")
        try:
            if int(check, 16) != zlib.crc32(about):
                return None
            name, generation, checksum = about.decode("ascii").split(" ")
            new = int(generation), -1 if checksum == "-" else int(checksum, 16)
        except ValueError:
            return None
        if new <= self._known.get(name, (0, -1)):
            return None
        self._known[name] = new
        (self.done.add if new[0] % 2 else self.done.discard)(name)
        return name

    def _append(self, about: bytes) -> None:
        line = about + b" %08x" % zlib.crc32(about)
        self._write_remote(line) if is_remote(self._folder) else self._write_local(line)
        self._take(line)

    def _new_local(self) -> list[bytes]:
        """Return the whole lines that were added to the logs since the last look."""
        try:
            names = os.listdir(Path(self._folder, "done"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unreadable(f"{self._folder} cannot be read ({error.strerror}): change its permissions") from error
        lines = []
        for key in (f"done/{name}" for name in names):
            if key.startswith(self._prefix) and not key.startswith(self._own):
                lines += self._new_lines(key, self._tail(key))
        return lines

    def _tail(self, key: str) -> bytes:
        try:
            with open(Path(self._folder, key), "rb") as file:
                file.seek(self._read.get(key, 0))
                return file.read()
        except FileNotFoundError:  # whoever finished has removed it
            return b""
        except OSError as error:
            raise Unreadable(f"{self._folder}/{key} cannot be read ({error.strerror})") from error

    def _new_remote(self) -> list[bytes]:
        lines = []
        for key in list_keys(self._folder, self._prefix):
            if not key.startswith(self._own) and self._read.get(f"{key} lines", 0) < SEGMENT:
                new = self._new_lines(key, (read_key(self._folder, key) or b"")[self._read.get(key, 0) :])
                self._read[f"{key} lines"] = self._read.get(f"{key} lines", 0) + len(new)
                lines += new
        return lines

    def _new_lines(self, key: str, tail: bytes) -> list[bytes]:
        whole, newline, _ = tail.rpartition(b"\n")
        self._read[key] = self._read.get(key, 0) + len(whole) + len(newline)
        return whole.split(b"\n") if whole else []

    def _write_local(self, line: bytes) -> None:
        """Append a line; after one that was cut short begin another."""
        path, text = Path(self._folder, f"{self._own}-0"), b"\n" * self._broken + line + b"\n"
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                self._broken = os.write(file, text) != len(text)
            finally:
                os.close(file)
        except FileNotFoundError:
            raise Mismatch(f"{self._folder} was removed by another process: nothing more is written to it") from None
        except OSError as error:
            raise CannotWrite(f"{path} cannot be written ({error.strerror}): free some space") from error
        if self._broken:
            raise CannotWrite(f"{path}: the disk is full: free some space and start again")

    def _write_remote(self, line: bytes) -> None:
        if len(self._lines) == SEGMENT:
            self._number, self._lines = self._number + 1, []
        write_key(self._folder, f"{self._own}-{self._number}", b"\n".join([*self._lines, line, b""]))
        self._lines.append(line)
