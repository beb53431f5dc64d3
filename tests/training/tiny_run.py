"""A training small enough for tests; also a script, so that tests can kill it or run it in several processes."""

import argparse
import logging
import os
import time
import zlib
from pathlib import Path

import torch

from vol2vol.intensity import Intensity
from vol2vol.tasks import CycleGAN, CycleGANSettings, NetworkSettings
from vol2vol.training import TrainSettings, fit

PATCH = 22
TASK = {
    "generator": NetworkSettings(name="unet", arguments={"levels": 2, "width": 4}),
    "critic": NetworkSettings(name="patchgan", arguments={"width": 4, "n_layers": 1}),
    "pool": 3,
}
TRAIN = {"epochs": 3, "steps_per_epoch": 3, "checkpoint_every": 1, "accelerator": "cpu", "seed": 7}


class Noise:
    """Random patches that depend on (domain, epoch, item); `hang` is an epoch whose second item is never returned."""

    def __init__(self, patch=PATCH, dims=2, hang=None):
        self.shape, self.epoch, self.hang = (1, *[patch] * dims), 0, hang

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 6

    def __getitem__(self, item):
        while (self.epoch, item) == (self.hang, 1):
            time.sleep(1)

        def draw(domain):
            seed = zlib.crc32(f"{domain} {self.epoch} {item}".encode())
            return torch.rand(self.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1

        return {"source": draw("source"), "target": draw("target") ** 3}


def calibration():
    return {
        d: lambda d=d: [Noise()[i]["source" if d == "forward" else "target"][None] for i in range(2)]
        for d in ("forward", "backward")
    }


def train(run, *, task=None, data=None, overwrite=False, progress=False, calibrated=None, **settings):
    torch.set_num_threads(1)
    settings = TrainSettings(**{**TRAIN, **settings})
    task = (
        CycleGAN(CycleGANSettings(**{**TASK, **(task or {})}), seed=settings.seed)
        if not isinstance(task, CycleGAN)
        else task
    )
    intensity = {domain: Intensity(low=(0.0,), high=(255.0,)) for domain in ("source", "target")}
    return fit(
        task,
        data or Noise(),
        settings=settings,
        run=run,
        intensity=intensity,
        calibration=calibration() if calibrated is None else calibrated,
        overwrite=overwrite,
        progress=progress,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--checkpoint-every", type=int, default=1)
    parser.add_argument("--hang", type=int)
    parser.add_argument("--weights", type=Path)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    model = CycleGAN(CycleGANSettings(**{**TASK, "pool": 0}), seed=7)
    train(
        asked.run,
        task=model,
        data=Noise(hang=asked.hang),
        epochs=asked.epochs,
        devices=asked.devices,
        batch_size=asked.batch_size,
        checkpoint_every=asked.checkpoint_every,
    )
    if asked.weights:
        torch.save(model.state_dict(), asked.weights / f"rank{os.environ.get('LOCAL_RANK', 0)}.pt")
