"""Change the appearance of a patch at random: contrast, brightness, blur and noise, and the appearance in the mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from scipy.ndimage import gaussian_filter

from vol2vol.intensity import Intensity
from vol2vol.sampling.augment import Augment

COARSE = 3.0
"""Standard deviation, in voxels, of the Gaussian that is subtracted from an image to get its texture."""


@dataclass(frozen=True)
class Look:
    """The changes of one patch, drawn within the bounds of `Augment`; a change that is None is not made."""

    inside: tuple[float, float] | None
    """Inside the mask: factor on the texture, shift of the brightness."""
    curve: tuple[float, float, float] | None
    """Exponent (gamma), factor on the contrast, shift of the brightness."""
    blur: float | None
    shot_noise: float | None
    noise: float

    @classmethod
    def drawn(cls, augment: Augment, random: np.random.Generator, *, masked: bool) -> Look:
        """Draw the changes of a patch; only a `masked` patch gets changes inside the mask."""
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
        """Return a patch (C, *space) in the network's range with the changes applied, clipped to that range, float32.

        `random` gives the noise of every voxel.
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
    """Return an image with photon noise whose standard deviation is `deviation` where the value is 1."""
    photons = 1 / deviation**2
    if photons > 2**31:  # less noise than float32 can hold
        return unit
    return (random.poisson(unit * photons) / photons).astype(np.float32)


def _other_inside(image: np.ndarray, mask: np.ndarray, width: float, changes: tuple[float, float]) -> np.ndarray:
    """Return the image with texture and brightness changed inside the mask; the network's range is `width` wide."""
    factor, shade = changes
    fine = image - gaussian_filter(image, COARSE, axes=range(1, image.ndim))
    weight = gaussian_filter(mask.max(0), 1.0)
    result: np.ndarray = (image + weight * ((factor - 1) * fine + shade * width)).astype(np.float32)
    return result
