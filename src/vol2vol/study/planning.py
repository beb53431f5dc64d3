"""List the trainings and trials of a study with an estimate of their cost, without running anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.machines.devices import find_device
from vol2vol.recipes.cost import checked_task, recipe_cost
from vol2vol.recipes.patch_size import sections_of
from vol2vol.recipes.recipe import Recipe
from vol2vol.report.rows.rows import ROWS, read_rows
from vol2vol.study.directions import check_translator, learns_pairs
from vol2vol.study.domain_files import Parts, check_data, check_patches, image_of, training_part, truth_of
from vol2vol.study.loading import load_study
from vol2vol.study.settings import Study
from vol2vol.study.trials import Trial, baseline_trials, checkpoint_trials, picked_trials
from vol2vol.volumes.addresses import local_path


@dataclass(frozen=True, kw_only=True)
class Price:
    """Estimated cost of a training, and of its network per voxel."""

    steps: int
    seconds: float
    per_voxel: float
    """Seconds per voxel that the network translates."""


def plan_study(
    study: str | Path | Study,
    out: str | Path | None = None,
    *,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the trainings and trials of a study and about how long they take on this machine; nothing is written.

    Times are the operations of the networks divided by their measured speed; overlapping tiles and measures need more
    time. Raises what `run_study` raises before it begins.
    """
    settings = load_study(study, tuple(overrides), data)
    check_data(settings)
    check_patches(settings)
    check_trainings(settings)
    rows = read_rows(out) if out is not None and (local_path(out, "a study") / ROWS).is_file() else []
    done = {row.trial for row in rows if row.status == "done"}
    prices = dict(_prices(settings))
    first = checkpoint_trials(settings)
    later = picked_trials(settings, rows) if rows or not first else []
    trials = list(dict.fromkeys(trial.name for trial in (*baseline_trials(settings), *first, *later)))
    missing = [trial for trial in (*first, *later) if trial.name not in done]
    training = sum(price.seconds for price in prices.values())
    predicting = sum(_seconds(settings, trial, prices) for trial in missing)
    return {
        "study": settings.name,
        "trainings": {name: f"{price.steps} steps, about {hours(price.seconds)}" for name, price in prices.items()},
        "trials": {name: "done" if name in done else "to do" for name in trials},
        "then": "" if later else f"{picked_count(settings)} trials of picked checkpoints",
        "about": f"{hours(training)} of training and {hours(predicting)} of prediction, on this machine",
    }


def check_trainings(study: Study) -> None:
    """Raise `BadInput`, naming the key, if a network does not fit its patches or a training part is too small."""
    domains = [*dict.fromkeys(domain for pair in study.pairs for domain in pair)]
    for name, translator in study.translators.items():
        _check_translator(study, f"translators.{name}", translator.resolved(0))
        for domain in domains:
            _check_training(study, f"translators.{name}", translator.resolved(0), domain)
        try:
            translator.epochs()
        except BadInput as error:
            raise BadInput(f"translators.{name}: {error}") from None
    for name, segmenter in study.segmenters.items():
        for domain in domains:
            _check_training(study, f"segmenters.{name}", segmenter.resolved(0, domain), domain)


def _check_translator(study: Study, key: str, recipe: Recipe) -> None:
    """Raise `BadInput` if a recipe does not translate to the target, or is trained on pairs that are missing."""
    try:
        check_translator(recipe)
    except BadInput as error:
        raise BadInput(f"{key}: {error}") from None
    if not learns_pairs(recipe):
        return
    for source, target in study.pairs:
        truth, part = truth_of(study, source, target), training_part("translators", study.domains[source])
        if truth is None:
            raise BadInput(
                f"{key}: task {recipe.task.name} is trained on pairs: give domains.{source}.truths.{target}, a volume "
                f"of the tissue of {source} with the appearance of {target}"
            )
        spatial = image_of(study, source, part).spatial
        if (other := truth().spatial) != spatial:
            raise BadInput(
                f"{key}: domains.{source}.truths.{target} has {other} voxels, the part {part} has {spatial}: crop one"
            )


def _check_training(study: Study, key: str, recipe: Recipe, domain: str) -> None:
    try:
        checked_task(recipe)
    except BadInput as error:
        raise BadInput(f"{key}: {error}") from None
    part = training_part(key.partition(".")[0], study.domains[domain])
    shape = Parts(study, Path()).shape(domain, part)
    if any(n < p for sizes in sections_of(shape, recipe) for n, p in zip(sizes, recipe.patch, strict=True)):
        raise BadInput(
            f"{key}: domains.{domain}.parts.{part} of {shape} voxels holds no patch of {recipe.patch}: "
            "lower data.patch, or enlarge the part"
        )


def picked_count(study: Study) -> int:
    """Return the maximum number of trials that are measured in full."""
    every = picked_trials(study.model_copy(update={"picks": ()}), [])
    per_condition = sum(len(pick.roles) for pick in study.picks)
    conditions = Counter(trial.condition for trial in every)
    return sum(min(per_condition, count) if study.picks else count for count in conditions.values())


def hours(seconds: float) -> str:
    """Return a time with its unit, such as `12 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _prices(study: Study) -> Iterator[tuple[str, Price]]:
    """Yield the name of every training with its estimated cost."""
    domains = [*dict.fromkeys(name for pair in study.pairs for name in pair)]
    pairs = [pair for n, pair in enumerate(study.pairs) if (pair[1], pair[0]) not in study.pairs[:n]]
    for name, translator in study.translators.items():
        for pair in pairs if translator.both_ways else study.pairs:
            for seed in translator.seeds:
                yield f"{pair[0]}-{pair[1]}/{name}-seed{seed}", _price(study, translator.resolved(seed), pair)
    for name, segmenter in study.segmenters.items():
        for domain in domains:
            for seed in segmenter.seeds:
                yield f"{domain}/{name}-seed{seed}", _price(study, segmenter.resolved(seed, domain), (domain,))


def _price(study: Study, recipe: Recipe, domains: Sequence[str]) -> Price:
    cost = recipe_cost(recipe)
    seconds = 1 / speed(recipe)
    train = recipe.train
    kind = "segmenters" if recipe.task.learns_masks else "translators"
    parts = [(name, training_part(kind, study.domains[name])) for name in domains]
    patches = min(_voxels(study, *part) for part in parts) / prod(recipe.patch)
    steps = train.epochs * (train.steps_per_epoch or max(1, round(patches / train.batch_size)))
    return Price(
        steps=steps,
        seconds=steps * cost["operations per step"] * seconds,
        per_voxel=max(cost["operations per voxel"].values()) * seconds,
    )


def _seconds(study: Study, trial: Trial, prices: dict[str, Price]) -> float:
    """Return the estimated seconds of prediction of a trial: its translation and all segmentations."""
    voxels = _voxels(study, trial.source, "test")
    runs = {name.partition("/")[2]: price for name, price in prices.items()}
    own = runs[f"{trial.translator}-seed{trial.seed}"].per_voxel * (3 if trial.assembly == "ortho" else 1)
    segmenting = sum(
        runs[f"{name}-seed{seed}"].per_voxel for name, segmenter in study.segmenters.items() for seed in segmenter.seeds
    )
    return voxels * (own + segmenting)


def _voxels(study: Study, domain: str, part: Any) -> int:
    return prod(Parts(study, Path()).shape(domain, part))


def speed(recipe: Recipe) -> float:
    """Return the speed of a recipe's network on this machine in operations per second, measured on a small tile."""
    network = recipe.task.predicts
    return _speed(network.name, yaml.safe_dump(dict(network.arguments)), recipe.dims)


@lru_cache(maxsize=64)
def _speed(name: str, arguments: str, dims: int) -> float:
    network: Any = nets.build(name, dims=dims, **yaml.safe_load(arguments)).train()
    foot = nets.footprint(network)
    size: Shape = tuple(
        foot.admissible(max(n, 128 if dims == 2 else 40), axis, at_least=True) for axis, n in enumerate(foot.minimum)
    )
    device = find_device("auto")
    tile, network = torch.zeros(1, network.in_channels, *size, device=device), network.to(device)
    times = []
    with torch.no_grad():
        for _ in range(3):
            began = time.perf_counter()
            float(network(tile).sum())
            times.append(time.perf_counter() - began)
    return nets.flops(network, size) / min(times)
