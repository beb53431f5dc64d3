"""Studies: one row per trial, whatever fails, is killed or is asked for again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
import yaml

from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, BadInput, Mismatch, NotFound, Unreadable, UserError
from vol2vol.geometry import Box
from vol2vol.metrics.objects.overlap import average_precision, iou
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.phantoms import DOMAINS, render, scene_of
from vol2vol.report.rows.rows import Row, Value, append_row, read_rows, read_sums
from vol2vol.study import list_studies, load_study, plan_study, run_study
from vol2vol.study.assets import Assets, Judge
from vol2vol.study.domain_files import Parts
from vol2vol.study.picking import oracles, values_of
from vol2vol.study.runner import _compare
from vol2vol.study.settings import Pick
from vol2vol.study.subjects import blocks_for
from vol2vol.study.trials import baseline_trials, checkpoint_trials, picked, picked_trials
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
TINY = """
name: tiny
domains:
  rat:
    phantom: {look: rat, seed: 2, shape: [56, 96, 96]}
    parts: {train: "0:24", validate: "24:32", test: "32:56"}
  human:
    phantom: {look: human, seed: 3, shape: [56, 96, 96]}
    parts: {train: "0:24", validate: "24:32", test: "32:56"}
pairs: [[rat, human]]
baselines: [identity, histogram, adabn]
translators:
  deep:
    recipe: small-3d
    overrides:
      - data.patch=22
      - task.generator.arguments.levels=1
      - data.calibration=2
      - task.generator.arguments.width=2
      - task.critic.arguments.width=2
      - task.critic.arguments.n_layers=1
      - task.ssim_cycle=0
      - train.epochs=2
      - train.steps_per_epoch=1
      - train.checkpoint_every=1
    strategies: {exact: {tile: 34}, disjoint: {tile: 22}}
segmenters:
  unet:
    recipe: small-segment-2d
    overrides:
      - data.patch=76
      - data.labels.held_out_patches=2
      - data.labels.foreground=0
      - data.calibration=2
      - task.network.arguments.width=2
      - train.epochs=1
      - train.steps_per_epoch=2
      - train.batch_size=1
      - train.ema=0
    seeds: [0]
picks: [{by: structure/lncc, lowest: false, roles: [best]}]
distance: {patches: 40, size: 24, steps: 3, resamples: 10}
judging: {blocks: 8, near: 3, shifts: 3}
"""
SMALL = ("baselines=[identity]", "segmenters={}", "translators={}", "measures=[structure]")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(autouse=True)
def _without_report(monkeypatch):
    """Reports have tests of their own; the fixture `ran` writes one."""
    monkeypatch.setattr("vol2vol.report.write_study_report", lambda folder: folder / "report.html", raising=False)


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("ran") / "out"
    said = []
    return run_study(tiny, out, progress=said.append), said


def names(rows):
    return [row.trial for row in rows]


def test_every_trial_has_a_row_with_what_was_measured(ran, tiny):
    made, said = ran
    rows = {row.trial: row for row in read_rows(made.folder)}
    assert not made.failed
    assert made.done == len(rows) == len({line.split(":")[0] for line in said})
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
    assert (made.folder / row.volume).is_dir()
    assert (made.folder / row.segmentations["unet/0"]).is_dir()
    assert (made.folder / row.run / "log.csv").is_file()
    assert made.report is not None
    assert made.report.is_file()


def test_only_tiles_that_matter_change_a_volume_when_they_are_moved(ran):
    rows = {row.strategy: row for row in read_rows(ran[0].folder) if "mismatch/tile" in row.values}
    assert rows["exact"].number("mismatch/largest") < 0.1 < rows["disjoint"].number("mismatch/largest")
    assert rows["exact"].number("mismatch/tile") < 0.01 < 3 * rows["disjoint"].number("mismatch/tile")
    assert not [p for p in (ran[0].folder / "volumes").iterdir() if p.name.startswith(".")]


def test_why_a_checkpoint_is_picked_is_said_anew_without_doing_it_again(tiny, ran, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(ran[0].folder, folder)
    said = []
    chosen = next(row for row in read_rows(folder) if row.strategy == "disjoint")
    role = "best" if chosen.checkpoint == 2 else "worst"
    changes = f"picks=[{{by: checkpoint, lowest: false, roles: [{role}]}}]"
    run_study(tiny, folder, overrides=(changes,), progress=said.append)
    row = next(row for row in read_rows(folder) if row.trial == chosen.trial)
    assert not said
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
    found, mask = (
        open_volume(folder / path).read(Box.of((24, 96, 96)))
        for path in (row.segmentations["unet/0"], "domains/rat/test-mask.zarr")
    )
    chosen = found >= round(256 * row.number("segmentation/unet/0/threshold"))
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
    one, other = (
        load_bundle(ran[0].folder / "runs" / "human" / name).hash
        for name in ("unet-seed0/models/epoch-0001", "unet-seed0-adapted-to-rat")
    )
    assert one != other


def test_a_second_start_does_nothing_again(tiny, ran):
    made, _ = ran
    before = (made.folder / "rows.jsonl").read_bytes()
    said = []
    again = run_study(tiny, made.folder, progress=said.append)
    assert not said
    assert (made.folder / "rows.jsonl").read_bytes() == before
    assert again.done == made.done


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
    made = run_study(tiny, tmp_path / "out", overrides=changes)
    assert made.failed == ("rat-to-human.meanstd",)
    assert made.done == 1
    row = read_rows(made.folder)[0]
    assert (row.status, row.reason) == ("failed", "RuntimeError: the machine is on fire")
    monkeypatch.undo()
    again = run_study(tiny, tmp_path / "out", overrides=changes)
    assert not again.failed
    assert [row.status for row in read_rows(made.folder)] == ["done", "done"]


def test_a_diverged_training_fails_alone(tiny, tmp_path, monkeypatch):
    def train(*arguments, **settings):
        raise UserError("the loss of the generators is nan in epoch 1, step 1")

    monkeypatch.setattr("vol2vol.study.assets.train", train)
    made = run_study(
        tiny, tmp_path / "out", overrides=("segmenters={}", "baselines=[identity]", "measures=[structure]")
    )
    assert len(made.failed) == 2
    assert made.done == 1
    assert "the loss of the generators is nan" in read_rows(made.folder)[-1].reason


def test_segmenters_that_come_later_are_asked_of_what_is_done(tiny, ran, tmp_path):
    folder = tmp_path / "grown"
    shutil.copytree(ran[0].folder, folder)
    before = {row.trial: row for row in read_rows(folder)}
    run_study(tiny, folder, overrides=("segmenters.unet.seeds=[0,1]",))
    after = {row.trial: row for row in read_rows(folder)}
    assert after.keys() == before.keys()
    for name, row in after.items():
        if "segmentation/unet/0/iou" in before[name].values:
            assert row.number("segmentation/unet/1/iou") is not None, name
            assert "segmentation/unet/1/iou" in read_sums(folder, name)
        same = {value for value in before[name].values if not value.startswith(("label_free", "segmentation"))}
        assert all(row.values[value] == before[name].values[value] for value in same)


def test_a_first_volume_that_failed_is_compared_with_when_it_is_there(tiny, tmp_path, monkeypatch):
    """Broken off, it is there in part: nothing is measured against that, and all against the whole one."""
    from vol2vol.study import translating

    def broken(model, source, volume, *settings, **which):
        if "exact" in str(volume) and "epoch0002" in str(volume):
            predict(model, source, volume, *settings, **which)
            part = open_volume(volume)
            part.set_attrs({"vol2vol": {**part.attrs["vol2vol"], "complete": False}})
            raise MemoryError
        return predict(model, source, volume, *settings, **which)

    predict = translating.predict
    few = ("segmenters={}", "baselines=[]", "picks=[]", "translators.deep.checkpoints=last", "measures=[distance]")
    monkeypatch.setattr(translating, "predict", broken)
    made = run_study(tiny, tmp_path / "out", overrides=few)
    name = "distance/encoder/fid/xy/against_first"
    rows = {row.strategy: row for row in read_rows(made.folder)}
    assert (rows["exact"].status, rows["disjoint"].status) == ("failed", "done")
    assert name not in rows["disjoint"].values
    monkeypatch.setattr(translating, "predict", predict)
    shutil.rmtree(made.folder / "volumes")
    again = run_study(tiny, tmp_path / "out", overrides=few)
    assert not again.failed
    rows = {row.strategy: row for row in read_rows(made.folder)}
    exact, disjoint = (rows[way].number("distance/encoder/fid/xy") for way in ("exact", "disjoint"))
    assert rows["disjoint"].number(name) is not None
    assert np.sign(rows["disjoint"].number(name)) == np.sign(disjoint - exact)
    said = []
    run_study(tiny, tmp_path / "out", overrides=few, progress=said.append)
    assert not said


def test_targets_have_encoders_of_their_own(tiny, tmp_path):
    """What one target's encoder sees in a source is not taken for what another's sees."""
    more = "domains.rodent={phantom: {look: rat, seed: 5, shape: [56, 96, 96]}, parts: {train: '0:24', test: '32:56'}}"
    few = ("segmenters={}", "translators={}", "baselines=[identity]", "measures=[distance]", more)
    both = run_study(tiny, tmp_path / "both", overrides=(*few, "pairs=[[rat, human], [rat, rodent]]"))
    alone = run_study(tiny, tmp_path / "alone", overrides=(*few, "pairs=[[rat, rodent]]"))
    shared, own = ({row.trial: row for row in read_rows(made.folder)} for made in (both, alone))
    assert shared["rat-to-rodent.identity"].values == own["rat-to-rodent.identity"].values


def test_a_segmenters_recipe_may_change_with_its_domain(tiny, tmp_path, monkeypatch):
    told = {}

    def train(recipe, source, target, out, *, overrides):
        told[out.parent.name] = overrides
        raise MemoryError

    monkeypatch.setattr("vol2vol.study.assets.train", train)
    change = "segmenters.unet.domains.human=[train.epochs=3]"
    assets = Assets(load_study(tiny, (change,)), tmp_path)
    for domain in ("rat", "human"):
        with pytest.raises(MemoryError):
            assets.judges(domain)
    assert [*told["rat"][:-1], "train.epochs=3", told["rat"][-1]] == [*told["human"]]
    assert plan_study(tiny, overrides=(change,))["trainings"]["human/unet-seed0"].startswith("6 steps")
    assert plan_study(tiny, overrides=(change,))["trainings"]["rat/unet-seed0"].startswith("2 steps")
    with pytest.raises(BadInput, match=r"segmenters\.unet\.domains: there is no domain 'mouse'"):
        load_study(tiny, ("segmenters.unet.domains.mouse=[train.epochs=3]",))
    with pytest.raises(BadInput, match=r"segmenters\.unet: .*77"):
        plan_study(tiny, overrides=("segmenters.unet.domains.human=[data.patch=77]",))


def test_what_fails_for_all_is_tried_once(tiny, tmp_path, monkeypatch):
    tried = []

    def train(*arguments, **settings):
        tried.append(arguments)
        raise MemoryError

    monkeypatch.setattr("vol2vol.study.assets.train", train)
    made = run_study(tiny, tmp_path / "out", overrides=("segmenters={}", "baselines=[]"))
    assert len(made.failed) == 2
    assert len(tried) == 1


def test_a_translator_preserves_what_the_segmenter_of_its_target_alone_sees(tiny, ran, tmp_path, monkeypatch):
    told = {}

    def train(recipe, source, target, out, *, overrides):
        told[out.name] = overrides
        raise MemoryError

    folder = tmp_path / "heeding"
    shutil.copytree(ran[0].folder, folder)
    monkeypatch.setattr("vol2vol.study.assets.train", train)
    assets = Assets(load_study(tiny, ("translators.deep.preserves=unet",)), folder)
    monkeypatch.setattr(Assets, "_judge", lambda self, name, seed, domain: ran_judge(folder, name, seed, domain))
    with pytest.raises(MemoryError):
        assets.translator("deep", 0, ("rat", "human"))
    runs = folder / "runs"
    heeded = [change for change in told["deep-seed0"] if "segmenters" in change]
    assert heeded == [f'task.segmenters.target="{find_bundle(runs / "human" / "unet-seed0", "best")}"']
    with pytest.raises(MemoryError):
        assets.translator("deep", 0, ("human", "rat"))
    assert [change for change in told["deep-seed0"] if "segmenters" in change] == [
        f'task.segmenters.target="{find_bundle(runs / "rat" / "unet-seed0", "best")}"'
    ]
    with pytest.raises(BadInput, match="there is no segmenter 'vnet'"):
        load_study(tiny, ("translators.deep.preserves=vnet",))


def ran_judge(folder, name, seed, domain):
    run = folder / "runs" / domain / f"{name}-seed{seed}"
    return Judge(name=f"{name}/{seed}", model=run, which="best", threshold=0.5, foreground=0.1, predict={})


def test_a_study_that_was_killed_goes_on(tiny, ran, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vol2vol.cli", "study", str(tiny), "--out", str(out), "segmenters={}"]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(command, env=quiet, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not ((out / "rows.jsonl").is_file() and (out / "runs" / "rat-human").is_dir()):
        assert process.poll() is None, "it ended before it had a row"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = names(read_rows(out))
    with (out / "rows.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "trial": "cut off')
    said = []
    made = run_study(tiny, out, overrides=("segmenters={}",), progress=said.append)
    assert not made.failed
    assert before
    assert not set(before) & {line.split(":")[0] for line in said}
    assert names(read_rows(out)) == [n for n in names(read_rows(ran[0].folder)) if "adabn" not in n and "in-" not in n]


def test_a_rows_file_of_another_version_is_refused(tiny, tmp_path, capsys):
    run_study(tiny, tmp_path / "out", overrides=SMALL)
    rows = tmp_path / "out" / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"schema": 1', '"schema": 99'))
    assert main(["study", str(tiny), "--out", str(tmp_path / "out"), *SMALL]) == 2
    assert "another version" in capsys.readouterr().err


def test_two_processes_do_not_work_in_one_folder(tiny, tmp_path):
    from vol2vol.study.runner import _begun

    study = load_study(tiny)
    with _begun(tmp_path / "out", study), pytest.raises(AlreadyExists, match="another process"):  # noqa: SIM117
        with _begun(tmp_path / "out", study):
            pass


def image_study(tmp_path, **changes):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 200, (12, 40, 40), np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_mask.tif", np.zeros((12, 40, 40), np.uint8))
        tifffile.imwrite(tmp_path / f"{name}_small.tif", np.zeros((12, 40, 39), np.uint8))
    about = {"axes": "zyx", "voxel_size": [8, 8, 8], "unit": "nanometer"}
    told = {
        "name": "files",
        "domains": {name: {"image": f"{name}.tif", **about} for name in ("a", "b")},
        "pairs": [["a", "b"], ["b", "a"]],
        "baselines": ["identity", "histogram"],
        "measures": ["structure", "fidelity"],
    }
    told["domains"]["a"] |= changes
    path = tmp_path / "files.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def test_files_in_both_directions_with_a_degraded_copy_and_its_truth(tmp_path):
    path = image_study(tmp_path, degraded={"gain": 0.5, "offset": 20, "blur": 0.5, "noise": 2}, truths={"b": "a.tif"})
    made = run_study(path, tmp_path / "out", data=tmp_path)
    rows = {row.trial: row for row in read_rows(made.folder)}
    assert set(rows) == {"a-to-b.identity", "a-to-b.histogram", "b-to-a.identity", "b-to-a.histogram"}
    assert rows["a-to-b.histogram"].number("fidelity/psnr") > rows["a-to-b.identity"].number("fidelity/psnr") + 3
    assert "fidelity/psnr" not in rows["b-to-a.histogram"].values
    assert rows["a-to-b.identity"].number("structure/lncc") == pytest.approx(1)
    assert [p.name for p in (made.folder / "baselines").iterdir()] == ["a-b"]


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ({"image": "none.tif"}, NotFound, "give --data"),
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
    with pytest.raises(error, match=line) as told:
        run_study(path, tmp_path / "out", data=tmp_path)
    assert "\n" not in str(told.value)
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
    made = run_study(path, tmp_path / "out", data=tmp_path, overrides=changes)
    for row in read_rows(made.folder):
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
    told = {name.replace("_", "/"): Value(value=value) for name, value in values.items()}
    return Row(trial=f"t{epoch}", source="a", target="b", translator="n", checkpoint=epoch, values=told)


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
    assert [(one.checkpoint, one.strategy) for one in first] == [(1, "exact"), (2, "exact")]
    rows = [replace(one.row(), values={"structure/lncc": Value(value=one.checkpoint)}) for one in first]
    assert [(t.checkpoint, t.strategy) for t in picked_trials(study, rows)] == [(2, "exact"), (2, "disjoint")]
    apart = load_study(tiny, ("per=condition",))
    first = checkpoint_trials(apart)
    assert len(first) == 4
    better = {"exact": 1, "disjoint": -1}
    rows = [replace(t.row(), values={"structure/lncc": Value(value=better[t.strategy] * t.checkpoint)}) for t in first]
    assert [(t.checkpoint, t.strategy) for t in picked_trials(apart, rows)] == [(2, "exact"), (1, "disjoint")]


def test_failed_checkpoints_are_not_picked(tiny, tmp_path):
    study = load_study(tiny)
    one, two = checkpoint_trials(study)
    append_row(tmp_path, replace(two.row(), status="failed", values={"structure/lncc": Value(value=9)}))
    append_row(tmp_path, replace(one.row(), values={"structure/lncc": Value(value=1)}))
    assert {t.checkpoint for t in picked_trials(study, read_rows(tmp_path))} == {1}


@pytest.mark.parametrize("name", list_studies())
def test_shipped_studies_load_and_say_what_they_are_for(name):
    study = load_study(name)
    assert study.about
    assert study.name == name
    assert study.pairs
    trials = [*baseline_trials(study), *checkpoint_trials(study), *picked_trials(replace_picks(study), [])]
    found = names_of(trials)
    assert found
    assert all(len(one) < 120 and "/" not in one for one in found)
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
    told = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert set(told["trials"].values()) == {"to do"}
    assert len(told["trainings"]) == 3
    assert "2 trials" in told["then"]
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
