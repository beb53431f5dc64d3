"""Networks constructed from a trained one, with the same weights; the given network is never changed.

A variant is built without drawing random numbers, so making one during training does not disturb the seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.catalogue import build
from vol2vol.nets.norm import Frozen, Norm
from vol2vol.nets.trace import layers


def frozen(net: nn.Module) -> nn.Module:
    """Return a network for prediction: every normalisation a fixed function per channel, whatever `.train()` says.

    Raises `BadInput` where a layer has no statistics to freeze: not calibrated yet, or instance norm.
    """
    state = dict(net.state_dict())
    for name, module in net.named_modules():
        if isinstance(module, Norm) and module.kind != "none":
            _check_stored(name, module)
            state.pop(f"{name}.calibrated", None)
    kinds = {module.kind for module in net.modules() if isinstance(module, Norm)}
    changed = {"norm": "frozen"} if kinds - {"none"} else {}
    return _rebuilt(net, changed, state).requires_grad_(False).eval()


def cropped(net: nn.Module) -> nn.Module:
    """Return the network with the same weights that skips uncertain voxels: a valid U-Net, cropped as it goes up.

    Any other network has no such form with the same phase: its copy is returned as it is.
    """
    return _rebuilt(net, {"decoder": "cropped"} if croppable(net) else {}, net.state_dict())


def croppable(net: nn.Module) -> bool:
    """Say whether `cropped` has something to crop: a U-Net with valid padding."""
    arguments = _described(net)["arguments"]
    return "decoder" in arguments and arguments["padding"] == "valid"


def padded(net: nn.Module) -> nn.Module:
    """Return the network with padding "same": same weights, output as large as the input at any admitted size.

    A pointwise network is that already.
    """
    pointwise = all(layer.kind in ("input", "activation", "norm", "output") for layer in layers(net))
    changed = {} if pointwise else {"padding": "same"}
    if "decoder" in _described(net)["arguments"]:
        changed["decoder"] = "full"
    return _rebuilt(net, changed, net.state_dict())


def remeasurable(net: nn.Module) -> nn.Module:
    """Return the network with the same weights whose normalisation is to be measured anew, by `calibrate`.

    Raises `BadInput` where it has no stored statistics: norm "instance" or "none".
    """
    norms = [module for module in net.modules() if isinstance(module, (Norm, Frozen))]
    if not any(isinstance(module, Frozen) or module.kind not in ("instance", "none") for module in norms):
        raise BadInput(
            "the network has no statistics that could be measured anew: train it with norm batch or calibrated"
        )
    state = dict(net.state_dict())
    for name, module in net.named_modules():
        if isinstance(module, (Norm, Frozen)):
            state[f"{name}.calibrated"] = torch.zeros((), dtype=torch.bool)
    return _rebuilt(net, {"norm": "calibrated"}, state)


def _check_stored(name: str, module: Norm) -> None:
    if module.kind == "instance":
        raise BadInput(
            f"layer {name!r} normalises every tile by its own statistics (norm 'instance'), which cannot be frozen: "
            "predict with the network as it is (seams are to be expected), or train with norm 'calibrated'"
        )
    if not module.stored:
        raise BadInput(f"layer {name!r} has no statistics yet: run nets.calibrate(net, patches of its domain) first")


def _rebuilt(net: nn.Module, changed: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    """Build a network anew with changed arguments and copies of these weights, in the mode of the given one."""
    description = _described(net)
    unknown = set(changed) - set(description["arguments"])
    if unknown:
        raise BadInput(f"a {description['name']!r} network has no {', '.join(sorted(unknown))} to change")
    with torch.device("meta"):
        new = build(description["name"], **(description["arguments"] | changed))
    new.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
    trained = dict(net.named_parameters())
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(trained[name].requires_grad)
    return new.train(net.training)


def _described(net: Any) -> dict[str, Any]:
    result: dict[str, Any] = net.describe()
    return result
