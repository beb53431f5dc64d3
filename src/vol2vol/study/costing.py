"""Measure the cost of a trial: its training up to the checkpoint, and its prediction."""

from __future__ import annotations

from math import isfinite, nan

from vol2vol.models.bundle import describe_bundle, load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction import predicting
from vol2vol.prediction.layout_cost import cost_of
from vol2vol.study.assets import Model
from vol2vol.study.translating import Predicted
from vol2vol.training import read_log

Spent = dict[str, float | None]


def training_cost(model: Model, epoch: int) -> Spent:
    """Return the cost of the training up to a checkpoint (seconds, bytes), and the parameters of the network."""
    rows = [row for row in read_log(model.path / "log.csv") if row["epoch"] <= epoch]
    seconds = sum(row["seconds"] for row in rows)
    memory = [row["memory"] for row in rows if isfinite(row.get("memory", nan))]
    bundle = describe_bundle(find_bundle(model.path, epoch))
    return {
        "train_seconds": seconds,
        "train_seconds_per_step": seconds / rows[-1]["step"] if rows and rows[-1]["step"] else None,
        "train_peak_memory": max(memory) if memory else None,
        "parameters": bundle["weights"][model.direction],
    }


def prediction_cost(predicted: Predicted) -> Spent:
    """Return the cost of a prediction (seconds, bytes); of a continued one, only what holds for all of it."""
    bundle, prediction = load_bundle(find_bundle(predicted.model.path, predicted.which)), predicted.prediction
    cost = cost_of(prediction.layout, predicting(bundle.network(predicted.model.direction), predicted.settings))
    spent: Spent = {"redundancy": cost.redundancy, "flops_per_voxel": cost.flops_per_voxel}
    if prediction.voxels:
        spent |= {"voxels_per_second": prediction.voxels / prediction.seconds, "peak_memory": predicted.peak}
    if prediction.voxels and not prediction.blocks_before:
        spent["seconds"] = prediction.seconds
    return spent
