"""Preparing from file to file: formats, interruptions, second starts, refusals and costs."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from tests.preparation.array_volumes import chunked, get, put, tree

import vol2vol
from vol2vol.errors import AlreadyExists, BadInput, Mismatch
from vol2vol.geometry import Box
from vol2vol.preparation import Binarise, Convert, Crop, Preparation, Resample, Split, dry_run, prepare_volume, storage
from vol2vol.preparation.preparing import Chain
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.outputs import average_block

SHAPE = (21, 60, 66)
STEPS = ({"step": "crop", "box": "content"}, {"step": "resample", "voxel_size": [10, 12, 12]})
SETTINGS = Preparation(steps=STEPS, chunks=(4, 8, 8), shards=(4, 16, 16))


def tissue(dtype="uint8", shape=SHAPE):
    rng = np.random.default_rng(0)
    array = np.zeros(shape, dtype)
    array[1:-1, 5:-7, 3:-2] = rng.integers(1, 250, (shape[0] - 2, shape[1] - 12, shape[2] - 5))
    return array


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    put(folder / "em.zarr", tissue())
    prepare_volume(folder / "em.zarr", folder / "whole" / "out.zarr", SETTINGS)
    return folder


KILLED = """
import os, signal, sys
from vol2vol.preparation import Preparation, prepare_volume
def progress(done, total, voxels):
    print("block", flush=True)
    if done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
prepare_volume(sys.argv[1], sys.argv[2], Preparation.model_validate_json(sys.argv[3]), progress=progress)
"""


def command_for(world, out, at):
    return list(map(str, [sys.executable, "-c", KILLED, world / "em.zarr", out, SETTINGS.model_dump_json(), at]))


def killed(world, out, at):
    """Start a preparation that is killed after `at` blocks."""
    ended = subprocess.run(command_for(world, out, at), capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr


def test_killed_at_any_block_it_leaves_the_same_bytes(world, tmp_path):
    out = tmp_path / "out.zarr"
    for at in (0, 3, 11, 12):
        killed(world, out, at)
        assert Ledger.of(str(out)).plan() is not None
        assert not open_volume(out).attrs["preparation"]["complete"]
    [prepared] = prepare_volume(world / "em.zarr", out, SETTINGS, workers=1)
    assert 11 <= prepared.blocks_before < prepared.blocks
    assert tree(out) == tree(world / "whole" / "out.zarr")
    assert not (out / ".vol2vol").exists()


def test_killed_at_any_moment_it_leaves_the_same_bytes(world, tmp_path):
    out, random = tmp_path / "out.zarr", np.random.default_rng(1)
    for _ in range(4):
        with subprocess.Popen(command_for(world, out, -1), stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.25))
            process.kill()
    prepare_volume(world / "em.zarr", out, SETTINGS)
    assert tree(out) == tree(world / "whole" / "out.zarr")


def test_stopped_among_the_coarser_levels_it_goes_on(world, tmp_path, monkeypatch):
    out, averaged = tmp_path / "out.zarr", []

    def stop(output, levels, box, **how):
        if len(averaged) == 3:
            raise KeyboardInterrupt
        averaged.append((levels[0][1].number, box))
        average_block(output, levels, box, **how)

    monkeypatch.setattr("vol2vol.preparation.output.average_block", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare_volume(world / "em.zarr", out, SETTINGS, workers=1)
    assert len(open_volume(out).describe()["levels"]) == 1
    first = set(averaged)
    shard = next(path for path in sorted((out / "1" / "c").rglob("*")) if path.is_file())
    shard.write_bytes(shard.read_bytes()[:-5])
    repeated = []
    monkeypatch.setattr(
        "vol2vol.preparation.output.average_block",
        lambda output, levels, box, **how: (
            repeated.append((levels[0][1].number, box)) or average_block(output, levels, box, **how)
        ),
    )
    prepare_volume(world / "em.zarr", out, SETTINGS, workers=1)
    assert len(first & set(repeated)) == 1  # the damaged one
    assert tree(out) == tree(world / "whole" / "out.zarr")


def test_workers_and_working_memory_change_no_byte(world, tmp_path, monkeypatch):
    prepare_volume(world / "em.zarr", tmp_path / "four" / "out.zarr", SETTINGS, workers=4)
    monkeypatch.setattr(storage, "WORKING", 4000)
    prepare_volume(world / "em.zarr", tmp_path / "parts" / "out.zarr", SETTINGS)
    whole = tree(world / "whole" / "out.zarr")
    assert tree(tmp_path / "four" / "out.zarr") == whole
    assert tree(tmp_path / "parts" / "out.zarr") == whole


def test_an_input_of_whole_planes_is_read_plane_by_plane(tmp_path, monkeypatch):
    """A compressed page can only be decoded whole, so each page must be read by one block only."""
    (tmp_path / "slices").mkdir()
    array = tissue(shape=(40, 300, 310))
    for number, plane in enumerate(array):
        tifffile.imwrite(tmp_path / "slices" / f"{number}.tif", plane, compression="zlib")
    monkeypatch.setattr(storage, "WORKING", 4_000_000)
    boxes, read = [], Chain.read
    monkeypatch.setattr(Chain, "read", lambda self, box: boxes.append(self.boxes(box)[0]) or read(self, box))
    settings = Preparation(steps=(Resample(voxel_size=(8, 8)),), voxel_size=(30, 4, 4), unit="nm")
    prepare_volume(tmp_path / "slices", tmp_path / "out.zarr", settings)
    assert len(boxes) > 2
    assert all(box.shape[1:] == (300, 310) for box in boxes)
    assert sum(box.shape[0] for box in boxes) == 40
    put(tmp_path / "cubes.zarr", array, voxel_size=(30, 4, 4))
    prepare_volume(tmp_path / "cubes.zarr", tmp_path / "same.zarr", settings)
    np.testing.assert_array_equal(get(tmp_path / "out.zarr"), get(tmp_path / "same.zarr"))


def test_a_damaged_block_is_made_again(world, tmp_path):
    out = tmp_path / "out.zarr"
    killed(world, out, 9)
    shard = sorted(path for path in (out / "0" / "c").rglob("*") if path.is_file())[0]
    shard.write_bytes(shard.read_bytes()[:-7])
    prepare_volume(world / "em.zarr", out, SETTINGS)
    assert tree(out) == tree(world / "whole" / "out.zarr")


def test_a_continued_preparation_does_not_measure_the_content_again(world, tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"
    killed(world, out, 5)

    def never(*_):
        raise AssertionError

    monkeypatch.setattr("vol2vol.preparation.chain.find_content", never)
    [prepared] = prepare_volume(world / "em.zarr", out, SETTINGS)
    assert prepared.steps[0] == "crop box=1:20,5:53,3:64"
    assert prepare_volume(world / "em.zarr", out, SETTINGS)[0].blocks_before == prepared.blocks


def test_another_start_is_refused_and_says_why(world, tmp_path):
    out = tmp_path / "out.zarr"
    put(tmp_path / "other.zarr", tissue()[:, ::-1])
    other = SETTINGS.model_copy(update={"steps": (Crop(box=":,:,:"),)})
    for begun in (True, False):  # under way, and complete
        if begun:
            killed(world, out, 5)
        else:
            prepare_volume(world / "em.zarr", out, SETTINGS)
        before = tree(out)
        with pytest.raises(Mismatch, match=r"resample voxel_size=10,12,12', now 'crop box=:,:,:'"):
            prepare_volume(world / "em.zarr", out, other)
        with pytest.raises(Mismatch, match=r"chunks \[4, 8, 8\], now \[8, 8, 8\]"):
            prepare_volume(world / "em.zarr", out, SETTINGS.model_copy(update={"chunks": (8, 8, 8)}))
        with pytest.raises(Mismatch, match="another input"):
            prepare_volume(tmp_path / "other.zarr", out, SETTINGS)
        assert tree(out) == before
    prepare_volume(world / "em.zarr", out, other, overwrite=True)
    np.testing.assert_array_equal(get(out)[0], tissue())


def test_a_change_of_the_input_is_seen(world, tmp_path):
    shutil.copytree(world / "em.zarr", tmp_path / "em.zarr")

    def spoil(done, total, voxels):
        if done == 2:
            with open_volume(tmp_path / "em.zarr") as stored:
                stored.write(Box.of(SHAPE), tissue()[None, ::-1].copy())

    with pytest.raises(Mismatch, match="was changed while it was read"):
        prepare_volume(tmp_path / "em.zarr", tmp_path / "out.zarr", SETTINGS, progress=spoil)
    with pytest.raises(Mismatch):
        prepare_volume(tmp_path / "em.zarr", tmp_path / "out.zarr", SETTINGS)


def test_other_files_and_the_input_are_never_overwritten(world, tmp_path):
    put(tmp_path / "there.zarr", tissue())
    before = tree(tmp_path)
    with pytest.raises(AlreadyExists, match=r"there\.zarr exists"):
        prepare_volume(world / "em.zarr", tmp_path / "there.zarr", SETTINGS)
    with pytest.raises(AlreadyExists, match="is the input"):
        prepare_volume(tmp_path / "there.zarr", tmp_path / "there.zarr", SETTINGS, overwrite=True)
    with pytest.raises(BadInput, match=r"end in \.zarr"):
        prepare_volume(world / "em.zarr", tmp_path / "out", SETTINGS)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("name", ["a b/größe.zarr", "out.tif", "out.ome.tif"])
def test_formats_and_types(tmp_path, dtype, name):
    array = tissue(dtype, (5, 20, 23))
    put(tmp_path / "in.zarr", array)
    for source, target in (("in.zarr", name), (name, "back.zarr")):
        prepare_volume(tmp_path / source, tmp_path / target, Preparation())
        with open_volume(tmp_path / target) as stored:
            assert (stored.dtype, stored.voxel_size, stored.unit) == (dtype, (8, 8, 8), "nanometer")
        np.testing.assert_array_equal(get(tmp_path / target)[0], array)


def test_ome_04_has_no_shards(world, tmp_path):
    prepare_volume(
        world / "em.zarr", tmp_path / "a.zarr", Preparation(steps=STEPS, ome_version="0.4", chunks=(4, 8, 8))
    )
    np.testing.assert_array_equal(get(tmp_path / "a.zarr"), get(world / "whole" / "out.zarr"))


def test_an_image_of_several_channels(tmp_path):
    array = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
    tifffile.imwrite(tmp_path / "photo.tif", array, photometric="rgb")
    steps = [{"step": "channels", "keep": [2]}, {"step": "resample", "voxel_size": [2, 2], "method": "area"}]
    [prepared] = vol2vol.prepare(
        tmp_path / "photo.tif", tmp_path / "a.zarr", {"steps": steps}, voxel_size=(1, 1), unit="nm"
    )
    assert prepared.shape == (1, 1, 20, 25)
    exact = array[..., 2].reshape(20, 2, 25, 2).mean((1, 3))
    assert np.abs(get(prepared.output)[0, 0] - exact).max() <= 0.5


def test_masks_get_a_pyramid_of_majorities_and_labels_none(world, tmp_path):
    prepare_volume(
        world / "em.zarr", tmp_path / "mask.zarr", Preparation(steps=(Binarise(above=99),), chunks=(8, 8, 8))
    )
    assert len(open_volume(tmp_path / "mask.zarr").describe()["levels"]) > 2
    assert set(np.unique(get(tmp_path / "mask.zarr", level=1))) == {0, 1}
    prepare_volume(world / "em.zarr", tmp_path / "ids.zarr", Preparation(labels=True, chunks=(8, 8, 8)))
    assert len(open_volume(tmp_path / "ids.zarr").describe()["levels"]) == 1


def test_an_output_records_how_it_was_made(world):
    record = open_volume(world / "whole" / "out.zarr").attrs["preparation"]
    assert record["complete"]
    assert record["origin"] == [8, 40, 24]
    assert record["input"] == open_volume(world / "em.zarr").fingerprint()
    repeated = Preparation(steps=record["steps"])
    assert repeated.steps == (Crop(box="1:20,5:53,3:64"), Resample(voxel_size=(10, 12, 12)))


def test_a_dry_run_reads_no_voxel_and_predicts_the_true_cost(world, tmp_path, monkeypatch):
    boxes, read = [], Chain.read
    monkeypatch.setattr(Chain, "read", lambda self, box: boxes.append(self.boxes(box)[0]) or read(self, box))
    settings = Preparation(
        steps=(Crop(box="1:20,5:53,3:64"), *SETTINGS.steps[1:]), chunks=(4, 8, 8), shards=(4, 16, 16)
    )
    plan = dry_run(world / "em.zarr", tmp_path / "out.zarr", settings)
    assert not boxes
    assert not (tmp_path / "out.zarr").exists()
    [prepared] = prepare_volume(world / "em.zarr", tmp_path / "out.zarr", settings)
    cost = plan[str(tmp_path / "out.zarr")]
    assert cost["bytes read, before compression"] == sum(chunked(box, (4, 8, 8), SHAPE) for box in boxes)
    assert tuple(cost["shape"]) == prepared.shape
    assert cost["blocks"] == prepared.blocks == len(boxes)
    assert cost["bytes written, before compression"] == np.prod(prepared.shape)
    assert dry_run(world / "em.zarr", tmp_path / "out.zarr", SETTINGS)["measured when it runs"] == ["crop box=content"]
    json.dumps(plan)


MEMORY = """
import resource, sys
from vol2vol.preparation import Preparation, Resample, prepare_volume
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
settings = Preparation(steps=(Resample(voxel_size=(16, 30, 30)),), chunks=(16, 16, 16), pyramid=False)
prepare_volume(sys.argv[1], sys.argv[2], settings, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts in kilobytes on Linux only")
def test_memory_does_not_grow_with_the_volume(tmp_path):
    def took(planes):
        with create_volume(
            tmp_path / f"{planes}.zarr",
            shape=(1, planes, 512, 512),
            dtype="u1",
            voxel_size=(8, 8, 8),
            unit="nm",
            chunks=(32, 128, 128),
        ) as stored:
            block = np.random.default_rng(0).integers(0, 256, (1, 32, 512, 512), np.uint8)
            for at in range(0, planes, 32):
                stored.write(Box((at, 0, 0), (at + 32, 512, 512)), block)
        command = [sys.executable, "-c", MEMORY, tmp_path / f"{planes}.zarr", tmp_path / f"{planes} out.zarr"]
        return int(subprocess.run(list(map(str, command)), capture_output=True, check=True, text=True).stdout)

    few, many = took(320), took(800)
    assert many < few + 40_000, (few, many)  # kilobytes; the volume is larger by 120 MB


def test_split_parts_continue_each_on_their_own(world, tmp_path):
    settings = SETTINGS.model_copy(update={"split": Split(parts={"a": 4, "b": 8}, gap=1)})
    seen = []

    def stop(done, total, voxels):
        seen.append((done, total))
        if len(seen) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_volume(world / "em.zarr", tmp_path / "out.zarr", settings, progress=stop, workers=1)
    first, second = prepare_volume(world / "em.zarr", tmp_path / "out.zarr", settings)
    assert first.voxels < 4 * 32 * 41
    whole = get(world / "whole" / "out.zarr")
    np.testing.assert_array_equal(get(first.output), whole[:, :4])
    np.testing.assert_array_equal(get(second.output), whole[:, 5:13])


def test_a_measured_range_is_that_of_the_whole_result(world, tmp_path):
    settings = Preparation(steps=(*STEPS, {"step": "convert", "dtype": "uint16", "range": "minmax"}))
    [prepared] = prepare_volume(world / "em.zarr", tmp_path / "out.zarr", settings)
    whole = get(world / "whole" / "out.zarr").astype(np.float64)
    low, high = whole.min(), whole.max()
    assert np.abs(get(prepared.output) - (whole - low) / (high - low) * 65535).max() <= 1
    assert Convert(dtype="uint16", range=(low, high)).words() == prepared.steps[-1]
