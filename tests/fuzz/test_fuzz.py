"""Thousands of damaged inputs: every command ends with its result or with one clean line, and touches its output alone.

`make fuzz` runs it; VOL2VOL_FUZZ_SEED, VOL2VOL_FUZZ_CASES and VOL2VOL_FUZZ_WORKERS choose other cases.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

SEED = int(os.environ.get("VOL2VOL_FUZZ_SEED", "0"))
CASES = int(os.environ.get("VOL2VOL_FUZZ_CASES", "2000"))
FIRST = int(os.environ.get("VOL2VOL_FUZZ_FIRST", "0"))
WORKERS = int(os.environ.get("VOL2VOL_FUZZ_WORKERS", str(min(2, os.cpu_count() or 1))))
PATIENCE = 120
"""Seconds after which a case counts as hanging."""
HERE = Path(__file__).parent


def cases(first, stop, good, folder):
    """Run cases in processes that may die; yield a report of each, a death or a hang among them."""
    died = folder.with_suffix(".err")
    while first < stop:
        words = [sys.executable, str(HERE / "worker.py"), *map(str, (SEED, first, stop, good, folder))]
        begun = None
        with died.open("wb") as log, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            for line in _lines(process):
                data = json.loads(line)
                first = data["number"] + 1
                if "faults" in data:
                    yield {**(begun or {}), **data}
                begun = None if "faults" in data else data
            hung = process.wait() == -9
        if begun is not None:
            what = "it hangs" if hung else "the process died"
            yield {**begun, "code": what, "faults": [what], "err": died.read_text(errors="replace")[-500:]}


def _lines(process):
    """Yield what a process prints, until it ends or prints nothing for a long time."""
    lines: queue.Queue[str] = queue.Queue()
    pump = threading.Thread(target=_pump, args=(process, lines), daemon=True)
    pump.start()
    while True:
        try:
            line = lines.get(timeout=PATIENCE)
        except queue.Empty:
            process.kill()
            break
        if not line:
            process.wait()
            break
        yield line
    pump.join()


def _pump(process, lines):
    for line in process.stdout:
        lines.put(line)
    lines.put("")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are those of Linux")
def test_damaged_inputs_end_in_one_line(tmp_path):
    good = tmp_path / "good"
    subprocess.run(
        [sys.executable, str(HERE / "inputs.py"), str(good)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    reports, each = [], -(-CASES // WORKERS)

    def share(number):
        first = FIRST + number * each
        reports.extend(cases(first, min(first + each, FIRST + CASES), good, tmp_path / f"case{number}"))

    threads = [threading.Thread(target=share, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [report for report in reports if report["faults"]]
    slow = sorted((r.get("seconds", PATIENCE) for r in reports), reverse=True)[:3]
    summary = f"{len(reports)} cases, exit codes {dict(Counter(str(r['code']) for r in reports))}, slowest {slow} s"
    if log := os.environ.get("VOL2VOL_FUZZ_LOG"):
        Path(log).write_text("\n".join([summary, *map(json.dumps, reports)]))
    assert len(reports) == CASES
    assert not wrong, "\n".join([summary, *(json.dumps(report, indent=1) for report in wrong[:10])])
