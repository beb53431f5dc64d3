"""Training patches with masks: an image and what it shows, cut, flipped and turned as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Intensity
from vol2vol.sampling.jitter import HALF, Jitter
from vol2vol.sampling.patches import ISOTROPIC, TRIES, Patches
from vol2vol.volumes import Volume
from vol2vol.volumes.places import same_voxels, warn_apart

AS_IT_IS = Intensity(low=(0.0,), high=(1.0,), network=(0.0, 1.0), clip=False)
_LABELLED = 4
"""A random stream of its own."""


class Labelled:
    """An image and its mask as one float32 volume, or a part of both: its channels, then the mask's as 0 and 1."""

    def __init__(self, image: Volume, mask: Volume, intensity: Intensity, part: Box | None = None) -> None:
        if image.spatial != mask.spatial:
            raise BadInput(f"{mask.path} has {mask.spatial} voxels, its image {image.path} {image.spatial}: crop one")
        if not same_voxels(image, mask, ISOTROPIC):
            raise BadInput(
                f"{mask.path} has voxels of {tuple(mask.voxel_size)}, its image {image.path} "
                f"{tuple(image.voxel_size)}: resample one, or give the voxel size"
            )
        warn_apart(image, mask)
        self.image, self.mask, self.intensity = image, mask, intensity
        self.part = part or Box.of(image.spatial)
        self.path, self.voxel_size = image.path, image.voxel_size
        self.channels = image.channels + mask.channels

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.part.shape

    def read(self, box: Box) -> np.ndarray:
        """Return the image in the network's range and the mask, float32 (channels, *box.shape)."""
        there = box.shift(self.part.start)
        mask = self.mask.read_padded(there) > 0
        return np.concatenate([self.intensity.to_network(self.image.read_padded(there)), mask.astype(np.float32)])

    def mirrored(self, margin: Shape) -> Labelled:
        """Return the same with a margin on all sides in which image and mask are mirrored, as prediction does.

        A network that needs context can then learn from masks up to the border.
        """
        return Labelled(self.image, self.mask, self.intensity, self.part.grow(margin, margin))

    def split(self, share: float, least: Shape, shared: Shape = (0, 0, 0)) -> tuple[Labelled, Labelled]:
        """Return what training may learn from, and the last share along the longest axis that holds both.

        Neither is shorter than `least` on that axis. They overlap by up to `shared` voxels: what both see of the image
        at their common border, where a network that needs context looks at no mask. Raises `BadInput` where no axis
        can be divided.
        """
        for axis in sorted(range(3), key=lambda a: (-self.spatial[a], a)):
            length = self.spatial[axis]
            held = max(round(share * length), least[axis])
            kept = length - held + min(shared[axis], held - 1)
            if kept >= least[axis]:
                start, stop = [*self.part.start], [*self.part.stop]
                stop[axis] = start[axis] + kept
                start[axis] += length - held
                boxes = Box(self.part.start, tuple(stop)), Box(tuple(start), self.part.stop)
                return tuple(Labelled(self.image, self.mask, self.intensity, box) for box in boxes)  # type: ignore[return-value]
        raise BadInput(
            f"{self.path} with {self.spatial} voxels cannot be divided into a part to learn from and one to judge by, "
            f"each of at least {least}: use smaller patches or a larger volume"
        )


class LabelledPatches(Dataset):
    """Patches of images with their masks; item i is a pure function of (seed, epoch, i).

    Every patch, before others are pasted into it, holds at least the share `foreground` of its voxels inside a mask
    (0.02 in the stitching paper). Image and mask are flipped, turned, zoomed and pasted alike; the rest of `jitter`
    changes the image. `patch`, `planes`, `augment` and `seed` are those of `Patches`, which also says what is raised.
    """

    def __init__(
        self,
        volumes: Sequence[Labelled],
        patch: Shape,
        *,
        planes: Sequence[str] = ("z",),
        foreground: float = 0.02,
        augment: bool = True,
        jitter: Jitter | None = None,
        seed: int = 0,
    ) -> None:
        self.patches = Patches(volumes, AS_IT_IS, patch, planes=planes, background=None, augment=augment, seed=seed)
        self.images, self.foreground, self.epoch = volumes[0].image.channels, foreground, 0
        self.jitter, self.intensity = jitter or Jitter(), volumes[0].intensity
        room = self.jitter.room(self.patches.patch)
        self._drawn = Patches(volumes, AS_IT_IS, room, planes=planes, background=None, augment=augment, seed=seed)

    def set_epoch(self, epoch: int) -> None:
        """Make the following items those of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `source`, the image in the network's range, and `target`, its mask: float32 (C, [Z,] Y, X).

        Raises `BadInput` after `TRIES` candidates with too little foreground.
        """
        random = np.random.default_rng([self.patches.seed, _LABELLED, self.epoch, index])
        image, mask = self._with_foreground(random)
        if self.jitter.paste and random.random() < self.jitter.paste:
            image, mask = self.jitter.pasted(image, mask, *self._with_foreground(random), random)
        return _item(self.jitter(image, mask, self.intensity, random), mask)

    def _with_foreground(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a patch with enough foreground, zoomed, and its mask of zeros and ones."""
        for _ in range(TRIES):
            values, source = self._drawn.candidate(random)
            values = self.jitter.zoomed(values, self.patches.patch, random)
            image, mask = values[: self.images], (values[self.images :] >= HALF).astype(np.float32)
            if mask.mean() >= self.foreground:
                return image, mask
        raise BadInput(
            f"{source.volume.path}: {TRIES} random patches of {self.patches.patch} have less than "
            f"{self.foreground:.3g} of their voxels inside the mask: lower data.labels.foreground or look at the mask"
        )

    def covering(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Yield up to `count` items spread evenly over everything, background included, unchanged."""
        for values in self.patches.covering(count):
            yield {"source": values[: self.images], "target": values[self.images :]}


def _item(image: np.ndarray, mask: np.ndarray) -> dict[str, Tensor]:
    both = {"source": image, "target": mask}
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in both.items()}
