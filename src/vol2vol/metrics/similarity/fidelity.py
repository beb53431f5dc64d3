"""Measure fidelity to a known truth, or to the structure of the source, block by block.

Windows that would extend over the border of the volume are left out, as in scikit-image. One of the two volumes is the
reference, truth or source: correlations leave out windows in which it is constant, and count windows in which only the
output is constant as 0, because structure was lost.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.similarity.volume_pairs import BlockMetric, Pair, compare, extremes
from vol2vol.metrics.similarity.window_sums import slabs, windowed
from vol2vol.volumes import Volume

Reference = Literal["first", "second"]
"""The volume of a pair that is the reference (truth or source)."""


def to_truth(
    output: Volume, truth: Volume, *, data_range: float | None = None, window: int = 9, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return `psnr`, `ssim`, `pearson`, `lncc` and `mean_absolute` of an output to the known truth.

    `data_range` is the span of grey values in PSNR and SSIM, by default `span` of the truth. Raises `BadInput` if
    shapes or voxel sizes differ or the truth is constant.
    """
    if data_range is None:
        data_range = span(truth)
    radius = window_radius(truth, window)
    measures = [psnr(data_range), mean_absolute(), pearson(), lncc(radius, "second"), ssim(truth, data_range)]
    return compare(output, truth, measures, block=block)


def differences(output: Volume, truth: Volume, *, block: Shape | None = None) -> dict[str, Blockwise]:
    """Return `psnr`, `mean_absolute` and `pearson`, which use no windows; raise `BadInput` as `to_truth` does."""
    return compare(output, truth, [psnr(span(truth)), mean_absolute(), pearson()], block=block)


def to_source(
    source: Volume, output: Volume, *, window: int = 9, bins: int = 64, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return how much of the source's structure an output keeps: `lncc`, `gradient_correlation` and `nmi`.

    They do not depend on brightness and contrast; `nmi` does not even depend on an inversion. Raises `BadInput` if
    shapes or voxel sizes differ or a volume is constant.
    """
    radius = window_radius(source, window)
    ranges = tuple(_ends(volume) for volume in (source, output))
    return compare(source, output, [lncc(radius, "first"), gradient_correlation(), nmi(ranges, bins)], block=block)


def span(truth: Volume) -> float:
    """Return the data range of a volume, its maximum minus its minimum, in one pass.

    The range of the type would be wrong: 12-bit data in uint16 fill a sixteenth of it, and PSNR would be 24 dB too
    high. Raises `BadInput` if the volume is constant.
    """
    low, high = _ends(truth)
    return high - low


def _ends(volume: Volume) -> tuple[float, float]:
    low, high = extremes(volume)
    if low == high:
        raise BadInput(
            f"{volume.path} is {low:g} everywhere, so that there is no structure to compare: choose another volume"
        )
    return low, high


def window_radius(volume: Volume, window: int) -> Shape:
    """Return the radius of a cubic window, 0 along z of images; raise `BadInput` if it is even or does not fit."""
    radius = tuple(0 if n == 1 else window // 2 for n in volume.spatial)
    if window % 2 == 0 or any(2 * r + 1 > n for r, n in zip(radius, volume.spatial, strict=True)):
        raise BadInput(
            f"{volume.path} of shape {volume.spatial} is smaller than the window of {window} voxels in which structure "
            "is compared: compare larger volumes"
        )
    return radius


def psnr(data_range: float) -> BlockMetric:
    """Peak signal-to-noise ratio, `10 log10(range^2 / mean squared error)` in decibels; infinite for equal volumes."""

    def sums(pair: Pair) -> np.ndarray:
        apart = (pair.first[pair.inner] - pair.second[pair.inner]).ravel()
        return np.array([float(apart @ apart), apart.size])

    def combine(s: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            result: np.ndarray = 10 * np.log10(data_range**2 * s[..., 1] / s[..., 0])
            return result

    return BlockMetric(name="psnr", sums=sums, combine=combine)


def mean_absolute() -> BlockMetric:
    """Mean absolute difference, in stored grey values."""

    def sums(pair: Pair) -> np.ndarray:
        apart = pair.first[pair.inner] - pair.second[pair.inner]
        return np.array([float(np.abs(apart, out=apart).sum()), apart.size])

    return BlockMetric(name="mean_absolute", sums=sums, combine=_mean)


def _mean(s: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = s[..., 0] / s[..., 1]
        return result


def pearson() -> BlockMetric:
    """Pearson correlation over all voxels, -1 to 1; NaN if the second volume is constant, 0 if only the first is.

    The first voxel is subtracted from both volumes, so that large offsets do not reduce precision.
    """
    zero: list[tuple[float, float]] = []

    def sums(pair: Pair) -> np.ndarray:
        a, b = pair.first[pair.inner], pair.second[pair.inner]
        if not zero:
            zero.append((float(a.flat[0]), float(b.flat[0])))
        return _products(a - zero[0][0], b - zero[0][1])

    return BlockMetric(name="pearson", sums=sums, combine=lambda s: _correlation(s, "second"))


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.ravel(), b.ravel()
    return np.array([a.size, a.sum(), b.sum(), a @ a, b @ b, a @ b], np.float64)


def _correlation(s: np.ndarray, reference: Reference) -> np.ndarray:
    """Return Pearson correlations from `_products`; a variance within rounding error counts as 0.

    The correlation is NaN if the reference has no variance, and 0 if only the other volume has none.
    """
    count = np.maximum(s[..., 0], 1)
    a, b, aa, bb, ab = (s[..., i] / count for i in range(1, 6))
    va, vb = aa - a * a, bb - b * b
    clear = va > 1e-12 * aa, vb > 1e-12 * bb
    both, asked = clear[0] & clear[1], clear[reference == "second"]
    values = np.where(both, (ab - a * b) / np.sqrt(np.where(both, va * vb, 1)), 0.0)
    return np.where(asked, values, np.nan)


def gradient_correlation() -> BlockMetric:
    """Mean over the axes of the Pearson correlation of central differences (Penney et al. 1998).

    The first volume is the reference. Axes of fewer than three voxels, such as z of images, are left out.
    """

    def sums(pair: Pair) -> np.ndarray:
        rows = []
        for axis in range(3):
            if pair.spatial[axis] < 3:
                rows.append(np.zeros(6))
                continue
            radius = tuple(int(a == axis) for a in range(3))
            both = [_central(volume, axis)[pair.whole(radius)] for volume in (pair.first, pair.second)]
            rows.append(_products(*both))
        return np.concatenate(rows)

    def combine(s: np.ndarray) -> np.ndarray:
        parts = s.reshape(*s.shape[:-1], 3, 6)
        values, used = _correlation(parts, "first"), parts[..., 0] > 0
        with np.errstate(invalid="ignore"):
            result: np.ndarray = np.where(used, values, 0).sum(-1) / used.sum(-1)
            return result

    return BlockMetric(name="gradient_correlation", sums=sums, combine=combine, halo=(1, 1, 1))


def _central(values: np.ndarray, axis: int) -> np.ndarray:
    result: np.ndarray = ndimage.correlate1d(values, [-0.5, 0, 0.5], axis=axis, mode="nearest")
    return result


def lncc(radius: Shape, reference: Reference) -> BlockMetric:
    """Mean of the Pearson correlation within windows, -1 to 1, over all windows that are not flat in the reference.

    A window is flat if its variance is below `FLAT` times its mean square; if it is flat in the other volume alone, it
    counts as 0. Sums over windows are exact for 8-bit data, in single precision; others are in double precision.
    """
    size = tuple(2 * r + 1 for r in radius)
    weights = [(1.0,) * n for n in size]
    count = np.float64(np.prod(size))

    def sums(pair: Pair) -> np.ndarray:
        where = pair.windows(radius)
        if where is None:
            return np.zeros(2)
        exact = pair.bytes and count * MIDDLE**2 < 1 << 24
        zero = (MIDDLE, MIDDLE) if exact else (pair.first.mean(), pair.second.mean())
        fields = _fields(pair, where, zero, np.float32 if exact else np.float64)
        a, b, aa, bb, ab = (windowed(field, weights) for field in fields)
        least = [2 * FLAT * max(v.max() ** 2, v.min() ** 2) for v in (pair.first[where], pair.second[where])]
        total, seen = 0.0, 0
        for part in slabs(len(a), a[0].size):
            ma, mb = (field[part] / count for field in (a, b))
            va, vb = (field[part] / count - m * m for field, m in ((aa, ma), (bb, mb)))
            value, spread, asked = ab[part] / count - ma * mb, va * vb, ma.size
            if not (va.min() > least[0] and vb.min() > least[1]):
                clear = [v > FLAT * (v + (m + z) ** 2) for v, m, z in ((va, ma, zero[0]), (vb, mb, zero[1]))]
                asked = int(clear[reference == "second"].sum())
                value, spread = (field[clear[0] & clear[1]] for field in (value, spread))
            value /= np.sqrt(spread)
            total, seen = total + float(np.clip(value, -1, 1, out=value).sum()), seen + asked
        return np.array([total, seen])

    return BlockMetric(name="lncc", sums=sums, combine=_mean, halo=radius)


FLAT = 1e-11
SMALL = 1e-9
"""Fourth powers of values between this and its inverse can be represented in single precision."""
MIDDLE = 128.0
"""Subtracted from 8-bit values, so that sums of squares over windows are integers that float32 represents exactly."""


def _fields(
    pair: Pair, where: tuple[slice, ...], zero: tuple[float, float], dtype: type[np.floating]
) -> list[np.ndarray]:
    """Return a, b, a^2, b^2 and ab of a part of both volumes, after subtracting their `zero`."""
    a, b = ((v[where] - z).astype(dtype) for v, z in zip((pair.first, pair.second), zero, strict=True))
    return [a, b, a * a, b * b, a * b]


def ssim(truth: Volume, data_range: float, *, sigma: float = 1.5) -> BlockMetric:
    """Structural similarity (Wang et al. 2004, equation 13; K 0.01 and 0.03, Gaussian window of 11 voxels).

    It equals `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`
    over Z, Y and X, or over Y and X for images. It is computed in single precision if the grey values of a block span
    at most `data_range` and their fourth powers can be represented. Raises `BadInput` if the volume is smaller than a
    window.
    """
    reach = int(3.5 * sigma + 0.5)
    radius = window_radius(truth, 2 * reach + 1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = [tuple((bell / bell.sum()).tolist()) if r else (1.0,) for r in radius]

    def sums(pair: Pair) -> np.ndarray:
        where = pair.windows(radius)
        if where is None:
            return np.zeros(2)
        low, high = min(pair.first.min(), pair.second.min()), max(pair.first.max(), pair.second.max())
        zero = float(low + high) / 2
        single = high - low <= data_range and SMALL < max(data_range, abs(zero)) < 1 / SMALL
        first, second, *squares, product = _fields(pair, where, (zero, zero), np.float32 if single else np.float64)
        a, b, both, ab = (windowed(field, weights) for field in (first, second, squares[0] + squares[1], product))
        total = 0.0
        for part in slabs(len(a), a[0].size):
            ma, mb = a[part], b[part]
            cross, own = ma * mb, ma * ma + mb * mb
            shifted = zero * (ma + mb + zero)  # for m + zero: added to the product, and twice to the sum of squares
            value = (2 * (cross + shifted) + c1) * (2 * (ab[part] - cross) + c2)
            value /= (own + 2 * shifted + c1) * (both[part] - own + c2)
            total += float(value.sum(dtype=np.float64))
        return np.array([total, a.size])

    return BlockMetric(name="ssim", sums=sums, combine=_mean, halo=radius)


def nmi(ranges: tuple[tuple[float, float], ...], bins: int = 64) -> BlockMetric:
    """Normalised mutual information `(H(a) + H(b)) / H(a, b)`, 1 to 2, with equal bins (Studholme et al. 1999)."""
    if not 2 <= bins <= 1024:
        raise BadInput(f"mutual information with {bins} bins is not supported: use 2 to 1024")

    def sums(pair: Pair) -> np.ndarray:
        keys = []
        for values, (low, high) in zip((pair.first, pair.second), ranges, strict=True):
            scaled = (values[pair.inner] - low) * (bins / (high - low))
            keys.append(np.clip(scaled.astype(np.int64), 0, bins - 1).ravel())
        return np.bincount(keys[0] * bins + keys[1], minlength=bins * bins).astype(np.float64)

    def combine(s: np.ndarray) -> np.ndarray:
        joint = s.reshape(*s.shape[:-1], bins, bins)
        total = np.maximum(s.sum(-1), 1)
        parts = [joint.sum(-1), joint.sum(-2), s]
        first, second, both = (_entropy(part / total[..., None]) for part in parts)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(both > 0, (first + second) / both, np.nan)

    return BlockMetric(name="nmi", sums=sums, combine=combine)


def _entropy(share: np.ndarray) -> np.ndarray:
    result: np.ndarray = -(share * np.log(np.where(share > 0, share, 1))).sum(-1)
    return result
