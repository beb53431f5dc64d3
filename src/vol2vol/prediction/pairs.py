"""Many inputs and where each is written: names are kept, and what cannot be told apart is refused beforehand."""

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
"""Paths, each of which may stand for many."""
Suffix = Literal["auto", ".tif", ".zarr"]
"""What the names of outputs end in; auto is the input's own format."""
_VOLUMES = (".zarr", ".tif", ".tiff")
"""What the name of an output that is one volume ends in."""


@dataclass(frozen=True)
class File:
    """One of many inputs and its output."""

    input: str
    """A path from the root, or an address."""
    output: str


def is_volume(output: str) -> bool:
    """Say whether an output of this name is one volume rather than a folder of them."""
    return output.rstrip("/\\").lower().endswith(_VOLUMES)


def is_folder(inputs: Sequence[str], output: str, pattern: str | None) -> bool:
    """Say whether an output means a folder, with an output for every input: several inputs have no other place.

    So do patterns and folders of images of their own, and for a single input, the name of a folder that is there or
    ends in a slash.
    """
    if len(inputs) > 1 or (set("*?") & set(inputs[0]) and not os.path.lexists(inputs[0])):
        return True
    if is_volume(output):
        return False
    name = address(inputs[0])
    return output.endswith(("/", os.sep)) or os.path.isdir(output) or list(images_under(name, pattern)) != [name]


def paired(inputs: Inputs, folder: str, suffix: Suffix, pattern: str | None) -> list[File]:
    """Return every input with its output in a folder, in natural order of each path that stands for many.

    A path stands for many where `images_under` says so. TIFF, PNG and JPEG become TIFF, everything else OME-Zarr,
    unless a `suffix` is given. Raises `BadInput` where two outputs would have one name, `AlreadyExists` where an output
    would touch its input.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    here = absolute(folder)
    found = [absolute(path) for name in given for path in images_under(address(name), pattern)]
    files: dict[str, File] = {}
    for path in dict.fromkeys(path for path in found if path != here):
        file = File(path, join(here, output_name(path, suffix)))
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
    """Return the name of an input's output: its own, with another end where the format is another one."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    stem, end = os.path.splitext(name)
    wanted = suffix
    if suffix == "auto":
        wanted = ".tif" if end.lower() in (*tiff.SUFFIXES, *pictures.SUFFIXES) else ".zarr"
    own = (".tif", ".tiff") if wanted == ".tif" else (".zarr",)
    return name if end.lower() in own else f"{stem if is_known(end) else name}{wanted}"


def is_known(end: str) -> bool:
    """Say whether a name's end is that of a format of volumes rather than part of the name, such as `v2.1`."""
    return end.lower() in (".zarr", ".n5", *tiff.SUFFIXES, *pictures.SUFFIXES, *hdf5.SUFFIXES, *mrc.SUFFIXES)


def check_folder(folder: str, count: int, model: str | Path) -> None:
    """Raise `BadInput` where outputs of many inputs cannot be written to a place of this name."""
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
