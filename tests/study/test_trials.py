"""Studies: every trial has one row; finished trials are kept, failed ones are tried again."""

import json
import shutil

import numpy as np
import pytest
import yaml

from vol2vol.errors import BadInput, Mismatch, Unreadable, UserError
from vol2vol.geometry import Box
from vol2vol.metrics.objects.overlap import average_precision, iou
from vol2vol.models.bundle import load_bundle
from vol2vol.phantoms import DOMAINS, render, scene_of
from vol2vol.report.rows.rows import read_rows, read_sums
from vol2vol.study import load_study, plan_study, run_study
from vol2vol.study.domain_files import Parts
from vol2vol.study.picking import oracles, values_of
from vol2vol.study.runner import _compare
from vol2vol.volumes import open_volume

pytestmark = pytest.mark.usefixtures("without_report")
SMALL = ("baselines=[identity]", "segmenters={}", "translators={}", "measures=[structure]")


def names(rows):
    return [row.trial for row in rows]


def test_every_trial_has_a_row_with_what_was_measured(ran, tiny):
    result, messages = ran
    rows = {row.trial: row for row in read_rows(result.folder)}
    assert not result.failed
    assert result.done == len(rows) == len({line.split(":")[0] for line in messages})
    kinds = [row.kind for row in rows.values()]
    assert kinds.count("bound") == 1
    assert kinds.count("baseline") == 3
    assert kinds.count("network") == 3
    full = [row for row in rows.values() if row.strategy == "disjoint"]
    assert len(full) == 1
    row = full[0]
    for name in (
        "distance/encoder/fid/xy",
        "distance/encoder/kid/xy/floor",
        "distance/encoder/fid/xy/against_first",
        "fidelity/psnr",
        "structure/lncc",
        "cycle/psnr",
        "cycle/hidden",
        "mismatch/tile",
        "label_free/confidence",
        "segmentation/unet/0/iou",
        "segmentation/unet/0/auprc",
        "segmentation/unet/0/f1",
        "cost/train_seconds",
        "cost/seconds",
        "cost/parameters",
    ):
        assert row.number(name) is not None, (name, row.notes)
    taken = {name for name in row.values if not name.startswith(oracles()) and not name.endswith("/against_first")}
    assert taken <= {name for names in values_of(load_study(tiny)).values() for name in names}
    assert "seams" in row.notes
    assert row.notes["picked"] == "best by structure/lncc"
    assert (result.folder / row.volume).is_dir()
    assert (result.folder / row.segmentations["unet/0"]).is_dir()
    assert (result.folder / row.run / "log.csv").is_file()
    assert result.report is not None
    assert result.report.is_file()


def test_only_tiles_that_matter_change_a_volume_when_they_are_moved(ran):
    rows = {row.strategy: row for row in read_rows(ran[0].folder) if "mismatch/tile" in row.values}
    assert rows["exact"].number("mismatch/largest") < 0.1 < rows["disjoint"].number("mismatch/largest")
    assert rows["exact"].number("mismatch/tile") < 0.01 < 3 * rows["disjoint"].number("mismatch/tile")
    assert not [p for p in (ran[0].folder / "volumes").iterdir() if p.name.startswith(".")]


def test_why_a_checkpoint_is_picked_is_said_anew_without_doing_it_again(tiny, ran, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(ran[0].folder, folder)
    messages = []
    chosen = next(row for row in read_rows(folder) if row.strategy == "disjoint")
    role = "best" if chosen.checkpoint == 2 else "worst"
    changes = f"picks=[{{by: checkpoint, lowest: false, roles: [{role}]}}]"
    run_study(tiny, folder, overrides=(changes,), progress=messages.append)
    row = next(row for row in read_rows(folder) if row.trial == chosen.trial)
    assert not messages
    assert row.notes["picked"] == f"{role} by checkpoint"
    assert row.values == chosen.values
    assert read_sums(folder, row.trial)


def test_sums_per_block_give_the_values_again(ran):
    folder = ran[0].folder
    for row in read_rows(folder):
        sums = read_sums(folder, row.trial)
        if "segmentation/unet/0/iou" in row.values:
            assert iou(sums["segmentation/unet/0/iou"].sum(0)) == pytest.approx(row.number("segmentation/unet/0/iou"))
            histogram = sums["segmentation/unet/0/auprc"].sum(0).reshape(2, -1)
            assert average_precision(histogram) == pytest.approx(row.number("segmentation/unet/0/auprc"))
            assert len(sums["segmentation/unet/0/iou"]) >= 8


def test_overlap_is_that_of_the_stored_volumes(ran):
    folder = ran[0].folder
    row = next(row for row in read_rows(folder) if row.translator == "histogram")
    prediction, mask = (
        open_volume(folder / path).read(Box.of((24, 96, 96)))
        for path in (row.segmentations["unet/0"], "domains/rat/test-mask.zarr")
    )
    chosen = prediction >= round(256 * row.number("segmentation/unet/0/threshold"))
    both, either = (chosen & (mask > 0)).sum(), (chosen | (mask > 0)).sum()
    assert row.number("segmentation/unet/0/iou") == pytest.approx(both / either)


def test_the_bound_is_judged_by_its_own_domain_and_the_baselines_by_the_target(ran):
    rows = {row.translator: row for row in read_rows(ran[0].folder)}
    thresholds = {
        domain: json.loads((ran[0].folder / "runs" / domain / "unet-seed0" / "threshold.json").read_text())
        for domain in ("rat", "human")
    }
    assert rows["in-domain"].number("segmentation/unet/0/threshold") == thresholds["rat"]["threshold"]
    assert rows["identity"].number("segmentation/unet/0/threshold") == thresholds["human"]["threshold"]
    assert rows["in-domain"].volume == rows["identity"].volume == rows["adabn"].volume == "domains/rat/test.zarr"
    bound, other = (
        load_bundle(ran[0].folder / "runs" / "human" / name).hash
        for name in ("unet-seed0/models/epoch-0001", "unet-seed0-adapted-to-rat")
    )
    assert bound != other


def test_a_second_start_does_nothing_again(tiny, ran):
    result, _ = ran
    before = (result.folder / "rows.jsonl").read_bytes()
    messages = []
    again = run_study(tiny, result.folder, progress=messages.append)
    assert not messages
    assert (result.folder / "rows.jsonl").read_bytes() == before
    assert again.done == result.done


def test_parts_hold_what_the_domain_shows(tiny, ran):
    parts = Parts(load_study(tiny), ran[0].folder)
    scene, box = scene_of(DOMAINS["rat"], 2), Box((32, 0, 0), (56, 96, 96))
    whole = Box.of((24, 96, 96))
    assert np.array_equal(open_volume(parts.image("rat", "test")).read(whole), render(scene, DOMAINS["rat"], box))
    truth = open_volume(parts.truth("rat", "human")).read(whole)
    assert np.array_equal(truth, render(scene, DOMAINS["human"], box))


def test_translators_learn_from_the_look_where_there_is_one(tiny, tmp_path):
    study = load_study(tiny, overrides=("domains.human.parts.translator_train=0:10",))
    parts = Parts(study, tmp_path)
    assert [path.name for name in ("rat", "human") for path in parts.translator_images(name)] == [
        "train.zarr",
        "translator_train.zarr",
    ]
    assert open_volume(parts.translator_images("human")[0]).spatial == (10, 96, 96)
    assert open_volume(parts.image("human", "train")).spatial == (24, 96, 96), "segmenters learn from all of it"
    with pytest.raises(
        BadInput, match=r"domains\.human\.parts\.translator_train of \(10, 96, 96\) .* no patch of \(22, 22, 22\)"
    ):
        plan_study(tiny, overrides=("domains.human.parts.translator_train=0:10",))


def test_more_seeds_are_more_of_the_same_study_but_other_measures_are_not(tiny, tmp_path):
    run_study(tiny, tmp_path / "out", overrides=SMALL)
    grown = run_study(tiny, tmp_path / "out", overrides=(*SMALL, "baselines=[identity, meanstd]"))
    assert grown.done == 2
    with pytest.raises(Mismatch, match=r"distance\.patches 40, now it is 41"):
        run_study(tiny, tmp_path / "out", overrides=(*SMALL, "distance.patches=41"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("translators.deep.strategies.disjoint.tile=30", r"strategies\.disjoint\.tile 22, now it is 30"),
        ("translators.deep.strategies.exact.overlap=4", r"strategies\.exact\.overlap None, now it is 4"),
        ("domains.rat.truths.human=other.zarr", r"rat\.truths\.human None, now it is 'other\.zarr'"),
    ],
)
def test_what_rows_rest_on_is_neither_changed_nor_added(tiny, tmp_path, change, line):
    kept, begun = tmp_path / "study.yaml", load_study(tiny).model_dump(mode="json")
    kept.write_text(yaml.safe_dump(begun))
    grown = "translators.deep.strategies.average={tile: 24, halo: 1, overlap: 4}"
    _compare(kept, load_study(tiny, (grown,)).model_dump(mode="json"))
    blended = load_study(tiny, ("translators.deep.strategies={disjoint: {tile: 22}}",)).model_dump(mode="json")
    kept.write_text(yaml.safe_dump(blended))
    with pytest.raises(Mismatch, match=r"strategies compared with 'disjoint', now it is 'exact'"):
        _compare(kept, begun)
    kept.write_text(yaml.safe_dump(begun))
    for damaged in ("", "- a", "a:\n\t- b"):
        kept.with_name("damaged").write_text(damaged)
        with pytest.raises(Unreadable, match="damaged"):
            _compare(kept.with_name("damaged"), begun)
    with pytest.raises(Mismatch, match=line):
        _compare(kept, load_study(tiny, (change,)).model_dump(mode="json"))


def test_names_that_a_person_gives_are_no_keys(tmp_path):
    """A translator called seeds, or a domain called data, may change no more than any other."""
    begun = {"translators": {"seeds": {"recipe": "a", "seeds": [0]}}, "domains": {"data": {"image": "a"}}, "data": "x"}
    kept = tmp_path / "study.yaml"
    kept.write_text(yaml.safe_dump(begun))
    _compare(kept, {**begun, "translators": {"seeds": {"recipe": "a", "seeds": [0, 1]}}, "data": "y"})
    for change in ({"translators": {"seeds": {"recipe": "b"}}}, {"domains": {"data": {"image": "b"}}}):
        with pytest.raises(Mismatch, match="was begun with"):
            _compare(kept, {**begun, **change})


def test_a_training_that_cannot_be_is_said_before_anything_is_done(tiny, tmp_path):
    for change, line in (
        ("translators.deep.overrides=[data.patch=23]", r"translators\.deep: .*23"),
        ("translators.deep.checkpoints=[1,7]", r"translators\.deep: checkpoint 7 is not saved: use some of 1, 2"),
        ("segmenters.unet.overrides=[data.patch=77]", r"segmenters\.unet: .*77"),
        ("segmenters.unet.overrides=[data.patch=100]", r"domains\.rat\.parts\.train of \(24, 96, 96\) .*\(100, 100\)"),
    ):
        with pytest.raises(BadInput, match=line):
            run_study(tiny, tmp_path / "out", overrides=(change,))
        with pytest.raises(BadInput, match=line):
            plan_study(tiny, overrides=(change,))
    assert not (tmp_path / "out").exists()


def test_a_failed_trial_is_kept_stops_no_other_and_is_tried_again(tiny, tmp_path, monkeypatch):
    from vol2vol.study import trial

    def broken(assets, trial, *rest):
        if trial.translator == "meanstd":
            raise RuntimeError("the machine\nis on fire")
        return done(assets, trial, *rest)

    done = trial.run_trial
    monkeypatch.setattr("vol2vol.study.runner.run_trial", broken)
    changes = (*SMALL, "baselines=[meanstd, identity]")
    result = run_study(tiny, tmp_path / "out", overrides=changes)
    assert result.failed == ("rat-to-human.meanstd",)
    assert result.done == 1
    row = read_rows(result.folder)[0]
    assert (row.status, row.reason) == ("failed", "RuntimeError: the machine is on fire")
    monkeypatch.undo()
    again = run_study(tiny, tmp_path / "out", overrides=changes)
    assert not again.failed
    assert [row.status for row in read_rows(result.folder)] == ["done", "done"]


def test_a_diverged_training_fails_alone(tiny, tmp_path, monkeypatch):
    def train(*arguments, **settings):
        raise UserError("the loss of the generators is nan in epoch 1, step 1")

    monkeypatch.setattr("vol2vol.study.assets.train", train)
    result = run_study(
        tiny, tmp_path / "out", overrides=("segmenters={}", "baselines=[identity]", "measures=[structure]")
    )
    assert len(result.failed) == 2
    assert result.done == 1
    assert "the loss of the generators is nan" in read_rows(result.folder)[-1].reason
