"""The catalogue of networks by name, and what can be said of each without running it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from vol2vol.errors import BadInput
from vol2vol.nets.arguments import check_choice, nearest
from vol2vol.nets.critic import PatchGAN, PixelCritic
from vol2vol.nets.lookup import Lookup, Spectral
from vol2vol.nets.resnet import ResNet
from vol2vol.nets.retouch import Retouch
from vol2vol.nets.segmenter import Segmenter
from vol2vol.nets.unet import UNet

CATALOGUE: dict[str, type[nn.Module]] = {
    "unet": UNet, "resnet": ResNet, "patchgan": PatchGAN, "pixel": PixelCritic,
    "lookup": Lookup, "spectral": Spectral, "segmenter": Segmenter, "retouch": Retouch,
}  # fmt: skip


def build(name: str, **arguments: Any) -> nn.Module:
    """Build a network of the catalogue by name.

    Every network carries `.dims`, `.in_channels` and `.describe()`, the name and arguments that rebuild it. Weights
    are drawn by torch's global generator. Raises `BadInput` for unknown names and arguments, with the nearest one.
    """
    check_choice("network", name, tuple(CATALOGUE))
    known = tuple(inspect.signature(CATALOGUE[name]).parameters)
    for argument in arguments:
        if argument not in known:
            raise BadInput(f"network {name!r} has no argument {argument!r}: {nearest(argument, known)}")
    if "dims" not in arguments:
        raise BadInput(f"network {name!r} needs dims: 2 for images or 3 for volumes")
    return CATALOGUE[name](**arguments)


def count_parameters(net: nn.Module) -> int:
    """Return the number of trained numbers of a network."""
    return sum(parameter.numel() for parameter in net.parameters())
