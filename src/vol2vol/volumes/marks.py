"""Record which blocks of an output are done, in logs that writers append to and readers follow.

    done/<begun>-<writer>-<number>    a line per mark: block, generation, checksum of its voxels, and of the line

Every writing process has a log of its own, so no lock is needed, and a mark costs one short write. A reader continues
where it stopped, so that following 100 000 blocks costs as much as reading them once. On stores without append (S3),
the log is rewritten for every mark, and a new one is started after `SEGMENT` marks.

Of several lines about a block the one with the highest *generation* counts: odd generations mark it, even ones remove
the mark. An incomplete line of a killed process has a wrong checksum and is skipped.
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
    """The blocks of an output that are done under one name (`begun`), as far as the logs have been read.

    `folder` is that of the ledger. Marks are written after the block was flushed, and are not flushed themselves: when
    the machine crashes, a lost mark costs the work on its block.
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
        """Read new lines, those of other processes included; return the names of the blocks they concern."""
        with self._lock:
            lines = self._new_remote() if is_remote(self._folder) else self._new_local()
            return {name for line in lines if (name := self._apply(line))}

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
        """Record that a block is not done."""
        with self._lock:
            generation, _ = self._known.get(block, (0, -1))
            if generation % 2:
                self._append(f"{block} {generation + 1} -".encode())

    def _apply(self, line: bytes) -> str | None:
        """Apply a line of a log and return its block, None where the line is damaged or outdated."""
        entry, _, check = line.rpartition(b" ")
        try:
            if int(check, 16) != zlib.crc32(entry):
                return None
            name, generation, checksum = entry.decode("ascii").split(" ")
            new = int(generation), -1 if checksum == "-" else int(checksum, 16)
        except ValueError:
            return None
        if new <= self._known.get(name, (0, -1)):
            return None
        self._known[name] = new
        (self.done.add if new[0] % 2 else self.done.discard)(name)
        return name

    def _append(self, entry: bytes) -> None:
        line = entry + b" %08x" % zlib.crc32(entry)
        self._write_remote(line) if is_remote(self._folder) else self._write_local(line)
        self._apply(line)

    def _new_local(self) -> list[bytes]:
        """Return the complete lines that were added to the logs since the last call."""
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
        except FileNotFoundError:  # the process that finished has removed it
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
        """Append a line; start a new line after one that was cut short."""
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
