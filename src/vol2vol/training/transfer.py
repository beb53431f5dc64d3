"""Start a training from another model's weights: what fits is taken, layer by layer, the rest is named with a reason.

A network starts from the one of its name in the model, or else from one of the same architecture that no other network
has the name of. Of these, layers with equal names and shapes are taken, whole or not at all.
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
"""Layers that a line names, at most; the record has all."""


@torch.no_grad()
def transfer(task: Task, model: Bundle, name: str) -> dict[str, Any]:
    """Copy what fits of a model's weights into a task's networks and return the record of it, as plain data.

    Running statistics of normalisation come along with networks that are taken whole; calibrated ones are measured when
    a model is saved. `name` is what messages call the model. Raises `BadInput`, with the reasons, where nothing fits.
    """
    own, given = networks(task.translations()), networks(model.translations)
    partners, record = _partners(own, given), {}
    for called, network in own.items():
        partner = partners.get(called)
        if partner is None:
            record[called] = {"layers": 0, "fresh": _reason(called, network, given)}
            continue
        taken, fresh = _compared(network, given[partner])
        _copy(network, given[partner], taken, whole=not fresh)
        record[called] = {"from": partner, "layers": len(taken), "fresh": fresh}
    why = "models keep only the networks that predict"
    record |= {player: {"layers": 0, "fresh": why} for player in _others(task, own)}
    if not partners:
        said = "; ".join(f"{called}: {part['fresh']}" for called, part in record.items() if called in own)
        raise BadInput(
            f"{name}: none of its weights fit this training ({said}): start from another model, or from none"
        )
    return {"model": name, "hash": model.hash, "networks": record}


def words(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was taken and what was not, a line for each network and player."""
    for called, part in record["networks"].items():
        fresh = part["fresh"]
        if not part["layers"]:
            yield f"weights of {called}: fresh, {fresh}"
            continue
        of = part["layers"] + len(fresh)
        text = f"weights of {called}: {part['layers']} of {of} layers from {part['from']} of {record['model']}"
        shown = [f"{layer} ({why})" for layer, why in list(fresh.items())[:SHOWN]]
        more = [f"{len(fresh) - SHOWN} more"] if len(fresh) > SHOWN else []
        yield f"{text}; fresh are {', '.join([*shown, *more])}" if fresh else text
    yield "intensities, and the statistics of calibrated norms, are measured on the new volumes"


def _partners(own: Mapping[str, nn.Module], given: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return from which of a model's networks each of a task's starts; each is taken once."""
    partners = {name: name for name, network in own.items() if name in given and _fitting(network, given[name])}
    for name, network in own.items():
        free = {other: _fitting(network, given[other]) for other in given if other not in partners.values()}
        best = max(free, key=lambda other: free[other], default=None)
        if name not in partners and best is not None and free[best]:
            partners[name] = best
    return partners


def _fitting(own: nn.Module, given: nn.Module) -> int:
    """Return how many weights of a network another one has; none where their architectures differ."""
    if _kind(own) != _kind(given):
        return 0
    taken, _ = _compared(own, given)
    return sum(weight.numel() for layer in taken.values() for weight in layer.values())


def _kind(network: Any) -> tuple[str, int]:
    """Return a network's architecture and number of axes."""
    return network.describe()["name"], network.dims


def _compared(own: nn.Module, given: nn.Module) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Return the layers that fit, each with the other network's weights by name, and why the others do not."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, weight in own.named_parameters():
        layers.setdefault(name.rpartition(".")[0] or name, {})[name] = weight
    there: dict[str, Tensor] = dict(given.named_parameters())
    taken, fresh = {}, {}
    for layer, weights in layers.items():
        reasons = [reason for name, weight in weights.items() if (reason := _difference(weight, there.get(name)))]
        if reasons:
            fresh[layer] = reasons[0]
        else:
            taken[layer] = {name: there[name] for name in weights}
    return taken, fresh


def _difference(own: Tensor, given: Tensor | None) -> str:
    """Say why a weight cannot be taken; nothing where it can."""
    if given is None:
        return "not in the model"
    shapes = [" x ".join(map(str, weight.shape)) for weight in (own, given)]
    return f"{shapes[0]} here, {shapes[1]} in the model" if own.shape != given.shape else ""


def _copy(own: nn.Module, given: nn.Module, layers: Mapping[str, Mapping[str, Tensor]], *, whole: bool) -> None:
    """Take over weights, and the running statistics of a network that is taken whole."""
    state = own.state_dict(keep_vars=True)
    for weights in layers.values():
        for name, weight in weights.items():
            state[name].copy_(weight)
    if not whole:
        return
    there = dict(given.named_buffers())
    for name, module in own.named_modules():
        if isinstance(module, Norm) and module.kind == "calibrated":
            continue  # measured on every model that is saved; those of other weights would mislead until then
        for key, buffer in module.named_buffers(name, recurse=False):
            if key in there and there[key].shape == buffer.shape:
                buffer.copy_(there[key])


def _reason(called: str, network: nn.Module, given: Mapping[str, nn.Module]) -> str:
    """Say why no network of a model has anything for one of a task's."""
    if called not in given:
        return f"the model has no {called}, only {', '.join(f'{n} ({_called(other)})' for n, other in given.items())}"
    if _kind(network) != _kind(given[called]):
        return f"it is a {_called(network)}, that of the model a {_called(given[called])}"
    return "no layer has the shape that it has in the model"


def _called(network: nn.Module) -> str:
    kind, dims = _kind(network)
    return f"{dims}D {kind}"


def _others(task: Task, own: Mapping[str, nn.Module]) -> list[str]:
    """Return the players with weights that belong to no network of a translation."""
    known = {id(weight) for network in own.values() for weight in network.parameters()}
    return [name for name, player in task.players.items() if any(id(w) not in known for w in player.parameters())]
