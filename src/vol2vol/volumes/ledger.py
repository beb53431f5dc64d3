"""Keep the plan of an output and the list of its finished blocks, so that a killed run can continue.

    plan.json       written once, before the first voxel: input, settings, layout, and a checksum of itself
    done/<log>      a line per block, written after the block is flushed: the checksum of its voxels (`marks.py`)
    leases/<item>   which worker of a job array computes what (`prediction/leases.py`)
    statistics.json what has been measured of the whole input before the first block, with a checksum of itself
    painted/<tile>  tiles of a march that are needed further (`prediction/painted.py`)
    spoiled         why this prediction cannot be continued

It lies inside an OME-Zarr output (`.vol2vol/`, which viewers ignore) or next to a TIFF (`<name>.vol2vol/`), on any
store to which tensorstore writes atomically, S3 included. When the last block is done, the output's attributes say
`complete`; then the ledger is removed, the plan first, since without a plan nothing is continued.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import CannotWrite, Mismatch, Unreadable
from vol2vol.files import parse_json
from vol2vol.geometry import Box
from vol2vol.volumes.addresses import is_remote
from vol2vol.volumes.formats.store import delete_all, delete_keys, list_keys, read_key, write_key
from vol2vol.volumes.marks import Marks

PLAN = "plan.json"
SPOILED = "spoiled"
STATISTICS = "statistics.json"
FORMAT = 2
"""Format of ledgers; a ledger of another format belongs to another version of vol2vol."""


class Ledger:
    """The plan of one output, and the way to its marks.

    `where` is the output's path or URL; `inside` says whether the ledger is part of the output's own folder.
    """

    def __init__(self, where: str, *, inside: bool) -> None:
        self.output = where
        self.folder = f"{where.rstrip('/')}/.vol2vol" if inside else f"{where}.vol2vol"
        self.inside = inside
        self._in_force: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, output: str) -> Ledger:
        """Return the ledger of an output: inside an OME-Zarr, next to a TIFF."""
        return cls(output, inside=not output.lower().endswith((".tif", ".tiff")))

    def plan(self) -> dict[str, Any] | None:
        """Return the plan, None where there is none; raise `Unreadable` where it is damaged."""
        text = read_key(self.folder, PLAN)
        if text is None:
            return None
        try:
            plan: dict[str, Any] = parse_json(text)
            sound = plan.pop("checksum") == zlib.crc32(_canonical(plan))
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
        if not sound:
            raise Unreadable(f"{self.folder}/{PLAN} is damaged: start again with `overwrite`")
        if plan.get("ledger") != FORMAT:
            raise Unreadable(f"{self.output} was started by another version of vol2vol: start again with `overwrite`")
        return plan

    def begin(self, plan: dict[str, Any], begun: str | None = None) -> str:
        """Write the plan, from which a second run continues, and return the name of this run (`begun`).

        `begun` is that name where blocks are already marked under it, else a new one is chosen.
        """
        begun = begun or uuid.uuid4().hex
        plan = json.loads(json.dumps({**plan, "begun": begun, "ledger": FORMAT}))
        text = json.dumps({**plan, "checksum": zlib.crc32(_canonical(plan))}, indent=1)
        self.make_folder()
        write_key(self.folder, PLAN, text.encode())
        return begun

    def marks(self, begun: str) -> Marks:
        """Return the blocks done under this name, those of other processes included."""
        if os.path.exists(f"{self.folder}/{PLAN}"):
            self.make_folder()  # a copy may lack it while it is empty
        marks = Marks(self.folder, begun)
        marks.refresh()
        return marks

    def make_folder(self) -> None:
        """Make the folder that marks are written into, where there are folders."""
        if is_remote(self.folder):
            return
        try:
            os.makedirs(f"{self.folder}/done", exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"{self.folder} cannot be written ({error.strerror}): choose another place") from error

    def check(self, begun: str) -> None:
        """Raise `Mismatch` unless the plan of an output still has this name and can be continued.

        Cheap while nothing has changed: locally, the plan is read again only if its file was replaced.
        """
        signature = (begun, *self._file()) if not is_remote(self.folder) else None
        if signature is not None and signature == self._in_force:
            return
        self._in_force = None
        plan = self.plan()
        if plan is None or plan["begun"] != begun:
            change = "finished" if plan is None else "started again"
            raise Mismatch(f"{self.output} was {change} by another process: nothing more is written to it")
        self.refuse_spoiled()
        self._in_force = signature

    def _file(self) -> tuple[Any, ...]:
        """Return values that change when the plan is rewritten or removed, or the output spoiled."""
        try:
            info = os.stat(f"{self.folder}/{PLAN}")
        except OSError:
            return (None,)
        return info.st_ino, info.st_mtime_ns, info.st_size, os.path.lexists(f"{self.folder}/{SPOILED}")

    def keep_statistics(self, begun: str, data: dict[str, Any]) -> None:
        """Keep what was measured of the input by the run of this name, as plain data."""
        kept = json.loads(json.dumps({"begun": begun, "data": data}))
        write_key(self.folder, STATISTICS, json.dumps({**kept, "checksum": zlib.crc32(_canonical(kept))}).encode())

    def statistics(self, begun: str) -> dict[str, Any] | None:
        """Return what this run has measured; None where there is nothing, or it is damaged and is measured again."""
        text = read_key(self.folder, STATISTICS)
        try:
            kept = parse_json(text or b"{}")
            sound = kept.pop("checksum") == zlib.crc32(_canonical(kept)) and kept["begun"] == begun
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
        data: dict[str, Any] = kept["data"]
        return data if sound else None

    def spoil(self, reason: str) -> None:
        """Record that blocks may be wrong, so that nothing ever continues this output; raise `Mismatch`."""
        write_key(self.folder, SPOILED, reason.encode())
        raise Mismatch(reason)

    def refuse_spoiled(self) -> None:
        """Raise `Mismatch` if this output was spoiled."""
        if (reason := read_key(self.folder, SPOILED)) is not None:
            raise Mismatch(reason.decode(errors="replace"))

    def clear_leases(self) -> None:
        """Delete the leases of all workers and the items they gave up; running workers are not disturbed."""
        delete_keys(self.folder, *list_keys(self.folder, "leases/"))

    def remove(self) -> None:
        """Delete the plan, then the other files of the ledger, and its folder unless that holds other files."""
        delete_keys(self.folder, PLAN)
        if is_remote(self.folder):
            delete_all(self.folder)
            return
        for name in ("done", "leases", "painted"):
            shutil.rmtree(f"{self.folder}/{name}", ignore_errors=True)
        for name in (f"{PLAN}.__lock", SPOILED, f"{SPOILED}.__lock", STATISTICS, f"{STATISTICS}.__lock"):
            with suppress(OSError):
                Path(self.folder, name).unlink(missing_ok=True)
        with suppress(OSError):
            os.rmdir(self.folder)


def checksum(*volumes: np.ndarray) -> int:
    """Return the checksum of a block's voxels, `(C, *shape)`, independent of byte order.

    For an output of several volumes, give the block of each.
    """
    code = 0
    for values in volumes:
        code = zlib.crc32(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).view(np.uint8).data, code)
    return code


def block_name(box: Box, level: int = 0) -> str:
    """Return the name of a block: the level if coarser, and its first voxel."""
    where = ".".join(map(str, box.start))
    return f"{level}-{where}" if level else where


def refuse_other(before: dict[str, Any], now: dict[str, Any], output: str) -> None:
    """Raise `Mismatch`, naming the difference, unless a second run has the same plan as the first."""
    words = {"input": "another input (or it has changed)", "model": "another model (or it has changed)"}
    words["intensity_from"] = "another volume to measure the intensities on (or it has changed)"
    for key, value in now.items():
        old = before.get(key)
        if old != value:
            difference = words.get(key) or _difference(key, old, value)
            raise Mismatch(
                f"{output} was begun with {difference}: use the same to continue, or `overwrite` to start again"
            )


def _difference(key: str, old: Any, new: Any) -> str:
    """Return the difference in words; for mappings, the entries that differ."""
    if not isinstance(new, dict):
        return f"{key} {old!r}, now {new!r}"
    old = old if isinstance(old, dict) else {}
    keys = [key for key in {**new, **old} if new.get(key) != old.get(key)]
    return ", ".join(f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in keys)


def _canonical(plan: dict[str, Any]) -> bytes:
    return json.dumps(plan, sort_keys=True).encode()
