"""Run cases of the fuzzer in this process: `worker.py SEED FIRST STOP GOOD FOLDER`; a line of JSON per case on stdout.

Memory is limited to some GB beyond what the libraries take; whoever starts this process limits its time.
"""

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from cases import Case, faults, snapshot

import vol2vol.prediction.run  # noqa: F401  libraries are loaded before the limit
from vol2vol.cli import main

MORE = 3 << 30
"""Bytes of memory that a case may take."""


def limit():
    """Limit the address space of this process."""
    torch.set_num_threads(1)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MORE, held + MORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Caught:
    """What reaches file descriptors 1 and 2, libraries below Python included."""

    def __enter__(self):
        sys.stdout.flush()
        self.files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  closed on the way out
        self.kept = [os.dup(1), os.dup(2)]
        for number, file in enumerate(self.files, start=1):
            os.dup2(file.fileno(), number)
        return self

    def __exit__(self, *_):
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in enumerate(self.kept, start=1):
            os.dup2(kept, number)
            os.close(kept)
        self.texts = []
        for file in self.files:
            file.seek(0)
            self.texts.append(file.read().decode("utf-8", errors="surrogateescape"))
            file.close()


def run(case, report):
    """Run a case and return its report."""
    case.prepare()
    report({"number": case.number, "kind": case.kind, "did": case.done, "words": case.words})
    folder = case.folder
    os.environ |= {"HOME": str(folder / "home"), "MPLCONFIGDIR": str(folder / "out")}
    tempfile.tempdir = str(folder / "out")
    os.chdir(folder / "home")
    watched = (folder / "in", folder / "home", case.good)
    before, began = snapshot(*watched), time.monotonic()
    code = 0
    with Caught() as caught, warnings.catch_warnings():
        try:
            code = main(case.words)
        except BaseException as error:  # noqa: BLE001  nothing may leave the command line
            code = repr(error)
    seconds = time.monotonic() - began
    wrong = faults(case, code, *caught.texts, before, snapshot(*watched))
    details = [p.read_text()[-1500:] for p in (folder / "out").glob("vol2vol-*.txt")]
    end = {"number": case.number, "code": code, "seconds": round(seconds, 2), "faults": wrong}
    return {**end, "err": caught.texts[1][:600], "details": details}


def work(seed, first, stop, good, folder):
    """Run cases one after the other."""
    out = os.fdopen(os.dup(1), "w")

    def report(data):
        print(json.dumps(data), file=out, flush=True)

    limit()
    for number in range(first, stop):
        report(run(Case(seed, number, Path(good), Path(folder)), report))


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
