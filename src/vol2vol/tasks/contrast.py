"""Patchwise contrast (PatchNCE, Park et al. 2020): what lies at one place shall look alike before and after.

Features are those of the generator's own encoder, of any network whose layers can be traced, in 2D and 3D.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.losses import Number
from vol2vol.shapes import shaped

Vectors = Annotated[Tensor, "batch places features"]


class _Enough(Exception):
    """The last layer whose features are wanted has run; the rest of the network need not."""


def encoder_layers(network: nn.Module, count: int) -> list[nets.Layer]:
    """Return `count` convolutions of a network, spread evenly over its encoder, or as many as it has.

    The encoder ends where the network first goes up, or in its middle where it never does. Raises `BadInput` for a
    network without convolutions.
    """
    records = nets.layers(network)
    up = next((at for at, layer in enumerate(records) if layer.kind in ("transposed", "upsample")), None)
    convolutions = [layer for layer in records[:up] if layer.kind == "conv"]
    if up is None:
        convolutions = convolutions[: (len(convolutions) + 1) // 2]
    if not convolutions:
        raise BadInput(
            "the generator has no convolutions before it goes up: CUT needs an encoder, such as resnet or unet"
        )
    count = min(count, len(convolutions))
    last = len(convolutions) - 1
    return [convolutions[round(n * last / max(1, count - 1))] for n in range(count)]


class Encoder:
    """Features of an image at some convolutions of a network, which is run no further than needed."""

    def __init__(self, network: nn.Module, count: int) -> None:
        self.network, self.layers = network, encoder_layers(network, count)

    @property
    def channels(self) -> list[int]:
        """How many features each layer gives; those of the image itself come first."""
        read: int = self.network.in_channels  # type: ignore[assignment]
        return [read, *(layer.channels for layer in self.layers)]

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the image (B, C, *space), and the output (B, F, *coarser) of every layer, with gradients."""
        kept: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            kept[name] = output.clone()  # an activation after it may change it in place
            if name == self.layers[-1].name:
                raise _Enough

        handles = []
        for layer in self.layers:
            assert layer.module is not None
            handles.append(layer.module.register_forward_hook(lambda _m, _i, y, name=layer.name: keep(name, y)))
        saving = getattr(self.network, "gradient_checkpointing", False)
        try:
            if saving:
                self.network.gradient_checkpointing = False  # type: ignore[assignment]
            self.network(image)
        except _Enough:
            pass
        finally:
            if saving:
                self.network.gradient_checkpointing = True  # type: ignore[assignment]
            for handle in handles:
                handle.remove()
        return [image, *(kept[layer.name] for layer in self.layers)]


class Projections(nn.Module):
    """One perceptron of two layers per layer of features, which maps them to vectors of length 1."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, width)) for n in channels
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Return, per layer, vectors (B, N, width) of features (B, F, *space) at N `places` of the flattened space."""
        vectors = []
        for head, values, at in zip(self.heads, features, places, strict=True):
            picked = values.flatten(2)[:, :, at].transpose(1, 2)
            vectors.append(functional.normalize(head(picked).float(), dim=2, eps=1e-7))
        return vectors


def draw_places(features: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return, per layer, up to `count` places of its flattened space, drawn by torch's global generator on the CPU."""
    sizes = [values.flatten(2).shape[2] for values in features]
    return [torch.randperm(n)[:count].to(values.device) for n, values in zip(sizes, features, strict=True)]


@shaped
def patch_nce(output: Vectors, shown: Vectors, temperature: float) -> Number:
    """Return the mean cross-entropy of picking, for each place, its own vector among those of its image.

    `output` and `shown` are vectors of length 1 at the same places (B, N, F); similarities are their products over the
    temperature (Park et al. 2020, equation 3). `shown` gets no gradient.
    """
    similar = torch.bmm(output, shown.detach().transpose(1, 2)) / temperature
    own = torch.arange(similar.shape[1], device=similar.device).expand(similar.shape[0], -1)
    return functional.cross_entropy(similar.flatten(0, 1), own.flatten())
