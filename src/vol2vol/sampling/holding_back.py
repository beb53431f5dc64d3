"""Hold out the last part of every volume from training, to validate checkpoints on it."""

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
    """Return the training part and the held-out part of each set of volumes."""
    shared = spread(settings, _context_alone(context, settings.augment), whole=0)
    least = spread(settings, patch, whole=1)
    share, augment = settings.labels.held_out, settings.augment
    parts = [aligned_set.split(share, least, _kept(shared, augment, aligned_set, len(patch))) for aligned_set in sets]
    return [training for training, _ in parts], [held_out for _, held_out in parts]


def _context_alone(context: tuple[Shape, Shape], augment: Augment) -> Shape:
    """Return how many voxels a training patch and a held-out patch may share, along the network's axes.

    Losses leave out the voxels at the ends of a patch whose context is incomplete. The two patches may share these
    voxels, which serve both as context alone; a training patch that is enlarged has fewer of them.
    """
    return tuple(min(ends) + int(min(ends) * exp(-augment.zoom)) for ends in zip(*context, strict=True))


def _kept(shared: Shape, augment: Augment, volumes: Aligned, dims: int) -> Shape:
    """Return voxels along Z, Y, X, reduced by the maximum displacement of an elastic deformation."""
    margin = augment.elastic.margin(volumes.voxel_size[-dims:])
    moved = margin if dims == 3 and augment.turns != "all" else (max(margin),) * 3
    return tuple(max(0, n - m) for n, m in zip(shared, moved, strict=True))


def spread(settings: DataSettings, sizes: Shape, *, whole: int) -> Shape:
    """Return sizes along the axes of a patch as Z, Y, X.

    Across planes the size is `whole`; if planes across several axes are drawn, each axis gets its largest size, or its
    smallest if `whole` is 0.
    """
    if len(sizes) == 3:
        return sizes
    shapes = []
    for name in settings.planes:
        shape = list(sizes)
        shape.insert("zyx".index(name), whole)
        shapes.append(shape)
    extreme = max if whole else min
    return tuple(extreme(column) for column in zip(*shapes, strict=True))
