"""Start a training from the weights of another model: layers that fit are copied, the others are listed with a reason.

A network starts from the model's network of the same name. If there is none, it starts from a network of the same
architecture that no other network starts from. Layers are copied if the names and shapes of all their weights agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.models.bundle import Bundle
from vol2vol.nets.norm import Norm
from vol2vol.protocol import networks
from vol2vol.tasks import Task

SHOWN = 3
"""Maximum number of layers in a line of the log; the record lists all."""


@torch.no_grad()
def transfer(task: Task, model: Bundle, name: str) -> dict[str, Any]:
    """Copy the weights of a model that fit into the networks of a task, and return a record as plain data.

    Running statistics of normalisation are copied with networks all of whose layers fit; the statistics of calibrated
    norms are measured when a model is saved. Messages call the model `name`. Raises `BadInput`, with the reasons, if
    nothing fits.
    """
    own, sources = networks(task.translations()), networks(model.translations)
    partners, record = _partners(own, sources), {}
    for name_here, network in own.items():
        partner = partners.get(name_here)
        if partner is None:
            record[name_here] = {"layers": 0, "fresh": _reason(name_here, network, sources)}
            continue
        copied, fresh = _compared(network, sources[partner])
        _copy(network, sources[partner], copied, whole=not fresh)
        record[name_here] = {"from": partner, "layers": len(copied), "fresh": fresh}
    why = "models keep only the networks that predict"
    record |= {player: {"layers": 0, "fresh": why} for player in _others(task, own)}
    if not partners:
        reasons = "; ".join(f"{name_here}: {record[name_here]['fresh']}" for name_here in own)
        raise BadInput(
            f"{name}: none of its weights fit this training ({reasons}): start from another model, or from none"
        )
    return {"model": name, "hash": model.hash, "networks": record}


def words(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each network and player that says which weights are copied and which start at random."""
    for name, part in record["networks"].items():
        fresh = part["fresh"]
        if not part["layers"]:
            yield f"weights of {name}: random, because {fresh}"
            continue
        count = part["layers"] + len(fresh)
        text = f"weights of {name}: {part['layers']} of {count} layers from {part['from']} of {record['model']}"
        shown = [f"{layer} ({why})" for layer, why in list(fresh.items())[:SHOWN]]
        more = [f"{len(fresh) - SHOWN} more"] if len(fresh) > SHOWN else []
        yield f"{text}; random in {', '.join([*shown, *more])}" if fresh else text
    yield "intensities, and the statistics of calibrated norms, are measured on the new volumes"


def _partners(own: Mapping[str, nn.Module], sources: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return the name of the model's network that each network of a task starts from; each is used once."""
    partners = {name: name for name, network in own.items() if name in sources and _fitting(network, sources[name])}
    for name, network in own.items():
        free = {other: _fitting(network, sources[other]) for other in sources if other not in partners.values()}
        best = max(free, key=lambda other: free[other], default=None)
        if name not in partners and best is not None and free[best]:
            partners[name] = best
    return partners


def _fitting(own: nn.Module, source: nn.Module) -> int:
    """Return how many weights of a network can be copied from another; 0 if their architectures differ."""
    if _kind(own) != _kind(source):
        return 0
    copied, _ = _compared(own, source)
    return sum(weight.numel() for layer in copied.values() for weight in layer.values())


def _kind(network: Any) -> tuple[str, int]:
    """Return a network's architecture and number of axes."""
    return network.describe()["name"], network.dims


def _compared(own: nn.Module, source: nn.Module) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return the layers that fit, each with the weights to copy by name, and for the other layers the reason."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, weight in own.named_parameters():
        layers.setdefault(name.rpartition(".")[0] or name, {})[name] = weight
    there: dict[str, Tensor] = dict(source.named_parameters())
    copied, fresh = {}, {}
    for layer, weights in layers.items():
        reasons = [reason for name, weight in weights.items() if (reason := _difference(weight, there.get(name)))]
        if reasons:
            fresh[layer] = reasons[0]
        else:
            copied[layer] = {name: there[name] for name in weights}
    return copied, fresh


def _difference(own: Tensor, source: Tensor | None) -> str:
    """Return why a weight cannot be copied; "" if it can."""
    if source is None:
        return "not in the model"
    shapes = [" x ".join(map(str, weight.shape)) for weight in (own, source)]
    return f"{shapes[0]} here, {shapes[1]} in the model" if own.shape != source.shape else ""


def _copy(own: nn.Module, source: nn.Module, layers: Mapping[str, Mapping[str, Tensor]], *, whole: bool) -> None:
    """Copy the weights of layers; with `whole`, also the running statistics of the network."""
    state = own.state_dict(keep_vars=True)
    for weights in layers.values():
        for name, weight in weights.items():
            state[name].copy_(weight)
    if not whole:
        return
    there = dict(source.named_buffers())
    for name, module in own.named_modules():
        if isinstance(module, Norm) and module.kind == "calibrated":
            continue  # its statistics are measured for every model that is saved
        for key, buffer in module.named_buffers(name, recurse=False):
            if key in there and there[key].shape == buffer.shape:
                buffer.copy_(there[key])


def _reason(name: str, network: nn.Module, sources: Mapping[str, nn.Module]) -> str:
    """Return why none of a model's networks has weights for a network of a task."""
    if name not in sources:
        listed = ", ".join(f"{other} ({_architecture(source)})" for other, source in sources.items())
        return f"the model has no network {name}, only {listed}"
    if _kind(network) != _kind(sources[name]):
        return f"it is a {_architecture(network)}, but a {_architecture(sources[name])} in the model"
    return "no layer has the same shape in the model"


def _architecture(network: nn.Module) -> str:
    kind, dims = _kind(network)
    return f"{dims}D {kind}"


def _others(task: Task, own: Mapping[str, nn.Module]) -> list[str]:
    """Return the players that have weights outside the networks of all translations."""
    known = {id(weight) for network in own.values() for weight in network.parameters()}
    return [name for name, player in task.players.items() if any(id(w) not in known for w in player.parameters())]
