"""The one loop: a LightningModule that plays any task's turns with manual optimisation.

Lightning gives devices, precision and processes. What is logged, kept and resumed is decided here, per epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite, nan
from time import perf_counter
from typing import Any

import lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import distributed, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from vol2vol.errors import BadInput, UserError
from vol2vol.tasks import Batch, Judge, Task, Turn
from vol2vol.training.average import Average
from vol2vol.training.memory import Watch
from vol2vol.training.models import Delivery, deliver
from vol2vol.training.progress import Reporter
from vol2vol.training.run import Row, Run, write_log, write_text
from vol2vol.training.schedules import rate
from vol2vol.training.settings import TrainSettings
from vol2vol.training.state import load_state, save_state

log = logging.getLogger("vol2vol.training")

EXTRA = "_extra_state"
"""How torch calls what a module keeps beside tensors: here the pools, which differ from process to process."""

HeldOut = Callable[[], Iterable[Batch]]
"""Returns the same batches, unseen by training, every time."""


class Epochs(Dataset):
    """A data set asked for (epoch, item): reading processes need no other word about the epoch."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, item = key
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        return self.data[item]


class Share(Sampler):
    """The items of one process: of w processes, process r takes items i*w + r, so that w steps make one large one."""

    def __init__(self, count: int, rank: int, world: int) -> None:
        self.count, self.rank, self.world, self.epoch = count, rank, world, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, i * self.world + self.rank) for i in range(self.count))

    def __len__(self) -> int:
        return self.count


class Loop(lightning.LightningModule):
    """Train a task: one Adam per player, one log row per epoch, checkpoints in between."""

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
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.task, self.data, self.settings, self.held_out = task, data, settings, held_out
        self.run, self.delivery, self.reporter = run, delivery, reporter
        self.average = Average(task.networks(), settings.ema) if settings.ema > 0 else None
        self.rows: list[Row] = []
        self.best: tuple[int, float] | None = None
        self.saved = 0
        self._events: Any = None
        self._watch: Watch

    @property
    def done(self) -> int:
        """Epochs finished."""
        return len(self.rows)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return one Adam per player, in the task's order."""
        s = self.settings
        return [torch.optim.Adam(player.parameters(), s.lr, s.betas) for player in self.task.players.values()]

    def train_dataloader(self) -> DataLoader:
        """Return this process's share of every step's patches."""
        s, world = self.settings, self.trainer.world_size
        steps = s.steps_per_epoch or len(self.data) // (s.batch_size * world)
        if steps < 1:
            raise BadInput(
                f"{len(self.data)} patches do not fill a step of {s.batch_size * world}: set steps_per_epoch"
            )
        self.share = Share(steps * s.batch_size, self.global_rank, world)
        self.share.epoch = self.done
        workers: dict[str, Any] = {}
        if s.num_workers:  # spawned, not forked: readers of large volumes hold threads
            workers = {"num_workers": s.num_workers, "persistent_workers": True, "multiprocessing_context": "spawn"}
        return DataLoader(
            Epochs(self.data),
            batch_size=s.batch_size,
            sampler=self.share,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),
            **workers,
        )

    def on_fit_start(self) -> None:
        """Go on from the last full state, if there is one; the log forgets what came after it."""
        state = load_state(self.run.state)
        if state is not None:
            self._restore(state)
            log.info("%s: going on after epoch %d", self.run.path, self.done)
        self.trainer.fit_loop.max_epochs = 0 if self._over() else self.settings.epochs - self.done
        if self.trainer.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            write_log(self.run.log, self.rows)
            self._events = SummaryWriter(str(self.run.events), purge_step=self.done + 1)

    def on_train_start(self) -> None:
        """Start the clock."""
        if self.trainer.is_global_zero:
            self.reporter.start(self.done, len(self.share) // self.settings.batch_size)

    def on_train_epoch_start(self) -> None:
        """Set this epoch's learning rate and begin its sums."""
        self._lr = self._next_lr()
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr
        self.share.epoch = self.done
        self._sums: dict[str, float] = {}
        self._began, self._watch = perf_counter(), Watch(self.device)

    def _next_lr(self) -> float:
        """Return the learning rate of the epoch that comes next."""
        history = [row[self.task.criterion] for row in self.rows]
        return self.settings.lr * rate(self.settings.schedule, self.done, self.settings.epochs, history)

    def _over(self) -> bool:
        """Say whether training has ended before its last epoch."""
        return bool(self.rows) and self._next_lr() < self.settings.lr_stop

    def training_step(self, batch: Batch, index: int) -> None:
        """Play every turn of the task and step its player."""
        for turn in self.task.turns(batch):
            self._count(turn, index)
            optimizer = self._optimizer(turn.player)
            optimizer.zero_grad()
            self.manual_backward(turn.loss)
            optimizer.step()
        if self.average is not None:
            self.average.update(self.task.networks())
        if self.trainer.is_global_zero:
            self.reporter.step()

    def _optimizer(self, player: str) -> LightningOptimizer:
        """Return a player's optimiser as Lightning wraps it for precision; its state lies in `trainer.optimizers`."""
        wrapped = self.optimizers()
        every = wrapped if isinstance(wrapped, list) else [wrapped]
        return every[list(self.task.players).index(player)]

    def _count(self, turn: Turn, index: int) -> None:
        """Add a turn's terms, averaged over processes, to the epoch's; stop every process where one is not finite."""
        values = torch.stack([turn.loss.detach().float(), *(term.float() for term in turn.log.values())])
        if self.trainer.world_size > 1:
            values = self.trainer.strategy.reduce(values, reduce_op="mean")
        loss, *terms = values.tolist()
        if not isfinite(loss):
            self._refuse(f"the loss of the {turn.player} is {loss} in epoch {self.done + 1}, step {index + 1}")
        for name, value in zip(turn.log, terms, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value

    def _refuse(self, what: str) -> None:
        """Stop with what is not finite, and what is left."""
        kept = f"the checkpoint of epoch {self.saved} is kept" if self.saved else "there is no checkpoint yet"
        raise UserError(f"{what}; {kept}: use a lower lr, precision bf16-mixed or 32, or look for NaN in the data")

    def on_train_epoch_end(self) -> None:
        """Write the epoch's row, and a checkpoint where one is due."""
        steps = len(self.share) // self.settings.batch_size
        means = {name: total / steps for name, total in self._sums.items()} | self._judged()
        spent = {"seconds": round(perf_counter() - self._began, 3), "memory": float(self._watch.stop())}
        count = self.done + 1
        self.rows.append({"epoch": count, "step": count * steps, "lr": self._lr, **means, **spent})
        if self.trainer.is_global_zero:
            write_log(self.run.log, self.rows)
            for name, value in {"lr": self._lr, **means}.items():
                self._events.add_scalar(name, value, count)
            self.reporter.epoch(count, {name: means[name] for name in self.task.players if name in means})
        over = self._over()
        if count % self.settings.checkpoint_every == 0 or count == self.settings.epochs or over:
            self._checkpoint()
        if over:
            log.info(
                "%s: ends after epoch %d, the learning rate is below %g", self.run.path, count, self.settings.lr_stop
            )
            self.trainer.should_stop = True

    def _judged(self) -> dict[str, float]:
        """Return what the task says of its networks on held-out batches, the same in all processes."""
        if self.held_out is None or not isinstance(self.task, Judge):
            return {}
        batches = ({name: part.to(self.device) for name, part in batch.items()} for batch in self.held_out())
        terms = self.task.judge(self._networks(), batches)
        if self.trainer.world_size > 1:
            values = torch.tensor(list(terms.values()), device=self.device)
            terms = dict(zip(terms, self.trainer.strategy.reduce(values, reduce_op="mean").tolist(), strict=True))
        return terms

    def _networks(self) -> Mapping[str, nn.Module]:
        """Return the networks that checkpoints hold."""
        return self.average.networks() if self.average is not None else self.task.networks()

    def _checkpoint(self) -> None:
        """Write bundle, mark of the best and full state, in this order: the state vouches for the others."""
        weights = [w for player in self.task.players.values() for w in player.parameters()]
        if not all(torch.isfinite(w).all() for w in weights):
            self.rows.pop()
            self._refuse(f"weights are not finite after epoch {self.done + 1}")
        private = {"random": _random_state(), "pools": _extra_state(self.task)}
        ranks = [private] * self.trainer.world_size
        if self.trainer.world_size > 1:
            distributed.all_gather_object(ranks, private)
        if self.trainer.is_global_zero:
            deliver(self.run, self.done, self._networks(), self.delivery)
            value = self.rows[-1][self.task.criterion]
            if self.best is None or value < self.best[1]:
                self.best = (self.done, value)
            write_text(self.run.best, self.run.model(self.best[0]).name + "\n")
            save_state(self.run.state, self._state(ranks))
            self._events.flush()
        self.saved = self.done
        self.trainer.strategy.barrier()

    def _state(self, ranks: list[dict[str, Any]]) -> dict[str, Any]:
        shared = {name: value for name, value in self.task.state_dict().items() if not name.endswith(EXTRA)}
        return {
            "task": shared,
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.trainer.optimizers],
            "precision": self.trainer.precision_plugin.state_dict(),
            "ranks": ranks,
            "rows": self.rows,
            "best": self.best,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        private = state["ranks"][self.global_rank]
        self.task.load_state_dict(state["task"] | private["pools"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.trainer.precision_plugin.load_state_dict(state["precision"])
        self.rows = [{**row, "memory": row.get("memory", nan)} for row in state["rows"]]
        self.best = tuple(state["best"]) if state["best"] else None
        self.saved = self.done
        _set_random_state(private["random"])

    def teardown(self, stage: str) -> None:
        """Leave terminal and event file in order, also after an error."""
        self.reporter.stop()
        if hasattr(self, "_watch"):
            self._watch.stop()
        if self._events is not None:
            self._events.close()


def _extra_state(task: Task) -> dict[str, Any]:
    """Return what of a task's state differs from process to process: its pools."""
    return {name: value for name, value in task.state_dict().items() if name.endswith(EXTRA)}


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
