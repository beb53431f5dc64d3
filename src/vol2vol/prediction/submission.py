"""Submit a started prediction to SLURM as a job array whose tasks lease work items."""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from vol2vol.errors import CannotWrite, quoted
from vol2vol.machines.executors import slurm
from vol2vol.prediction.job import Job
from vol2vol.volumes.addresses import absolute

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A batch script and its path."""

    text: str
    path: Path

    def submit(self) -> str:
        """Write the script and submit it; return a sentence that says what was done and how to watch the job."""
        try:
            self.path.write_text(self.text)
        except OSError as error:
            raise CannotWrite(f"{self.path} cannot be written ({error.strerror}): start from another folder") from None
        number = slurm.submit(self.path)
        if number is None:
            return f"there is no sbatch here: run `sbatch {quoted(self.path)}` on a machine that has it"
        return f"job {number}: squeue -j {number}; the same command submits the remaining blocks again"


def submission(job: Job, output: str, left: int) -> Submission:
    """Return the batch script for the `left` unfinished blocks."""
    rows = left if job.layout.march is not None else len(job.layout.rows(job.layout.blocks(), job.settings.workers))
    array = slurm.Array(
        command=[sys.executable, "-m", "vol2vol.cli", "work", absolute(output), "--requeue"],
        tasks=max(1, min(job.settings.workers, rows, left)),
        options=job.settings.sbatch,
        name=f"vol2vol-{_job_name(output)}",
        notes=[
            f"{left} blocks are left; each task needs about {job.layout.memory / 1e9:.1f} GB besides the libraries",
            "stops before the time limit (USR1), is requeued, and continues; may be submitted again at any time",
        ],
    )
    return Submission(text=array.script(), path=Path(f"vol2vol-{_job_name(output)}.sbatch").absolute())


def _job_name(output: str) -> str:
    """Return a name for files and jobs made from an output's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", output.rstrip("/").rpartition("/")[2]).strip("-") or "output"
