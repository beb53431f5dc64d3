"""Define the losses: functions of tensors that return a scalar, computed in float32 also under autocast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import AfterValidator
from torch import Tensor
from torch.nn import functional

from vol2vol.errors import BadInput
from vol2vol.plugins import Catalogue
from vol2vol.shapes import shaped

Adversarial = Literal["lsgan", "vanilla", "hinge"]
ADVERSARIAL: tuple[str, ...] = get_args(Adversarial)

RANGE = 2.0
"""Width of the networks' range, -1 to 1."""
Patches = Annotated[Tensor, "batch channels *space"]
Number = Annotated[Tensor, ""]
"""A tensor without axes, which carries a gradient."""
WINDOW = 11
"""Width of the Gaussian window of structural similarity, in voxels; patches must not be smaller."""
SIGMA = 1.5
"""Standard deviation of that window, in voxels."""
EMPTY = 1e-6
"""Added to numerator and denominator of a ratio that may be 0 / 0."""
STEP = 2.0**-24
"""The smallest step below 1 in float32."""


@shaped
def adversarial(score: Tensor, *, real: bool, kind: Adversarial = "lsgan", for_generator: bool = False) -> Number:
    """Return the loss of a critic's unbounded scores s, of any shape, for real or for translated patches.

        lsgan     real: mean (s - 1)^2          translated: mean s^2                (Mao et al. 2017)
        vanilla   real: mean log(1 + e^-s)      translated: mean log(1 + e^s)       (Goodfellow et al. 2014)
        hinge     real: mean max(0, 1 - s)      translated: mean max(0, 1 + s)      (Lim & Ye 2017)
                  for the generator, whose output should look real: -mean s

    The generator's loss is that of its own output with `real=True`; `for_generator` matters to hinge alone. Raises
    `BadInput` for an unknown kind.
    """
    s = score.float() if score.dtype != torch.float64 else score
    if kind == "lsgan":
        return ((s - float(real)) ** 2).mean()
    if kind == "vanilla":
        return functional.softplus(-s if real else s).mean()
    if kind == "hinge":
        if for_generator:
            return -s.mean() if real else s.mean()
        return functional.relu(1 - s if real else 1 + s).mean()
    raise BadInput(f"adversarial loss {kind!r} is unknown: use one of {', '.join(ADVERSARIAL)}")


@shaped
def l1(a: Annotated[Tensor, "*shape"], b: Annotated[Tensor, "*shape"]) -> Number:
    """Return the mean absolute difference of two tensors of one shape: the cycle and the identity loss."""
    return functional.l1_loss(a.float(), b.float()) if a.dtype != torch.float64 else functional.l1_loss(a, b)


@shaped
def dice(p: Patches, t: Patches) -> Number:
    """Return 1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) of probabilities p and a mask t (Milletari et al. 2016).

    Both are (B, C, *space); sums run over batch and space, the result is the mean over channels. Where both p and t
    are empty, the loss is 0.
    """
    p, t = (x.float().transpose(0, 1).flatten(1) for x in (p, t))
    overlap, total = 2 * (p * t).sum(1), (p * p).sum(1) + (t * t).sum(1)
    return (1 - (overlap + EMPTY) / (total + EMPTY)).mean()


@shaped
def bce(p: Annotated[Tensor, "*shape"], t: Annotated[Tensor, "*shape"]) -> Number:
    """Return the mean binary cross-entropy, -t log p - (1 - t) log(1 - p), of probabilities p and a mask t.

    Probabilities are clamped to [2^-24, 1 - 2^-24], so that the loss of a voxel is finite.
    """
    p, t = p.float().clamp(STEP, 1 - STEP), t.float()
    return -(t * p.log() + (1 - t) * (1 - p).log()).mean()


@shaped
def mse(p: Annotated[Tensor, "*shape"], t: Annotated[Tensor, "*shape"]) -> Number:
    """Return the mean squared difference of two tensors of one shape (on a mask: the Brier score)."""
    return ((p.float() - t.float()) ** 2).mean()


@shaped
def weighted_mse(p: Patches, t: Patches, weight: Annotated[Tensor, "batch 1 *space"]) -> Number:
    """Return the sum over space of weight times squared difference, averaged over batch and channels.

    `p` and `t` are (B, C, *space), `weight` is (B, 1, *space); weights that sum to 1 make it a weighted mean.
    """
    squares = (p.float() - t.float()) ** 2
    return (squares * weight).flatten(2).sum(2).mean()


@shaped
def bce_dice(p: Patches, t: Patches) -> Number:
    """Return the sum of `bce`, which compares voxels, and `dice`, which compares regions."""
    return bce(p, t) + dice(p, t)


OVERLAP: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"dice": dice, "bce": bce, "mse": mse, "bce+dice": bce_dice}
"""The losses of segmenters by name."""


@shaped
def pearson(p: Patches, t: Patches) -> Number:
    """Return 1 minus Pearson's correlation of two tensors (B, C, *space), over space, averaged over batch and channel.

    The loss of a constant patch is 1.
    """
    p, t = (x.float().flatten(2) - x.float().flatten(2).mean(2, keepdim=True) for x in (p, t))
    scale = (p.square().sum(2) * t.square().sum(2)).sqrt()
    return (1 - (p * t).sum(2) / scale.clamp_min(EMPTY)).mean()


@shaped
def smooth_l1(p: Annotated[Tensor, "*shape"], t: Annotated[Tensor, "*shape"]) -> Number:
    """Return the mean Huber loss of two tensors of one shape: squared below a difference of 0.1, linear above."""
    return functional.smooth_l1_loss(p.float(), t.float(), beta=0.1)


@shaped
def ssim(x: Patches, y: Patches, *, data_range: float) -> Number:
    """Return the mean structural similarity of two tensors (B, C, *space), 1 for equal ones (Wang et al. 2004, eq. 13).

    Windows are separable Gaussians (sigma 1.5, 11 voxels); only those that lie inside the patch count. `data_range` is
    the width of the values' range: 2 for -1 to 1. Agrees with scikit-image (gaussian_weights, sigma 1.5, biased
    covariance). Raises `BadInput` for a patch smaller than the window and for tensors of different shapes.
    """
    return ssim_map(x, y, data_range=data_range).mean()


@shaped
def ssim_map(x: Patches, y: Patches, *, data_range: float) -> Annotated[Tensor, "batch channels *windows"]:
    """Return the structural similarity at every voxel whose window lies inside, (B, C, *space - 10); see `ssim`."""
    _check(x, y, data_range)
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
        x, y = x.to(wide), y.to(wide)
        mean_x, mean_y = _windowed(x), _windowed(y)
        variance_x = _windowed(x * x) - mean_x**2
        variance_y = _windowed(y * y) - mean_y**2
        covariance = _windowed(x * y) - mean_x * mean_y
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
        return luminance * structure


def _windowed(x: Tensor) -> Tensor:
    """Return the Gaussian mean around every voxel whose window lies inside, one axis after the other.

    A sum of shifted copies: on one channel many times faster than a convolution, and never in TF32.
    """
    weights = [exp(-0.5 * ((k - WINDOW // 2) / SIGMA) ** 2) for k in range(WINDOW)]
    total = sum(weights)
    for axis in range(2, x.ndim):
        length = x.shape[axis] - WINDOW + 1
        shifted = [x.narrow(axis, k, length) * (weight / total) for k, weight in enumerate(weights)]
        x = sum(shifted[1:], shifted[0])
    return x


def _check(x: Tensor, y: Tensor, data_range: float) -> None:
    if x.shape != y.shape:
        raise BadInput(f"cannot compare tensors of shapes {tuple(x.shape)} and {tuple(y.shape)}: crop them to one")
    if x.ndim not in (4, 5):
        raise BadInput(f"structural similarity needs (B, C, Y, X) or (B, C, Z, Y, X), not {x.ndim} axes")
    if min(x.shape[2:]) < WINDOW:
        raise BadInput(
            f"a patch of {tuple(x.shape[2:])} voxels is smaller than the {WINDOW} voxels of structural similarity: "
            "use larger patches or set its weight to 0"
        )
    if not data_range > 0:
        raise BadInput(f"data_range is {data_range}: it must be positive, 2 for values from -1 to 1")


@shaped
def ssim_distance(x: Patches, y: Patches) -> Number:
    """Return 1 minus the structural similarity of two tensors (B, C, *space) in the networks' range; see `ssim`."""
    return 1 - ssim(x, y, data_range=RANGE)


Term = Callable[[Tensor, Tensor], Tensor]
"""A loss between a network's output and the truth, tensors (B, C, *space) of one shape in the range -1 to 1: a scalar,
0 where they are equal."""


def _wrong(name: str, loss: Any) -> str:
    """Return in words why an object of another package cannot be a loss; empty where it can."""
    return "" if callable(loss) else "it is not a function"


PAIRED: Catalogue[Term] = Catalogue(
    "loss",
    "vol2vol.losses",
    {"l1": l1, "l2": mse, "smooth-l1": smooth_l1, "ssim": ssim_distance, "pearson": pearson},
    _wrong,
)
"""The losses of supervised tasks by name; other packages offer theirs by the entry points `vol2vol.losses`."""


def _known(name: str) -> str:
    if name not in PAIRED:
        raise ValueError(f"this is not a loss: use one of {', '.join(PAIRED)}")
    PAIRED[name]
    return name


Paired = Annotated[str, AfterValidator(_known)]
"""The name of a loss of `PAIRED`."""


@shaped
def paired(output: Patches, truth: Patches, weights: Mapping[Paired, float]) -> dict[str, Tensor]:
    """Return every weighted term between a network's output and the truth, tensors (B, C, *space) of one shape.

    Both are in the networks' range, -1 to 1. Each term is 0 where they are equal; their sum is what supervised tasks
    minimise. Raises `BadInput` where a loss of another package returns anything but one number.
    """
    terms = {}
    for name, weight in weights.items():
        term = PAIRED[name](output, truth)
        if not isinstance(term, Tensor) or term.ndim:
            returned = f"a tensor {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise PAIRED.unusable(name, f"returns {returned} instead of a tensor of one number")
        terms[name] = weight * term
    return terms
