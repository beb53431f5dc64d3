"""Write the images of a benchmark of circles: both domains, images to test on, and labels for the metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.files import written_whole
from vol2vol.geometry import Box, Shape
from vol2vol.phantoms.circles import COLOURS, Circles, Picture, Role, read_planes
from vol2vol.phantoms.writing import fill
from vol2vol.progress import counted
from vol2vol.volumes import Volume, create_volume, open_volume

BLOCK = (64, 1024, 1024)
"""Voxels (Z, Y, X) that are rendered at once, at about 20 bytes each."""
CHUNK = (64, 512, 512)
KEY = "phantom"
"""Attribute that says what a volume shows."""


def write_circles(
    folder: str | Path,
    settings: Circles | None = None,
    *,
    images: int = 512,
    tests: int = 50,
    coloured: bool = True,
    stack: bool = False,
    suffix: Literal[".zarr", ".tif"] = ".zarr",
    overwrite: bool = False,
) -> dict[str, list[Path]]:
    """Write a benchmark of circles into a folder and return the paths by name, an image per file.

    `source`: `images` images of white circles. `target`: as many of other circles, in colour; none unless `coloured`.
    `test`: `tests` images like `source` to test on. `source-labels`, `target-labels`, `test-labels`: the number of the
    circle of each voxel, 0 for background. Each image depends on settings, name and number alone. With `stack`, images
    of one plane are the planes Z of one volume per name. Volumes that are there already are kept, so that the same call
    continues what was stopped.

    Raises `BadInput` where the circles do not fit or volumes are to be stacked, `AlreadyExists` where a path holds
    anything else, unless `overwrite`.
    """
    how = settings or Circles()
    if images < 0 or tests < 0:
        raise BadInput(f"{images} images and {tests} to test on: both must be 0 or more")
    if stack and how.dims == 3:
        raise BadInput(f"volumes of {how.spatial} voxels cannot be planes of a stack: write a file for each")
    counts: dict[Role, int] = {"source": images, "target": images if coloured else 0, "test": tests}
    wanted = (file for role, count in counts.items() for file in _files(how, role, count, stack))
    total = 2 * sum(min(count, 1) if stack else count for count in counts.values())
    paths: dict[str, list[Path]] = {}
    for file in counted(wanted, "volumes", total):
        number = "" if stack else f"/{file.pictures[0].number:04d}"
        path = Path(folder) / f"{file.name}{number}{suffix}"
        _write(path, file, overwrite=overwrite)
        paths.setdefault(file.name, []).append(path)
    return paths


def is_stack(volume: Volume) -> bool:
    """Return whether a volume is a stack that `write_circles` wrote: its planes are images of their own."""
    shown = volume.attrs.get(KEY)
    return isinstance(shown, dict) and shown.get("last", 0) != shown.get("number", 0)


@dataclass(frozen=True)
class _File:
    """A volume of some pictures, one after the other along Z."""

    name: str
    pictures: Sequence[Picture]
    show: Callable[[Picture, Box], np.ndarray]
    """What it shows of a box of one of them."""
    channels: Sequence[str] = ()

    @property
    def spatial(self) -> Shape:
        """Z, Y, X in voxels."""
        depth, height, width = self.pictures[0].settings.spatial
        return (depth * len(self.pictures), height, width)

    @property
    def attributes(self) -> dict[str, Any]:
        """What it shows, as JSON data: settings, and the numbers of the first picture and the last."""
        numbers = {"number": self.pictures[0].number, "last": self.pictures[-1].number}
        return {KEY: {"name": self.name, **numbers, **self.pictures[0].settings.model_dump(mode="json")}}

    def render(self, box: Box) -> np.ndarray:
        """Return a box of it, `(C, Z, Y, X)`."""
        if len(self.pictures) == 1:
            return self.show(self.pictures[0], box)
        return read_planes(self.show, self.pictures, box)


def _files(how: Circles, role: Role, count: int, stack: bool) -> Iterator[_File]:
    """Yield the volumes of one role, images and their labels: one of all pictures, or one of each."""
    size = max(1, count) if stack else 1
    for first in range(0, count, size):
        pictures = [how.picture(role, number) for number in range(first, first + size)]
        if role == "target":
            yield _File(role, pictures, lambda picture, box: picture.coloured(box), COLOURS)
        else:
            yield _File(role, pictures, Picture.white)
        yield _File(f"{role}-labels", pictures, Picture.labels)


def _write(path: Path, file: _File, *, overwrite: bool) -> None:
    """Write a volume whole, unless it is there."""
    if path.exists() and not overwrite:
        with open_volume(path) as volume:
            if volume.attrs.get(KEY) == file.attributes[KEY]:
                return
        raise AlreadyExists(f"{path} exists and shows something else: give `overwrite` or another folder")
    kind = file.render(Box((0, 0, 0), (1, 1, 1))).dtype
    depth = CHUNK[0] if len(file.pictures) == 1 else 1
    with (
        written_whole(path) as partial,
        create_volume(
            partial,
            shape=(len(file.channels) or 1, *file.spatial),
            dtype=kind,
            voxel_size=(1, 1, 1),
            unit="",
            chunks=tuple(map(min, file.spatial, (depth, *CHUNK[1:]))),
            attrs=file.attributes,
            channel_names=file.channels,
            flat=len(file.pictures[0].settings.shape) == 2 and len(file.pictures) == 1,
        ) as volume,
    ):
        fill(volume, file.render, BLOCK if len(file.pictures) == 1 else (1, *BLOCK[1:]))
