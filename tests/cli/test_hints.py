"""Tests of hints in messages: every option and key that they name exists, and suggested commands work."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from pydantic import BaseModel
from tests.cli.test_verbs import KINDS_OF_VERBS

import vol2vol
from vol2vol.cli import VERBS, main
from vol2vol.cli.flags import with_flags
from vol2vol.errors import BadInput
from vol2vol.recipes import Recipe
from vol2vol.tasks import TASKS

HOUSE = Path(vol2vol.__file__).parent
ELSEWHERE = {
    "--array",
    "--job-name",
    "--output",
    "--signal",
    "--requeue",
    "--open-mode",
    "--parsable",
    "--wrap",
    "--time",
}
"""Options of SLURM's sbatch, which the scripts for it contain."""
WHOLE_COMMANDS = {
    "machines/executors/slurm.py",
    "prediction/submission.py",
    "study/loading.py",
    "study/status.py",
}
"""Modules that write batch scripts or suggest whole commands."""
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
KEY = re.compile(r"\b(?:train|data|task|cyclegan|segment)(?:\.[a-z][a-z_]*)+\b(?!\()")


def texts(*, fields=True):
    """Yield module and text of every string in the package that is not a docstring, or not one of a field."""
    for path in sorted(HOUSE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        documentation |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and not fields}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield path.relative_to(HOUSE), node.value


@pytest.fixture(scope="module")
def flags():
    """All options of all verbs."""
    from contextlib import redirect_stdout
    from io import StringIO

    known = set()
    for verb in [*VERBS, *KINDS_OF_VERBS]:
        printed = StringIO()
        with redirect_stdout(printed):
            main([*verb.split(), "--help"])
        known |= set(re.findall(r"--[a-z][a-z0-9-]*", printed.getvalue()))
    return known | {"--help", "--version"}


def test_every_flag_that_a_message_names_exists(flags):
    known = flags | ELSEWHERE | {"--no-"}
    named = [(str(path), flag) for path, text in texts() for flag in FLAG.findall(text)]
    shown = [(str(path), flag) for path, text in texts(fields=False) for flag in FLAG.findall(with_flags(text))]
    assert shown
    assert not {(path, flag) for path, flag in named + shown if flag not in known}


def test_only_the_command_line_names_flags():
    named = {
        (path.as_posix(), text)
        for path, text in texts(fields=False)
        if FLAG.search(text) and path.parts[0] != "cli" and path.as_posix() not in WHOLE_COMMANDS
    }
    assert not named


def test_settings_of_a_message_become_flags_and_other_words_stay():
    said = "a.tif (`b c`, `2`, ``) has axes zyx: give `voxel_size` Z,Y,X or `axes` zyx, or leave out `which` best"
    shown = "a.tif (`b c`, `2`, ``) has axes zyx: give --voxel-size Z,Y,X or --axes zyx, or leave out --checkpoint best"
    assert with_flags(said) == shown
    assert with_flags(shown) == shown


def test_python_names_settings_where_the_command_line_names_flags(tmp_path, capsys, caplog):
    path = tmp_path / "lapse.tif"
    tifffile.imwrite(path, np.ones((3, 4, 30, 40), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(BadInput, match="choose one with `time` 0 to `time` 2") as caught:
        vol2vol.open_volume(path)
    assert not FLAG.search(str(caught.value))
    assert "choose one with --time 0 to --time 2" in one_line(capsys, "prepare", path, tmp_path / "out.zarr")


def keys(schema, before=""):
    """Yield the dotted keys of a schema."""
    for name, field in schema.model_fields.items():
        yield f"{before}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{before}{name}.")


def test_every_key_that_a_message_names_exists():
    known = set(keys(Recipe)) | {key for task in TASKS.values() for key in keys(task.Settings, "task.")}
    known |= {"task.segmenters", "task.generator.arguments", "train.json"}
    unknown = {
        (str(path), key)
        for path, text in texts()
        for key in KEY.findall(text)
        if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in known) and path.suffix == ".py"
    }
    assert not unknown


def one_line(capsys, *words):
    assert main(list(map(str, words))) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_example_of_axes_can_be_given(tmp_path, capsys):
    for shape in ((50, 60, 55, 2), (2, 50, 60, 55), (3, 50, 60, 55, 2), (40, 50, 3)):
        path = tmp_path / f"{len(shape)}{shape[0]}.zarr"
        zarr.open_array(path, mode="w", shape=shape, dtype="u1", zarr_format=2, chunks=shape)[:] = 1
        line = one_line(capsys, "info", path)
        example = re.search(r"such as --axes (\w+)", line)[1]
        time = ["--time", "0"] if "t" in example else []
        assert main(["info", str(path), "--axes", example, *time]) == 0
        capsys.readouterr()


def test_the_time_point_that_is_asked_for_can_be_given(tmp_path, capsys):
    path = tmp_path / "lapse.tif"
    tifffile.imwrite(path, np.ones((3, 4, 30, 40), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    line = one_line(capsys, "prepare", path, tmp_path / "out.zarr", "--crop", "0:1,:,:")
    assert "--time 0 to --time 2" in line
    assert main(["info", str(path), "--time", "2"]) == 0


def test_domains_of_different_channels_train_with_the_terms_that_the_message_leaves_out(tmp_path, capsys):
    random = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "grey.tif", random.integers(0, 255, (3, 50, 60), np.uint8), photometric="minisblack")
    tifffile.imwrite(tmp_path / "rgb.tif", random.integers(0, 255, (50, 60, 3), np.uint8), photometric="rgb")
    words = ["train", "--source", tmp_path / "grey.tif", "--target", tmp_path / "rgb.tif", "--out", tmp_path / "run"]
    words += ["--recipe", "small-2d", "data.patch=30", "train.epochs=1", "train.steps_per_epoch=1"]
    words += ["task.generator.arguments={levels: 2, width: 2}", "task.critic.arguments={width: 2, n_layers: 1}"]
    words += ["task.loss_region=full", "data.calibration=1"]
    line = one_line(capsys, *words)
    cure = re.findall(r"task\.\w+=0", line)
    assert cure
    assert main([*map(str, words), *cure]) == 0


@pytest.mark.parametrize("name", ["p", "p's", "it is p"])
def test_the_pattern_that_is_suggested_can_be_pasted(name, tmp_path, capsys):
    folder = tmp_path / "my stack"
    folder.mkdir()
    for plane in (0, 1, 2, 4, 5):
        tifffile.imwrite(folder / f"{name}_z{plane}.tif", np.ones((30, 40), np.uint8), photometric="minisblack")
    line = one_line(capsys, "info", folder)
    cure = re.search(r"give (--pattern .*) to close the gap", line)[1]
    assert main(["info", str(folder), *shlex.split(cure)]) == 0
