"""Build the data set of any task: patches of the domains it needs; aligned domains are drawn at the same place.

Item i of epoch e depends on (seed, e, i) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Intensity
from vol2vol.protocol import Need, aligned
from vol2vol.sampling.aligned import Aligned, AlignedPatches, check_alike
from vol2vol.sampling.appearance import Look
from vol2vol.sampling.augment import STILL
from vol2vol.sampling.centres import Centres, Part
from vol2vol.sampling.holding_back import held_back, spread
from vol2vol.sampling.patches import Patches
from vol2vol.sampling.settings import DataSettings
from vol2vol.sampling.sources import axis_of, check_voxel_size
from vol2vol.volumes import Volume

Item = dict[str, Tensor]
_LOOKS = 5
"""Key of the random numbers of this module."""
HeldOut = Callable[[], Iterable[Item]]


class Group(Protocol):
    """Domains whose patches are drawn at the same place."""

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def draw(self, epoch: int, index: int) -> Item: ...  # noqa: D102
    def covering(self, count: int) -> Iterator[Item]: ...  # noqa: D102


@dataclass(frozen=True)
class Alone:
    """A domain that is drawn independently of others."""

    name: str
    patches: Patches
    stream: int
    """Separates the random numbers of data sets that are drawn in parallel."""
    changed: bool = False
    """Whether its intensities change."""

    @property
    def names(self) -> tuple[str, ...]:
        """The domain."""
        return (self.name,)

    def __len__(self) -> int:
        return len(self.patches)

    def draw(self, epoch: int, index: int) -> Item:
        """Return the patch of an item by domain."""
        patch = self.patches.draw(self.stream, epoch, index)
        if self.changed:
            random = np.random.default_rng([self.patches.seed, _LOOKS, self.stream, epoch, index])
            look = Look.drawn(self.patches.augment, random, masked=False)
            patch = torch.from_numpy(look(patch.numpy(), None, self.patches.intensity, random))
        return {self.name: patch}

    def covering(self, count: int) -> Iterator[Item]:
        """Yield up to `count` patches spread evenly over all volumes."""
        return ({self.name: patch} for patch in self.patches.covering(count))


class PatchSets(Dataset[Item]):
    """A patch per domain, float32 (C, [Z,] Y, X); images are in the network's range.

    Indices may exceed the length, so that an epoch can have any number of steps.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups, self.epoch = groups, 0

    def set_epoch(self, epoch: int) -> None:
        """Return the items of this epoch from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(len(group) for group in self.groups)

    def __getitem__(self, index: int) -> Item:
        """Return a patch per domain, by name."""
        return {name: patch for group in self.groups for name, patch in group.draw(self.epoch, index).items()}

    def covering(self, count: int) -> Iterator[Item]:
        """Yield up to `count` items spread evenly over all volumes of every domain, without augmentation."""
        for parts in zip(*(group.covering(count) for group in self.groups), strict=False):
            yield {name: patch for part in parts for name, patch in part.items()}

    def inputs(self, domains: Sequence[str], count: int) -> Iterator[Tensor]:
        """Yield up to `count` inputs (1, C, [Z,] Y, X) of a network that reads these domains as its channels."""
        groups = [group for group in self.groups if {*group.names} & {*domains}]
        for item in PatchSets(groups).covering(count):
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
    guides: Sequence[Need] = (),
    seed: int = 0,
) -> tuple[PatchSets, HeldOut | None]:
    """Return the training patches of a task and, if it is `judged`, its validation patches.

    `volumes` are by domain; aligned domains have the same number, in the same order. Validation uses separate volumes
    (`unseen`, in the same form) or, without them, a held-out part of each volume. `context` is the number of voxels
    before and after each axis of a patch that are not compared with the target (`Task.context`); volumes are mirrored
    by so many voxels, so that networks are trained up to their borders, and a held-out part may share them with the
    training part. `inputs` are the domains that no network outputs; `data.augment` changes them by default. `guides`
    are masks that only decide where patches lie. Raises `BadInput`, naming what does not fit.
    """
    needs = [need for need in needs if need.name in volumes]
    changed = check_settings(settings, needs, volumes, dims=len(patch), inputs=inputs, guides=guides)
    options: dict[str, Any] = {"patch": patch, "changed": changed, "guides": guides, "seed": seed}
    builder = _GroupBuilder(settings=settings, volumes=volumes, intensity=intensity, **options)
    groups, held_out = list[Group](), list[Group]()
    for stream, members in enumerate(aligned(needs)):
        if len(members) == 1 and not judged:
            groups.append(builder.alone(members[0], stream))
            continue
        margin = spread(settings, tuple(map(max, *context)), whole=0)
        sets = _sets(members, volumes, intensity, margin)
        if judged:
            separate = _sets(members, unseen, intensity, margin) if unseen else None
            sets, validation = (sets, separate) if separate else held_back(sets, settings, patch, context)
            held_out.append(AlignedPatches(validation, patch, planes=settings.planes, augment=STILL))
        groups.append(builder.together(sets, stream))
    return PatchSets(groups), partial(_batches, held_out, settings.labels.held_out_patches) if judged else None


def check_settings(
    settings: DataSettings,
    needs: Sequence[Need],
    volumes: Mapping[str, Sequence[Volume]],
    *,
    dims: int,
    inputs: Collection[str],
    guides: Sequence[Need] = (),
) -> tuple[str, ...]:
    """Return the domains whose intensities change; raise `BadInput` if settings do not fit the domains or voxel sizes.

    It reads no voxels, so it can run before intensities are measured; the arguments are those of `dataset`.
    """
    known = {need.name: need for need in (*needs, *guides)}
    if strange := [name for name in settings.weights if name not in known]:
        raise BadInput(f"data.weights: the task does not have a domain {strange[0]}: use {', '.join(known)}")
    for name, weight in settings.weights.items():
        weight.check(known[name])
    for group in aligned((*needs, *guides)):
        if len(named := [need.name for need in group if need.name in settings.weights]) > 1:
            both = " and ".join(named)
            raise BadInput(f"data.weights: {both} are drawn at the same place: give weights for one of them only")
        for volume in volumes[group[0].name]:
            for axis in [None] if dims == 3 else [axis_of(name) for name in settings.planes]:
                check_voxel_size(volume, axis, settings.augment)
    return settings.augment.changed(needs, inputs)


@dataclass(frozen=True, kw_only=True)
class _GroupBuilder:
    """Builds the patches of domains from the settings and the volumes of all domains."""

    settings: DataSettings
    volumes: Mapping[str, Sequence[Volume]]
    intensity: Mapping[str, Intensity]
    patch: Shape
    changed: Sequence[str]
    guides: Sequence[Need]
    seed: int

    def alone(self, need: Need, stream: int) -> Alone:
        """Return the patches of a domain that is drawn independently of others."""
        volumes, settings = self.volumes[need.name], self.settings
        patches = Patches(
            volumes,
            self.intensity[need.name],
            self.patch,
            planes=settings.planes,
            background=settings.background,
            augment=settings.augment,
            centres=self._centres([need], lambda _, volume: Part(volume, Box.of(volume.spatial), (0, 0, 0))),
            seed=self.seed,
        )
        return Alone(need.name, patches, stream, bool(settings.augment.intensities) and need.name in self.changed)

    def together(self, sets: Sequence[Aligned], stream: int) -> AlignedPatches:
        """Return the patches of aligned domains."""
        settings = self.settings
        return AlignedPatches(
            sets,
            self.patch,
            planes=settings.planes,
            foreground=settings.labels.foreground,
            background=settings.background,
            augment=settings.augment,
            changed=self.changed,
            centres=self._centres(sets[0].needs, lambda index, volume: sets[index].part_of(volume)),
            seed=self.seed,
            stream=stream,
        )

    def _centres(self, needs: Sequence[Need], part: Callable[[int, Volume], Part]) -> Centres | None:
        """Return the voxels on which patches of aligned domains are centred; None if there are no weights for them.

        `part` returns, for the index of a volume, the part from which patches are drawn.
        """
        lead = needs[0].name
        for need in (*needs, *(guide for guide in self.guides if guide.along == lead)):
            if need.name in self.settings.weights:
                volumes = self.volumes[need.name]
                for first, volume in zip(self.volumes[lead], volumes, strict=True):
                    if volume is not first:
                        check_alike(first, volume)
                parts = [part(index, volume) for index, volume in enumerate(volumes)]
                return Centres(self.settings.weights[need.name], need, parts, dims=len(self.patch))
        return None


def _batches(groups: Sequence[Group], count: int) -> Iterator[Item]:
    return ({name: part[None] for name, part in item.items()} for item in PatchSets(groups).covering(count))


def _sets(
    needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]], intensity: Mapping[str, Intensity], margin: Shape
) -> list[Aligned]:
    """Return the sets of aligned volumes, with a margin, one set per volume of the leading domain."""
    lead = needs[0].name
    if lacking := [need.name for need in needs if need.name not in volumes]:
        raise BadInput(f"the validation volumes lack the domain {lacking[0]}: add its volumes")
    for need in needs[1:]:
        if len(volumes[need.name]) != len(volumes[lead]):
            raise BadInput(
                f"{len(volumes[lead])} {lead} volumes and {len(volumes[need.name])} {need.name} volumes: "
                "give one of each for every pair, in the same order"
            )
    return [
        Aligned(needs, {need.name: volumes[need.name][i] for need in needs}, intensity).mirrored(margin)
        for i in range(len(volumes[lead]))
    ]
