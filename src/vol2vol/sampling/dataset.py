"""The data set of any task: patches of the domains it needs, drawn together where they lie on each other.

Item i of epoch e is a pure function of (seed, e, i).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Intensity
from vol2vol.protocol import Need, aligned
from vol2vol.sampling.aligned import Aligned, AlignedPatches
from vol2vol.sampling.appearance import Look
from vol2vol.sampling.augment import STILL, Augment
from vol2vol.sampling.centres import Centres, Part
from vol2vol.sampling.patches import Patches
from vol2vol.sampling.settings import DataSettings
from vol2vol.volumes import Volume

Item = dict[str, Tensor]
_LOOKS = 5
"""A random stream of its own."""
HeldOut = Callable[[], Iterable[Item]]


class Group(Protocol):
    """Domains whose patches are drawn at one place."""

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def draw(self, epoch: int, index: int) -> Item: ...  # noqa: D102
    def covering(self, count: int) -> Iterator[Item]: ...  # noqa: D102


@dataclass(frozen=True)
class Alone:
    """One domain, drawn on its own."""

    name: str
    patches: Patches
    stream: int
    """Tells apart what is drawn side by side."""
    changed: bool = False
    """Whether its intensities change."""

    @property
    def names(self) -> tuple[str, ...]:
        """The domain."""
        return (self.name,)

    def __len__(self) -> int:
        return len(self.patches)

    def draw(self, epoch: int, index: int) -> Item:
        """Return the patch of an item."""
        patch = self.patches.draw(self.stream, epoch, index)
        if self.changed:
            random = np.random.default_rng([self.patches.seed, _LOOKS, self.stream, epoch, index])
            look = Look.drawn(self.patches.augment, random, masked=False)
            patch = torch.from_numpy(look(patch.numpy(), None, self.patches.intensity, random))
        return {self.name: patch}

    def covering(self, count: int) -> Iterator[Item]:
        """Yield up to `count` patches spread evenly over all volumes."""
        return ({self.name: patch} for patch in self.patches.covering(count))


class PatchSets(Dataset):
    """One patch per domain: float32 (C, [Z,] Y, X), images in the network's range.

    Indices may exceed the length: an epoch is as long as its reader wants.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups, self.epoch = groups, 0

    def set_epoch(self, epoch: int) -> None:
        """Make the following items those of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(len(group) for group in self.groups)

    def __getitem__(self, index: int) -> Item:
        """Return one patch per domain, by name."""
        return {name: patch for group in self.groups for name, patch in group.draw(self.epoch, index).items()}

    def covering(self, count: int) -> Iterator[Item]:
        """Yield up to `count` items spread evenly over all volumes of every domain, unchanged."""
        for parts in zip(*(group.covering(count) for group in self.groups), strict=False):
            yield {name: patch for part in parts for name, patch in part.items()}

    def inputs(self, domains: Sequence[str], count: int) -> Iterator[Tensor]:
        """Yield up to `count` inputs (1, C, [Z,] Y, X) of a network that reads these domains side by side."""
        wanted = [group for group in self.groups if {*group.names} & {*domains}]
        for item in PatchSets(wanted).covering(count):
            yield torch.cat([item[name] for name in domains])[None]


def dataset(
    needs: Sequence[Need],
    volumes: Mapping[str, Sequence[Volume]],
    intensity: Mapping[str, Intensity],
    settings: DataSettings,
    *,
    patch: Shape,
    context: tuple[Shape, Shape],
    inputs: Collection[str] = (),
    judged: bool = False,
    unseen: Mapping[str, Sequence[Volume]] | None = None,
    seed: int = 0,
) -> tuple[PatchSets, HeldOut | None]:
    """Return the patches that a task trains on and, where it is `judged`, those it never sees, to judge by.

    `volumes` are by domain; those that lie on each other are as many, in the same order. To judge by are volumes of
    their own (`unseen`, in the same way) or, where there are none, a part of each volume. `context` is how many voxels
    before and after each axis of a patch the task compares with nothing (`Task.context`): volumes are mirrored so far,
    so that their borders are learnt too, and a held-out part may share them with its neighbour. `inputs` are the
    domains that networks read and none makes: what `data.augment` changes by default. Raises `BadInput` naming what
    does not fit.
    """
    needs = [need for need in needs if need.name in volumes]
    _check_weights(settings.weights, needs)
    changed = settings.augment.changed(needs, inputs)
    groups, held_out = list[Group](), list[Group]()
    for stream, given in enumerate(aligned(needs)):
        if len(given) == 1 and not judged:
            name = given[0].name
            patches = _alone(given[0], volumes[name], intensity[name], settings, patch=patch, seed=seed)
            groups.append(Alone(name, patches, stream, bool(settings.augment.intensities) and name in changed))
            continue
        margin = _spread(settings, tuple(map(max, *context)), whole=0)
        sets = _sets(given, volumes, intensity, margin)
        if judged:
            own = _sets(given, unseen, intensity, margin) if unseen else None
            sets, judge_by = (sets, own) if own else _parts(sets, settings, patch, context)
            held_out.append(AlignedPatches(judge_by, patch, planes=settings.planes, augment=STILL))
        groups.append(_drawn(sets, settings, patch, changed=changed, seed=seed, stream=stream))
    return PatchSets(groups), partial(_batches, held_out, settings.labels.held_out_patches) if judged else None


def _alone(
    need: Need, volumes: Sequence[Volume], intensity: Intensity, settings: DataSettings, *, patch: Shape, seed: int
) -> Patches:
    """Return the patches of a domain that is drawn on its own."""
    parts = [Part(volume, Box.of(volume.spatial), (0, 0, 0)) for volume in volumes]
    return Patches(
        volumes,
        intensity,
        patch,
        planes=settings.planes,
        background=settings.background,
        augment=settings.augment,
        seed=seed,
        centres=_centres(settings, [need], lambda _: parts, patch),
    )


def _drawn(
    sets: Sequence[Aligned], settings: DataSettings, patch: Shape, *, changed: Sequence[str], seed: int, stream: int
) -> AlignedPatches:
    return AlignedPatches(
        sets,
        patch,
        planes=settings.planes,
        foreground=settings.labels.foreground,
        background=settings.background,
        augment=settings.augment,
        changed=changed,
        centres=_centres(settings, sets[0].needs, lambda name: [one.part_of(name) for one in sets], patch),
        seed=seed,
        stream=stream,
    )


def _check_weights(named: Iterable[str], needs: Sequence[Need]) -> None:
    known = [need.name for need in needs]
    if strange := [name for name in named if name not in known]:
        raise BadInput(f"data.weights: there is no domain {strange[0]}: use {', '.join(known)}")


def _centres(
    settings: DataSettings, needs: Sequence[Need], parts: Callable[[str], Sequence[Part]], patch: Shape
) -> Centres | None:
    """Return the voxels on which patches of domains that are drawn together are centred; None where none is named."""
    named = [need for need in needs if need.name in settings.weights]
    if len(named) > 1:
        both = " and ".join(need.name for need in named)
        raise BadInput(f"data.weights: {both} are drawn together, and a patch has one centre: name one of them")
    if not named:
        return None
    return Centres(settings.weights[named[0].name], named[0], parts(named[0].name), dims=len(patch))


def _batches(groups: Sequence[Group], count: int) -> Iterator[Item]:
    return ({name: part[None] for name, part in item.items()} for item in PatchSets(groups).covering(count))


def _sets(
    needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]], intensity: Mapping[str, Intensity], margin: Shape
) -> list[Aligned]:
    """Return the volumes that lie on each other, with a margin, one set for each volume of the leading domain."""
    lead = needs[0].name
    if lacking := [need.name for need in needs if need.name not in volumes]:
        raise BadInput(f"the volumes to judge by lack the domain {lacking[0]}: add its volumes")
    for need in needs[1:]:
        if len(volumes[need.name]) != len(volumes[lead]):
            raise BadInput(
                f"{len(volumes[lead])} {lead} volumes and {len(volumes[need.name])} {need.name} volumes: "
                "give one for each, in the same order"
            )
    return [
        Aligned(needs, {need.name: volumes[need.name][i] for need in needs}, intensity).mirrored(margin)
        for i in range(len(volumes[lead]))
    ]


def _parts(
    sets: Sequence[Aligned], settings: DataSettings, patch: Shape, context: tuple[Shape, Shape]
) -> tuple[list[Aligned], list[Aligned]]:
    """Return of each set of volumes what is learnt from, and what is held back to judge by."""
    shared = _spread(settings, _unlearnt(context, settings.augment), whole=0)
    least = _spread(settings, patch, whole=1)
    share, augment = settings.labels.held_out, settings.augment
    parts = [aligned_set.split(share, least, _kept(shared, augment, aligned_set)) for aligned_set in sets]
    return [learnt for learnt, _ in parts], [held for _, held in parts]


def _unlearnt(context: tuple[Shape, Shape], augment: Augment) -> Shape:
    """Return how many voxels of image a patch to learn from and one to judge by may share, along the network's axes.

    Losses look where the whole context was seen, so that both leave out what lies within the reach of their ends; less
    in a patch to learn from that shows things larger.
    """
    return tuple(min(ends) + int(min(ends) * exp(-augment.zoom)) for ends in zip(*context, strict=True))


def _kept(shared: Shape, augment: Augment, volumes: Aligned) -> Shape:
    """Return voxels along Z, Y, X without those by which a deformation may move what a patch shows."""
    margin = augment.elastic.margin(volumes.voxel_size)
    moved = (max(margin),) * 3 if augment.turns == "all" else margin
    return tuple(max(0, n - m) for n, m in zip(shared, moved, strict=True))


def _spread(settings: DataSettings, sizes: Shape, *, whole: int) -> Shape:
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
