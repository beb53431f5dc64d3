"""List the finished outputs of a folder, so that a second start need not open thousands of files again.

    OUT/.vol2vol/done/files-<writer>-0    a line per output: its name, and a checksum of how it was made

The checksum covers the model, the settings, and the sizes and modification times of input and output. If it does not
match, the record in the output itself decides whether it is done: these lines only save time.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

import vol2vol
from vol2vol.errors import CannotWrite
from vol2vol.prediction.many.pairs import File
from vol2vol.prediction.request import Request
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.marks import Marks

_METADATA = ("zarr.json", ".zattrs")
"""The files of an OME-Zarr that are written last."""


class DoneFiles:
    """The finished outputs in a local folder, and the folder `aside` where small outputs are first written.

    It may be written to only inside a `with` block.
    """

    def __init__(self, folder: str, request: Request, model: str) -> None:
        self._ledger = Ledger(folder, inside=True)
        self.aside = str(Path(self._ledger.folder, "aside"))
        self._marks = Marks(self._ledger.folder, "files")
        self._marks.refresh()
        facts = [vol2vol.__version__, request.decisive(model), request.to_dict()["stated"]]
        self._facts = json.dumps(facts, sort_keys=True, default=str)

    def __enter__(self) -> DoneFiles:
        self._ledger.make_folder()
        shutil.rmtree(self.aside, ignore_errors=True)
        try:
            os.mkdir(self.aside)
        except OSError as error:
            raise CannotWrite(f"{self.aside} cannot be written ({error.strerror}): choose another place") from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)

    def has(self, file: File) -> bool:
        """Return whether an output was done, and neither it nor its input has changed since."""
        recorded = self._marks.checksum(_name(file))
        return recorded is not None and recorded == self._checksum(file)

    def add(self, file: File) -> None:
        """Record that an output is done."""
        if (checksum := self._checksum(file)) is not None:
            with suppress(CannotWrite):  # without this line, the output's own record is read
                self._marks.mark(_name(file), checksum)

    def _checksum(self, file: File) -> int | None:
        """Return the checksum of how an output was made; None if a file is missing or not a regular file."""
        output_stamp = next(
            filter(None, map(_stamp, (file.output, *(f"{file.output}/{name}" for name in _METADATA)))), None
        )
        stamps = [_stamp(file.input), output_stamp]
        return None if None in stamps else zlib.crc32(json.dumps([self._facts, *stamps]).encode())


def _name(file: File) -> str:
    return quote(os.path.basename(file.output), safe="")


def _stamp(path: str) -> list[Any] | None:
    """Return path, size and modification time of a regular file, None for everything else."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [path, status.st_size, status.st_mtime_ns] if S_ISREG(status.st_mode) else None
