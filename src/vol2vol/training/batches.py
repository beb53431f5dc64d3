"""Decide which patches a process reads in which step, also when training continues in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from vol2vol.errors import BadInput
from vol2vol.training.settings import TrainSettings
from vol2vol.training.stopping import outlive_signals


class Epochs(Dataset[dict[str, Any]]):
    """A data set that is indexed by (epoch, item), so that reader processes learn the epoch with every item."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, item = key
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        result: dict[str, Any] = self.data[item]
        return result


class Share(Sampler[tuple[int, int]]):
    """The items that process r of w processes reads: i*w + r, so that their batches of a step form one large batch.

    `skip` leaves out the first items of the next epoch, and of that epoch alone, so that training does not repeat the
    steps that it took before it was stopped.
    """

    def __init__(self, count: int, rank: int, world: int) -> None:
        self.count, self.rank, self.world, self.epoch, self.skip = count, rank, world, 0, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first, self.skip = self.skip, 0
        return ((self.epoch, i * self.world + self.rank) for i in range(first, self.count))

    def __len__(self) -> int:
        return self.count


def share_of(data: Any, settings: TrainSettings, rank: int, world: int) -> Share:
    """Return the items that one of `world` processes reads in an epoch; raise `BadInput` if they do not fill a step."""
    steps = settings.steps_per_epoch or len(data) // (settings.batch_size * world)
    if steps < 1:
        needed = settings.batch_size * world
        raise BadInput(f"{len(data)} patches do not fill a step of {needed}: set train.steps_per_epoch")
    return Share(steps * settings.batch_size, rank, world)


def loader_of(data: Any, settings: TrainSettings, share: Share, *, pin_memory: bool) -> DataLoader[Any]:
    """Return the data loader that reads the patches of a share in batches."""
    workers: dict[str, Any] = {}
    if settings.num_workers:  # spawned, not forked: readers of large volumes hold threads
        workers = {
            "num_workers": settings.num_workers,
            "persistent_workers": True,
            "multiprocessing_context": "spawn",
            "worker_init_fn": outlive_signals,
        }
    return DataLoader(
        Epochs(data),
        batch_size=settings.batch_size,
        sampler=share,
        pin_memory=pin_memory,
        generator=torch.Generator(),
        **workers,
    )
