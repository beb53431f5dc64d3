"""Studies of files, their checks before anything is done, picks of checkpoints, and the command line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import yaml

from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, BadInput, NotFound
from vol2vol.report.rows.rows import Row, Value, append_row, read_rows
from vol2vol.study import list_studies, load_study, plan_study, run_study
from vol2vol.study.settings import Pick
from vol2vol.study.subjects import blocks_for
from vol2vol.study.trials import baseline_trials, checkpoint_trials, picked, picked_trials

pytestmark = pytest.mark.usefixtures("without_report")
SMALL = ("baselines=[identity]", "segmenters={}", "translators={}", "measures=[structure]")


def image_study(tmp_path, **changes):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 200, (12, 40, 40), np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_mask.tif", np.zeros((12, 40, 40), np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_small.tif", np.zeros((12, 40, 39), np.uint8))
    about = {"axes": "zyx", "voxel_size": [8, 8, 8], "unit": "nanometer"}
    settings = {
        "name": "files",
        "domains": {name: {"image": f"{name}.tif", **about} for name in ("a", "b")},
        "pairs": [["a", "b"], ["b", "a"]],
        "baselines": ["identity", "histogram"],
        "measures": ["structure", "fidelity"],
    }
    settings["domains"]["a"] |= changes
    path = tmp_path / "files.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_files_in_both_directions_with_a_degraded_copy_and_its_truth(tmp_path):
    path = image_study(tmp_path, degraded={"gain": 0.5, "offset": 20, "blur": 0.5, "noise": 2}, truths={"b": "a.tif"})
    result = run_study(path, tmp_path / "out", data=tmp_path)
    rows = {row.trial: row for row in read_rows(result.folder)}
    assert set(rows) == {"a-to-b.identity", "a-to-b.histogram", "b-to-a.identity", "b-to-a.histogram"}
    assert rows["a-to-b.histogram"].number("fidelity/psnr") > rows["a-to-b.identity"].number("fidelity/psnr") + 3
    assert "fidelity/psnr" not in rows["b-to-a.histogram"].values
    assert rows["a-to-b.identity"].number("structure/lncc") == pytest.approx(1)
    assert [p.name for p in (result.folder / "baselines").iterdir()] == ["a-b"]


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"image": "none.tif"}, NotFound, "give `data`"),
        (
            {"mask": "b_small.tif"},
            BadInput,
            r"b_small\.tif has \(12, 40, 39\) voxels, its image a\.tif has \(12, 40, 40\)",
        ),
        ({"truths": {"b": "b_small.tif"}}, BadInput, "voxels, its image"),
        ({"parts": {"test": "0:19"}}, BadInput, r"domains\.a\.parts\.test: roi range '0:19'"),
        ({"parts": {"tset": "0:19"}}, BadInput, "tset"),
        ({"mask_": "x"}, BadInput, "did you mean mask"),
        ({"phantom": {"look": "rat"}}, BadInput, "either an image or a phantom"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_done(tmp_path, changes, error, line):
    path = image_study(tmp_path, **changes)
    with pytest.raises(error, match=line) as caught:
        run_study(path, tmp_path / "out", data=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_masks(tmp_path):
    small = "[data.patch=36, task.network.arguments.levels=1]"
    segmenter = f"segmenters={{unet: {{recipe: small-segment-2d, overrides: {small}}}}}"
    with pytest.raises(BadInput, match=r"domains\.a has no mask"):
        run_study(image_study(tmp_path), tmp_path / "out", data=tmp_path, overrides=(segmenter,))
    assert not (tmp_path / "out").exists()
    path = image_study(tmp_path, mask="a_mask.tif")
    changes = (segmenter, "domains.b.mask=b_mask.tif", "baselines=[]", "measures=[segmentation]")
    with pytest.raises(BadInput, match=r"domains\.a\.parts\.test has an empty mask"):
        run_study(path, tmp_path / "other", data=tmp_path, overrides=changes)
    assert not (tmp_path / "other" / "runs").exists()


def test_fewer_patches_than_a_distance_can_bear_are_said(tmp_path):
    path = image_study(tmp_path)
    changes = ("measures=[distance, structure]", "distance={patches: 40, size: 64}")
    with pytest.raises(BadInput, match=r"domains\.b\.parts\.train of .* holds no xy patch of 64: lower distance.size"):
        run_study(path, tmp_path / "out", data=tmp_path, overrides=changes)
    changes = ("measures=[distance, structure]", "distance={patches: 32, size: 40, steps: 2}", "baselines=[identity]")
    result = run_study(path, tmp_path / "out", data=tmp_path, overrides=changes)
    for row in read_rows(result.folder):
        assert "needs 16 patches in each half of the target, there are 5" in row.notes["distance"]
        assert row.number("structure/lncc") == pytest.approx(1)


def test_inception_without_weights_is_said_before_anything_is_done(tmp_path):
    changes = ("measures=[distance]", "distance={features: [inception], weights: none.pth, size: 32}")
    with pytest.raises(NotFound, match="weights"):
        run_study(image_study(tmp_path), tmp_path / "out", data=tmp_path, overrides=changes)


def test_a_folder_that_holds_something_else_is_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="is not a study"):
        run_study(tiny, tmp_path)


def row_at(epoch, **values):
    numbers = {name.replace("_", "/"): Value(value=value) for name, value in values.items()}
    return Row(trial=f"t{epoch}", source="a", target="b", translator="n", checkpoint=epoch, values=numbers)


def test_checkpoints_are_picked_by_several_values():
    rows = [row_at(5, fid=3, sure=0.2), row_at(10, fid=1, sure=0.1), row_at(15, fid=2, sure=0.9)]
    picks = (Pick(by="fid"), Pick(by="sure", lowest=False, roles=("best",)))
    assert picked(picks, rows) == {
        5: "worst by fid",
        10: "best by fid",
        15: "middle by fid; best by sure",
    }
    assert picked((Pick(by="checkpoint", lowest=False, roles=("best",)),), rows) == {15: "best by checkpoint"}
    assert picked((Pick(by="not/measured"),), rows) == {}


def test_the_same_checkpoint_everywhere_or_one_per_condition(tiny):
    study = load_study(tiny)
    first = checkpoint_trials(study)
    assert [(trial.checkpoint, trial.strategy) for trial in first] == [(1, "exact"), (2, "exact")]
    rows = [replace(trial.row(), values={"structure/lncc": Value(value=trial.checkpoint)}) for trial in first]
    assert [(t.checkpoint, t.strategy) for t in picked_trials(study, rows)] == [(2, "exact"), (2, "disjoint")]
    apart = load_study(tiny, ("per=condition",))
    first = checkpoint_trials(apart)
    assert len(first) == 4
    better = {"exact": 1, "disjoint": -1}
    rows = [replace(t.row(), values={"structure/lncc": Value(value=better[t.strategy] * t.checkpoint)}) for t in first]
    assert [(t.checkpoint, t.strategy) for t in picked_trials(apart, rows)] == [(2, "exact"), (1, "disjoint")]


def test_failed_checkpoints_are_not_picked(tiny, tmp_path):
    study = load_study(tiny)
    first, second = checkpoint_trials(study)
    append_row(tmp_path, replace(second.row(), status="failed", values={"structure/lncc": Value(value=9)}))
    append_row(tmp_path, replace(first.row(), values={"structure/lncc": Value(value=1)}))
    assert {t.checkpoint for t in picked_trials(study, read_rows(tmp_path))} == {1}


@pytest.mark.parametrize("name", list_studies())
def test_shipped_studies_load_and_say_what_they_are_for(name):
    study = load_study(name)
    assert study.about
    assert study.name == name
    assert study.pairs
    trials = [*baseline_trials(study), *checkpoint_trials(study), *picked_trials(replace_picks(study), [])]
    names = names_of(trials)
    assert names
    assert all(len(name) < 120 and "/" not in name for name in names)
    for translator in study.translators.values():
        for changes in translator.strategies.values():
            study.settings(changes)


def replace_picks(study):
    return study.model_copy(update={"picks": ()})


def names_of(trials):
    return {trial.name for trial in trials}


def test_unknown_studies_and_keys_name_what_is_near():
    with pytest.raises(NotFound, match="did you mean phantom"):
        load_study("fantom")
    with pytest.raises(BadInput, match=r"distance\.patchs is not a key: did you mean patches"):
        load_study("phantom", ("distance.patchs=3",))
    with pytest.raises(BadInput, match=r"translators\.flat\.recpe is not a key: did you mean recipe"):
        load_study("phantom", ("translators.flat.recpe=3",))
    with pytest.raises(BadInput, match="there is no domain 'mouse'"):
        load_study("phantom", ("pairs=[[rat, mouse]]",))
    with pytest.raises(BadInput, match="a recipe of task segment cannot be one of the translators"):
        load_study("phantom", ("translators.flat.recipe=small-segment-2d",))


def test_a_dry_run_lists_and_writes_nothing(tiny, tmp_path, capsys):
    assert main(["study", str(tiny), "--out", str(tmp_path / "out"), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert set(plan["trials"].values()) == {"to do"}
    assert len(plan["trainings"]) == 3
    assert "2 trials" in plan["then"]
    done = plan_study(tiny, tmp_path)
    assert done["about"]


def test_the_command_line_lists_prints_and_fails_with_one(tmp_path, tiny, capsys, monkeypatch):
    assert main(["study"]) == 0
    assert "phantom:" in capsys.readouterr().out
    assert main(["study", "phantom", "--print", "name=mine"]) == 0
    copy = tmp_path / "mine.yaml"
    copy.write_text(capsys.readouterr().out)
    assert load_study(copy) == load_study("phantom", ("name=mine",))
    assert main(["study", str(tiny)]) == 2
    assert "--out" in capsys.readouterr().err

    def broken(*_):
        raise OSError("disk")

    monkeypatch.setattr("vol2vol.study.runner.run_trial", broken)
    assert main(["study", str(tiny), "--out", str(tmp_path / "out"), "--json", *SMALL]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == ["rat-to-human.identity"]


@pytest.mark.parametrize("spatial", [(48, 160, 160), (4, 512, 512), (1, 1, 7), (13, 17, 19), (1, 1024, 768)])
def test_blocks_are_as_many_as_asked_for_and_large(spatial):
    block = blocks_for(spatial, 64)
    count = np.prod([-(-n // b) for n, b in zip(spatial, block, strict=True)])
    assert count >= min(64, np.prod(spatial))
    assert count <= 4 * 64
