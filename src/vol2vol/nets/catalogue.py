"""List the networks by name, including those of other installed packages, and build them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from vol2vol.errors import BadInput, UserError, one_line
from vol2vol.nets.arguments import check_choice, nearest
from vol2vol.nets.critic import PatchGAN, PixelCritic
from vol2vol.nets.lookup_table import Lookup, Spectral
from vol2vol.nets.norm import Norm
from vol2vol.nets.residual_unet import ResidualUNet
from vol2vol.nets.resnet import ResNet
from vol2vol.nets.retouch import Retouch
from vol2vol.nets.segmenter import Segmenter
from vol2vol.nets.unet import UNet
from vol2vol.plugins import Catalogue

OWN: dict[str, type[nn.Module]] = {
    "unet": UNet, "resnet": ResNet, "patchgan": PatchGAN, "pixel": PixelCritic,
    "lookup": Lookup, "spectral": Spectral, "segmenter": Segmenter, "retouch": Retouch,
    "resunet": ResidualUNet,
}  # fmt: skip


def _check(name: str, network: Any) -> str:
    """Return in words why a class of another package cannot be a network; empty where it can."""
    if not (inspect.isclass(network) and issubclass(network, nn.Module)):
        return "it is not a subclass of torch.nn.Module"
    if "dims" not in inspect.signature(network).parameters:
        return "it has no argument dims"
    return "" if callable(getattr(network, "describe", None)) else "it has no method describe"


def _from_outside(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network of another package; raise `BadInput`, naming the package, where that fails."""
    try:
        network: Any = CATALOGUE[name](**arguments)
        described, known = network.describe(), (network.dims, network.in_channels)
    except UserError:
        raise
    except Exception as error:
        why = f"cannot be built with these arguments ({one_line(error, 300)})"
        raise CATALOGUE.unusable(name, why, "change them, ") from error
    if described.keys() != {"name", "arguments"} or described["name"] != name or not all(known):
        raise CATALOGUE.unusable(name, "does not describe itself by its name and arguments")
    built: nn.Module = network
    return built


CATALOGUE = Catalogue("network", "vol2vol.networks", OWN, _check)
"""The class of every network by name; other packages offer theirs by the entry points `vol2vol.networks`."""


def build(name: str, **arguments: Any) -> nn.Module:
    """Build a network of the catalogue by name.

    Every network has `.dims`, `.in_channels` and `.describe()`, the name and arguments that rebuild it. Weights are
    initialised by torch's global generator. Raises `BadInput` for unknown names and arguments, with the nearest one.
    """
    check_choice("network", name, tuple(CATALOGUE))
    known = tuple(inspect.signature(CATALOGUE[name]).parameters)  # raises BadInput for a broken package
    for argument in arguments:
        if argument not in known:
            raise BadInput(f"network {name!r} has no argument {argument!r}: {nearest(argument, known)}")
    if "dims" not in arguments:
        raise BadInput(f"network {name!r} needs dims: 2 for images or 3 for volumes")
    return _named(OWN[name](**arguments)) if name in OWN else _from_outside(name, arguments)


def _named(net: nn.Module) -> nn.Module:
    """Tell every norm its name, for messages."""
    for name, module in net.named_modules():
        if isinstance(module, Norm):
            module.name = name
    return net


def count_parameters(net: nn.Module) -> int:
    """Return the number of values in all parameters of a network."""
    return sum(parameter.numel() for parameter in net.parameters())
