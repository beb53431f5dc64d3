"""Draw training patches of aligned domains, such as image and mask, which are cut, flipped and turned together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Intensity
from vol2vol.protocol import Need
from vol2vol.sampling.appearance import Look
from vol2vol.sampling.augment import Augment
from vol2vol.sampling.centres import Centres, Part
from vol2vol.sampling.pasting import HALF, pasted
from vol2vol.sampling.patches import TRIES, Patches
from vol2vol.sampling.sources import ISOTROPIC
from vol2vol.volumes import Volume
from vol2vol.volumes.masks import foreground
from vol2vol.volumes.places import same_voxels

AS_IT_IS = Intensity(low=(0.0,), high=(1.0,), network=(0.0, 1.0), clip=False)
_ALIGNED = 4
"""Key of the random numbers of this module."""


class Aligned:
    """Aligned volumes of several domains as one float32 volume whose channels are concatenated, or a part of it.

    The first of `needs` is the leading domain, an image, whose path errors name. `volumes` and `intensity` are by
    domain; only images use `intensity`. Raises `BadInput` if shapes or voxel sizes differ.
    """

    def __init__(
        self,
        needs: Sequence[Need],
        volumes: Mapping[str, Volume],
        intensity: Mapping[str, Intensity],
        part: Box | None = None,
    ) -> None:
        self.needs, self.volumes, self.intensity = tuple(needs), volumes, intensity
        lead = volumes[needs[0].name]
        for need in needs[1:]:
            check_alike(lead, volumes[need.name])
        self.part = part or Box.of(lead.spatial)
        known = next((volumes[need.name] for need in needs if volumes[need.name].sized), lead)
        self.path, self.voxel_size, self.sized = lead.path, known.voxel_size, known.sized
        self.channels = sum(volumes[need.name].channels for need in needs)

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.part.shape

    def places(self) -> dict[str, slice]:
        """Return the channels of each domain."""
        ends = np.cumsum([0, *(self.volumes[need.name].channels for need in self.needs)]).tolist()
        return {need.name: slice(*ends[i : i + 2]) for i, need in enumerate(self.needs)}

    def read(self, box: Box) -> np.ndarray:
        """Return float32 (channels, *box.shape): images in the network's range, masks as 0 and 1, labels as stored."""
        region = box.shift(self.part.start)
        return np.concatenate([self._values(need, region) for need in self.needs])

    def _values(self, need: Need, box: Box) -> np.ndarray:
        stored = self.volumes[need.name].read_padded(box)
        if need.kind == "image":
            return self.intensity[need.name].to_network(stored)
        if need.kind == "mask":
            stored = foreground(stored, self.volumes[need.name].path)
        return stored.astype(np.float32)

    def part_of(self, volume: Volume) -> Part:
        """Return the same part of a volume that is aligned with these."""
        return Part(volume, self.part & Box.of(volume.spatial), self.part.start)

    def _of(self, part: Box) -> Aligned:
        return Aligned(self.needs, self.volumes, self.intensity, part)

    def mirrored(self, margin: Shape) -> Aligned:
        """Return the volumes with a margin on all sides into which all domains are mirrored, as prediction does.

        A network that needs context can then be trained up to the border.
        """
        return self._of(self.part.grow(margin, margin))

    def split(self, share: float, least: Shape, shared: Shape = (0, 0, 0)) -> tuple[Aligned, Aligned]:
        """Return a training part and a held-out part, the last `share` of the longest axis that has room for both.

        Both parts have at least `least` voxels along that axis. They overlap by up to `shared` voxels, which serve as
        context alone: there the output of a network that needs context is not compared with the target. Raises
        `BadInput` if none of the axes can be divided.
        """
        for axis in sorted(range(3), key=lambda a: (-self.spatial[a], a)):
            length = self.spatial[axis]
            training, held_out = _lengths(length, share, least[axis], shared[axis])
            if training >= least[axis]:
                start, stop = [*self.part.start], [*self.part.stop]
                stop[axis] = start[axis] + training
                start[axis] += length - held_out
                return self._of(Box(self.part.start, tuple(stop))), self._of(Box(tuple(start), self.part.stop))
        raise self._too_small(share, least, shared)

    def _too_small(self, share: float, least: Shape, shared: Shape) -> BadInput:
        """Return the error of volumes that cannot be divided, with the length of an axis that can."""
        shape = self.volumes[self.needs[0].name].spatial
        axes = [axis for axis in range(3) if shape[axis] > 1] or [0]
        enough = {
            axis: next(n for n in count(least[axis]) if _lengths(n, share, least[axis], shared[axis])[0] >= least[axis])
            - (self.spatial[axis] - shape[axis])  # without the mirrored margin
            for axis in axes
        }
        sizes = " or ".join(f"{enough[axis]} voxels along {'zyx'[axis]}" for axis in axes)
        return BadInput(
            f"{self.path} has {shape} voxels, too few to hold back a part to judge by (data.labels.held_out {share:g}) "
            f"beside patches of {tuple(n for n in least if n > 1)}: it needs {sizes}, or set a smaller data.patch"
        )


def _lengths(length: int, share: float, least: int, shared: int) -> tuple[int, int]:
    """Return the lengths of the training part and the held-out part of an axis; they overlap by up to `shared`."""
    held_out = max(round(share * length), least)
    return length - held_out + min(shared, held_out - 1), held_out


def check_alike(lead: Volume, other: Volume) -> None:
    """Raise `BadInput` if the shapes or voxel sizes of two aligned volumes differ."""
    if difference := unlike(lead, other):
        raise BadInput(": ".join(difference))


def unlike(lead: Volume, other: Volume) -> tuple[str, str] | None:
    """Return how the shape or voxel size of two aligned volumes differs, and the cure; None if they agree."""
    if lead.spatial != other.spatial:
        what = f"{other.path} has {other.spatial} voxels, its image {lead.path} {lead.spatial}"
        return what, "crop one of them, such as with vol2vol prepare `crop`"
    if not same_voxels(lead, other, ISOTROPIC):
        sizes = tuple(other.voxel_size), tuple(lead.voxel_size)
        what = f"{other.path} has voxels of {sizes[0]}, its image {lead.path} {sizes[1]}"
        return what, "resample one of them, or give the voxel size"
    return None


class AlignedPatches:
    """Patches of aligned domains; a patch depends on (seed, epoch, i) alone.

    With masks, at least the fraction `foreground` of the voxels of a patch is inside the mask (0.02 in the stitching
    paper), before another patch is pasted into it. Without masks, patches whose leading image is below the
    `background` percentile of variance are drawn again. All domains are flipped, turned, zoomed, deformed and pasted
    alike; intensities change in the domains `changed`, by default in the leading image, and by the same amount in
    domains that share an intensity map. `stream` separates the random numbers of data sets that are drawn in parallel.
    `patch`, `planes`, `augment`, `centres` and `seed` are those of `Patches`, which lists the errors, too; `BadInput`
    is also raised for an `augment` that needs a mask if there is none.
    """

    def __init__(
        self,
        volumes: Sequence[Aligned],
        patch: Shape,
        *,
        planes: Sequence[str] = ("z",),
        foreground: float = 0.02,
        background: float | None = None,
        augment: Augment | None = None,
        changed: Sequence[str] | None = None,
        centres: Centres | None = None,
        seed: int = 0,
        stream: int = 0,
    ) -> None:
        self.places, self.needs = volumes[0].places(), volumes[0].needs
        self.lead = self.needs[0].name
        self.masks = [need.name for need in self.needs if need.kind == "mask"]
        self.changed = (self.lead,) if changed is None else tuple(changed)
        self.foreground, self.augment, self.stream = foreground, augment or Augment(), stream
        self.intensity = volumes[0].intensity
        self.augment.check_masks(masks=len(self.masks), domains=len(self.needs))
        self.patches = Patches(
            volumes,
            AS_IT_IS,
            patch,
            planes=planes,
            background=None if self.masks else background,
            augment=self.augment,
            seed=seed,
            shows=self.places[self.lead],
            centres=centres,
            nearest=[self.places[need.name] for need in self.needs if need.kind == "labels"],
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The domains."""
        return tuple(self.places)

    def __len__(self) -> int:
        return len(self.patches)

    def draw(self, epoch: int, index: int) -> dict[str, Tensor]:
        """Return a patch per domain, float32 (C, [Z,] Y, X); images are in the network's range.

        Raises `BadInput` after `TRIES` candidates with too little foreground or structure.
        """
        key = [self.patches.seed, _ALIGNED, epoch, index, *([self.stream] if self.stream else [])]
        random = np.random.default_rng(key)
        values = self._accepted(random)
        image, mask = self._split(values)
        if mask is not None and self.augment.paste and random.random() < self.augment.paste:
            image, mask = pasted(image, mask, *self._split(self._accepted(random)), random)
        patches = {**{name: values[place] for name, place in self.places.items()}, self.lead: image}
        if mask is not None:
            patches |= self._masks(mask)
        looks: dict[str, Look] = {}
        for need in self.needs:
            if need.name in self.changed:
                like = need.like or need.name
                if like not in looks:
                    looks[like] = Look.drawn(self.augment, random, masked=bool(self.masks))
                patches[need.name] = looks[like](patches[need.name], mask, self.intensity[need.name], random)
        return {name: _tensor(patch) for name, patch in patches.items()}

    def covering(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Yield up to `count` items spread evenly over all volumes, including background, without augmentation."""
        for values in self.patches.covering(count):
            yield {name: values[place] for name, place in self.places.items()}

    def _split(self, values: np.ndarray) -> tuple[np.ndarray, Any]:
        """Return the leading image of a patch, and its concatenated masks, or None if there are none."""
        masks = [values[self.places[name]] for name in self.masks]
        return values[self.places[self.lead]], np.concatenate(masks) if masks else None

    def _masks(self, mask: np.ndarray) -> dict[str, np.ndarray]:
        parts = np.cumsum([self.places[name].stop - self.places[name].start for name in self.masks])[:-1]
        return dict(zip(self.masks, np.split(mask, parts), strict=True))

    def _accepted(self, random: np.random.Generator) -> np.ndarray:
        """Return a patch of all domains with enough foreground or structure; mask values are 0 and 1."""
        centred = self.patches.centred(random)
        for _ in range(TRIES):
            values, seen, source = self.patches.candidate(random, centred=centred)
            if not self.masks:
                if self.patches.accepts(seen):
                    return values
                continue
            for name in self.masks:
                values[self.places[name]] = values[self.places[name]] >= HALF
            if min(values[self.places[name]].mean() for name in self.masks) >= self.foreground:
                return values
        path, patch = source.volume.path, self.patches.patch
        if not self.masks:
            raise BadInput(f"{path}: {TRIES} random patches of {patch} show no structure: crop it to the specimen")
        raise BadInput(
            f"{path}: {TRIES} random patches of {patch} have less than {self.foreground:.3g} of their voxels inside "
            "the mask: lower data.labels.foreground or check the mask"
        )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, order="C"))
