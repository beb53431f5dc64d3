"""Critics of several scales (pix2pixHD, Wang et al. 2018): the same judgement on ever coarser views of an image."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol import losses, nets
from vol2vol.geometry import Shape
from vol2vol.tasks.base import NetworkSettings


class Critics(nn.Module):
    """`scales` critics of one kind; the second sees the image averaged over 2 voxels per axis, the third over 4."""

    def __init__(self, settings: NetworkSettings, *, dims: int, channels: int, scales: int = 1) -> None:
        super().__init__()
        settings.check()
        self.dims, self.channels = dims, channels
        self.scales = nn.ModuleList(
            nets.build(settings.name, dims=dims, in_channels=channels, **settings.arguments) for _ in range(scales)
        )

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Return, per scale, the activations of a critic's layers for `image` (B, C, *space); scores come last."""
        pool = functional.avg_pool2d if self.dims == 2 else functional.avg_pool3d
        seen: list[list[Tensor]] = []
        for critic in self.scales:
            if seen:
                image = pool(image, 2)
            seen.append(_layers(critic, image))
        return seen

    def accept(self, shape: Shape) -> bool:
        """Say whether every scale can judge an image of this shape; computes nothing."""
        try:
            copy.deepcopy(self).to("meta")(torch.empty(1, self.channels, *shape, device="meta"))
        except (RuntimeError, ValueError):
            return False
        return True


def _layers(critic: nn.Module, image: Tensor) -> list[Tensor]:
    """Return the activations after every non-linearity of a critic, and its scores."""
    seen = []
    for step in critic.get_submodule("steps").children():
        image = step(image)
        if isinstance(step, nn.LeakyReLU):
            seen.append(image)
    return [*seen, image]


def fooled(seen: Sequence[Sequence[Tensor]], kind: losses.Adversarial) -> Tensor:
    """Return the generator's loss: how far all scales are from taking its output for real."""
    terms = [losses.adversarial(layers[-1], real=True, kind=kind, for_generator=True) for layers in seen]
    return torch.stack(terms).mean()


def judged(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], kind: losses.Adversarial) -> Tensor:
    """Return the critics' loss on real and on translated images, averaged over scales."""
    terms = [losses.adversarial(layers[-1], real=True, kind=kind) for layers in real]
    terms += [losses.adversarial(layers[-1], real=False, kind=kind) for layers in fake]
    return torch.stack(terms).mean()


def matched(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the mean absolute difference of the critics' activations, scores left out (feature matching)."""
    pairs = [pair for r, f in zip(real, fake, strict=True) for pair in zip(r[:-1], f[:-1], strict=True)]
    return torch.stack([losses.l1(f, r.detach()) for r, f in pairs]).mean()
