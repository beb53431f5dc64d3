"""Train a small encoder, self-supervised, on the target volume: a feature network for this kind of image.

Two VICReg losses (Bardes et al. 2022, equations 1 to 6) pull the features of matching views together while features
stay spread out and uncorrelated. *Places*: two crops of the same place match; they are mirrored and rotated, but their
grey values never change. *Appearance*: two different places with the same blur, contrast, brightness and noise match.
The usual augmentations would teach the encoder to ignore such changes, and it could not measure them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity
from vol2vol.metrics.distances.cut_patches import Axis, Cutting, cut, positions
from vol2vol.metrics.distances.degradation import REACH, degrade, draw_degradations
from vol2vol.metrics.distances.features import grey_map, images_of
from vol2vol.progress import counted
from vol2vol.volumes import Volume

log = logging.getLogger(__name__)

PLACE, APPEARANCE = 64, 16
"""Dimensions of the embeddings for the two losses."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """The settings of an encoder and its training; the defaults take two to three minutes on two CPU cores."""

    planes: tuple[Axis, ...] = ("xy",)
    """Planes of the patches: one to three of xy, xz, yz, or `xyz` alone for an encoder of cubes."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the layers, each at half the resolution of the one before; the last is the number of features."""
    crop: int = 64
    """Side of the training crops in voxels."""
    pool: int = 2048
    """Number of places of the volume used for training."""
    batch: int = 64
    steps: int = 400
    rate: float = 1e-3
    """Peak learning rate; a tenth of the steps warm up, the rest follows half a cosine."""
    appearance: float = 1.0
    """Weight of the appearance loss relative to the loss of places; 0 leaves it out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if "xyz" in self.planes and len(self.planes) > 1:
            raise BadInput("an encoder uses either planes or cubes: use planes of xy, xz, yz, or xyz alone")
        smallest = max(2 ** len(self.widths), REACH + 1)
        if not self.planes or not self.widths or self.crop < smallest or min(self.batch, self.steps) < 2:
            raise BadInput(f"an encoder needs planes, widths, crops of {smallest} voxels and 2 steps, not {self}")


class Encoder(nn.Module):
    """Images `(B, 1, Y, X)` in 0..1 (cubes with Z) to features `(B, widths[-1])`, the means of the last layer.

    In use, the statistics of batch normalisation are frozen, so that features depend on contrast and brightness.
    """

    def __init__(self, widths: tuple[int, ...], dims: int = 2) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        layers: list[nn.Module] = []
        for number, (before, width) in enumerate(zip((1, *widths), widths, strict=False)):
            kernel = 5 if number == 0 else 3
            layers += [conv(before, width, kernel, stride=2, padding=kernel // 2, bias=False), norm(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.widths, self.dims = tuple(widths), dims

    def forward(self, x: Tensor) -> Tensor:
        """Return features; three channels are averaged to one first."""
        if x.shape[1] != 1:
            x = x.mean(1, keepdim=True)
        output: Tensor = self.layers(2 * x - 1).flatten(2).mean(2)
        return output


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained encoder with everything needed to use it again."""

    network: Encoder
    grey: Intensity
    """The map from the target's grey values to the encoder's input."""
    settings: EncoderSettings
    volume: str
    """Path of the target."""
    fingerprint: str
    """Fingerprint of the target."""
    loss: float
    """Mean loss over the last tenth of the steps."""

    @property
    def hash(self) -> str:
        """64 hexadecimal digits that identify the weights and the grey map."""
        digest = hashlib.sha256(repr(sorted(self.grey.to_dict().items())).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """The name in results."""
        return f"encoder-{self.hash[:8]}"


def train_encoder(
    target: Volume,
    settings: EncoderSettings | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train an encoder on a volume; on one device and number of threads, the same seed gives the same weights.

    `progress` is called with step and loss. Raises `BadInput` if the volume is smaller than a crop.
    """
    settings = settings or EncoderSettings()
    grey = grey_map(target)
    places = _pool(target, settings, grey)
    dims = 3 if settings.planes == ("xyz",) else 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Encoder(settings.widths, dims).to(device)
        heads = nn.ModuleList([_head(settings.widths[-1], PLACE), _head(settings.widths[-1], APPEARANCE)]).to(device)
        losses = _train(network, heads, places.to(device), settings, progress)
    last = losses[-max(1, len(losses) // 10) :]
    log.info("encoder of %s: loss %.3f after %d steps", target.path, np.mean(last), settings.steps)
    return Trained(
        network=network.eval().requires_grad_(False).cpu(),
        grey=grey,
        settings=settings,
        volume=target.path,
        fingerprint=target.fingerprint(),
        loss=float(np.mean(last)),
    )


def _pool(target: Volume, settings: EncoderSettings, grey: Intensity) -> Tensor:
    """Return places of the target, `(n, 1, ...)` in 0..1, 1.5 times as wide as a crop if the volume allows."""
    parts = []
    for axis in settings.planes:
        crossed = [n for n, s in zip(target.spatial, Cutting(axis=axis, size=2).shape, strict=True) if s > 1]
        size = max(settings.crop, min(settings.crop * 3 // 2, *crossed))
        cutting = Cutting(axis=axis, size=size, count=-(-settings.pool // len(settings.planes)), seed=settings.seed)
        stored = np.stack(list(cut(target, positions(target, cutting), cutting)))
        parts.append(images_of(stored, cutting, grey).mean(1, keepdim=True))
    shortest = min(part.shape[-1] for part in parts)
    return torch.cat([part[..., :shortest, :shortest] for part in parts])


def _head(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, out))


def _train(
    network: Encoder,
    heads: nn.ModuleList,
    places: Tensor,
    settings: EncoderSettings,
    progress: Callable[[int, float], None] | None,
) -> list[float]:
    """Train the network and return the loss of every step."""
    optimiser = torch.optim.AdamW([*network.parameters(), *heads.parameters()], lr=settings.rate, weight_decay=1e-4)
    rng = torch.Generator().manual_seed(settings.seed)
    warm = max(1, settings.steps // 10)
    losses = []
    for step in counted(range(settings.steps), "training the encoder", settings.steps):
        rate = min((step + 1) / warm, 0.5 + 0.5 * np.cos(np.pi * max(0, step - warm) / max(1, settings.steps - warm)))
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * rate
        loss = _loss(network, heads, places, settings, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if progress:
            progress(step, losses[-1])
    return losses


def _loss(
    network: Encoder, heads: nn.ModuleList, places: Tensor, settings: EncoderSettings, rng: torch.Generator
) -> Tensor:
    rotate = settings.planes in (("xy",), ("xyz",))

    def random_places() -> Tensor:
        return places[torch.randint(len(places), (settings.batch,), generator=rng).to(places.device)]

    def view(selected: Tensor) -> Tensor:
        return _views(selected, settings.crop, rotate=rotate, rng=rng)

    same = random_places()
    loss = vicreg(*(heads[0](network(view(same))) for _ in range(2)))
    if settings.appearance:
        degradations = draw_degradations(settings.batch, rng)
        loss = loss + settings.appearance * vicreg(
            *(heads[1](network(degrade(view(random_places()), degradations, rng))) for _ in range(2))
        )
    return loss


def _views(places: Tensor, crop: int, *, rotate: bool, rng: torch.Generator) -> Tensor:
    """Return a random crop of each place, randomly mirrored and (if `rotate`) transposed in the plane."""
    views = []
    for place in places:
        for axis in range(1, place.ndim):
            start = int(torch.randint(place.shape[axis] - crop + 1, (), generator=rng))
            place = place.narrow(axis, start, crop)
            if torch.rand((), generator=rng) < 0.5:
                place = place.flip(axis)
        if rotate and torch.rand((), generator=rng) < 0.5:
            place = place.transpose(-1, -2)
        views.append(place)
    return torch.stack(views)


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    """Return 25 invariance + 25 variance + 1 covariance of two views `(B, d)` (Bardes et al. 2022, equation 6)."""
    result = 25 * F.mse_loss(first, second)
    for view in (first, second):
        centred = view - view.mean(0)
        deviation = (centred.pow(2).sum(0) / (len(view) - 1) + 1e-4).sqrt()
        covariance = centred.T @ centred / (len(view) - 1)
        off_diagonal = covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()
        result = result + 12.5 * F.relu(1 - deviation).mean() + off_diagonal / view.shape[1]
    return result
