"""Count the weights, operations, seconds and memory of a recipe, a run, a model or a predicted volume, as plain data.

Operations are floating-point operations; a multiply-add counts as two. Values that were not measured are None.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from vol2vol import nets, plainyaml
from vol2vol.errors import BadInput, Unreadable, one_line
from vol2vol.files import read_text
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.plans.record import Record
from vol2vol.prediction.layout_cost import cost_of, floor
from vol2vol.protocol import networks
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.tasks import Task, build
from vol2vol.tasks.pool import ImagePool
from vol2vol.training import read_log
from vol2vol.training.run_folder import Run
from vol2vol.volumes import Volume
from vol2vol.volumes.addresses import local_path


def recipe_cost(recipe: str | Path | Recipe, channels: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the weights of each player and network, and the operations per predicted voxel and per training step.

    `channels` is the number of channels by domain, 1 by default. Operations per voxel are those of an infinitely large
    tile. Nothing is trained.
    """
    settings = load_recipe(recipe)
    return _task_cost(checked_task(settings, channels), settings)


def checked_task(settings: Recipe, channels: Mapping[str, int] | None = None) -> Task:
    """Return the task of a recipe; raise `BadInput` if its networks or losses do not suit the patch size.

    Trained models that the task refers to are left out.
    """
    task = build(settings.task, dims=settings.dims, channels=channels)
    task.check(settings.patch)
    return task


def _task_cost(task: Task, settings: Recipe) -> dict[str, Any]:
    predicting = networks(task.translations())
    return {
        "weights": {name: _weights(player) for name, player in task.players.items()},
        "weights per direction": {name: _weights(net) for name, net in predicting.items()},
        "operations per voxel": {name: round(floor(net)) for name, net in predicting.items()},
        "operations per step": step_operations(task, settings.patch, settings.train.batch_size),
    }


def step_operations(task: Task, patch: tuple[int, ...], batch: int = 1) -> int:
    """Return the operations of one training step of a task, forward and backward, from `torch.utils.flop_counter`.

    The turns of the task run on tensors without values, so that nothing is computed. The second pass of gradient
    checkpointing is not counted.
    """
    replica: Any = copy.deepcopy(task)
    for translation in replica.translations().values():
        network: Any = translation.network
        if hasattr(network, "gradient_checkpointing"):
            network.gradient_checkpointing = False
    for module in replica.modules():
        if isinstance(module, ImagePool):
            module.size = 0
    with FakeTensorMode() as fake, FlopCounterMode(display=False) as counter:
        for module in replica.modules():  # not by _apply, which does not replace parameters in older releases of torch
            for tensors in (module._parameters, module._buffers):
                tensors.update({name: fake.from_tensor(value) for name, value in tensors.items() if value is not None})
        patches = {name: torch.empty(batch, count, *patch) for name, count in task.channels().items()}
        for turn in replica.turns(patches):
            turn.loss.backward()
    result: int = counter.get_total_flops()
    return result


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def model_cost(path: str | Path) -> dict[str, Any]:
    """Return weights and operations per voxel of a stored model, and those of its training if it holds its recipe."""
    bundle = load_bundle(find_bundle(path))
    prediction = {
        "weights per direction": {
            d: sum(t.numel() for t in n.state_dict().values()) for d, n in networks(bundle.translations).items()
        },
        "operations per voxel": {d: round(floor(network)) for d, network in networks(bundle.translations).items()},
    }
    recipe = _recipe_of(bundle.meta["provenance"])
    return {**_task_cost(_untrained(recipe, bundle.channels), recipe), **prediction} if recipe else prediction


def _untrained(recipe: Recipe, channels: Mapping[str, int] | None = None) -> Task:
    return build(recipe.task, dims=recipe.dims, channels=channels)


def run_cost(path: str | Path) -> dict[str, Any]:
    """Return the cost of a run's networks, and from its log the seconds, memory and hours to each saved checkpoint."""
    run = Run(local_path(path, "a run"))
    rows = read_log(run.log) if run.log.is_file() else []
    saved = sorted(int(p.name[6:]) for p in run.path.glob("models/epoch-*") if p.name[6:].isdigit())
    if saved:
        costs = model_cost(run.path)
    else:
        recipe = _recipe_of({"recipe": _read_recipe(run.recipe)})
        costs = _task_cost(_untrained(recipe), recipe) if recipe else {}
    hours = {epoch: sum(row["seconds"] for row in rows if row["epoch"] <= epoch) / 3600 for epoch in saved}
    seconds = sum(row["seconds"] for row in rows)
    steps = int(rows[-1]["step"]) if rows else 0
    memory = [row["memory"] for row in rows if math.isfinite(row.get("memory", math.nan))]
    per_step = seconds / steps if steps else None
    operations = costs.get("operations per step")
    return {
        **costs,
        "epochs": len(rows),
        "steps": steps,
        "seconds per step": _rounded(per_step),
        "operations per second": round(operations / per_step) if operations and per_step else None,
        "bytes of peak memory": round(max(memory)) if memory else None,
        "hours": _rounded(seconds / 3600) if rows else None,
        "hours to": {f"epoch-{epoch:04d}": _rounded(spent) for epoch, spent in hours.items()},
    }


def prediction_cost(volume: Volume) -> dict[str, Any]:
    """Return the cost of a predicted volume, from the record in its attributes, for any model.

    Raises `BadInput` if the volume does not hold such a record with its network.
    """
    record = Record.of(volume)
    if record is None:
        raise BadInput(f"{volume.path} holds no record of a prediction: name an output of vol2vol predict")
    try:
        cost = cost_of(record.layout, nets.build(record.network.name, **record.network.arguments))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{volume.path} states a network or tiles that are not valid ({one_line(error, 300)}): predict it again"
        ) from None
    return {
        "voxels": cost.voxels,
        "blocks": cost.blocks,
        "redundancy": round(cost.redundancy, 4),
        "operations": cost.flops,
        "operations per voxel": round(cost.flops_per_voxel),
        "operations over those of an infinite tile": (
            round(cost.flops_per_voxel / cost.floor_per_voxel, 4) if cost.floor_per_voxel else None
        ),
    }


def cost(path: str | Path) -> dict[str, Any]:
    """Return the cost of a run folder, a model folder or a recipe (a name, or a YAML file).

    Raises `NotFound`, listing the recipes, if a path is none of these.
    """
    folder = local_path(path, "a run, a model or a recipe")
    if (folder / "recipe.yaml").is_file():
        return run_cost(folder)
    return model_cost(folder) if folder.is_dir() else recipe_cost(path)


def _read_recipe(path: Path) -> Any:
    try:
        return plainyaml.load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unreadable(f"{path} is not YAML: restore the file") from None


def _recipe_of(provenance: Mapping[str, Any]) -> Recipe | None:
    """Return the recipe that a model was trained with; None if it was imported, or written by another version."""
    data = provenance.get("recipe")
    try:
        return load_recipe(Recipe.model_validate(data)) if isinstance(data, dict) and "train" in data else None
    except ValueError:
        return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
