"""Tests of terminal output: single lines without control characters, shortened if they are long; bugs are reported."""

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given
from hypothesis import strategies as st

import vol2vol.cli.info_
from vol2vol.cli import main
from vol2vol.cli.show import result
from vol2vol.errors import BadInput, one_line
from vol2vol.volumes import create_volume

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\r\nvol2vol: all is well\x85\x9b31m\u202egnp.exe\u2066\u2028\x00"
"""Texts that set a title, clear the screen, start a second line, contain C1 controls, or reverse the direction."""


def clean(text):
    """Return whether a line contains no control characters."""
    kinds = {unicodedata.category(letter) for letter in text}
    turned = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return not kinds & {"Cc", "Cs", "Zl", "Zp"} and not set(text) & turned


def test_hostile_text_is_escaped_and_can_be_read():
    line = one_line(HOSTILE)
    assert clean(line)
    assert line.startswith(r"a\x1b]0;owned\x07\x1b[2J\r\nvol2vol: all is well\x85\x9b31m\u202egnp.exe\u2066\u2028\x00")


@given(st.text(st.characters(), max_size=300), st.integers(20, 200))
def test_any_text_is_one_clean_line_of_bounded_length(text, most):
    line = one_line(text, most)
    assert clean(line)
    assert len(line) <= most
    if text.isprintable() and clean(text) and len(text) <= most:
        assert line == text


def test_letters_of_people_stay_as_they_are():
    for text in ("Zürich 5 Å", "脑 切片.tif", "C:\\data\\a.tif", "5\N{NO-BREAK SPACE}nm"):
        assert one_line(text) == text


def test_a_long_text_keeps_its_beginning_and_its_end():
    line = one_line("what " + "x" * 10**6 + " cure", 100)
    assert line.startswith("what xx")
    assert line.endswith("xx cure")
    assert " ... " in line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("shape"), "'shape' is missing"),
        (MemoryError(), "the memory ran out"),
        (RecursionError(), "it is nested too deeply"),
        (ArithmeticError(), "arithmetic error"),
        (FileNotFoundError(2, "No such file or directory", "a\nb"), r"a\nb: No such file or directory"),
        (ValueError("two\n  lines"), "two lines"),
        (BadInput("as it is"), "as it is"),
    ],
)
def test_an_exception_in_words(error, words):
    assert one_line(error) == words


def test_a_result_is_printed_clean_and_cut(capsys):
    result({HOSTILE: HOSTILE, "long": "y" * 10**5, "list": [HOSTILE, 1.5], "part": {HOSTILE: 1}}, as_json=False)
    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert all(map(clean, out.splitlines()))
    assert max(map(len, out.splitlines())) < 1200
    result({HOSTILE: HOSTILE}, as_json=True)
    out = capsys.readouterr().out
    assert all(map(clean, out.split("\n")))
    assert json.loads(out) == {HOSTILE: HOSTILE}


def lines(*words):
    """Run the command in a separate process; return the exit code and the lines of both streams."""
    process = subprocess.run([sys.executable, "-m", "vol2vol.cli", *map(str, words)], capture_output=True, check=False)
    return process.returncode, process.stdout.decode().split("\n")[:-1], process.stderr.decode().split("\n")[:-1]


def test_errors_and_results_of_a_hostile_file(tmp_path):
    bad = tmp_path / f"{HOSTILE[:-1].replace('/', '')}.tif"
    tifffile.imwrite(bad, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    code, _, err = lines("predict", bad, bad, tmp_path / "out.zarr")
    assert code == 2
    assert len(err) == 1
    assert clean(err[0])
    assert r"\x1b]0;owned" in err[0]
    code, out, _ = lines("info", bad)
    assert code == 0
    assert all(map(clean, out))
    zarr = tmp_path / "a.zarr"
    shape = (1, 4, 8, 8)
    create_volume(zarr, shape=shape, dtype="u1", voxel_size=(1, 1, 1), unit="nm", attrs={HOSTILE: HOSTILE}).close()
    code, out, _ = lines("info", zarr)
    assert code == 0
    assert all(map(clean, out))
    meta = json.loads((zarr / "zarr.json").read_text())
    meta["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = HOSTILE
    (zarr / "zarr.json").write_text(json.dumps(meta))
    code, _, err = lines("info", zarr)
    assert code == 2
    assert len(err) == 1
    assert clean(err[0])


def test_an_undecodable_name_is_printed(tmp_path):
    code, _, err = lines("info", b"no-such-\xff\xfe.tif".decode(errors="surrogateescape"))
    assert code == 2
    assert len(err) == 1
    assert r"no-such-\udcff\udcfe.tif" in err[0]


def test_keys_of_a_recipe(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "small-2d", HOSTILE: 1}))
    assert main(["recipes", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert clean(err[:-1])


def test_the_log_is_clean(capsys):
    code = (
        "import logging, vol2vol.cli as cli\n"
        "cli._set_up_output()\n"
        f"logging.getLogger('vol2vol.x').warning('%s holds', {HOSTILE!r})\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    line = process.stderr.decode()
    assert line.startswith(r"vol2vol: a\x1b]0;owned")
    assert line.count("\n") == 1
    assert clean(line[:-1])


def test_a_bug_is_called_one_in_a_line(monkeypatch, capsys, tmp_path):
    def broken(words):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(vol2vol.cli.info_, "run", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["info", "x"]) == 70
    err = capsys.readouterr().err
    assert err.startswith(
        "vol2vol: this is a bug of vol2vol: ZeroDivisionError: division by zero: please send the file "
    )
    assert err.count("\n") == 1
    [details] = tmp_path.iterdir()
    assert str(details) in err
    assert "in broken" in details.read_text()
    monkeypatch.setenv("VOL2VOL_DEBUG", "1")
    assert main(["info", "x"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_no_message_of_the_house_holds_an_exception_without_cleaning():
    house = Path(vol2vol.cli.__file__).parents[1]
    raw = [p.name for p in house.rglob("*.py") if "({error})" in p.read_text(encoding="utf-8")]
    assert not raw


def test_the_reason_why_a_file_failed_is_shown_with_its_cure(capsys):
    reason = "in/" + "x" * 200 + ".tif is broken: vol2vol prepare in/" + "x" * 200 + ".tif mends it, if it is whole"
    result({"failed": {"in/a.tif": reason}}, as_json=False)
    assert capsys.readouterr().out == f"failed:\n  in/a.tif: {reason}\n"
