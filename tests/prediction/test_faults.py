"""Whatever is killed, truncated, filled or exchanged: the bytes of an undisturbed run, or a refusal with its cause."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import tifffile
from tests.prediction.conftest import network, write_volume
from tests.prediction.killing import Killing

from vol2vol.errors import AlreadyExists, CannotWrite, Mismatch, Unreadable
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction import compute as compute_module
from vol2vol.prediction.verification import verify
from vol2vol.protocol import between
from vol2vol.volumes.marks import Marks

SETTINGS = {
    "swept": {},
    "tiles": {"tile": "30"},
    "raw": {"raw": True, "ome_version": "0.4"},
}


def tree(folder):
    """Everything below a folder by name; of a TIFF, whose header is unique, the voxels."""
    if folder.is_file():
        return {folder.name: tifffile.imread(folder).tobytes()}
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def same(first, second):
    one, two = tree(first), tree(second)
    assert one.keys() == two.keys()
    assert not [name for name in one if one[name] != two[name]]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A volume of five blocks along its sweep."""
    array = np.random.default_rng(7).integers(0, 256, (300, 36, 40), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("long") / "in.zarr", array, chunks=(32, 32, 32))


@pytest.fixture(scope="module")
def undisturbed(models, long, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    for name, settings in SETTINGS.items():
        predict(models[3], long, folder / name / "out.zarr", PredictSettings(**settings))
    predict(models[3], long, folder / "tif" / "out.tif", PredictSettings())
    return folder


@pytest.fixture
def mine(long, tmp_path):
    """The volume, to be spoiled."""
    shutil.copytree(long, tmp_path / "in.zarr")
    return tmp_path / "in.zarr"


class Stop(Exception):
    pass


def begin(model, source, output, *, blocks=3, settings=None):
    """Begin a prediction and break it off after some blocks."""

    def progress(done, total, voxels):
        if done == blocks:
            raise Stop

    with pytest.raises(Stop):
        predict(model, source, output, settings, progress=progress)
    return output


def killed_again_and_again(killing, models, long, undisturbed, folder, *, least):
    jobs = [(name, settings, "out.zarr") for name, settings in SETTINGS.items()] + [("tif", {}, "out.tif")]
    killing.random.shuffle(jobs)
    took = {}
    for number in range(1000):
        name, settings, output = jobs[number % len(jobs)]
        job = {"model": models[3], "input": long, "settings": settings}
        where = folder / f"{number}" / output
        if name not in took:
            took[name] = killing.whole(**job, output=folder / name / output)
        killing.until_complete(took[name], min(6, least - killing.kills), **job, output=where)
        same(where, undisturbed / name / output)
        if killing.kills >= least:
            return


@pytest.fixture
def killing(tmp_path):
    seed = int.from_bytes(os.urandom(4))
    print(f"kills are drawn from seed {seed}")  # noqa: T201 - shown where a test fails
    made = Killing(tmp_path, seed)
    yield made
    made.close()


def test_the_program_is_killed(killing, models, long, undisturbed, tmp_path):
    killed_again_and_again(killing, models, long, undisturbed, tmp_path, least=3)


def test_workers_are_killed(killing, models, long, undisturbed, tmp_path):
    job = {"model": models[3], "input": long, "settings": {"workers": 2}}
    for most in (1.5, 0.5, 0.1):  # on a fast machine they may have ended before
        where = tmp_path / f"{most}" / "out.zarr"
        killing.workers(2, (0, most), **job, output=where)
        same(where, undisturbed / "swept" / "out.zarr")
        if killing.kills:
            return
    pytest.fail("no worker lived long enough to be killed")


@pytest.mark.slow
def test_fifty_kills(killing, models, long, undisturbed, tmp_path):
    killed_again_and_again(killing, models, long, undisturbed, tmp_path, least=40)
    programs, killing.kills = killing.kills, 0
    for number in range(100):
        where = tmp_path / f"w{number}" / "out.zarr"
        job = {"model": models[3], "input": long, "output": where, "settings": {"workers": 2}}
        killing.workers(min(12, killing.kills + 3), (0, 3), **job)
        same(where, undisturbed / "swept" / "out.zarr")
        if killing.kills >= 12:
            break
    workers = killing.kills
    job["output"] = tmp_path / "both" / "out.zarr"
    killing.until_complete(killing.whole(**job | {"output": tmp_path / "c" / "out.zarr"}), 4, **job)
    same(job["output"], undisturbed / "swept" / "out.zarr")
    print(f"{programs} programs, {workers} workers, {killing.kills - workers} programs with workers were killed")  # noqa: T201
    assert programs + killing.kills >= 52


def shards(output):
    return sorted(path for path in (output / "0" / "c").rglob("0") if path.is_file())


def test_voxels_that_a_crash_took_are_computed_again(models, long, undisturbed, tmp_path, caplog):
    out = begin(models[3], long, tmp_path / "out.zarr", blocks=4)
    files = shards(out)
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    files[1].write_bytes(b"")
    flipped = bytearray(files[2].read_bytes())
    flipped[len(flipped) // 3] ^= 4
    files[2].write_bytes(flipped)
    predict(models[3], long, out)
    assert caplog.text.count("it is computed again") == 3
    same(out, undisturbed / "swept" / "out.zarr")


def test_a_shard_of_zeros_and_one_that_is_gone(models, long, undisturbed, tmp_path):
    out = begin(models[3], long, tmp_path / "out.zarr", blocks=3)
    files = shards(out)
    files[0].unlink()
    files[1].write_bytes(files[2].read_bytes())
    predict(models[3], long, out)
    same(out, undisturbed / "swept" / "out.zarr")


def test_a_truncated_tiff_is_refused_or_mended(models, long, undisturbed, tmp_path):
    out = begin(models[3], long, tmp_path / "out.tif")
    whole = out.read_bytes()
    for size in (len(whole) - 1000, len(whole) // 2, 100, 0):
        out.write_bytes(whole[:size])
        with pytest.raises((Unreadable, Mismatch, CannotWrite), match=r"cut off|damaged|is not|cannot be"):
            predict(models[3], long, out)
    out.write_bytes(whole)
    with out.open("r+b") as file:
        file.seek(len(whole) // 2)
        file.write(bytes(2000))
    predict(models[3], long, out)
    same(out, undisturbed / "tif" / "out.tif")


@pytest.mark.parametrize("damage", [b"", b"\xff\x00garbage", b"00000000", b'{"a": 1}'])
def test_damaged_marks_are_no_marks(damage, models, long, undisturbed, tmp_path):
    out = begin(models[3], long, tmp_path / "out.zarr")
    for mark in (out / ".vol2vol" / "done").iterdir():
        mark.write_bytes(damage)
    (out / ".vol2vol" / "done" / "no.such.block").write_bytes(damage)
    predict(models[3], long, out)
    same(out, undisturbed / "swept" / "out.zarr")


def test_a_damaged_plan_is_refused(models, long, tmp_path):
    out = begin(models[3], long, tmp_path / "out.zarr")
    plan = out / ".vol2vol" / "plan.json"
    text = plan.read_text()
    for damaged in ("", text[:100], "[]", "{}", text.replace('"push": 4', '"push": 8'), text.replace("300", "301", 1)):
        assert damaged != text
        plan.write_text(damaged)
        with pytest.raises(Unreadable, match=r"damaged: start again with `overwrite`"):
            predict(models[3], long, out)
    plan.unlink()
    with pytest.raises(AlreadyExists, match="`overwrite`"):
        predict(models[3], long, out)


def test_an_output_stored_otherwise_than_planned_is_refused(models, long, tmp_path):
    out = begin(models[3], long, tmp_path / "out.zarr")
    meta = json.loads((out / "0" / "zarr.json").read_text())
    meta["shape"][0] += 64
    (out / "0" / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(Mismatch, match="the plan has"):
        predict(models[3], long, out)


@pytest.mark.parametrize("stage", ["attributes", "half an array", "array"])
def test_creations_that_were_cut_short_start_again(stage, models, long, undisturbed, tmp_path):
    """Who makes an output is written first, then its array, then the ledger."""
    out = begin(models[3], long, tmp_path / "out.zarr", blocks=0)
    shutil.rmtree(out / ".vol2vol")
    if stage == "half an array":
        (out / "0" / "zarr.json").rename(out / "0" / "zarr.json.__lock")
    if stage == "attributes":
        shutil.rmtree(out / "0")
    predict(models[3], long, out)
    same(out, undisturbed / "swept" / "out.zarr")


def test_an_array_that_does_not_say_who_made_it_is_left_alone(models, long, tmp_path):
    out = begin(models[3], long, tmp_path / "out.zarr", blocks=0)
    shutil.rmtree(out / ".vol2vol")
    (out / "zarr.json").unlink()
    before = (out / "0" / "zarr.json").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(AlreadyExists, match="does not say that vol2vol wrote it") as caught:
            predict(models[3], long, out, overwrite=overwrite)
        assert "`overwrite`" not in str(caught.value)
    assert (out / "0" / "zarr.json").read_bytes() == before


def change(volume, key="0/c/4/0/0"):
    """Change one chunk that no sample of the fingerprint touches."""
    path = next(p for p in volume.rglob("*") if str(p).endswith(key))
    other = next(p for p in volume.rglob("*") if str(p).endswith("0/c/5/0/0"))
    path.write_bytes(other.read_bytes())


def test_an_input_that_changes_under_way_never_becomes_complete(models, mine, tmp_path):
    out, before = tmp_path / "out.zarr", tmp_path / "before.zarr"
    shutil.copytree(mine, before)

    def progress(done, total, voxels):
        if done == 2:
            change(mine)

    with pytest.raises(Mismatch, match=r"in.zarr was changed while it was read"):
        predict(models[3], mine, out, progress=progress)
    shutil.rmtree(mine)
    before.rename(mine)  # as it was, times included: parts of the output come from what was there in between
    with pytest.raises(Mismatch, match=r"was changed while it was read"):
        predict(models[3], mine, out)


def test_an_input_that_changes_between_two_starts_is_refused(models, mine, tmp_path):
    out = begin(models[3], mine, tmp_path / "out.zarr")
    change(mine)
    with pytest.raises(Mismatch, match=r"another input \(or it has changed\)"):
        predict(models[3], mine, out)


def test_an_input_that_vanishes_is_named(models, mine, tmp_path):
    def progress(done, total, voxels):
        if done == 2:
            shutil.rmtree(mine)

    with pytest.raises((Mismatch, Unreadable), match=r"in.zarr"):
        predict(models[3], mine, tmp_path / "out.zarr", progress=progress)
    assert (tmp_path / "out.zarr" / ".vol2vol" / "plan.json").is_file()


def test_a_model_that_is_exchanged_is_refused(models, long, tmp_path):
    both = {"forward": network(3, seed=5), "backward": network(3, seed=6)}
    grey = {"source": fixed(0, 255), "target": fixed(0, 255)}
    shutil.copytree(models[3], tmp_path / "model")
    out = begin(tmp_path / "model", long, tmp_path / "out.zarr")
    shutil.rmtree(tmp_path / "model")
    save_bundle(tmp_path / "model", between(both), grey, channels={"source": 1, "target": 1}, provenance={"patch": 30})
    with pytest.raises(Mismatch, match="another model"):
        predict(tmp_path / "model", long, out)


def test_an_output_that_is_begun_anew_by_another_is_left_alone(models, long, tmp_path):
    out = tmp_path / "out.zarr"
    other = PredictSettings(direction="backward")

    def progress(done, total, voxels):
        if done == 2:
            begin(models[3], long, tmp_path / "other.zarr", settings=other, blocks=1)
            shutil.rmtree(out)
            (tmp_path / "other.zarr").rename(out)

    with pytest.raises(Mismatch, match="started again by another process"):
        predict(models[3], long, out, progress=progress)
    predict(models[3], long, out, other)
    predict(models[3], long, tmp_path / "expected.zarr", other)
    same(out / "0", tmp_path / "expected.zarr" / "0")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_is_named_and_the_rest_follows_when_there_is_room(models, long, undisturbed, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    with pytest.raises(CannotWrite, match=r"disk is full: free some space and start again"):
        predict(models[3], long, small_disk / "out.zarr")
    ballast.unlink()
    predict(models[3], long, small_disk / "out.zarr")
    same(small_disk / "out.zarr", undisturbed / "swept" / "out.zarr")


def test_another_try_may_fail_before_it_reads_a_voxel(models, long, undisturbed, tmp_path, monkeypatch):
    """The ledger is behind the same network: that it cannot be listed is one failure among others."""
    compute, refresh, failures = compute_module.compute_items, Marks.refresh, iter([1, 2])

    def fails(*what):
        for number, block in enumerate(compute(*what)):
            yield block
            if number == 1 and next(failures, None) == 1:
                monkeypatch.setattr(Marks, "refresh", unlisted)
                raise Unreadable("the network is away")

    def unlisted(self):
        monkeypatch.setattr(Marks, "refresh", refresh)
        raise Unreadable("the network is still away")

    monkeypatch.setattr(compute_module, "compute_items", fails)
    monkeypatch.setattr(compute_module, "PAUSE", 0.0)
    predict(models[3], long, tmp_path / "out.zarr")
    same(tmp_path / "out.zarr", undisturbed / "swept" / "out.zarr")


def test_verify_finds_what_was_changed(models, long, undisturbed, tmp_path):
    shutil.copytree(undisturbed / "swept" / "out.zarr", tmp_path / "out.zarr")
    sound = verify(tmp_path / "out.zarr", model=models[3], input=long, sample=5)
    assert (sound.blocks, sound.of, sound.differing, sound.wrong) == (5, 5, 0, {})
    files = shards(tmp_path / "out.zarr")
    files[1].write_bytes(files[2].read_bytes())
    found = verify(tmp_path / "out.zarr", model=models[3], input=long, sample=5)
    assert found.differing > 1000
    assert list(found.wrong) == ["64.0.0", "1-0.0.0"]  # what the coarser level averages is not that any more
