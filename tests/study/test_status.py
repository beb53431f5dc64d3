"""What `vol2vol info` says of a study's folder."""

import shlex

import pytest
import yaml

from vol2vol.cli import main
from vol2vol.describe import info
from vol2vol.errors import Unreadable
from vol2vol.report.rows.rows import Value, append_row, read_rows
from vol2vol.study import load_study
from vol2vol.study.trials import JUDGES, MEASURED, baseline_trials, checkpoint_trials, judges_of, picked_trials


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my study"
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(load_study("phantom-quick").model_dump(mode="json")))
    return folder


def note(folder, trial, *, failed=""):
    row = trial.row()
    row.notes[MEASURED] = " ".join(trial.measures)
    row.notes[JUDGES] = " ".join(judges := judges_of(load_study("phantom-quick"), ["segmentation"]))
    row.segmentations.update(dict.fromkeys(judges, "somewhere"))
    row.values["distance/encoder/fid/xy"] = Value(value=float(trial.checkpoint or 0))
    if failed:
        object.__setattr__(row, "status", "failed")
        object.__setattr__(row, "reason", failed)
    append_row(folder, row)


def test_trials_are_counted_as_the_study_itself_would(folder, capsys):
    study = load_study("phantom-quick")
    baselines, first = baseline_trials(study), checkpoint_trials(study)
    status = info(folder)
    assert status["name"] == study.name
    assert (status["done"], status["failed"], len(status["to do"])) == (0, {}, len(baselines) + len(first))
    assert "trials of picked checkpoints" in status["then"]
    assert status["report"] == "not written yet"
    note(folder, baselines[0])
    note(folder, baselines[1], failed="the disk is full")
    status = info(folder)
    assert status["done"] == 1
    assert status["failed"] == {baselines[1].name: "the disk is full"}
    assert len(status["to do"]) == len(baselines) + len(first) - 2
    for trial in (*baselines, *first):
        note(folder, trial)
    status = info(folder)
    assert status["to do"]
    assert not {trial.name for trial in baselines} & {*status["to do"]}
    assert "then" not in status
    (folder / "report.html").write_text("")
    assert main(["info", str(folder)]) == 0
    output = capsys.readouterr().out
    assert f"report: {folder / 'report.html'}" in output
    command = next(line for line in output.splitlines() if line.startswith("go on with: ")).removeprefix("go on with: ")
    assert shlex.split(command) == ["vol2vol", "study", str(folder / "study.yaml"), "--out", str(folder)]


def test_a_study_that_is_done_has_nothing_to_do(folder):
    study = load_study("phantom-quick")
    for trial in (*baseline_trials(study), *checkpoint_trials(study)):
        note(folder, trial)
    for trial in picked_trials(study, read_rows(folder)):
        note(folder, trial)
    status = info(folder)
    assert not status["to do"]
    assert status["go on with"] == "nothing left to do"


@pytest.mark.parametrize("text", ["a: [", "- a", "", "name: x\nsurplus: 1\n"])
def test_a_damaged_study_is_said_to_be(folder, text, capsys):
    (folder / "study.yaml").write_text(text)
    with pytest.raises(Unreadable, match=r"study\.yaml.*restore the file"):
        info(folder)
    assert main(["info", str(folder)]) == 2
    assert "restore the file" in " ".join(capsys.readouterr().err.split())
