"""A measure in one file of another package: in `evaluate`, rows, picks, agreement and reports, nothing else touched."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.metrics.measures import MEASURES, catalogue, measures
from vol2vol.report import write_study_report
from vol2vol.report.rows.rows import Value, append_row, read_rows
from vol2vol.report.tables.agreement import agreement
from vol2vol.study import load_study, run_study
from vol2vol.study.trials import checkpoint_trials, picked_trials
from vol2vol.volumes import create_volume, open_volume

TOY = """
from vol2vol.geometry import Box
from vol2vol.metrics.measures import Measure, Quantity, Taken

def mean(volume):
    return float(volume.read(Box.of(volume.spatial)).mean())

def take(subject):
    ratio = mean(subject.volume) / mean(subject.source)
    return Taken(values={"ratio": ratio, "raw": mean(subject.volume)}, notes={"ratio": "a mean over a mean"})

BRIGHTNESS = Measure(
    name="brightness",
    about="how bright a volume is",
    needs=("source",),
    quantities=(
        Quantity(key="ratio", sense="nearer 1", about="mean over the source's", title="Brightness", digits=2),
        Quantity(key="raw", about="mean grey value", column="mean_grey"),
    ),
    take=take,
)
"""
STUDY = """
name: toy
domains:
  rat: {phantom: {look: rat, seed: 2, shape: [24, 40, 40]}, parts: {train: "0:12", test: "12:24"}}
  human: {phantom: {look: human, seed: 3, shape: [24, 40, 40]}, parts: {train: "0:12", test: "12:24"}}
pairs: [[rat, human]]
baselines: [identity, meanstd, histogram, spectrum]
measures: [brightness, structure]
translators: {deep: {recipe: small-3d}}
first: [brightness]
picks: [{by: brightness/ratio}]
"""
ONLY = ("translators={}", "picks=[]")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a package with a measure until the test ends."""

    def install(code, **entries):
        about = tmp_path / "site" / "toy-1.0.dist-info"
        about.mkdir(parents=True)
        (tmp_path / "site" / "toy_measure.py").write_text(code)
        lines = [f"{name} = toy_measure:{thing}" for name, thing in entries.items()]
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("\n".join(["[vol2vol.measures]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path / "site")
        forget()

    def forget():
        vars(MEASURES).pop("_outside", None)
        MEASURES._loaded.clear()
        catalogue._unusable.clear()
        sys.modules.pop("toy_measure", None)

    yield install
    forget()


def stored(path, array):
    about = {"shape": (1, *array.shape), "dtype": array.dtype, "voxel_size": (8, 8, 8), "unit": "nanometer"}
    with create_volume(path, **about) as volume:
        volume.write(Box.of(array.shape), array[None])
    return str(path)


def test_it_is_evaluated(install, tmp_path, capsys):
    install(TOY, brightness="BRIGHTNESS")
    source, output = (stored(tmp_path / f"{n}.zarr", np.full((3, 5, 7), n, np.uint16)) for n in (200, 300))
    assert main(["evaluate", "brightness", output, "--source", source, "--json"]) == 0
    expected = {"ratio": 1.5, "raw": 300, "in words": {"ratio": "a mean over a mean"}}
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["evaluate"]) == 0
    assert "brightness How bright a volume is." in capsys.readouterr().out
    assert main(["evaluate", "brightness", "--help"]) == 0
    assert "Needs --source." in capsys.readouterr().out
    other = stored(tmp_path / "other.zarr", np.zeros((3, 5, 6), np.uint16))
    for words, line in (
        ([output], "brightness needs a source: add --source PATH"),
        ([output, "--source", source, "--mask", source], "does not use a mask: leave --mask out"),
        ([output, "--source", other], "compare volumes of one shape"),
    ):
        assert main(["evaluate", "brightness", *words]) == 2
        assert line in " ".join(capsys.readouterr().err.split())


def test_it_is_measured_picked_ranked_and_shown(install, tmp_path):
    install(TOY, brightness="BRIGHTNESS")
    (tmp_path / "toy.yaml").write_text(STUDY)
    folder = run_study(tmp_path / "toy.yaml", tmp_path / "out", overrides=ONLY, progress=lambda line: None).folder
    rows = read_rows(folder)
    assert len(rows) == 4
    source = open_volume(folder / "domains/rat/test.zarr").read(Box.of((12, 40, 40))).mean()
    for row, iou in zip(rows, (0.5, 0.3, 0.6, 0.4), strict=True):
        volume = open_volume(folder / row.volume).read(Box.of((12, 40, 40))).mean()
        assert row.number("brightness/ratio") == pytest.approx(volume / source)
        assert row.notes["brightness/ratio"] == "a mean over a mean"
        append_row(folder, replace(row, values={**row.values, "segmentation/unet/0/iou": Value(value=iou)}))

    rows = read_rows(folder)
    table = {line[1]: line for line in agreement(rows).rows}
    off = [-abs(np.log(row.number("brightness/ratio"))) for row in rows]
    oracle = spearmanr(off, [row.number("segmentation/unet/0/iou") for row in rows]).statistic
    assert table["brightness/ratio"][2] == "nearer 1"
    assert table["brightness/ratio"][3].value == pytest.approx(oracle)
    assert "brightness/raw" not in table, "what has no sense is not ranked"

    page = write_study_report(folder).read_text(encoding="utf-8")
    assert "Brightness: mean over the source's (better when nearer 1)" in page.replace("&#39;", "'")
    with (folder / "tables" / "further.csv").open(encoding="utf-8", newline="") as file:
        lines = {line["condition"]: line for line in csv.DictReader(file)}
    assert float(lines["untranslated"]["ratio"]) == 1
    assert float(lines["untranslated"]["mean_grey"]) == pytest.approx(source)


def test_checkpoints_are_picked_by_it(install, tmp_path):
    install(TOY, brightness="BRIGHTNESS")
    (tmp_path / "toy.yaml").write_text(STUDY)
    study = load_study(tmp_path / "toy.yaml", ("picks=[{by: brightness/ratio, roles: [best]}]",))
    first = checkpoint_trials(study)
    assert first[0].measures == ("brightness",)
    wanted, off = first[1].checkpoint, (0.4, 1.2, *[2.0] * len(first))  # 1.2 is nearer to 1, by ratio, than 0.4
    values = {trial.name: {"brightness/ratio": Value(value=ratio)} for trial, ratio in zip(first, off, strict=False)}
    rows = [replace(trial.row(), values=values[trial.name]) for trial in first]
    assert {trial.checkpoint for trial in picked_trials(study, rows)} == {wanted}
    with pytest.raises(BadInput, match="did you mean brightness/ratio"):
        load_study(tmp_path / "toy.yaml", ("picks=[{by: brightness/ratoi}]",))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_module", "cannot be loaded"),
        ("BRIGHTNESS = 1", r"cannot be used \(it is not a Measure\)"),
        (TOY.replace('name="brightness"', 'name="dark"'), r"cannot be used \(its name is 'dark'\)"),
        (TOY.replace('about="how', 'family="seams", about="how'), r"\(its family 'seams' belongs to vol2vol\)"),
    ],
)
def test_a_broken_one_is_named_with_its_package_by_who_asks_for_it(install, tmp_path, caplog, code, why):
    install(code, brightness="BRIGHTNESS")
    (tmp_path / "toy.yaml").write_text(STUDY)
    with pytest.raises(BadInput, match=f"'brightness' of the package toy 1.0 .*{why}"):
        load_study(tmp_path / "toy.yaml")
    assert [measure.name for measure in measures()] == [measure.name for measure in measures()] == list(MEASURES.own)
    assert caplog.text.count("of the package toy 1.0") == 1


def test_an_unknown_measure_is_said_with_those_that_are_known(tmp_path):
    (tmp_path / "toy.yaml").write_text(STUDY)
    with pytest.raises(BadInput, match=r"measures\.0: measure 'brightness' is unknown: use some of seams, mismatch"):
        load_study(tmp_path / "toy.yaml", ("first=[structure]",))
