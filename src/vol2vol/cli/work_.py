"""`vol2vol work OUTPUT`."""

from __future__ import annotations

from typing import Annotated

import tyro

from vol2vol.cli import parse, show
from vol2vol.machines.executors.slurm import requeue as requeue_job
from vol2vol.prediction.array_task import stop_on_signals, work


def run(words: list[str]) -> None:
    """Parse the command line and work."""
    parse.call(_work, words, "work")


def _work(
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    *,
    device: str | None = None,
    requeue: bool = False,
    json: bool = False,
) -> None:
    """Help with an output that `vol2vol predict` has begun: claim rows of blocks until none is left.

    As many of these as you like may run at once, on any machine that sees model, input and output. SIGTERM or SIGUSR1:
    the block under way is finished, no other is begun, and the exit code is 0.

    Args:
        output: output of a prediction that was begun.
        device: cpu, cuda, cuda:1, mps or auto; unless given, that of the prediction.
        requeue: when a signal stops it with work left, give the SLURM job back to the queue.
        json: print the result as JSON.
    """
    stop = stop_on_signals()
    voxels, complete = work(output, stop=stop, device=device)
    again = requeue and stop.is_set() and not complete and requeue_job()
    show.result({"output": output, "voxels computed": voxels, "complete": complete, "requeued": again}, as_json=json)
