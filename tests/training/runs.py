"""Helpers of the training tests: an undisturbed run, and the comparison of two runs."""

from pathlib import Path

import pytest
import torch
from tests.training.tiny_run import TASK, Noise, train

from vol2vol.tasks import CycleGAN, CycleGANSettings

SCRIPT = Path(__file__).parent / "tiny_run.py"
MEASURED = ("seconds", "memory")
"""Columns of a log that differ from run to run."""


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def state(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def same(a, b):
    """Compare nested data and tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in MEASURED)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Stops(Noise):
    """Data that raise an error at an item of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.fatal = epoch

    def __getitem__(self, item):
        if self.epoch == self.fatal and item == 1:
            raise RuntimeError("power cut")
        return super().__getitem__(item)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return an undisturbed run of four epochs, with a moving average and an image pool."""
    run = tmp_path_factory.mktemp("whole") / "run with a space"
    return run, train(run, epochs=4, checkpoint_every=2, ema=0.9)


def poolless():
    return CycleGAN(CycleGANSettings(**{**TASK, "pool": 0}), seed=7)
