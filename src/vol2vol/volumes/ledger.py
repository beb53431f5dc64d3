"""What has been planned and which blocks of an output are done, so that a killed run continues.

    plan.json       written once, before the first voxel: input, settings, layout, and a checksum of itself
    done/<block>    a mark per block, written after the block is flushed: the checksum of its voxels
    claims/<row>    which worker of a job array computes what (`claims.py`)
    spoiled         why this prediction cannot be continued

It lives inside an OME-Zarr output (`.vol2vol/`, which viewers ignore) or beside a TIFF (`<name>.vol2vol/`), on anything
tensorstore can write atomically, S3 included. When the last block is done the output's attributes say `complete`, then
the ledger is removed, the plan first: without it nothing is continued.
"""

from __future__ import annotations

import json
import shutil
import uuid
import zlib
from typing import Any

import numpy as np

from vol2vol.errors import Mismatch, Unreadable
from vol2vol.files import parse_json
from vol2vol.geometry import Box
from vol2vol.volumes.store import delete_all, delete_keys, is_remote, list_keys, read_key, write_key

PLAN = "plan.json"
SPOILED = "spoiled"


class Ledger:
    """The plan and the done-marks of one output.

    `where` is the output's path or URL; `inside` says whether the ledger is part of the output's own folder.
    """

    def __init__(self, where: str, *, inside: bool) -> None:
        self.output = where
        self.folder = f"{where.rstrip('/')}/.vol2vol" if inside else f"{where}.vol2vol"
        self.inside = inside

    @classmethod
    def of(cls, output: str) -> Ledger:
        """Return the ledger of an output: inside an OME-Zarr, beside a TIFF."""
        return cls(output, inside=not output.lower().endswith((".tif", ".tiff")))

    def plan(self) -> dict[str, Any] | None:
        """Return what was planned, None where nothing was; raise `Unreadable` where it is damaged."""
        text = read_key(self.folder, PLAN)
        if text is None:
            return None
        try:
            plan: dict[str, Any] = parse_json(text)
            sound = plan.pop("checksum") == zlib.crc32(_canonical(plan))
        except (ValueError, KeyError, AttributeError, TypeError):
            sound = False
        if not sound:
            raise Unreadable(f"{self.folder}/{PLAN} is damaged: start again with --overwrite")
        return plan

    def begin(self, plan: dict[str, Any]) -> str:
        """Write the plan, from which a second start continues, and return the name of this beginning."""
        plan = json.loads(json.dumps({**plan, "begun": uuid.uuid4().hex}))
        text = json.dumps({**plan, "checksum": zlib.crc32(_canonical(plan))}, indent=1)
        write_key(self.folder, PLAN, text.encode())
        return str(plan["begun"])

    def check(self, begun: str) -> None:
        """Raise `Mismatch` unless the output still belongs to this beginning and can be continued."""
        plan = self.plan()
        if plan is None or plan["begun"] != begun:
            what = "finished" if plan is None else "begun anew"
            raise Mismatch(f"{self.output} was {what} by another process meanwhile: nothing more is written to it")
        self.refuse_spoiled()

    def spoil(self, reason: str) -> None:
        """Record that blocks may be wrong, so that nothing ever continues this output; raise `Mismatch`."""
        write_key(self.folder, SPOILED, reason.encode())
        raise Mismatch(reason)

    def refuse_spoiled(self) -> None:
        """Raise `Mismatch` if this output was spoiled."""
        if (reason := read_key(self.folder, SPOILED)) is not None:
            raise Mismatch(reason.decode(errors="replace"))

    def done(self) -> set[str]:
        """Return the names of the blocks that are finished."""
        return {key.removeprefix("done/") for key in list_keys(self.folder, "done/") if not key.endswith(".__lock")}

    def mark(self, block: str, checksum: int) -> None:
        """Record that a block is on disk, and its voxels' checksum; call only after it was flushed."""
        write_key(self.folder, f"done/{block}", b"%08x" % checksum)

    def marked(self, block: str) -> int | None:
        """Return the checksum in a block's mark, None where the mark is missing or damaged."""
        try:
            return int((read_key(self.folder, f"done/{block}") or b"").decode("ascii"), 16)
        except ValueError:
            return None

    def unmark(self, block: str) -> None:
        """Forget that a block was done."""
        delete_keys(self.folder, f"done/{block}")

    def unclaim(self) -> None:
        """Forget who computes what, and which rows were given up; those who work go on unharmed."""
        delete_keys(self.folder, *list_keys(self.folder, "claims/"))

    def remove(self) -> None:
        """Delete the plan, then the marks, and the folder itself where there is one."""
        delete_keys(self.folder, PLAN)
        delete_all(self.folder)
        if not is_remote(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)


def checksum(values: np.ndarray) -> int:
    """Return the checksum of a block's voxels, `(C, *shape)`, the same on machines of either byte order."""
    return zlib.crc32(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).view(np.uint8).data)


def block_name(box: Box, level: int = 0) -> str:
    """Return the name of a block: where it starts, and of which coarser level it is."""
    where = ".".join(map(str, box.start))
    return f"{level}-{where}" if level else where


def refuse_other(before: dict[str, Any], now: dict[str, Any], output: str) -> None:
    """Raise `Mismatch`, naming what differs, unless a second start means the same as the first."""
    words = {"input": "another input (or it has changed)", "model": "another model (or it has changed)"}
    for key, value in now.items():
        was = before.get(key)
        if was != value:
            what = words.get(key) or _difference(key, was, value)
            raise Mismatch(f"{output} was begun with {what}: use the same to continue, or --overwrite to start again")


def _difference(key: str, was: Any, now: Any) -> str:
    """Say what differs; of two mappings, which of their entries."""
    if not isinstance(now, dict):
        return f"{key} {was!r}, now {now!r}"
    was = was if isinstance(was, dict) else {}
    return ", ".join(f"{k} {was.get(k)!r}, now {now[k]!r}" for k in now if now[k] != was.get(k))


def _canonical(plan: dict[str, Any]) -> bytes:
    return json.dumps(plan, sort_keys=True).encode()
