"""Random changes of labelled patches, so that a segmenter learns of a structure what survives them."""

from __future__ import annotations

from math import ceil, exp

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy.ndimage import binary_dilation, gaussian_filter
from torch.nn.functional import interpolate

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.intensity import Intensity

HALF = 0.5
"""Share of a voxel that must be inside the mask, where patches are zoomed."""
SMALLER = (0.35, 0.9)
"""Bounds of the factor by which pasted things are reduced."""
RIM = 2
"""Voxels around a pasted thing that come with it: the membrane that it is known by."""
COARSE = 3.0
"""Standard deviation, in voxels, of the Gaussian that texture is what is left of."""


class Jitter(BaseModel):
    """How far a patch is changed at random; 0 leaves it alone.

    `zoom` and `paste` change what it shows, image and mask alike; all others the image, in units of the network's
    range, in the order texture, shade, gamma, contrast, brightness, blur, noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    gain: float = Field(default=0.0, ge=0, lt=1)
    """Contrast is multiplied by a factor within 1 +- this, around the middle of the range."""
    offset: float = Field(default=0.0, ge=0)
    """Brightness moves by up to this."""
    gamma: float = Field(default=0.0, ge=0)
    """Values are raised to a power between e^-this and e^this."""
    noise: float = Field(default=0.0, ge=0)
    """Normal noise of a standard deviation up to this is added."""
    blur: float = Field(default=0.0, ge=0)
    """A Gaussian of a standard deviation up to this many voxels goes over the patch."""
    zoom: float = Field(default=0.0, ge=0, le=1)
    """Things look larger or smaller by a factor between e^-this and e^this, along all axes alike."""
    paste: float = Field(default=0.0, ge=0, le=1)
    """Share of patches that what the mask shows in another patch is pasted into (Ghiasi et al. 2021, copy-paste),
    reduced to 0.35 to 0.9 of its size, anywhere: things become smaller while all around them keeps its scale."""
    texture: float = Field(default=0.0, ge=0)
    """Inside the mask, contrast finer than some voxels is multiplied by a factor between e^-this and e^this."""
    shade: float = Field(default=0.0, ge=0)
    """Inside the mask, brightness moves by up to this."""

    def check(self, *, masks: int, domains: int, labels: bool) -> None:
        """Raise `BadInput`, naming the setting, where the domains that are drawn together do not allow a change."""
        for name, value in (("paste", self.paste), ("texture", self.texture), ("shade", self.shade)):
            if value and not masks:
                raise BadInput(f"data.labels.jitter.{name} needs a mask, which the task has not: leave it out")
        if self.paste and domains > masks + 1:
            raise BadInput("data.labels.jitter.paste changes an image and its masks alone: leave it out of this task")
        if self.zoom and labels:
            raise BadInput("data.labels.jitter.zoom would mix label numbers: leave it out of this task")

    def room(self, patch: Shape) -> Shape:
        """Return the voxels of which the smallest things make a patch."""
        return tuple(ceil(n * exp(self.zoom)) for n in patch)

    def zoomed(self, values: np.ndarray, patch: Shape, random: np.random.Generator) -> np.ndarray:
        """Return the middle of `values` (C, *room(patch)), magnified or reduced to a patch (C, *patch) by weights."""
        if not self.zoom:
            return values
        factor = exp(random.uniform(-self.zoom, self.zoom))
        sizes = [min(round(n * factor), have) for n, have in zip(patch, values.shape[1:], strict=True)]
        starts = [(have - n) // 2 for n, have in zip(sizes, values.shape[1:], strict=True)]
        window = values[:, *(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]
        return _resized(window, patch, "bilinear" if len(patch) == 2 else "trilinear")

    def pasted(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        other_image: np.ndarray,
        other_mask: np.ndarray,
        random: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return image and mask (C, *patch) with the reduced foreground of others of the same shape laid over them."""
        factor = random.uniform(*SMALLER)
        size = [max(1, round(n * factor)) for n in image.shape[1:]]
        starts = [int(random.integers(n - s + 1)) for n, s in zip(image.shape[1:], size, strict=True)]
        where = (slice(None), *(slice(a, a + s) for a, s in zip(starts, size, strict=True)))
        found = _resized(other_mask, size, "area") >= HALF
        with_rim = binary_dilation(found.any(0), iterations=RIM)
        weight = gaussian_filter(with_rim.astype(np.float32), 1.0)
        image, mask = image.copy(), mask.copy()
        image[where] += weight * (_resized(other_image, size, "area") - image[where])
        mask[where] = np.where(with_rim, found, mask[where])
        return image, mask

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None, intensity: Intensity, random: np.random.Generator
    ) -> np.ndarray:
        """Return a patch in the network's range, changed and clipped to it; without a mask, nothing is inside one."""
        bottom, top = intensity.network
        if mask is not None and (self.texture or self.shade):
            image = np.clip(self._other_inside(image, mask, top - bottom, random), bottom, top)
        if not (self.gain or self.offset or self.gamma or self.noise or self.blur):
            return image
        unit = np.clip((image - bottom) / (top - bottom), 0, 1) ** np.exp(random.uniform(-self.gamma, self.gamma))
        unit = (unit - 0.5) * random.uniform(1 - self.gain, 1 + self.gain) + 0.5
        unit += random.uniform(-self.offset, self.offset)
        if self.blur:
            unit = gaussian_filter(unit, random.uniform(0, self.blur), axes=range(1, unit.ndim))
        unit += random.uniform(0, self.noise) * random.standard_normal(image.shape, dtype=np.float32)
        return (np.clip(unit, 0, 1) * (top - bottom) + bottom).astype(np.float32)

    def _other_inside(
        self, image: np.ndarray, mask: np.ndarray, width: float, random: np.random.Generator
    ) -> np.ndarray:
        """Return the image with texture and brightness changed inside the mask, `width` that of the network's range."""
        factor = exp(random.uniform(-self.texture, self.texture))
        shade = random.uniform(-self.shade, self.shade) * width
        fine = image - gaussian_filter(image, COARSE, axes=range(1, image.ndim))
        weight = gaussian_filter(mask.max(0), 1.0)
        return (image + weight * ((factor - 1) * fine + shade)).astype(np.float32)


def _resized(values: np.ndarray, size: Shape | list[int], mode: str) -> np.ndarray:
    """Return values (C, *space) at another size."""
    seen = torch.from_numpy(np.ascontiguousarray(values))[None]
    return interpolate(seen, tuple(size), mode=mode)[0].numpy()
