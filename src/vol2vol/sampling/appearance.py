"""Random changes of how a patch looks: contrast, brightness, sharpness, noise, and another look inside the mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from scipy.ndimage import gaussian_filter

from vol2vol.intensity import Intensity
from vol2vol.sampling.augment import Augment

COARSE = 3.0
"""Standard deviation, in voxels, of the Gaussian that texture is what is left of."""


@dataclass(frozen=True)
class Look:
    """The changes of one patch, drawn within the bounds of `Augment`; those of None are left out."""

    inside: tuple[float, float] | None
    """Inside the mask: factor on texture, shift of brightness."""
    curve: tuple[float, float, float] | None
    """Power, contrast, shift of brightness."""
    blur: float | None
    shot_noise: float | None
    noise: float

    @classmethod
    def drawn(cls, augment: Augment, random: np.random.Generator, *, masked: bool) -> Look:
        """Draw the changes of a patch; without a mask, nothing is inside one."""
        a, inside = augment, None
        if masked and (a.texture or a.shade):
            inside = exp(random.uniform(-a.texture, a.texture)), random.uniform(-a.shade, a.shade)
        if not set(a.intensities) - {"texture", "shade"}:
            return cls(inside, None, None, None, 0.0)
        power = np.exp(random.uniform(-a.gamma, a.gamma))
        curve = power, random.uniform(1 - a.contrast, 1 + a.contrast), random.uniform(-a.brightness, a.brightness)
        blur = random.uniform(0, a.blur) if a.blur else None
        shot_noise = random.uniform(0, a.shot_noise) if a.shot_noise else None
        return cls(inside, curve, blur, shot_noise, random.uniform(0, a.noise))

    def __call__(
        self, image: np.ndarray, mask: np.ndarray | None, intensity: Intensity, random: np.random.Generator
    ) -> np.ndarray:
        """Return a patch (C, *space) in the network's range, changed and clipped to it, float32.

        `random` decides what differs from voxel to voxel.
        """
        bottom, top = intensity.network
        if mask is not None and self.inside is not None:
            image = np.clip(_other_inside(image, mask, top - bottom, self.inside), bottom, top)
        if self.curve is None:
            return image
        power, contrast, brightness = self.curve
        unit = np.clip((image - bottom) / (top - bottom), 0, 1) ** power
        unit = (unit - 0.5) * contrast + 0.5
        unit += brightness
        if self.blur is not None:
            unit = gaussian_filter(unit, self.blur, axes=range(1, unit.ndim))
        if self.shot_noise:
            unit = _shot(np.clip(unit, 0, 1), self.shot_noise, random)
        unit += self.noise * random.standard_normal(image.shape, dtype=np.float32)
        return (np.clip(unit, 0, 1) * (top - bottom) + bottom).astype(np.float32)


def _shot(unit: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Return counts of photons in place of their means, of this standard deviation where a value is 1."""
    photons = 1 / deviation**2
    if photons > 2**31:  # less noise than float32 can hold
        return unit
    return (random.poisson(unit * photons) / photons).astype(np.float32)


def _other_inside(image: np.ndarray, mask: np.ndarray, width: float, changes: tuple[float, float]) -> np.ndarray:
    """Return the image with texture and brightness changed inside the mask, `width` that of the network's range."""
    factor, shade = changes
    fine = image - gaussian_filter(image, COARSE, axes=range(1, image.ndim))
    weight = gaussian_filter(mask.max(0), 1.0)
    result: np.ndarray = (image + weight * ((factor - 1) * fine + shade * width)).astype(np.float32)
    return result
