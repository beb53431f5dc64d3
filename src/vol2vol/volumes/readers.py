"""Find readers of further file formats, which other installed packages offer by file suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput, UserError, one_line
from vol2vol.plugins import Catalogue
from vol2vol.volumes.formats import hdf5, mrc, pictures, tiff
from vol2vol.volumes.stored import READ_ERRORS, Stored

Reader = Callable[[Path], Stored]
"""Opens a file or a folder lazily; voxels are read by the functions of the returned `Stored`."""
_OWN = (*tiff.SUFFIXES, *pictures.SUFFIXES, *mrc.SUFFIXES, *hdf5.SUFFIXES, ".zarr", ".n5", ".ome.tif", ".ome.tiff")


def _check(suffix: str, reader: Any) -> str:
    """Return why an object of another package cannot be a reader, "" if it can."""
    if suffix != suffix.lower() or suffix.startswith("."):
        return f"its name is the suffix of files in small letters without its first dot: {suffix.lower().lstrip('.')}"
    return "" if callable(reader) else "it is not a function"


READERS: Catalogue[Reader | None] = Catalogue(
    "reader", "vol2vol.readers", {suffix[1:]: None for suffix in _OWN}, _check
)
"""Readers by suffix, such as `czi` or `nii.gz`; None for formats of vol2vol, which `opening` tells apart itself. Other
packages offer theirs by the entry points `vol2vol.readers`."""


def open_by_suffix(path: Path, level: int = 0) -> Stored | None:
    """Open a file by the reader of another package for the longest suffix of its name, None where there is none.

    Raises `BadInput`, naming the package, for a reader that is broken or that breaks, and for a `level`.
    """
    parts = path.name.lower().split(".")
    suffix = next((end for n in range(1, len(parts)) if (end := ".".join(parts[n:])) in READERS), "")
    if not suffix or (reader := READERS[suffix]) is None:
        return None
    if level:
        raise BadInput(f"{path} is read by the reader of another package, which gives one level: leave out `level`")
    try:
        stored = reader(path)
    except (UserError, MemoryError, *READ_ERRORS):
        raise
    except Exception as error:  # other packages may raise anything
        raise READERS.unusable(suffix, f"fails on {path} ({one_line(error, 300)})") from error
    if not isinstance(stored, Stored):
        raise READERS.unusable(suffix, f"returns {type(stored).__name__} in place of a Stored")
    return stored
