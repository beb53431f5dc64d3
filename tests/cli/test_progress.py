"""Tests of progress: loops count their steps, which are shown after two seconds, and never among results."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from vol2vol.cli import main, show
from vol2vol.errors import CannotWrite
from vol2vol.files import check_place
from vol2vol.progress import counted, listening


def test_steps_are_reported_to_whoever_listens_and_to_nobody_else():
    steps = []
    assert list(counted("ab", "reading", 2)) == ["a", "b"]
    with listening(lambda *step: steps.append(step)):
        list(counted("ab", "reading", 2))
        with listening(None):
            list(counted("ab", "writing", 2))
    assert steps == [("reading", 1, 2), ("reading", 2, 2), ("reading", 0, 0)]


def shown(times, *, terminal):
    out, times = io.StringIO(), iter(times)
    progress = show.StepProgress(Console(file=out, force_terminal=terminal, width=80), lambda: next(times))
    return progress, out


def test_a_line_now_and_then_where_there_is_no_terminal():
    progress, out = shown([0, 0, 1, 3, 4, 22, 30, 60], terminal=False)
    for done in range(1, 8):
        progress("comparing", done, 9)
    assert out.getvalue().splitlines() == [f"vol2vol: comparing, {done} of 9" for done in (3, 6, 7)]


def test_what_is_done_at_once_shows_nothing():
    for terminal in (False, True):
        progress, out = shown([0, 0, 1, 1], terminal=terminal)
        for step in (("reading", 1, 2), ("reading", 2, 2), ("reading", 0, 0)):
            progress(*step)
        assert not out.getvalue()


def test_a_bar_on_a_terminal_is_gone_when_the_work_is_done():
    progress, out = shown([0, 0, 3, 4, 5], terminal=True)
    for step in (("reading", 1, 2), ("reading", 2, 2), ("reading", 0, 0)):
        progress(*step)
    assert "reading" in out.getvalue()
    assert progress._bar is None


def test_results_in_json_are_alone_on_standard_output(tmp_path, capsys, monkeypatch):
    import numpy as np
    import tifffile

    monkeypatch.setattr(show, "PATIENCE", -1.0)
    monkeypatch.setattr(show, "EVERY", -1.0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 9, (20, 40, 40), np.uint8), photometric="minisblack")
    words = ["evaluate", "fidelity", str(path), str(path), "--voxel-size", "1,1,1", "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pearson"]["value"] == 1
    assert "comparing, 1 of 1" in err


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "a.tif").write_text("nothing that could be read")
    taken, image = str(tmp_path / "file" / "new"), str(tmp_path / "a.tif")
    for words in (
        ["train", "--source", image, "--target", image, "--out", taken],
        ["evaluate", "seams", image, "--step", "8,8,8", "--plot", str(tmp_path / "none" / "a.png")],
        ["evaluate", "seams", image, "--step", "8,8,8", "--plot", f"{tmp_path / 'file'}/a.png"],
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert "file" in err or "none" in err
        assert "a.tif" not in err
    with pytest.raises(CannotWrite, match="is not a folder"):
        check_place(tmp_path / "file" / "deep" / "model")
    check_place(tmp_path / "new" / "deep" / "model")


def test_a_value_with_its_interval_is_one_line(capsys):
    psnr = {"value": 34.125, "low": 33.5, "high": 34.75, "blocks": 12}
    show.result({"psnr": psnr, "ssim": {"value": None, "low": None, "high": None, "blocks": 1}}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "psnr: 34.125 [33.5, 34.75] (95 % over 12 blocks)",
        "ssim: - (no interval over 1 block)",
    ]
    show.result({"psnr": psnr}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"psnr": psnr}


def test_a_folder_of_others_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    from vol2vol.errors import AlreadyExists
    from vol2vol.recipes import train

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    monkeypatch.setattr("vol2vol.recipes.training_data.open_domains", lambda *_: pytest.fail("volumes were opened"))
    with pytest.raises(AlreadyExists, match="is not a run"):
        train("small-2d", "a.tif", "b.tif", tmp_path / "run")


def test_a_reader_that_has_seen_enough_ends_the_output_quietly(tmp_path):
    words = [sys.executable, "-m", "vol2vol.cli", "recipes"]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() in (0, 141)


def test_a_line_without_a_speed_ends_with_the_count(capsys, monkeypatch):
    monkeypatch.setattr(show, "PATIENCE", -1.0)
    with show.block_progress() as progress:
        progress(0, 3, 0)
    assert capsys.readouterr().err == "vol2vol: block 0/3\n"
