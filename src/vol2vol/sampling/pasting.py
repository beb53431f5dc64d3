"""Copy-paste augmentation (Ghiasi et al. 2021): paste the foreground of a patch, reduced in size, into another one."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from vol2vol.sampling.warping import resized

HALF = 0.5
"""Fraction of a voxel that must be inside an interpolated mask."""
SMALLER = (0.35, 0.9)
"""Bounds of the factor by which pasted objects are reduced."""
RIM = 2
"""Width in voxels of the rim that is pasted with an object, such as its membrane."""


def pasted(
    image: np.ndarray,
    mask: np.ndarray,
    other_image: np.ndarray,
    other_mask: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return image and mask (C, *patch) into which the reduced foreground of another image of that shape is pasted."""
    factor = random.uniform(*SMALLER)
    size = [max(1, round(n * factor)) for n in image.shape[1:]]
    starts = [int(random.integers(n - s + 1)) for n, s in zip(image.shape[1:], size, strict=True)]
    where = (slice(None), *(slice(a, a + s) for a, s in zip(starts, size, strict=True)))
    objects = resized(other_mask, size, "area") >= HALF
    with_rim = binary_dilation(objects.any(0), iterations=RIM)
    weight = gaussian_filter(with_rim.astype(np.float32), 1.0)
    image, mask = image.copy(), mask.copy()
    image[where] += weight * (resized(other_image, size, "area") - image[where])
    mask[where] = np.where(with_rim, objects, mask[where])
    return image, mask
