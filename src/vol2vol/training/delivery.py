"""Write the models that training saves for prediction, with the final statistics of their normalisation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import save_bundle
from vol2vol.nets.norm import Norm
from vol2vol.protocol import Translation
from vol2vol.training.run_folder import Run

VOLUMES = ("volumes", "validate")
"""Keys of the provenance that list, by domain, the volumes of training and those of validation."""
STATISTICS = {
    "tracked": "running mean over the training steps, momentum 0.1",
    "batch": "running mean over the training steps, momentum 0.1",
    "instance": "none: every tile is normalised by its own statistics",
    "renorm": "running averages of batches, without those of cycle and identity passes",
    "group": "none: every tile is normalised by its own statistics",
    "channel": "none: every voxel is normalised by its own channels",
    "none": "none: the network has no normalisation",
}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a bundle holds in addition to networks."""

    intensity: Mapping[str, Intensity]
    """By domain."""
    channels: Mapping[str, int]
    """By domain."""
    calibration: Mapping[str, Callable[[], Iterable[Tensor]]] = field(default_factory=dict)
    """By translation: a function that returns batches (B, C, [Z,] Y, X) of input patches."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How the model was trained, as plain data, such as the recipe."""

    def check(self, translations: Mapping[str, Translation]) -> None:
        """Raise `BadInput` if a network needs calibration patches and there are none for it."""
        for name, translation in translations.items():
            if needs_calibration(translation.network) and name not in self.calibration:
                raise BadInput(f"norm calibrated needs patches for the {name} network: give calibration for it")


def needs_calibration(network: nn.Module) -> bool:
    """Return whether a network is normalised by the statistics of a calibration pass."""
    return "calibrated" in _kinds(network)


def _kinds(network: nn.Module) -> set[str]:
    return {module.kind for module in network.modules() if isinstance(module, Norm)}


def deliver(run: Run, epoch: int, translations: Mapping[str, Translation], delivery: Delivery) -> None:
    """Write the bundle of an epoch; statistics are measured on copies, so that networks in training do not change."""
    finished, statistics = {}, {}
    for name, translation in translations.items():
        network = copy.deepcopy(translation.network).eval()
        statistics[name] = "; ".join(STATISTICS.get(kind, kind) for kind in sorted(_kinds(network)))
        if needs_calibration(network):
            drawn, read = torch.Generator().manual_seed(epoch), int(network.in_channels)  # type: ignore[arg-type]
            batches = [nets.with_noise(batch, read, translation.noise, drawn) for batch in delivery.calibration[name]()]
            nets.calibrate(network, batches)
            patches = sum(len(batch) for batch in batches)
            statistics[name] = f"exact, over {patches} patches of the {name} network's input domain"
        finished[name] = replace(translation, network=network)
    save_bundle(
        run.model(epoch),
        finished,
        delivery.intensity,
        channels=delivery.channels,
        statistics=statistics,
        provenance={**delivery.provenance, "epoch": epoch},
        overwrite=True,
    )
