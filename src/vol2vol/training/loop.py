"""The training loop: a LightningModule that runs the turns of any task with manual optimisation.

Lightning provides devices, precision and processes. This module decides, per epoch, what is logged, saved and resumed.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Mapping
from math import isfinite, nan
from time import monotonic, perf_counter
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import distributed
from torch.utils.data import DataLoader

from vol2vol.errors import Stopped, UserError
from vol2vol.files import write_text
from vol2vol.machines.memory import Watch
from vol2vol.protocol import networks
from vol2vol.tasks import Batch, Judge, Progressive, Task, Turn
from vol2vol.training.batches import loader_of, share_of
from vol2vol.training.delivery import VOLUMES, Delivery, deliver
from vol2vol.training.ema import Average, saved_translations
from vol2vol.training.epoch_display import Reporter
from vol2vol.training.optimizers import optimizer
from vol2vol.training.run_folder import Row, Run, write_log
from vol2vol.training.schedules import hyperparameters
from vol2vol.training.settings import TrainSettings
from vol2vol.training.state import random_state, save_state, set_random_state
from vol2vol.training.stopping import StopSignals, saved_until

log = logging.getLogger("vol2vol.training")

EXTRA = "_extra_state"
"""Torch's key for the state of a module that is not a tensor: here the image pools, which differ between processes."""

FRESH: Mapping[str, Any] = {"steps": 0, "sums": {}, "seconds": 0.0, "memory": 0.0}
"""The state at the start of an epoch: steps done, sum of every term, seconds, bytes of peak memory."""

HeldOut = Callable[[], Iterable[Batch]]
"""Returns the same validation batches, which are never trained on, at every call."""


class Loop(lightning.LightningModule):
    """Train a task with one optimiser per player; write a log row per epoch, and checkpoints.

    The full state is saved after every epoch, every `save_minutes` within an epoch, and when a signal requests a stop.
    """

    def __init__(
        self,
        task: Task,
        data: Any,
        settings: TrainSettings,
        *,
        run: Run,
        delivery: Delivery,
        reporter: Reporter,
        held_out: HeldOut | None = None,
        state: Mapping[str, Any] | None = None,
        stop: StopSignals | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.data, self.settings, self.held_out = task, data, settings, held_out
        self.run, self.delivery, self.reporter = run, delivery, reporter
        self.average = Average(networks(task.translations()), settings.ema) if settings.ema > 0 else None
        self.rows: list[Row] = []
        self.best: tuple[int, float] | None = None
        self.saved = 0
        self.kept: tuple[int, int] | None = None
        self.stop = stop or StopSignals()
        self._state, self._part = state, dict(FRESH)
        self._events: Any = None
        self._watch: Watch

    @property
    def done(self) -> int:
        """Number of finished epochs."""
        return len(self.rows)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one optimiser per player, in the task's order."""
        return [optimizer(self.settings, player.parameters()) for player in self.task.players.values()]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the patches that this process reads."""
        self.share = share_of(self.data, self.settings, self.global_rank, self.trainer.world_size)
        self.share.epoch, self.share.skip = self.done, self._part["steps"] * self.settings.batch_size
        return loader_of(self.data, self.settings, self.share, pin_memory=self.device.type == "cuda")

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return len(self.share) // self.settings.batch_size

    def on_fit_start(self) -> None:
        """Continue from the last full state, if there is one; rows of the log after that state are removed."""
        if self._state is not None:
            self._restore(self._state)
            self._state = None
            steps = f", step {self._part['steps']} of the next" if self._part["steps"] else ""
            log.info("%s: training continues after epoch %d%s", self.run.path, self.done, steps)
        self.trainer.fit_loop.max_epochs = 0 if self._over() else self.settings.epochs - self.done
        if self.trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            write_log(self.run.log, self.rows)
            self._events = SummaryWriter(str(self.run.events), purge_step=self.done + 1)

    def on_train_start(self) -> None:
        """Start the clock and handle signals from now on; Lightning sets its own handlers before this."""
        self.stop.install()
        if self.trainer.is_global_zero:
            self.reporter.start(self.done, self.steps, self._part["steps"])
        self._saved_at = monotonic()

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of this epoch and reset its sums; an epoch that was stopped continues its sums."""
        values = self._next_values()
        self._lr = float(values["lr"])
        for stepped in self.trainer.optimizers:
            for group in stepped.param_groups:
                group.update(values)
        self.share.epoch = self.done
        self._steps, self._sums = int(self._part["steps"]), dict(self._part["sums"])
        self._began, self._watch = perf_counter(), Watch(self.device)

    def _next_values(self) -> dict[str, Any]:
        """Return the learning rate of the next epoch, and the other values that the schedule changes."""
        return hyperparameters(self.settings, self.done, [row[self.task.criterion] for row in self.rows])

    def _over(self) -> bool:
        """Return whether training ends before its last epoch, because of `lr_stop`."""
        return bool(self.rows) and self._next_values()["lr"] < self.settings.lr_stop

    def training_step(self, batch: Batch, _: int) -> None:
        """Run every turn of the task and step the optimiser of its player."""
        if isinstance(self.task, Progressive):
            self.task.set_progress((self.done + self._steps / self.steps) / self.settings.epochs)
        for turn in self.task.turns(batch):
            self._count(turn)
            stepped = self._optimizer(turn.player)
            stepped.zero_grad()
            self.manual_backward(turn.loss)
            stepped.step()
        if self.average is not None:
            self.average.update(networks(self.task.translations()))
        self._steps += 1
        if self.trainer.is_global_zero:
            self.reporter.step()
        if self._steps < self.steps:  # after the last step, the end of the epoch does this
            waited = monotonic() - self._saved_at
            if self._any(waited > 60 * self.settings.save_minutes or self.stop.received is not None):
                self._save()
                self._stop_if_asked()

    def _any(self, wanted: bool) -> bool:
        """Return, in all processes alike, whether `wanted` is true in any of them."""
        return self.trainer.strategy.reduce_boolean_decision(wanted, all=False)

    def _stop_if_asked(self) -> None:
        """Raise `Stopped` in all processes if one of them has received a signal."""
        if self._any(self.stop.received is not None):
            raise Stopped(self.saved_until(), self.stop.received or signal.SIGTERM)

    def saved_until(self) -> str:
        """Return a sentence that says up to where training is saved and what the same command does."""
        return f"{self.run.path}: {saved_until(self.kept, self.settings.epochs, self.steps)}"

    def _optimizer(self, player: str) -> LightningOptimizer:
        """Return a player's optimiser as Lightning wraps it for mixed precision; `trainer.optimizers` has its state."""
        wrapped = self.optimizers()
        every = wrapped if isinstance(wrapped, list) else [wrapped]
        return every[list(self.task.players).index(player)]

    def _count(self, turn: Turn) -> None:
        """Add the terms of a turn, averaged over processes, to the sums; stop all processes if a loss is not finite."""
        values = torch.stack([turn.loss.detach().float(), *(term.float() for term in turn.log.values())])
        if self.trainer.world_size > 1:
            values = self.trainer.strategy.reduce(values, reduce_op="mean")
        loss, *terms = values.tolist()
        if not isfinite(loss):
            self._refuse(f"the loss of the {turn.player} is {loss} in epoch {self.done + 1}, step {self._steps + 1}")
        for name, value in zip(turn.log, terms, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value

    def _refuse(self, what: str) -> None:
        """Raise `UserError` that says what is not finite and which checkpoint is kept."""
        kept = f"the checkpoint of epoch {self.saved} is kept" if self.saved else "there is no checkpoint yet"
        cure = "use a lower train.lr or another train.precision in a new run, or look for NaN in the data"
        raise UserError(f"{what}; {kept}: {cure}")

    def on_train_epoch_end(self) -> None:
        """Write the row of the epoch, the state, and a model if one is due."""
        means = {name: total / self.steps for name, total in self._sums.items()} | self._judged()
        spent = self._spent()
        self._watch.stop()
        self._part = dict(FRESH)
        self._steps, count = 0, self.done + 1
        self.rows.append({"epoch": count, "step": count * self.steps, "lr": self._lr, **means, **spent})
        if self.trainer.is_global_zero:
            write_log(self.run.log, self.rows)
            for name, value in {"lr": self._lr, **means}.items():
                self._events.add_scalar(name, value, count)
            self.reporter.epoch(count, {name: means[name] for name in self.task.players if name in means})
        over = self._over()
        self._save(model=count % self.settings.checkpoint_every == 0 or count == self.settings.epochs or over)
        self._stop_if_asked()
        if over:
            reason = f"the learning rate is below {self.settings.lr_stop:g}"
            log.info("%s: training ends after epoch %d, because %s", self.run.path, count, reason)
            self.trainer.should_stop = True

    def _judged(self) -> dict[str, float]:
        """Return the task's validation terms on held-out batches, the same in all processes."""
        if self.held_out is None or not isinstance(self.task, Judge):
            return {}
        batches = ({name: part.to(self.device) for name, part in batch.items()} for batch in self.held_out())
        terms = self.task.judge(networks(saved_translations(self.task, self.average)), batches)
        if self.trainer.world_size > 1:
            values = torch.tensor(list(terms.values()), device=self.device)
            terms = dict(zip(terms, self.trainer.strategy.reduce(values, reduce_op="mean").tolist(), strict=True))
        return terms

    def _spent(self) -> dict[str, float]:
        """Return the seconds that this epoch has taken so far, and its peak memory in bytes."""
        seconds = self._part["seconds"] + perf_counter() - self._began
        return {"seconds": round(seconds, 3), "memory": max(self._part["memory"], float(self._watch.most))}

    def _save(self, *, model: bool = False) -> None:
        """Write the full state; before it, if a model is due, the bundle and `best.txt`, which the state refers to."""
        weights = [w for player in self.task.players.values() for w in player.parameters()]
        if not all(torch.isfinite(w).all() for w in weights):
            where = f"in epoch {self.done + 1}" if self._steps else f"after epoch {self.done}"
            self._refuse(f"weights are not finite {where}")
        private = {"random": random_state(), "pools": _extra_state(self.task)}
        ranks = [private] * self.trainer.world_size
        if self.trainer.world_size > 1:
            distributed.all_gather_object(ranks, private)
        if self.trainer.is_global_zero and model:
            deliver(self.run, self.done, saved_translations(self.task, self.average), self.delivery)
            value = self.rows[-1][self.task.criterion]
            if self.best is None or value < self.best[1]:
                self.best = (self.done, value)
            write_text(self.run.best, self.run.model(self.best[0]).name + "\n")
        self.saved = self.done if model else self.saved
        if self.trainer.is_global_zero:
            save_state(self.run.state, self._full_state(ranks))
            self._events.flush()
        self.kept, self._saved_at = (self.done, self._steps), monotonic()
        self.trainer.strategy.barrier()

    def _full_state(self, ranks: list[dict[str, Any]]) -> dict[str, Any]:
        shared = {name: value for name, value in self.task.state_dict().items() if not name.endswith(EXTRA)}
        return {
            "task": shared,
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizers": [stepped.state_dict() for stepped in self.trainer.optimizers],
            "precision": self.trainer.precision_plugin.state_dict(),
            "ranks": ranks,
            "rows": self.rows,
            "best": self.best,
            "saved": self.saved,
            "part": {"steps": self._steps, "sums": self._sums, **self._spent()} if self._steps else dict(FRESH),
            **{key: self.delivery.provenance.get(key) for key in (*VOLUMES, "started")},
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        private = state["ranks"][self.global_rank]
        self.task.load_state_dict(state["task"] | private["pools"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for stepped, saved in zip(self.trainer.optimizers, state["optimizers"], strict=True):
            stepped.load_state_dict(saved)
        self.trainer.precision_plugin.load_state_dict(state["precision"])
        self.rows = [{**row, "memory": row.get("memory", nan)} for row in state["rows"]]
        self.best = tuple(state["best"]) if state["best"] else None
        self.saved, self._part = state["saved"], dict(state["part"])
        self.kept = (self.done, self._part["steps"])
        set_random_state(private["random"])

    def teardown(self, stage: str) -> None:
        """Close the progress display and the event file, also after an error."""
        self.reporter.stop()
        if hasattr(self, "_watch"):
            self._watch.stop()
        if self._events is not None:
            self._events.close()


def _extra_state(task: Task) -> dict[str, Any]:
    """Return the part of a task's state that differs between processes: its image pools."""
    return {name: value for name, value in task.state_dict().items() if name.endswith(EXTRA)}
