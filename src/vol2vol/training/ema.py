"""A moving average of weights: what the checkpoints hold instead of the last step's noise."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vol2vol.protocol import Translation
from vol2vol.tasks import Task


class Average(nn.Module):
    """Exponential moving averages of networks' weights and running statistics; other buffers are the latest ones.

    Running statistics are averaged too because those of a few small batches differ from one step to the next by more
    than the weights do.

    The decay rises as (1 + n) / (10 + n) over the n steps so far until it meets `decay`, so that short runs are not
    held back by the initial weights (Yazici et al. 2019 for the average itself).
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        super().__init__()
        self.decay, self.steps = decay, 0
        self.names = tuple(networks)
        self.averaged = nn.ModuleList(copy.deepcopy(net).requires_grad_(False) for net in networks.values())

    @torch.no_grad()
    def update(self, networks: Mapping[str, nn.Module]) -> None:
        """Move every average towards the networks' present weights, after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, averaged in self.networks().items():
            for old, new in zip(averaged.parameters(), networks[name].parameters(), strict=True):
                old.lerp_(new.detach(), 1 - decay)
            for stale, fresh in zip(averaged.buffers(), networks[name].buffers(), strict=True):
                if stale.is_floating_point():
                    stale.lerp_(fresh, 1 - decay)
                else:
                    stale.copy_(fresh)

    def networks(self) -> dict[str, nn.Module]:
        """Return the averaged networks."""
        return dict(zip(self.names, self.averaged, strict=True))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of steps taken."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_extra_state` returned."""
        self.steps = state["steps"]


def kept_by(task: Task, average: Average | None) -> Mapping[str, Translation]:
    """Return the translations that checkpoints hold: with averaged networks, where there is an average."""
    trained = task.translations()
    if average is None:
        return trained
    averaged = average.networks()
    return {name: replace(translation, network=averaged[name]) for name, translation in trained.items()}
