"""Construct variants of a trained network with the same weights; the given network is never changed.

A variant is built without random numbers, so that building one during training does not change the random state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.catalogue import build
from vol2vol.nets.norm import Frozen, Norm, tile_dependent
from vol2vol.nets.trace import layers


def frozen(net: nn.Module) -> nn.Module:
    """Return a network for prediction: every norm is a fixed function per channel, also after `.train()`.

    Raises `BadInput` where a layer has no statistics to freeze: before calibration, and for norm "instance".
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
    """Return the network that omits uncertain voxels: a valid U-Net with a cropped decoder and the same weights.

    Other networks have no such variant with the same phase; an unchanged copy is returned.
    """
    return _rebuilt(net, {"decoder": "cropped"} if croppable(net) else {}, net.state_dict())


def croppable(net: nn.Module) -> bool:
    """Return whether `cropped` changes a network: a U-Net with valid padding."""
    arguments = _described(net)["arguments"]
    return "decoder" in arguments and arguments["padding"] == "valid"


def padded(net: nn.Module) -> nn.Module:
    """Return the network with padding "same" and the same weights: its output is as large as its input.

    A pointwise network is copied unchanged. Raises `BadInput` where a network has no argument `padding`.
    """
    pointwise = all(layer.kind in ("input", "activation", "norm", "output") for layer in layers(net))
    changed = {} if pointwise else {"padding": "same"}
    if "decoder" in _described(net)["arguments"]:
        changed["decoder"] = "full"
    return _rebuilt(net, changed, net.state_dict())


def remeasurable(net: nn.Module) -> nn.Module:
    """Return the network with the same weights and norms without statistics, for `calibrate` to measure again.

    Raises `BadInput` where it has no stored statistics: norm "instance" or "none".
    """
    norms = [module for module in net.modules() if isinstance(module, (Norm, Frozen))]
    if not any(isinstance(module, Frozen) or module.kind not in ("instance", "none") for module in norms):
        raise BadInput("the network has no statistics to measure again: train it with norm batch or calibrated")
    state = dict(net.state_dict())
    for name, module in net.named_modules():
        if isinstance(module, (Norm, Frozen)):
            state[f"{name}.calibrated"] = torch.zeros((), dtype=torch.bool)
    return _rebuilt(net, {"norm": "calibrated"}, state)


def tilewise(net: nn.Module) -> nn.Module:
    """Return the network with the same weights whose norms use the statistics of each tile, as published code predicts.

    Raises `BadInput` for a network without normalisation, for which this makes no difference.
    """
    norms = _normalising(net)
    if not norms:
        if tile_dependent(net):  # layers of torch in a network of another package
            return net
        raise BadInput("the network has no normalisation, so it has no statistics of a tile: use statistics calibrated")
    dropped = {f"{name}.{key}" for name in norms for key in ("mean", "variance", "calibrated")}
    state = {key: tensor for key, tensor in net.state_dict().items() if key not in dropped}
    return _rebuilt(net, {"norm": "instance"}, state).requires_grad_(False).eval()


def unmeasured(net: nn.Module) -> nn.Module:
    """Return the network with the same weights whose norms are fixed at mean 0 and variance 1, to be measured.

    Raises `BadInput` for a network whose normalisation has no statistics.
    """
    norms = _normalising(net)
    if not norms:
        raise BadInput("the network has no normalisation of its own to measure: use statistics calibrated")
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.endswith(".calibrated")}
    weight = next(net.parameters())
    for name, module in norms.items():
        state[f"{name}.mean"], state[f"{name}.variance"] = (
            weight.new_zeros(module.channels),
            weight.new_ones(module.channels),
        )
    return _rebuilt(net, {"norm": "frozen"}, state).requires_grad_(False).eval()


def _normalising(net: nn.Module) -> dict[str, Norm | Frozen]:
    """Return the norms by name that do normalise."""
    norms = {name: module for name, module in net.named_modules() if isinstance(module, (Norm, Frozen))}
    return {name: m for name, m in norms.items() if isinstance(m, Frozen) or m.kind != "none"}


def _check_stored(name: str, module: Norm) -> None:
    if module.kind == "instance":
        raise BadInput(
            f"layer {name!r} normalises every tile by its own statistics (norm 'instance'), which cannot be frozen: "
            "predict with the network as it is (seams are to be expected), or train with norm 'calibrated'"
        )
    if not module.stored:
        raise BadInput(f"layer {name!r} has no statistics yet: run nets.calibrate(net, patches of its domain) first")


def _rebuilt(net: nn.Module, changed: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    """Build a new network with changed arguments and copies of these weights, in the mode of the given network."""
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
