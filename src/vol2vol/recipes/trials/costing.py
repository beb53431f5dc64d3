"""What a trial cost: its share of a training, and its prediction."""

from __future__ import annotations

from math import isfinite, nan

from vol2vol.bundles import describe_bundle, load_bundle
from vol2vol.checkpoints import find_bundle
from vol2vol.prediction import Prediction, PredictSettings, predicting
from vol2vol.recipes.trials.findings import Findings
from vol2vol.recipes.trials.making import Model
from vol2vol.training import read_log


def training_cost(model: Model, epoch: int, found: Findings) -> None:
    """Keep what the training up to a checkpoint took, and how large the network is."""
    rows = [row for row in read_log(model.path / "log.csv") if row["epoch"] <= epoch]
    seconds = sum(row["seconds"] for row in rows)
    found.number("cost/train_seconds", seconds)
    if rows and rows[-1]["step"]:
        found.number("cost/train_seconds_per_step", seconds / rows[-1]["step"])
    memory = [row["memory"] for row in rows if isfinite(row.get("memory", nan))]
    found.number("cost/train_peak_memory", max(memory) if memory else None)
    about = describe_bundle(find_bundle(model.path, epoch))
    found.number("cost/parameters", about["weights"][model.direction])


def prediction_cost(
    model: Model, which: str, settings: PredictSettings, made: Prediction, peak: float, *, found: Findings
) -> None:
    """Keep what a prediction took; of one that was continued, what is true of all of it."""
    network = predicting(load_bundle(find_bundle(model.path, which)).network(model.direction), settings)
    cost = made.layout.cost(network)
    found.number("cost/redundancy", cost.redundancy)
    found.number("cost/flops_per_voxel", cost.flops_per_voxel)
    if made.voxels:
        found.number("cost/voxels_per_second", made.voxels / made.seconds)
        found.number("cost/peak_memory", peak)
    if made.voxels and not made.blocks_before:
        found.number("cost/seconds", made.seconds)
