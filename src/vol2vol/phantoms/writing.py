"""Phantoms as OME-Zarr volumes, written block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.phantoms.appearance import BLOCK, DOMAINS, Domain, mask, render
from vol2vol.phantoms.neurites import Scene

VOXEL_SIZE = (10.0, 10.0, 10.0)
"""Nanometres; neurites and organelles have the sizes of tissue at this scale."""


def scene_of(domain: Domain, seed: int) -> Scene:
    """Return tissue with the density of mitochondria that this domain has."""
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
    """Write `shape` (Z, Y, X) voxels of a scene as uint8 OME-Zarr; without a domain, its mitochondria (0 and 1).

    An image is a plane: Z = 1. Memory: about 50 bytes for each voxel of `BLOCK`, and one for each of a shard.
    Raises `AlreadyExists` unless `overwrite`.
    """
    from vol2vol.volumes import create_volume

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
        block = tuple(s * ceil_div(min(b, n), s) for s, b, n in zip(volume.shards[1:], BLOCK, shape, strict=True))
        for box in grid(Box.of(shape), block):
            volume.write(box, mask(scene, box) if domain is None else render(scene, domain, box))
    return Path(path)


def write_pair(
    folder: str | Path, shape: Shape, seed: int = 0, *, chunks: Shape = (64, 64, 64), overwrite: bool = False
) -> dict[str, Path]:
    """Write an unpaired pair of domains and the known answer; return name to path.

    `source`: one tissue as rat. `target`: another tissue, of another density, as human. `source_in_target`: the
    source's tissue as human, what a perfect translation of `source` looks like up to noise. `source_mito`: its
    mitochondria, 0 and 1.
    """
    rat, human = DOMAINS["rat"], DOMAINS["human"]
    source, target = scene_of(rat, 2 * seed), scene_of(human, 2 * seed + 1)
    wanted = {
        "source": (source, rat),
        "target": (target, human),
        "source_in_target": (source, human),
        "source_mito": (source, None),
    }
    return {
        name: write_phantom(Path(folder) / f"{name}.zarr", shape, *what, chunks=chunks, overwrite=overwrite)
        for name, what in wanted.items()
    }
