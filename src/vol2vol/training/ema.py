"""Average weights over the training steps; checkpoints hold the averages, which are less noisy than the last step."""

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
    """Exponential moving averages of networks' weights and running statistics; other buffers are copied.

    Running statistics are averaged too, because those of a few small batches change more from step to step than the
    weights do.

    The decay after n steps is (1 + n) / (10 + n), up to `decay`, so that the average of a short run does not stay close
    to the initial weights (Yazici et al. 2019 for the average itself).
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        super().__init__()
        self.decay, self.steps = decay, 0
        self.names = tuple(networks)
        self.averaged = nn.ModuleList(copy.deepcopy(net).requires_grad_(False) for net in networks.values())

    @torch.no_grad()
    def update(self, networks: Mapping[str, nn.Module]) -> None:
        """Move every average towards the current weights of its network; called after each step."""
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
        """Return the number of steps so far."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the number of steps from what `get_extra_state` returned."""
        self.steps = state["steps"]


def saved_translations(task: Task, average: Average | None) -> Mapping[str, Translation]:
    """Return the translations that checkpoints hold: those of the averaged networks, if there is an average."""
    trained = task.translations()
    if average is None:
        return trained
    averaged = average.networks()
    return {name: replace(translation, network=averaged[name]) for name, translation in trained.items()}
