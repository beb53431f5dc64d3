"""Which outputs of a folder are done, so that a second start need not open thousands of files again.

    OUT/.vol2vol/done/files-<writer>-0    a line for every output: its name, and a checksum of what it was made of

The checksum covers model, settings and what the system says of input and output: sizes and times. Where it does not
fit, the output itself is asked, which says in full how it was made: these lines save time and decide nothing.
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
from vol2vol.prediction.pairs import File
from vol2vol.prediction.request import Request
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.marks import Marks

_METADATA = ("zarr.json", ".zattrs")
"""What is written last of an OME-Zarr."""


class DoneFiles:
    """The outputs in a local folder that were seen to be done, and the place where small ones are written first.

    Written to only inside a `with` block.
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
        """Say whether an output was done, and neither it nor its input has changed since."""
        known = self._marks.checksum(_name(file))
        return known is not None and known == self._checksum(file)

    def add(self, file: File) -> None:
        """Remember that an output is done."""
        if (checksum := self._checksum(file)) is not None:
            with suppress(CannotWrite):  # what is not remembered is asked of the output
                self._marks.mark(_name(file), checksum)

    def _checksum(self, file: File) -> int | None:
        """Return the checksum of what an output was made of; None where its input is not a plain file, or one lacks."""
        made = next(filter(None, map(_stamp, (file.output, *(f"{file.output}/{name}" for name in _METADATA)))), None)
        stamps = [_stamp(file.input), made]
        return None if None in stamps else zlib.crc32(json.dumps([self._facts, *stamps]).encode())


def _name(file: File) -> str:
    return quote(os.path.basename(file.output), safe="")


def _stamp(path: str) -> list[Any] | None:
    """Return path, size and time of a plain file, None for everything else."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return [path, about.st_size, about.st_mtime_ns] if S_ISREG(about.st_mode) else None
