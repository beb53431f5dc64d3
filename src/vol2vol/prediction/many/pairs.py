"""Pair each of many inputs with its output; names are kept, and two inputs with the same output are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vol2vol.errors import BadInput
from vol2vol.files import real_path
from vol2vol.volumes.addresses import absolute, address, is_web, join
from vol2vol.volumes.formats import hdf5, mrc, pictures, tiff
from vol2vol.volumes.imagesets import images_under
from vol2vol.volumes.outputs import refuse_input

Inputs = str | Path | Sequence[str | Path]
"""Paths, each of which may stand for many files (a pattern or a folder)."""
Suffix = Literal["auto", ".tif", ".zarr"]
"""Suffix of the outputs' names; auto keeps the input's format."""
_VOLUMES = (".zarr", ".tif", ".tiff")
"""Suffixes of outputs that are one volume."""


@dataclass(frozen=True)
class File:
    """One of many inputs and its output."""

    input: str
    """An absolute path or an address."""
    output: str


def is_volume(output: str) -> bool:
    """Return whether an output of this name is one volume rather than a folder of volumes."""
    return output.rstrip("/\\").lower().endswith(_VOLUMES)


def is_folder(inputs: Sequence[str], output: str, pattern: str | None) -> bool:
    """Return whether `output` means a folder with one output per input.

    It does for several inputs, for a pattern, and for a folder of separate images; for a single input, if the name
    ends in a slash or is that of an existing folder.
    """
    if len(inputs) > 1 or (set("*?") & set(inputs[0]) and not os.path.lexists(inputs[0])):
        return True
    if is_volume(output):
        return False
    name = address(inputs[0])
    return output.endswith(("/", os.sep)) or os.path.isdir(output) or list(images_under(name, pattern)) != [name]


def pair_files(inputs: Inputs, folder: str, suffix: Suffix, pattern: str | None) -> list[File]:
    """Return every input with its output in a folder; files of one pattern or folder come in natural order.

    `images_under` decides which paths stand for many files. TIFF, PNG and JPEG become TIFF, everything else OME-Zarr,
    unless a `suffix` is given. Raises `BadInput` if two outputs would have the same name, `AlreadyExists` if an output
    would touch its input.
    """
    names = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    output_folder = absolute(folder)
    paths = [absolute(path) for name in names for path in images_under(address(name), pattern)]
    files: dict[str, File] = {}
    for path in dict.fromkeys(path for path in paths if path != output_folder):
        file = File(path, join(output_folder, output_name(path, suffix)))
        key = os.path.normcase(file.output)
        if key in files:
            raise BadInput(
                f"{files[key].input} and {path} would both be written to {file.output}: rename one of them, or "
                "predict them into two folders"
            )
        files[key] = file
        refuse_input(path, file.output)
    if not files:
        raise BadInput("there is nothing to predict: name at least one image")
    return list(files.values())


def output_name(path: str, suffix: Suffix) -> str:
    """Return the name of an input's output: the input's name, with another suffix if the format changes."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    stem, end = os.path.splitext(name)
    ending = suffix
    if suffix == "auto":
        ending = ".tif" if end.lower() in (*tiff.SUFFIXES, *pictures.SUFFIXES) else ".zarr"
    own = (".tif", ".tiff") if ending == ".tif" else (".zarr",)
    return name if end.lower() in own else f"{stem if is_known(end) else name}{ending}"


def is_known(end: str) -> bool:
    """Return whether a suffix is that of a volume format rather than part of the name, such as `v2.1`."""
    return end.lower() in (".zarr", ".n5", *tiff.SUFFIXES, *pictures.SUFFIXES, *hdf5.SUFFIXES, *mrc.SUFFIXES)


def check_folder(folder: str, count: int, model: str | Path) -> None:
    """Raise `BadInput` if the outputs of `count` inputs cannot be written to this folder."""
    if is_volume(folder):
        raise BadInput(f"{folder} is the name of one volume, and there are {count} inputs: name a folder")
    if is_web(folder):
        raise BadInput(f"{folder} cannot be written: give a local folder, s3:// or gs://")
    if is_known(os.path.splitext(folder.rstrip("/\\"))[1]):
        raise BadInput(f"{folder} cannot be written: let its name end in .zarr (OME-Zarr) or .tif, or name a folder")
    if real_path(folder) == real_path(model):
        raise BadInput(f"{folder} is the model: name another folder, or one output that ends in .zarr or .tif")
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise BadInput(f"{folder} is not a folder: name another one")
