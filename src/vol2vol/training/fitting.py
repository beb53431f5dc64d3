"""Train a task on a data set, or continue a training that was stopped."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from vol2vol.errors import BadInput, Mismatch, Stopped, one_line, some_of
from vol2vol.intensity import Intensity
from vol2vol.locks import writing
from vol2vol.models.checkpoints import find_bundle
from vol2vol.nets.norm import Norm
from vol2vol.protocol import networks
from vol2vol.tasks import Judge, Task
from vol2vol.training.delivery import VOLUMES, Delivery
from vol2vol.training.epoch_display import Reporter
from vol2vol.training.loop import HeldOut, Loop
from vol2vol.training.run_folder import Row, Run, open_run, read_log
from vol2vol.training.settings import TrainSettings
from vol2vol.training.state import load_state
from vol2vol.training.stopping import StopSignals
from vol2vol.volumes.addresses import local_path

log = logging.getLogger("vol2vol.training")


@dataclass(frozen=True)
class FitResult:
    """The run folder, the last model and the log of a finished training."""

    run: Path
    """The run folder."""
    last_bundle: Path
    """The bundle of the last epoch."""
    log: list[Row]
    """The rows of `log.csv`, one per epoch: the mean of every term, the learning rate, the seconds."""


def fit(
    task: Task,
    data: Any,
    *,
    settings: TrainSettings,
    run: str | Path,
    intensity: Mapping[str, Intensity],
    calibration: Mapping[str, Callable[[], Iterable[Tensor]]] | None = None,
    held_out: HeldOut | None = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> FitResult:
    """Train a task and write a run folder; a second call with the same arguments continues a training that was stopped.

    SIGINT, SIGTERM and SIGUSR1 save the state after the current step and raise `Stopped`.

    `data[i]` is a dictionary of float32 patches (C, [Z,] Y, X), one per domain of the task. It depends on i and on the
    epoch, if the data have `set_epoch`; i runs to `steps_per_epoch` times the batches of all processes. `calibration`
    and `intensity` are stored in the bundles (see `Delivery`). `held_out` returns the validation batches of tasks that
    have a validation criterion (`tasks.Judge`); they are evaluated after each epoch. `provenance["recipe"]` is nested
    plain data, with these settings under `train`. It is stored, and a second call must give the same recipe, except for
    keys that do not change the result (`run_folder.FREE`) and a larger `train.epochs`; schedules that end (linear,
    cosine) then stretch over the epochs that remain. `provenance["volumes"]` and `provenance["validate"]` must be the
    same, too. `progress` shows a bar, by default on terminals.

    On a CPU, equal arguments give bitwise equal logs, also across interruptions. The best checkpoint is that of the
    saved epoch with the lowest mean of the task's criterion. For cycleGAN this is the cycle loss on the training
    patches of the epoch: it measures how well the two networks invert each other, not how realistic their output is.
    For segmentation it is measured on held-out parts, with the network as it is saved.

    Raises what `open_run` raises; `BadInput` for data or settings that do not fit; `UserError` if a loss is not finite
    (checkpoints stay); `CannotWrite` on a full disk. Long because it explains every argument.
    """
    provenance = dict(provenance or {})
    provenance.setdefault("recipe", {"train": settings.model_dump(mode="json")})
    if isinstance(task, Judge):
        provenance["judged_by"] = task.criterion
    delivery = Delivery(
        intensity=intensity, channels=task.channels(), calibration=calibration or {}, provenance=provenance
    )
    delivery.check(task.translations())
    if isinstance(task, Judge) and held_out is None:
        raise BadInput(f"the criterion {task.criterion} is measured on held-out batches: give held_out")
    _save_memory(task, settings.gradient_checkpointing)
    _warn_of_single_patches(task, settings.batch_size)
    folder, trainer = Run(local_path(run, "a run")), _trainer(settings, local_path(run, "a run"))
    first = is_first()
    if first:
        task.check(tuple(next(iter(data[0].values())).shape[1:]))
    with writing(*[folder.path] * first):
        state = None if overwrite else load_state(folder.state)
        if first:
            _refuse_other_volumes(folder, state, provenance)
            open_run(folder.path, provenance["recipe"], overwrite=overwrite)
        if state is None or len(state["rows"]) < settings.epochs:
            reporter, stop = Reporter(settings.epochs, bar=progress), StopSignals()
            kept = _keeping(delivery, state)
            parts: dict[str, Any] = {"run": folder, "delivery": kept, "reporter": reporter, "held_out": held_out}
            loop = Loop(task, data, settings, **parts, state=state, stop=stop)
            with _quiet(), _interruptible(loop), torch.random.fork_rng(range(torch.cuda.device_count())):
                torch.manual_seed(settings.seed)
                trainer.fit(loop)
        else:
            log.info("%s has its %d epochs: raise train.epochs to continue", folder.path, settings.epochs)
    return FitResult(folder.path, find_bundle(folder.path, "last"), read_log(folder.log))


def is_first() -> bool:
    """Return whether this process is the first of those that train together; only the first one writes files."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _save_memory(task: Task, wanted: bool) -> None:
    """Switch gradient checkpointing of all networks that support it on or off; warn of networks that do not."""
    for direction, network in networks(task.translations()).items():
        if hasattr(network, "gradient_checkpointing"):
            network.gradient_checkpointing = wanted  # type: ignore[assignment]
        elif wanted:
            log.warning("train.gradient_checkpointing has no effect on the %s network", direction)


def _warn_of_single_patches(task: Task, batch_size: int) -> None:
    """Warn, naming the first layer, of networks whose statistics of a batch would be those of a single patch."""
    if batch_size > 1:
        return
    for direction, network in networks(task.translations()).items():
        for name, module in network.named_modules():
            if isinstance(module, Norm) and module.kind in ("batch", "renorm"):
                log.warning(
                    "layer %r of the %s network (norm %r) takes statistics of single patches, because train.batch_size "
                    "is 1: use 2 or more, or norm calibrated",
                    name, direction, module.kind,
                )  # fmt: skip
                break


def _keeping(delivery: Delivery, state: Mapping[str, Any] | None) -> Delivery:
    """Return a delivery whose models keep the record of the model whose weights their training started from."""
    if state is None or not state.get("started"):
        return delivery
    return replace(delivery, provenance={**delivery.provenance, "started": state["started"]})


def _refuse_other_volumes(folder: Run, state: Mapping[str, Any] | None, provenance: Mapping[str, Any]) -> None:
    """Raise `Mismatch`, naming the domain, if a run would continue with other volumes than it was trained on."""
    if state is None:
        return
    for key, verb in zip(VOLUMES, ("trained", "validated"), strict=True):
        before, now = state.get(key) or {}, provenance.get(key) or {}
        for domain in {**before, **now}:
            facts = before.get(domain, []), now.get(domain, [])
            if facts[0] != facts[1]:
                words = [some_of([str(fact["name"]) for fact in each]) or "none" for each in facts]
                if words[0] == words[1]:
                    words = [some_of([" ".join(map(str, fact.values())) for fact in each]) for each in facts]
                raise Mismatch(
                    f"{folder.path} was {verb} on the {domain} volumes {words[0]}, now they are {words[1]}: name the "
                    "same volumes in the same order, choose another folder or `overwrite`"
                )


def _trainer(settings: TrainSettings, folder: Path) -> lightning.Trainer:
    """Return Lightning's trainer, with its own logging, checkpoints, progress bar and samplers switched off."""
    strategy = settings.strategy
    if settings.devices > 1 and strategy in ("auto", "ddp"):
        strategy = "ddp_find_unused_parameters_true"  # players take turns: every backward pass leaves some weights out
    try:
        with _quiet():
            plugins: Any = [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None
            trainer = lightning.Trainer(
                accelerator=settings.accelerator,
                devices=settings.devices,
                strategy=strategy,
                precision=settings.precision,
                max_epochs=settings.epochs,
                default_root_dir=folder,
                plugins=plugins,
                use_distributed_sampler=False,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise BadInput(f"accelerator {settings.accelerator}, devices {settings.devices}: {one_line(error)}") from None
    if trainer.precision != settings.precision and settings.precision != "32":
        log.warning("precision %s is not supported here: training in %s", settings.precision, trainer.precision)
    return trainer


@contextmanager
def _interruptible(loop: Loop) -> Iterator[None]:
    """Raise `Stopped`, which says what is saved, on an interrupt; Lightning would exit the process."""
    with loop.stop:
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            cause = error.__context__ if isinstance(error, SystemExit) else error
            if isinstance(cause, KeyboardInterrupt) and not is_first():
                raise SystemExit(128 + (loop.stop.received or signal.SIGTERM)) from None  # the first process reports it
            if isinstance(cause, Stopped):
                raise cause from None
            if isinstance(cause, KeyboardInterrupt):
                raise Stopped(loop.saved_until(), loop.stop.received or signal.SIGINT) from None
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's messages; this package reports what concerns a user."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
