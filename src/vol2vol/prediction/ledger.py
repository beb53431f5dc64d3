"""What has been planned and which blocks are done, so that a killed prediction continues.

    plan.json       written once, before the first voxel: input, model, settings, layout
    done/<block>    an empty mark per block, written after the block is flushed

It lives inside an OME-Zarr output (`.vol2vol/`, which viewers ignore) or beside a TIFF (`<name>.vol2vol/`), on anything
tensorstore can write atomically, S3 included. When the last block is done the ledger is removed and the output's
attributes say `complete`.
"""

from __future__ import annotations

import json
from typing import Any

import tensorstore as ts

from vol2vol.errors import CannotWrite, Mismatch, Unreadable
from vol2vol.geometry import Box

PLAN = "plan.json"


class Ledger:
    """The plan and the done-marks of one output.

    `where` is the output's path or URL; `inside` says whether the ledger is part of the output's own folder.
    """

    def __init__(self, where: str, *, inside: bool) -> None:
        folder = f"{where}/.vol2vol/" if inside else f"{where}.vol2vol/"
        spec = folder if "://" in folder else {"driver": "file", "path": folder}
        self.folder, self.inside = folder, inside
        self._store = ts.KvStore.open(spec).result()

    @classmethod
    def of(cls, output: str) -> Ledger:
        """Return the ledger of an output: inside an OME-Zarr, beside a TIFF."""
        return cls(output, inside=not output.lower().endswith((".tif", ".tiff")))

    def plan(self) -> dict[str, Any] | None:
        """Return what was planned, None where nothing was."""
        found = self._store.read(PLAN).result()
        if found.state != "value":
            return None
        try:
            plan: dict[str, Any] = json.loads(found.value)
        except ValueError:
            raise Unreadable(f"{self.folder}{PLAN} is damaged: start again with --overwrite") from None
        return plan

    def begin(self, plan: dict[str, Any]) -> None:
        """Write the plan; from now on a second start continues this one."""
        self._write(PLAN, json.dumps(plan, indent=1).encode())

    def done(self) -> set[str]:
        """Return the names of the blocks that are finished."""
        return {
            key.decode().removeprefix("done/")
            for key in self._store.list(ts.KvStore.KeyRange("done/", "done0")).result()
        }

    def mark(self, block: str) -> None:
        """Record that a block is on disk; call only after it was flushed."""
        self._write(f"done/{block}", b"")

    def remove(self) -> None:
        """Delete the marks, then the plan, and the folder itself where there is one."""
        self._store.delete_range(ts.KvStore.KeyRange("done/", "done0")).result()
        self._store.delete_range(ts.KvStore.KeyRange()).result()
        if "://" not in self.folder:
            from shutil import rmtree

            rmtree(self.folder, ignore_errors=True)

    def _write(self, key: str, value: bytes) -> None:
        try:
            self._store.write(key, value).result()
        except (ValueError, OSError) as error:
            raise CannotWrite(f"{self.folder}{key} cannot be written: {_first_line(error)}") from None


def block_name(box: Box) -> str:
    """Return the name of a block: where it starts."""
    return ".".join(map(str, box.start))


def refuse_other(before: dict[str, Any], now: dict[str, Any], output: str) -> None:
    """Raise `Mismatch`, naming what differs, unless a second start means the same prediction as the first."""
    words = {"input": "another input (or it has changed)", "model": "another model (or it has changed)"}
    for key, value in now.items():
        if before.get(key) != value:
            if key in words:
                what = words[key]
            else:
                changed = (
                    [k for k in value if value[k] != before.get(key, {}).get(k)] if isinstance(value, dict) else [key]
                )
                what = ", ".join(f"{k} {before.get(key, {}).get(k)!r}, now {value[k]!r}" for k in changed)
            raise Mismatch(f"{output} was begun with {what}: use the same to continue, or --overwrite to start again")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
