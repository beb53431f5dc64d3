"""The one protocol between objectives and training: a task plays turns, whoever trains it steps the players."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need, Translation

Batch = Mapping[str, Tensor]
"""One patch set per domain of the task, float32 of shape (B, C, [Z,] Y, X) in the network's range."""


class NetworkSettings(BaseModel):
    """A network by name, with the arguments that differ from its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Which network of `vol2vol.nets`."""
    arguments: dict[str, Any] = {}
    """Its arguments, such as levels, width or norm; dims and channels come from the task."""

    def check(self) -> None:
        """Raise `BadInput` where the arguments say what follows from the data."""
        if taken := {"dims", "in_channels", "out_channels"} & {*self.arguments}:
            raise BadInput(f"{' and '.join(sorted(taken))} of a network follow from the data: leave them out")


class TaskSettings(BaseModel):
    """The settings of a task; every task has a class of its own, with its name."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """Which task."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        raise NotImplementedError

    def needs(self) -> tuple[Need, ...]:
        """Return the domains that a batch holds."""
        raise NotImplementedError

    @property
    def learns_masks(self) -> bool:
        """Whether the task compares its output with masks."""
        return any(need.kind == "mask" for need in self.needs())

    def loss_names(self) -> tuple[str, ...]:
        """Return the losses of `vol2vol.losses` that this task minimises and that its settings name."""
        return ()

    def models(self) -> Mapping[str, str]:
        """Return the trained models that this task asks while it trains, by the domain that they read."""
        return {}


@dataclass(frozen=True)
class Turn:
    """One player's move: descend this loss with this player's weights, nobody else's."""

    player: str
    loss: Tensor
    log: dict[str, Tensor] = field(default_factory=dict)
    """Every term by name, scalars without gradient."""


class Task(Protocol):
    """A training objective: an `nn.Module` whose state is everything that must survive a restart.

    `turns` is a generator. What happens up to a `yield` belongs to that turn; the trainer takes the step before it
    asks for the next, so a later player sees the earlier one's new weights only where it computes something anew.
    """

    Settings: ClassVar[type[TaskSettings]]
    """The class of its settings."""
    settings: Any
    """The settings that it was built with."""
    players: Mapping[str, nn.Module]
    """Who owns which weights; each player gets its own optimiser."""
    criterion: str
    """The logged term whose lowest value in an epoch marks the checkpoint called `best`."""

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield one turn per player."""
        ...

    def translations(self) -> Mapping[str, Translation]:
        """Return what is left for prediction, by name."""
        ...

    def channels(self) -> Mapping[str, int]:
        """Return the number of channels of every domain."""
        ...

    def context(self) -> tuple[Shape, Shape]:
        """Return how many voxels before and after each axis of a patch no loss compares with another domain's."""
        ...

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless the task can train on this one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return weights, pools and random states as tensors and plain data."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Put back what `state_dict` returned."""
        ...


@runtime_checkable
class Judge(Protocol):
    """What a task has besides when its criterion is measured on held-out batches, after each epoch."""

    def judge(self, networks: Mapping[str, nn.Module], batches: Iterable[Batch]) -> dict[str, float]:
        """Return terms by name, the criterion among them, of these networks in evaluation mode."""
        ...


@runtime_checkable
class Progressive(Protocol):
    """What a task has besides when its losses change in the course of training."""

    def set_progress(self, share: float) -> None:
        """Note which share of all steps has been taken, 0 to 1; called before every step."""


def detached(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return terms without their gradients, for the log."""
    return {name: term.detach() for name, term in terms.items()}


@contextmanager
def alone(players: Mapping[str, nn.Module], player: str) -> Iterator[None]:
    """Let gradients reach one player's weights only, for as long as its turn lasts."""
    weights = [(w, name == player and w.requires_grad) for name, m in players.items() for w in m.parameters()]
    before = [w.requires_grad for w, _ in weights]
    try:
        for weight, plays in weights:
            weight.requires_grad_(plays)
        yield
    finally:
        for (weight, _), was in zip(weights, before, strict=True):
            weight.requires_grad_(was)
