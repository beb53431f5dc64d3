"""What is held back from training to judge by: the last part of every volume, of which no target is learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from vol2vol.geometry import Shape
from vol2vol.sampling.aligned import Aligned
from vol2vol.sampling.augment import Augment
from vol2vol.sampling.settings import DataSettings


def held_back(
    sets: Sequence[Aligned], settings: DataSettings, patch: Shape, context: tuple[Shape, Shape]
) -> tuple[list[Aligned], list[Aligned]]:
    """Return of each set of volumes what is learnt from, and what is held back to judge by."""
    shared = spread(settings, _unlearnt(context, settings.augment), whole=0)
    least = spread(settings, patch, whole=1)
    share, augment = settings.labels.held_out, settings.augment
    parts = [aligned_set.split(share, least, _kept(shared, augment, aligned_set, len(patch))) for aligned_set in sets]
    return [learnt for learnt, _ in parts], [held for _, held in parts]


def _unlearnt(context: tuple[Shape, Shape], augment: Augment) -> Shape:
    """Return how many voxels of image a patch to learn from and one to judge by may share, along the network's axes.

    Losses look where the whole context was seen, so that both leave out what lies within the reach of their ends; less
    in a patch to learn from that shows things larger.
    """
    return tuple(min(ends) + int(min(ends) * exp(-augment.zoom)) for ends in zip(*context, strict=True))


def _kept(shared: Shape, augment: Augment, volumes: Aligned, dims: int) -> Shape:
    """Return voxels along Z, Y, X without those by which a deformation may move what a patch shows."""
    margin = augment.elastic.margin(volumes.voxel_size[-dims:])
    moved = margin if dims == 3 and augment.turns != "all" else (max(margin),) * 3
    return tuple(max(0, n - m) for n, m in zip(shared, moved, strict=True))


def spread(settings: DataSettings, sizes: Shape, *, whole: int) -> Shape:
    """Return sizes along a patch's axes as Z, Y, X; `whole` across planes, the extreme where planes differ."""
    if len(sizes) == 3:
        return sizes
    shapes = []
    for name in settings.planes:
        shape = list(sizes)
        shape.insert("zyx".index(name), whole)
        shapes.append(shape)
    extreme = max if whole else min
    return tuple(extreme(column) for column in zip(*shapes, strict=True))
