"""A study's whole process group is killed at random moments: it ends with the rows and volumes of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.study.conftest import TINY

from vol2vol.report.rows.rows import read_rows, read_sums
from vol2vol.volumes import open_volume

KILLS = 6
MEASURED = ("cost/", "training/")
"""What a machine takes for it: the beginnings of the names of values that differ from run to run."""


def judged(folder):
    """Return, by trial, what was measured on its voxels."""
    return {
        row.trial: {
            "status": (row.status, row.reason, row.source, row.target, row.translator),
            "values": {name: value for name, value in row.values.items() if not name.startswith(MEASURED)},
            "blocks": {name: sums.tolist() for name, sums in read_sums(folder, row.trial).items()},
        }
        for row in read_rows(folder)
    }


def volumes(folder):
    """Return, by path, the voxels of everything that a study has written."""
    contents = {}
    for path in sorted(path.parent for path in Path(folder).rglob("*.zarr/zarr.json")):
        with open_volume(path) as volume:
            contents[str(path.relative_to(folder))] = volume[:].tobytes()
    return contents


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_study_is_killed_again_and_again(tmp_path):
    seed = int.from_bytes(os.urandom(4))
    print(f"kills are drawn from seed {seed}")  # noqa: T201 - shown where a test fails
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "-m", "vol2vol.cli", "study", str(tmp_path / "tiny.yaml"), "--out"]
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)
    seconds, kills, drawn = time.monotonic() - began, 0, random.Random(seed)
    for _ in range(KILLS):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        program = subprocess.Popen([*command, str(tmp_path / "killed")], start_new_session=True, **quiet)
        time.sleep(drawn.uniform(0, seconds / 2))
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
        kills += program.wait() == -signal.SIGKILL
        assert program.returncode in (0, -signal.SIGKILL)
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert kills
    calm, killed = (judged(tmp_path / name) for name in ("calm", "killed"))
    assert list(killed) == list(calm)
    assert [trial for trial in calm if killed[trial] != calm[trial]] == []
    whole, restarted = (volumes(tmp_path / name) for name in ("calm", "killed"))
    assert whole.keys() == restarted.keys()
    assert whole
    assert [name for name in whole if whole[name] != restarted[name]] == []
    print(f"{kills} kills, {len(calm)} trials, {len(whole)} volumes, none differs")  # noqa: T201
