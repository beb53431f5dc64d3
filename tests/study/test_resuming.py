"""Studies that are continued: later segmenters, failed volumes, kills, two processes at once."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vol2vol.cli import main
from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.models.checkpoints import find_bundle
from vol2vol.report.rows.rows import read_rows, read_sums
from vol2vol.study import load_study, plan_study, run_study
from vol2vol.study.assets import Assets, Judge
from vol2vol.volumes import open_volume

pytestmark = pytest.mark.usefixtures("without_report")


def names(rows):
    return [row.trial for row in rows]


SMALL = ("baselines=[identity]", "segmenters={}", "translators={}", "measures=[structure]")


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
    result = run_study(tiny, tmp_path / "out", overrides=few)
    name = "distance/encoder/fid/xy/against_first"
    rows = {row.strategy: row for row in read_rows(result.folder)}
    assert (rows["exact"].status, rows["disjoint"].status) == ("failed", "done")
    assert name not in rows["disjoint"].values
    monkeypatch.setattr(translating, "predict", predict)
    shutil.rmtree(result.folder / "volumes")
    again = run_study(tiny, tmp_path / "out", overrides=few)
    assert not again.failed
    rows = {row.strategy: row for row in read_rows(result.folder)}
    exact, disjoint = (rows[way].number("distance/encoder/fid/xy") for way in ("exact", "disjoint"))
    assert rows["disjoint"].number(name) is not None
    assert np.sign(rows["disjoint"].number(name)) == np.sign(disjoint - exact)
    messages = []
    run_study(tiny, tmp_path / "out", overrides=few, progress=messages.append)
    assert not messages


def test_targets_have_encoders_of_their_own(tiny, tmp_path):
    """What one target's encoder sees in a source is not taken for what another's sees."""
    more = "domains.rodent={phantom: {look: rat, seed: 5, shape: [56, 96, 96]}, parts: {train: '0:24', test: '32:56'}}"
    few = ("segmenters={}", "translators={}", "baselines=[identity]", "measures=[distance]", more)
    both = run_study(tiny, tmp_path / "both", overrides=(*few, "pairs=[[rat, human], [rat, rodent]]"))
    alone = run_study(tiny, tmp_path / "alone", overrides=(*few, "pairs=[[rat, rodent]]"))
    shared, own = ({row.trial: row for row in read_rows(result.folder)} for result in (both, alone))
    assert shared["rat-to-rodent.identity"].values == own["rat-to-rodent.identity"].values


def test_a_segmenters_recipe_may_change_with_its_domain(tiny, tmp_path, monkeypatch):
    calls = {}

    def train(recipe, source, target, out, *, overrides):
        calls[out.parent.name] = overrides
        raise MemoryError

    monkeypatch.setattr("vol2vol.study.assets.train", train)
    change = "segmenters.unet.domains.human=[train.epochs=3]"
    assets = Assets(load_study(tiny, (change,)), tmp_path)
    for domain in ("rat", "human"):
        with pytest.raises(MemoryError):
            assets.judges(domain)
    assert [*calls["rat"][:-1], "train.epochs=3", calls["rat"][-1]] == [*calls["human"]]
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
    result = run_study(tiny, tmp_path / "out", overrides=("segmenters={}", "baselines=[]"))
    assert len(result.failed) == 2
    assert len(tried) == 1


def test_a_translator_preserves_what_the_segmenter_of_its_target_alone_sees(tiny, ran, tmp_path, monkeypatch):
    calls = {}

    def train(recipe, source, target, out, *, overrides):
        calls[out.name] = overrides
        raise MemoryError

    folder = tmp_path / "heeding"
    shutil.copytree(ran[0].folder, folder)
    monkeypatch.setattr("vol2vol.study.assets.train", train)
    assets = Assets(load_study(tiny, ("translators.deep.preserves=unet",)), folder)
    monkeypatch.setattr(Assets, "_judge", lambda self, name, seed, domain: ran_judge(folder, name, seed, domain))
    with pytest.raises(MemoryError):
        assets.translator("deep", 0, ("rat", "human"))
    runs = folder / "runs"
    heeded = [change for change in calls["deep-seed0"] if "segmenters" in change]
    assert heeded == [f'task.segmenters.target="{find_bundle(runs / "human" / "unet-seed0", "best")}"']
    with pytest.raises(MemoryError):
        assets.translator("deep", 0, ("human", "rat"))
    assert [change for change in calls["deep-seed0"] if "segmenters" in change] == [
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
    messages = []
    result = run_study(tiny, out, overrides=("segmenters={}",), progress=messages.append)
    assert not result.failed
    assert before
    assert not set(before) & {line.split(":")[0] for line in messages}
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
