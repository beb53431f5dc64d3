"""Predictions in processes that can be killed at any moment, started in milliseconds by forking one that is ready."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = str(Path(__file__).parents[2])


def help_is_waited_for(put=setattr):
    """Let a prediction by several processes start others at once, and do nothing before one of them has done a block.

    What the others do can be tested so, however small the volume and however slowly they start.
    """
    from vol2vol.machines.executors import pace, process
    from vol2vol.prediction import compute

    share, hire, others, waited = compute._share, process.hire, [], []

    def hired(*what):
        others.append(hire(*what))
        return others[-1]

    def late(job, output, marks, threads, items):
        logs, began = Path(compute.Ledger.of(output).folder, "done"), time.monotonic()
        before = sorted(logs.glob("*"))
        while not waited and sorted(logs.glob("*")) == before:
            time.sleep(0.01)
            spent = time.monotonic() - began
            if spent > 60 or (spent > 1 and not any(psutil.pid_exists(other.process.pid) for other in others)):
                break
        waited.append(True)
        yield from share(job, output, marks, threads, items)

    put(pace, "START", 0.0)
    put(process, "hire", hired)
    put(compute, "_share", late)


READY = '''
import json, os, signal, sys, warnings
sys.path.insert(0, "ROOT")
import torch
from tests.prediction.killing import help_is_waited_for
import tensorstore, safetensors.torch
from vol2vol.errors import UserError
from vol2vol.prediction import PredictSettings, predict, predict_files
from vol2vol.volumes.marks import Marks
torch.set_num_threads(1)

def dies_with(marks):
    """Be killed as soon as so many blocks of coarser levels are marked."""
    mark = Marks.mark
    def marked(self, *block):
        mark(self, *block)
        if sum("-" in name for name in self.done) >= marks:
            os.kill(os.getpid(), signal.SIGKILL)
    Marks.mark = marked

if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            os.setsid()  # a group of its own, which can be killed as one
            if job.get("marks"):
                dies_with(job["marks"])
            help_is_waited_for()
            try:
                many = {"suffix": job["suffix"]} if "suffix" in job else {}
                verb = predict_files if many else predict
                verb(job["model"], job["input"], job["output"], PredictSettings(**job["settings"]), **many)
            except UserError as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(2)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''.replace("ROOT", ROOT)


class Killing:
    """Starts predictions, kills them or their workers at random moments, and counts."""

    def __init__(self, folder, seed):
        script = folder / "ready.py"
        script.write_text(READY)
        self._ready = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._ready.stdout.readline() == "ready\n"
        self.random = random.Random(seed)
        self.kills = 0

    def close(self):
        self._ready.stdin.close()
        self._ready.wait()
        self._ready.stdout.close()

    def start(self, **job):
        self._ready.stdin.write(json.dumps({key: job[key] for key in sorted(job)}, default=str) + "\n")
        self._ready.stdin.flush()
        return int(self._ready.stdout.readline())

    def wait(self):
        return int(self._ready.stdout.readline())

    def whole(self, **job):
        """Run one to its end and return the seconds it took."""
        began = time.monotonic()
        self.start(**job)
        assert self.wait() == 0
        return time.monotonic() - began

    def until_complete(self, seconds, most, **job):
        """Kill the program at moments of its whole life, at most so often, then let it come to its end."""
        for _ in range(most):
            pid = self.start(**job)
            time.sleep(self.random.uniform(0, seconds))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            code = self.wait()
            self.kills += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL)
        self.start(**job)
        assert self.wait() == 0

    def groups(self, seconds, most, **job):
        """Kill a program together with its workers, at random moments up to so late, then let it come to its end."""
        for _ in range(most):
            pid = self.start(**job)
            time.sleep(self.random.uniform(0, seconds))
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            code = self.wait()
            self.kills += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                return
        self.start(**job)
        assert self.wait() == 0

    def with_marks(self, marks, **job):
        """Start a program that is killed by itself once so many blocks of coarser levels are marked."""
        self.start(**job, marks=marks)
        assert self.wait() == -signal.SIGKILL
        self.kills += 1

    def workers(self, most, pause, **job):
        """Kill worker processes of one program at random moments; start it again if it gave up, naming the block.

        A pause is counted from the moment at which there is a worker, so that how fast a machine starts one does not
        decide whether any is killed.
        """
        for _ in range(10):
            program = psutil.Process(self.start(**job))
            while self.kills < most and self._has_workers(program):
                time.sleep(self.random.uniform(*pause))
                self._kill_one(program)
            code = self.wait()
            if code == 0:
                return
            assert code == 2

    def _has_workers(self, program):
        """Wait for a worker of a program: false once the program has ended."""
        with suppress(psutil.Error):
            while program.is_running() and program.status() != psutil.STATUS_ZOMBIE:
                if self._crew(program):
                    return True
                time.sleep(0.01)
        return False

    @staticmethod
    def _crew(program):
        return [child for child in program.children() if "spawn_main" in " ".join(child.cmdline())]

    def _kill_one(self, program):
        with suppress(psutil.Error):
            if crew := self._crew(program):
                self.random.choice(crew).kill()
                self.kills += 1
