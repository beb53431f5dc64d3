"""Compute blocks: read ahead, compute, write behind; the same in one process and in many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from vol2vol.geometry import Box
from vol2vol.prediction.job import Job
from vol2vol.prediction.ledger import Ledger, block_name
from vol2vol.volumes import Volume, open_volume

Report = Callable[[Box], None]


def compute(job: Job, output: str, todo: Sequence[Box], report: Report) -> None:
    """Compute the blocks that are not done."""
    rows = job.layout.rows(todo, job.settings.workers)
    compute_rows(job, output, rows, report)


def compute_rows(job: Job, output: str, rows: Iterable[Sequence[Box]], report: Report) -> None:
    """Compute rows of blocks in this process; while one block is computed the one before is written.

    A block is marked as done after it was flushed. At most one block waits to be written.
    """
    ledger = Ledger.of(output)
    with open_volume(output) as destination, ThreadPoolExecutor(1) as writer:
        waiting: Future[None] | None = None
        for row in rows:
            for box, values in job.predict_row(row):
                if waiting is not None:
                    waiting.result()
                waiting = writer.submit(_write, job, destination, ledger, box, values, report)
        if waiting is not None:
            waiting.result()


def _write(  # noqa: PLR0917 - called by a thread
    job: Job, destination: Volume, ledger: Ledger, box: Box, values: np.ndarray, report: Report
) -> None:
    destination.write(box.relative_to(job.layout.region.start), values)
    destination.flush()
    ledger.mark(block_name(box))
    report(box)
