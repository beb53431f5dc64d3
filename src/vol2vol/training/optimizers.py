"""Find torch's optimisers and learning-rate schedules by name, and check their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from vol2vol.training.settings import TrainSettings

FOLLOWS = ("params", "optimizer", "last_epoch", "verbose")
"""Arguments that training sets itself."""
ELSEWHERE = ("lr", "betas")
"""Arguments of optimisers that are separate training settings."""
UNFIT = ("Muon", "SparseAdam")
"""Optimisers that step only matrices, or only sparse gradients; convolutional networks need neither."""
OBJECTS = ("lr_lambda", "schedulers")
"""Arguments that are functions or objects; a recipe cannot state them."""


@cache
def optimizer_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Return torch's optimisers by name, without those that cannot step a convolutional network.

    Optimisers whose step needs a function that computes the loss again (LBFGS) are left out, too.
    """
    kinds = _subclasses(torch.optim, torch.optim.Optimizer)
    return {name: kind for name, kind in kinds.items() if name not in UNFIT and _optional(kind.step, "closure")}


@cache
def schedule_classes() -> dict[str, type[torch.optim.lr_scheduler.LRScheduler]]:
    """Return torch's learning-rate schedules by name, without those that take functions or other schedules."""
    kinds = _subclasses(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
    return {name: kind for name, kind in kinds.items() if not {*OBJECTS} & {*_parameters(kind)}}


def _subclasses(module: Any, base: type) -> dict[str, Any]:
    kinds = {name: kind for name, kind in vars(module).items() if inspect.isclass(kind) and not name.startswith("_")}
    return {name: kind for name, kind in sorted(kinds.items()) if issubclass(kind, base) and kind is not base}


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _optional(function: Any, name: str) -> bool:
    parameter = _parameters(function).get(name)
    return parameter is None or parameter.default is not inspect.Parameter.empty


def check_name(name: str, known: Iterable[str]) -> str:
    """Return a name; raise `ValueError` with the most similar known name if it is unknown."""
    names = list(known)
    if name in names:
        return name
    lower = {other.lower(): other for other in names}
    near = get_close_matches(name.lower(), lower, n=1)
    raise ValueError(f"{name} is not known: " + (f"did you mean {lower[near[0]]}?" if near else f"use {_list(names)}"))


def check_arguments(kind: type, arguments: Mapping[str, Any], elsewhere: Iterable[str] = ()) -> None:
    """Raise `ValueError` if a class does not take one of these arguments, or needs another one.

    The message names the most similar argument. Arguments in `elsewhere` are separate training settings.
    """
    taken = [name for name in _parameters(kind) if name not in (*FOLLOWS, *elsewhere)]
    for name in arguments:
        if name in elsewhere:
            raise ValueError(f"{name} is not an argument here: set train.{name}")
        if name not in taken:
            near = get_close_matches(name, taken, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {_list(taken)}"
            raise ValueError(f"{kind.__name__} does not take {name}: {hint}")
    for name in taken:
        if name not in arguments and _parameters(kind)[name].default is inspect.Parameter.empty:
            raise ValueError(f"{kind.__name__} needs {name}: add it to the arguments")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def numbers(value: Any) -> Any:
    """Return nested data in which strings that are numbers became numbers: YAML reads 1e-4 as a string."""
    if isinstance(value, Mapping):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def optimizer(settings: TrainSettings, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser that the training settings name, for these weights."""
    kind: Any = optimizer_classes()[settings.optimizer.name]
    shared = {name: getattr(settings, name) for name in ELSEWHERE if name in _parameters(kind)}
    result: torch.optim.Optimizer = kind(weights, **shared, **settings.optimizer.arguments)
    return result


def check_step(settings: TrainSettings) -> None:
    """Step small weights and biases once; raise `ValueError` if the optimiser refuses."""
    weights = [nn.Parameter(torch.ones(shape)) for shape in ((2, 1, 3, 3), (2,))]
    try:
        built = optimizer(settings, weights)
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        built.step()
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(f"optimizer {settings.optimizer.name}: {' '.join(str(error).split())}") from None
