"""Write phantoms as OME-Zarr volumes, block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.phantoms.appearance import BLOCK, DOMAINS, Domain, mask, render
from vol2vol.phantoms.neurites import Scene
from vol2vol.volumes import Volume, create_volume

VOXEL_SIZE = (10.0, 10.0, 10.0)
"""Z, Y, X in nanometres; at this scale neurites and organelles have the sizes of real tissue."""


def scene_of(domain: Domain, seed: int) -> Scene:
    """Return the scene of a seed with the density of mitochondria of a domain."""
    return Scene(seed, mitochondria=domain.mitochondria)


def write_phantom(
    path: str | Path,
    shape: Shape,
    scene: Scene,
    domain: Domain | None,
    *,
    chunks: Shape = (64, 64, 64),
    overwrite: bool = False,
) -> Path:
    """Write `shape` (Z, Y, X) voxels of a scene as uint8 OME-Zarr and return the path.

    Without a domain, the mask of its mitochondria (0 and 1) is written. For a 2D image give Z = 1. Memory: about 50
    bytes per voxel of `BLOCK` and 1 per voxel of a shard. Raises `AlreadyExists` where the path exists, unless
    `overwrite`.
    """
    attrs: dict[str, Any] = {"phantom": {"seed": scene.seed, "domain": domain.name if domain else "mitochondria"}}
    with create_volume(
        str(path),
        shape=(1, *shape),
        dtype=np.uint8,
        voxel_size=VOXEL_SIZE,
        unit="nanometer",
        chunks=tuple(map(min, chunks, shape)),
        overwrite=overwrite,
        attrs=attrs,
    ) as volume:
        fill(volume, lambda box: mask(scene, box) if domain is None else render(scene, domain, box), BLOCK)
    return Path(path)


def fill(volume: Volume, render: Callable[[Box], np.ndarray], block: Shape) -> None:
    """Write every voxel of a volume in blocks of whole shards, about `block` (Z, Y, X) voxels each.

    `render` returns a box of the volume, `(C, Z, Y, X)`.
    """
    whole = tuple(s * ceil_div(min(b, n), s) for s, b, n in zip(volume.shards[1:], block, volume.spatial, strict=True))
    for box in grid(Box.of(volume.spatial), whole):
        volume.write(box, render(box))


def write_tissue(
    folder: str | Path, shape: Shape, seed: int = 0, *, chunks: Shape = (64, 64, 64), overwrite: bool = False
) -> dict[str, Path]:
    """Write two unpaired domains with their ground truth into a folder; return the paths by name.

    `source`: a tissue as rat. `target`: another tissue, with another density of mitochondria, as human.
    `source_in_target`: the source's tissue as human, which a perfect translation of `source` equals up to noise.
    `source_mito`: the mask of its mitochondria, 0 and 1. Raises `AlreadyExists` where one exists, unless `overwrite`.
    """
    rat, human = DOMAINS["rat"], DOMAINS["human"]
    source, target = scene_of(rat, 2 * seed), scene_of(human, 2 * seed + 1)
    contents = {
        "source": (source, rat),
        "target": (target, human),
        "source_in_target": (source, human),
        "source_mito": (source, None),
    }
    return {
        name: write_phantom(Path(folder) / f"{name}.zarr", shape, *content, chunks=chunks, overwrite=overwrite)
        for name, content in contents.items()
    }
