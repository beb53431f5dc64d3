"""The one protocol between objectives and training: a task plays turns, whoever trains it steps the players."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from vol2vol.geometry import Shape

Batch = Mapping[str, Tensor]
"""Patches `source` and `target`, float32 of shape (B, C, [Z,] Y, X) in the network's range."""


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

    players: Mapping[str, nn.Module]
    """Who owns which weights; each player gets its own optimiser."""
    criterion: str
    """The logged term whose lowest value in an epoch marks the checkpoint called `best`."""

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield one turn per player."""
        ...

    def networks(self) -> Mapping[str, nn.Module]:
        """Return what is left for prediction, per direction."""
        ...

    def channels(self) -> Mapping[str, int]:
        """Return the number of channels of `source` and `target`."""
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
