"""Copy-paste (Ghiasi et al. 2021): what the mask shows in one patch, made smaller, is laid into another."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from vol2vol.sampling.warping import resized

HALF = 0.5
"""Share of a voxel that must be inside the mask, where patches are interpolated."""
SMALLER = (0.35, 0.9)
"""Bounds of the factor by which pasted things are reduced."""
RIM = 2
"""Voxels around a pasted thing that come with it: the membrane that it is known by."""


def pasted(
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
    thing = resized(other_mask, size, "area") >= HALF
    with_rim = binary_dilation(thing.any(0), iterations=RIM)
    weight = gaussian_filter(with_rim.astype(np.float32), 1.0)
    image, mask = image.copy(), mask.copy()
    image[where] += weight * (resized(other_image, size, "area") - image[where])
    mask[where] = np.where(with_rim, thing, mask[where])
    return image, mask
