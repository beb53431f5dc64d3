"""Write and submit the script of a SLURM job array, whose tasks find their work themselves."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vol2vol.errors import BadInput, WorkerLost, one_line

GRACE = 120
"""Seconds before the time limit at which a task is signalled to finish."""


@dataclass(frozen=True, kw_only=True)
class Array:
    """A command that runs in every task of a job array."""

    command: Sequence[str]
    tasks: int
    options: str = ""
    """Further options of sbatch, as on its command line; they override the defaults here."""
    name: str = "vol2vol"
    notes: Sequence[str] = ()
    """Lines of comment for whoever reads the script."""

    def script(self) -> str:
        """Return the batch script, in which `exec` replaces the shell, so that signals reach the command."""
        try:
            own = shlex.split(self.options)
        except ValueError as error:
            raise BadInput(
                f"sbatch options {self.options!r} cannot be read ({one_line(error, 300)}): check the quotes"
            ) from None
        if wrong := [word for word in own if "\n" in word]:
            raise BadInput(f"sbatch option {wrong[0]!r} holds a line break")
        lines = [f"--job-name={self.name}", f"--array=0-{self.tasks - 1}", "--requeue", "--open-mode=append"]
        lines.append(f"--signal=B:USR1@{GRACE}")
        directives = [f"#SBATCH {line}" for line in lines]
        if own:
            directives.append(f"#SBATCH {shlex.join(own)}")
        notes = [f"# {note}" for note in self.notes]
        return "\n".join(["#!/bin/bash", *directives, *notes, f"exec {shlex.join(self.command)}", ""])


def submit(script: Path) -> str | None:
    """Submit a batch script and return the job's number, None where there is no sbatch."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        return None
    reply = subprocess.run([sbatch, "--parsable", str(script)], capture_output=True, text=True, check=False)
    number = re.match(r"\d+", reply.stdout)
    if reply.returncode or number is None:
        line = " ".join((reply.stderr or reply.stdout).split())
        raise WorkerLost(f"sbatch refused {script} ({line}): correct `sbatch`, or submit the script yourself")
    return number.group()


def requeue() -> bool:
    """Requeue the job of this process; return whether SLURM accepted the request."""
    number, scontrol = this_job(), shutil.which("scontrol")
    if number is None or scontrol is None:
        return False
    code = subprocess.run([scontrol, "requeue", number], capture_output=True, check=False).returncode
    return code in (0, -signal.SIGTERM)  # scontrol is part of the job, and may be told to end before it can answer


def this_job() -> str | None:
    """Return the job of this process, ARRAY_TASK for a task of an array, whose last job id names the whole array."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None
