"""Construct variants of a trained network with the same weights; the given network is never changed.

A variant is built without random numbers, so that building one during training does not change the random state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.catalogue import build
from vol2vol.nets.norm import STATELESS, STORED, TILEWISE, Frozen, Norm, tile_dependent
from vol2vol.nets.trace import layers
from vol2vol.nets.weighting import Reweighted, effective_weight


def frozen(net: nn.Module) -> nn.Module:
    """Return a network for prediction: every norm is a fixed function per channel, also after `.train()`.

    Normalised weights become plain ones. Raises `BadInput` where a layer has no statistics to freeze: before
    calibration or training, and for norms "instance" and "group".
    """
    state, changed = _plain_weights(net)
    norms = {name: m for name, m in net.named_modules() if isinstance(m, Norm) and m.kind not in STATELESS}
    for name, module in norms.items():
        _check_stored(name, module)
    state = _without(state, norms, keep=("mean", "variance"))
    return _rebuilt(net, changed | ({"norm": "frozen"} if norms else {}), state).requires_grad_(False).eval()


def _plain_weights(net: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a network's state with plain weights, and the argument that changes if they were normalised."""
    state = dict(net.state_dict())
    reweighted = {name: module for name, module in net.named_modules() if isinstance(module, Reweighted)}
    for name, module in reweighted.items():
        state[f"{name}.weight"] = effective_weight(module)
        for key in module.learnt:
            del state[f"{name}.{key}"]
    return state, {"weights": "plain"} if reweighted else {}


def _without(state: dict[str, Tensor], norms: Iterable[str], keep: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return a state without the buffers of these norms, except those to keep."""
    dropped = {f"{name}.{key}" for name in norms for key in STORED if key not in keep}
    return {key: tensor for key, tensor in state.items() if key not in dropped}


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
    norms = _normalising(net)
    if not any(isinstance(module, Frozen) or module.kind != "instance" for module in norms.values()):
        raise BadInput("the network has no statistics to measure again: train it with norm batch or calibrated")
    state = _without(dict(net.state_dict()), norms, keep=("mean", "variance"))
    state |= {f"{name}.calibrated": torch.zeros((), dtype=torch.bool) for name in norms}
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
    state = _without(dict(net.state_dict()), norms)
    return _rebuilt(net, {"norm": "instance"}, state).requires_grad_(False).eval()


def unmeasured(net: nn.Module) -> nn.Module:
    """Return the network with the same weights whose norms are fixed at mean 0 and variance 1, to be measured.

    Raises `BadInput` for a network whose normalisation has no statistics per channel.
    """
    norms = _normalising(net)
    if not norms:
        raise BadInput("the network has no normalisation of its own to measure: use statistics calibrated")
    state, changed = _plain_weights(net)
    state = _without(state, norms)
    weight = next(net.parameters())
    for name, module in norms.items():
        state[f"{name}.mean"], state[f"{name}.variance"] = (
            weight.new_zeros(module.channels),
            weight.new_ones(module.channels),
        )
    return _rebuilt(net, changed | {"norm": "frozen"}, state).requires_grad_(False).eval()


def _normalising(net: nn.Module) -> dict[str, Norm | Frozen]:
    """Return the norms by name that normalise by a mean and a variance per channel."""
    norms = {name: module for name, module in net.named_modules() if isinstance(module, (Norm, Frozen))}
    return {name: m for name, m in norms.items() if isinstance(m, Frozen) or m.kind not in (*STATELESS, "group")}


def _check_stored(name: str, module: Norm) -> None:
    if module.kind in TILEWISE:
        raise BadInput(
            f"layer {name!r} normalises every tile by its own statistics (norm {module.kind!r}), which cannot be "
            "frozen: predict with the network as it is (seams are to be expected), or train with norm 'calibrated'"
        )
    if module.kind == "renorm" and not module.steps.is_meta and not module.steps[0]:
        raise BadInput(f"layer {name!r} has no statistics yet (norm 'renorm'): train the network first")
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
    taps = [[key for key in names if key.endswith(".taps")] for names in (state, new.state_dict())]
    places = dict(zip(*taps, strict=True))  # of fixed kernels: not every decoder pads before them
    state = {places.get(name, name): tensor for name, tensor in state.items()}
    new.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
    trained = dict(net.named_parameters())
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(trained[name].requires_grad)
    return new.train(net.training)


def _described(net: Any) -> dict[str, Any]:
    result: dict[str, Any] = net.describe()
    return result
