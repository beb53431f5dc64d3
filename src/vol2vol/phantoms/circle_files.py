"""Write the images of a benchmark of circles: both domains, images to test on, and labels for the metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.files import written_whole
from vol2vol.geometry import Box
from vol2vol.phantoms.circles import COLOURS, Circles, Picture, Role
from vol2vol.phantoms.writing import fill
from vol2vol.progress import counted
from vol2vol.volumes import create_volume, open_volume

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
    suffix: Literal[".zarr", ".tif"] = ".zarr",
    overwrite: bool = False,
) -> dict[str, list[Path]]:
    """Write a benchmark of circles into a folder and return the paths by name, an image per file.

    `source`: `images` images of white circles. `target`: as many of other circles, in colour; none unless `coloured`.
    `test`: `tests` images like `source` to test on. `source-labels`, `target-labels`, `test-labels`: the number of the
    circle of each voxel, 0 for background. Each image depends on settings, name and number alone. Images that are there
    already are kept, so that the same call continues what was stopped.

    Raises `BadInput` where the circles do not fit, `AlreadyExists` where a path holds anything else, unless
    `overwrite`.
    """
    how = settings or Circles()
    if images < 0 or tests < 0:
        raise BadInput(f"{images} images and {tests} to test on: both must be 0 or more")
    counts: dict[Role, int] = {"source": images, "target": images if coloured else 0, "test": tests}
    pictures = [Picture(how, role, number) for role, count in counts.items() for number in range(count)]
    paths: dict[str, list[Path]] = {}
    for picture in counted(pictures, "images", len(pictures)):
        for name, render, channels in _files(picture):
            path = Path(folder) / name / f"{picture.number:04d}{suffix}"
            _write(path, picture, name, render, channels, overwrite=overwrite)
            paths.setdefault(name, []).append(path)
    return paths


def _files(picture: Picture) -> Iterator[tuple[str, Callable[[Box], np.ndarray], Sequence[str]]]:
    """Yield the files of a picture: folder, voxels of a box, names of its channels."""
    if picture.role == "target":
        yield picture.role, picture.coloured, COLOURS
    else:
        yield picture.role, picture.white, ()
    yield f"{picture.role}-labels", picture.labels, ()


def _write(
    path: Path,
    picture: Picture,
    name: str,
    render: Callable[[Box], np.ndarray],
    channels: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    shown: dict[str, Any] = {"name": name, "number": picture.number, **picture.settings.model_dump(mode="json")}
    if path.exists() and not overwrite:
        with open_volume(path) as volume:
            if volume.attrs.get(KEY) == shown:
                return
        raise AlreadyExists(f"{path} exists and shows something else: give `overwrite` or another folder")
    kind = render(Box((0, 0, 0), (1, 1, 1))).dtype
    with (
        written_whole(path) as partial,
        create_volume(
            partial,
            shape=(len(channels) or 1, *picture.settings.spatial),
            dtype=kind,
            voxel_size=(1, 1, 1),
            unit="",
            chunks=tuple(min(n, c) for n, c in zip(picture.settings.spatial, CHUNK, strict=True)),
            attrs={KEY: shown},
            channel_names=channels,
            flat=len(picture.settings.shape) == 2,
        ) as volume,
    ):
        fill(volume, render, BLOCK)
