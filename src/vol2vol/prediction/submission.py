"""Hand a prediction that was begun to SLURM: a job array whose tasks claim rows of blocks."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from vol2vol.errors import CannotWrite
from vol2vol.machines.executors import slurm
from vol2vol.prediction.job import Job
from vol2vol.volumes.addresses import absolute

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A batch script and where it is kept."""

    text: str
    path: Path

    def submit(self) -> str:
        """Write the script and submit it; return in words what was done and how to watch it."""
        try:
            self.path.write_text(self.text)
        except OSError as error:
            raise CannotWrite(f"{self.path} cannot be written ({error.strerror}): start from another folder") from None
        number = slurm.submit(self.path)
        if number is None:
            return f"there is no sbatch here: run `sbatch {self.path}` where there is one"
        return f"job {number}: squeue -j {number}; the same command submits again what is left"


def submission(job: Job, output: str, left: int) -> Submission:
    """Return the batch script for the blocks that are left."""
    rows = len(job.layout.rows(job.layout.blocks(), job.settings.workers))
    array = slurm.Array(
        command=[sys.executable, "-m", "vol2vol.cli", "work", absolute(output), "--requeue"],
        tasks=max(1, min(job.settings.workers, rows, left)),
        options=job.settings.sbatch,
        name=f"vol2vol-{_plain(output)}",
        notes=[
            f"{left} blocks are left; each task needs about {job.layout.memory / 1e9:.1f} GB beside the libraries",
            "stops before the time limit (USR1), is requeued, and goes on; submit again whenever you like",
        ],
    )
    return Submission(text=array.script(), path=Path(f"vol2vol-{_plain(output)}.sbatch").absolute())


def _plain(output: str) -> str:
    """Return a name for files and jobs from that of an output."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", output.rstrip("/").rpartition("/")[2]).strip("-") or "output"
