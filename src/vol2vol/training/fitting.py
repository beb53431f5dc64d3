"""Train a task on data, or go on where an earlier start was stopped."""

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
    """What a finished training left."""

    run: Path
    """The run's folder."""
    last_bundle: Path
    """The bundle of the last epoch."""
    log: list[Row]
    """The rows of `log.csv`: means over each epoch of every term, learning rate, seconds."""


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
    """Train a task and leave a run's folder; started again with the same arguments, go on where it stopped.

    SIGINT, SIGTERM and SIGUSR1 save the state after the step under way and raise `Stopped`.

    `data[i]` is a dictionary of float32 patches (C, [Z,] Y, X), one per domain of the task, decided
    by i and, where there is one, `set_epoch`; i runs to `steps_per_epoch` times all processes' batches. `calibration`
    and `intensity` go into the bundles (see `Delivery`). `held_out` gives tasks that judge (`tasks.Judge`) the batches
    they judge after each epoch. `provenance["recipe"]` (nested plain data, these settings under `train`, the task's
    beside them) is stored and must be the same on a second start, but for what changes no number (`run.FREE`) and more
    `train.epochs`; with a schedule that ends (linear, cosine) more epochs stretch what is still to come.
    `provenance["volumes"]` and `provenance["validate"]` must be the same, too. `progress` shows a bar, by default on
    terminals.

    On a CPU equal arguments give equal logs, bit by bit and across interruptions. The best checkpoint is the saved
    one whose epoch had the lowest mean of the task's criterion: for cycleGAN the cycle terms on freshly drawn
    patches, which says how well the two networks undo each other, not how real their output looks; for segmentation
    what held-out blocks say of the network as it is saved.

    Raises what `open_run` does; `BadInput` for data or settings that do not fit; `UserError` where a loss is not
    finite (checkpoints stay); `CannotWrite` on a full disk. Long because it says what every argument promises.
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
    """Say whether this process is the first of those that train together: the one that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _save_memory(task: Task, wanted: bool) -> None:
    """Switch gradient checkpointing of all networks that know it; say so where one does not."""
    for direction, network in networks(task.translations()).items():
        if hasattr(network, "gradient_checkpointing"):
            network.gradient_checkpointing = wanted  # type: ignore[assignment]
        elif wanted:
            log.warning("gradient_checkpointing has no effect on the %s network", direction)


def _keeping(delivery: Delivery, state: Mapping[str, Any] | None) -> Delivery:
    """Return a delivery whose models go on to say from which other model's weights their training started."""
    if state is None or not state.get("started"):
        return delivery
    return replace(delivery, provenance={**delivery.provenance, "started": state["started"]})


def _refuse_other_volumes(folder: Run, state: Mapping[str, Any] | None, provenance: Mapping[str, Any]) -> None:
    """Raise `Mismatch`, naming the domain, where a run would go on with other volumes than it was trained on."""
    if state is None:
        return
    for key, verb in zip(VOLUMES, ("trained on", "judged by"), strict=True):
        before, now = state.get(key) or {}, provenance.get(key) or {}
        for domain in {**before, **now}:
            facts = before.get(domain, []), now.get(domain, [])
            if facts[0] != facts[1]:
                words = [some_of([str(fact["name"]) for fact in each]) or "none" for each in facts]
                if words[0] == words[1]:
                    words = [some_of([" ".join(map(str, fact.values())) for fact in each]) for each in facts]
                raise Mismatch(
                    f"{folder.path} was {verb} the {domain} volumes {words[0]}, now they are {words[1]}: name the same "
                    "ones in the same order, choose another folder or `overwrite`"
                )


def _trainer(settings: TrainSettings, folder: Path) -> lightning.Trainer:
    """Return Lightning's trainer with everything off that writes, prints or decides by itself."""
    strategy = settings.strategy
    if settings.devices > 1 and strategy in ("auto", "ddp"):
        strategy = "ddp_find_unused_parameters_true"  # players take turns: some weights rest in every backward pass
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
        log.warning("precision %s does not work here: training in %s", settings.precision, trainer.precision)
    return trainer


@contextmanager
def _interruptible(loop: Loop) -> Iterator[None]:
    """Let an interrupt stay an interrupt, and say what is saved: Lightning would exit the process."""
    with loop.stop:
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            cause = error.__context__ if isinstance(error, SystemExit) else error
            if isinstance(cause, KeyboardInterrupt) and not is_first():
                raise SystemExit(128 + (loop.stop.received or signal.SIGTERM)) from None  # the first one says it
            if isinstance(cause, Stopped):
                raise cause from None
            if isinstance(cause, KeyboardInterrupt):
                raise Stopped(loop.standing(), loop.stop.received or signal.SIGINT) from None
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice; what concerns a user is said by this package."""
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
