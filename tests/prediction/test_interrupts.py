"""Ctrl-C reaches every process of a terminal: this one ends the others, says one line, and continues later."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from tests.prediction.killing import ROOT
from tests.prediction.test_faults import long, same, undisturbed  # noqa: F401

SCRIPT = f"""
import sys
sys.path.insert(0, {ROOT!r})
from tests.prediction.killing import help_is_waited_for
from vol2vol.cli import main
if __name__ == "__main__":
    help_is_waited_for()
    sys.exit(main(sys.argv[1:]))
"""


def others(program):
    """The processes that a program has started for its prediction."""
    return [child for child in psutil.Process(program.pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_while_others_start_says_one_line_and_continues(models, long, undisturbed, tmp_path):  # noqa: F811
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["predict", str(models[3]), str(long), str(tmp_path / "out.zarr"), "--workers", "3"]
    command = [sys.executable, str(tmp_path / "script.py"), *words]
    program = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (started := others(program)) and time.monotonic() < until:
        assert program.poll() is None, program.stderr.read()
        time.sleep(0.005)
    time.sleep(0.5)  # they import
    os.killpg(program.pid, signal.SIGINT)
    said = program.communicate()[1]
    assert program.returncode == 130
    assert [line for line in said.splitlines() if not line.startswith("vol2vol: ")] == []
    assert said.splitlines()[-1] == "vol2vol: stopped; the same command continues from here"
    assert started
    assert not any(psutil.pid_exists(process.pid) for process in started)
    subprocess.run([sys.executable, "-m", "vol2vol.cli", *words], check=True, capture_output=True)
    same(tmp_path / "out.zarr", undisturbed / "swept" / "out.zarr")
