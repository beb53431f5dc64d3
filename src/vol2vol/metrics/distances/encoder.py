"""A feature network that knows this kind of image: a small encoder that teaches itself on the target volume.

It learns two things at once, each by VICReg (Bardes et al. 2022, equations 1 to 6): views that belong together should
have like features, while features stay spread out and uncorrelated. *Places*: two crops of one place, mirrored and
turned but never changed in grey, belong together. *Looks*: two different places with the same blur, contrast,
brightness and noise belong together. An encoder that is taught to overlook such changes, as augmentations usually
do, could not measure them.
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
from vol2vol.metrics.distances.degradation import REACH, draw_looks, spoil
from vol2vol.metrics.distances.features import grey_map, images_of
from vol2vol.progress import counted
from vol2vol.volumes import Volume

log = logging.getLogger(__name__)

PLACE, LOOK = 64, 16
"""Numbers that the two lessons are judged by."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How an encoder is trained; the defaults take two to three minutes on two CPU cores."""

    planes: tuple[Axis, ...] = ("xy",)
    """Planes it sees: one to three of xy, xz, yz, or `xyz` alone for an encoder of cubes."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the layers, each at half the resolution; the last is the number of features."""
    crop: int = 64
    """Voxels along the side of what it sees."""
    pool: int = 2048
    """Places of the volume that it learns from."""
    batch: int = 64
    steps: int = 400
    rate: float = 1e-3
    """Peak learning rate; a tenth of the steps warm up, the rest follows half a cosine."""
    look: float = 1.0
    """Weight of the lesson of looks beside that of places; 0 leaves it out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if "xyz" in self.planes and len(self.planes) > 1:
            raise BadInput("an encoder sees planes or cubes: use planes of xy, xz, yz, or xyz alone")
        least = max(2 ** len(self.widths), REACH + 1)
        if not self.planes or not self.widths or self.crop < least or min(self.batch, self.steps) < 2:
            raise BadInput(f"an encoder needs planes, widths, crops of {least} voxels and 2 steps, not {self}")


class Encoder(nn.Module):
    """Images `(B, 1, Y, X)` in 0..1 (cubes with Z) to features `(B, widths[-1])`: means over the last layer.

    Batch normalisation with frozen statistics: contrast and brightness stay visible.
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
    """An encoder with what it takes to use it again."""

    network: Encoder
    grey: Intensity
    """The map from the target's grey values to what the encoder saw."""
    lesson: Lesson
    volume: str
    """Path of the target."""
    fingerprint: str
    """Of the target."""
    loss: float
    """Mean over the last tenth of the steps."""

    @property
    def hash(self) -> str:
        """64 hexadecimal digits of the weights and the grey map."""
        digest = hashlib.sha256(repr(sorted(self.grey.to_dict().items())).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        """What results call it."""
        return f"encoder-{self.hash[:8]}"


def train_encoder(
    target: Volume,
    lesson: Lesson | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """Train an encoder on a volume; on one device and number of threads, the same seed gives the same weights.

    `progress` is called with step and loss. Raises `BadInput` where the volume is smaller than a crop.
    """
    lesson = lesson or Lesson()
    grey = grey_map(target)
    places = _pool(target, lesson, grey)
    dims = 3 if lesson.planes == ("xyz",) else 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        network = Encoder(lesson.widths, dims).to(device)
        heads = nn.ModuleList([_head(lesson.widths[-1], PLACE), _head(lesson.widths[-1], LOOK)]).to(device)
        losses = _teach(network, heads, places.to(device), lesson, progress)
    last = losses[-max(1, len(losses) // 10) :]
    log.info("encoder of %s: loss %.3f after %d steps", target.path, np.mean(last), lesson.steps)
    return Trained(
        network=network.eval().requires_grad_(False).cpu(),
        grey=grey,
        lesson=lesson,
        volume=target.path,
        fingerprint=target.fingerprint(),
        loss=float(np.mean(last)),
    )


def _pool(target: Volume, lesson: Lesson, grey: Intensity) -> Tensor:
    """Return places of the target, half as wide again as a crop where the volume allows, `(n, 1, ...)` in 0..1."""
    parts = []
    for axis in lesson.planes:
        crossed = [n for n, s in zip(target.spatial, Cutting(axis=axis, size=2).shape, strict=True) if s > 1]
        size = max(lesson.crop, min(lesson.crop * 3 // 2, *crossed))
        cutting = Cutting(axis=axis, size=size, count=-(-lesson.pool // len(lesson.planes)), seed=lesson.seed)
        stored = np.stack(list(cut(target, positions(target, cutting), cutting)))
        parts.append(images_of(stored, cutting, grey).mean(1, keepdim=True))
    shortest = min(part.shape[-1] for part in parts)
    return torch.cat([part[..., :shortest, :shortest] for part in parts])


def _head(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, out))


def _teach(
    network: Encoder,
    heads: nn.ModuleList,
    places: Tensor,
    lesson: Lesson,
    progress: Callable[[int, float], None] | None,
) -> list[float]:
    """Run the lesson and return the loss of every step."""
    optimiser = torch.optim.AdamW([*network.parameters(), *heads.parameters()], lr=lesson.rate, weight_decay=1e-4)
    rng = torch.Generator().manual_seed(lesson.seed)
    warm = max(1, lesson.steps // 10)
    losses = []
    for step in counted(range(lesson.steps), "training the encoder", lesson.steps):
        rate = min((step + 1) / warm, 0.5 + 0.5 * np.cos(np.pi * max(0, step - warm) / max(1, lesson.steps - warm)))
        for group in optimiser.param_groups:
            group["lr"] = lesson.rate * rate
        loss = _loss(network, heads, places, lesson, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if progress:
            progress(step, losses[-1])
    return losses


def _loss(network: Encoder, heads: nn.ModuleList, places: Tensor, lesson: Lesson, rng: torch.Generator) -> Tensor:
    turn = lesson.planes in (("xy",), ("xyz",))

    def drawn() -> Tensor:
        return places[torch.randint(len(places), (lesson.batch,), generator=rng).to(places.device)]

    def view(some: Tensor) -> Tensor:
        return _views(some, lesson.crop, turn=turn, rng=rng)

    same = drawn()
    loss = vicreg(*(heads[0](network(view(same))) for _ in range(2)))
    if lesson.look:
        looks = draw_looks(lesson.batch, rng)
        loss = loss + lesson.look * vicreg(*(heads[1](network(spoil(view(drawn()), looks, rng))) for _ in range(2)))
    return loss


def _views(places: Tensor, crop: int, *, turn: bool, rng: torch.Generator) -> Tensor:
    """Return a random crop of each place, mirrored and (in-plane) turned at random."""
    views = []
    for place in places:
        for axis in range(1, place.ndim):
            start = int(torch.randint(place.shape[axis] - crop + 1, (), generator=rng))
            place = place.narrow(axis, start, crop)
            if torch.rand((), generator=rng) < 0.5:
                place = place.flip(axis)
        if turn and torch.rand((), generator=rng) < 0.5:
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
        apart = covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()
        result = result + 12.5 * F.relu(1 - deviation).mean() + apart / view.shape[1]
    return result
