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
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    requeue: bool = False,
    json: bool = False,
) -> None:
    """Compute rows of blocks of an output that `vol2vol predict` has started, until none is left.

    Any number of these commands may run at the same time, on all machines that can access model, input and output.
    After SIGTERM or SIGUSR1 it finishes the current block, starts no other, and exits with code 0.

    Args:
        output: output of a prediction that was started.
        device: cpu, cuda, cuda:1, mps or auto (default: the device of the prediction).
        requeue: put the SLURM job back into the queue if a signal stops it before the output is complete.
        json: print the result as JSON.
    """
    stop = stop_on_signals()
    voxels, complete = work(output, stop=stop, device=device)
    again = requeue and stop.is_set() and not complete and requeue_job()
    show.result({"output": output, "voxels computed": voxels, "complete": complete, "requeued": again}, as_json=json)
