"""The pyramid is part of the prediction: made block by block as it goes on, restartable, the same bytes always."""

import shutil

import numpy as np
import pytest
from tests.prediction.conftest import done_blocks, write_volume
from tests.prediction.killing import Killing
from tests.prediction.test_faults import begin, same

from vol2vol.errors import CannotWrite, Mismatch
from vol2vol.geometry import Box
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction import compute as compute_module
from vol2vol.prediction import work_items as work_items_module
from vol2vol.prediction.array_task import work
from vol2vol.prediction.job import Job
from vol2vol.volumes import build_pyramid, open_volume
from vol2vol.volumes.pyramid import Level

WAYS = {
    "small blocks": {"tile": "30", "memory": "2GB"},
    "swept": {"roi": "3:150,:,5:130"},
    "disjoint": {"strategy": "disjoint", "tile": "50", "roi": "1:131,:,:"},
    "0.4": {"ome_version": "0.4", "raw": True},
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A volume of several blocks in each level."""
    array = np.random.default_rng(3).integers(0, 256, (200, 70, 150), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("large") / "in.zarr", array, chunks=(32, 32, 32))


@pytest.fixture(scope="module")
def whole(models, large, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out.zarr"
    predict(models[3], large, out)
    return out


@pytest.mark.parametrize("way", WAYS)
def test_levels_are_those_of_a_pyramid_built_afterwards(way, models, large, tmp_path):
    predict(models[3], large, tmp_path / "a" / "out.zarr", PredictSettings(**WAYS[way]))
    predict(models[3], large, tmp_path / "b" / "out.zarr", PredictSettings(**WAYS[way], pyramid=False))
    levels = len(open_volume(tmp_path / "a" / "out.zarr").describe()["levels"])
    assert len(open_volume(tmp_path / "b" / "out.zarr").describe()["levels"]) == 1
    assert build_pyramid(str(tmp_path / "b" / "out.zarr")) == levels > 1
    same(tmp_path / "a" / "out.zarr", tmp_path / "b" / "out.zarr")


def test_every_block_waits_for_what_it_is_made_of(models, large, tmp_path):
    """The names a block needs are those of all blocks of the level above that hold a voxel of its own."""
    out = begin(models[3], large, tmp_path / "out.zarr", blocks=0, settings=PredictSettings(**WAYS["small blocks"]))
    job = Job.attach(str(out))
    names, above = {}, {}
    for item in work_items_module.coarser(job, str(out)):
        [block] = item.blocks
        above.setdefault(block.level, []).append((block, item))
    boxes = {0: [(box.relative_to(job.layout.region.start), n) for box, n in _named(job)]}
    for level in sorted(above):
        boxes[level] = [(block.box, block.name) for block, _ in above[level]]
        for block, item in above[level]:
            fine = item.level.finer(block.box)
            names[block.name] = {name for box, name in boxes[level - 1] if (box & fine).size}
            assert item.needs == names[block.name] != set()
        assert sum(block.box.size for block, _ in above[level]) == Box.of(above[level][0][1].level.spatial).size
    assert len(above) >= 2


def _named(job):
    return [(block.box, block.name) for block in map(work_items_module.Block, job.layout.blocks())]


@pytest.mark.parametrize("settings", [{}, {"workers": 2}])
def test_it_is_broken_off_and_goes_on(settings, models, large, whole, tmp_path, monkeypatch):
    """Broken off while coarser levels are made, the next start makes what is missing of them, and no voxel again."""
    out = tmp_path / "out.zarr"
    write, made = Level.write, []

    def breaks(self, location, box, values, begun):
        if len(made) == 2:
            raise CannotWrite("the moon is full")
        made.append((self.number, box))
        write(self, location, box, values, begun)

    monkeypatch.setattr(Level, "write", breaks)
    monkeypatch.setattr("vol2vol.prediction.compute.RETRIES", 0)
    with pytest.raises(CannotWrite, match="moon"):
        predict(models[3], large, out)
    monkeypatch.undo()
    assert len([name for name in done_blocks(out) if "-" in name]) == 2
    shard = next(path for path in sorted((out / "1").rglob("0")) if path.is_file())
    shard.write_bytes(shard.read_bytes()[:50])
    result = predict(models[3], large, out, PredictSettings(**settings))
    assert result.blocks_before >= 1
    same(out, whole)


def test_workers_that_claim_make_it_too(models, large, whole, tmp_path):
    out = begin(models[3], large, tmp_path / "out.zarr", blocks=1)
    done = done_blocks(out)
    assert not [name for name in done if "-" in name]
    assert work(str(out))[1]
    same(out, whole)


def test_killed_at_any_moment(models, large, whole, tmp_path):
    """The program is killed as soon as one, two, three blocks of coarser levels are marked, amid the rest."""
    killing = Killing(tmp_path, 0)
    try:
        job = {"model": models[3], "input": large, "settings": {}}
        for number in range(3):
            out = tmp_path / f"{number}" / "out.zarr"
            for marks in range(1, 4):
                killing.with_marks(marks, **job, output=out)
            killing.until_complete(1, 0, **job, output=out)
            same(out, whole)
            shutil.rmtree(out)
    finally:
        killing.close()


def test_what_was_begun_with_it_is_not_continued_without(models, large, tmp_path):
    """Levels that are there already would stay, listed nowhere; workers of a job array go by the plan."""
    out = begin(models[3], large, tmp_path / "out.zarr", blocks=2)
    with pytest.raises(Mismatch, match="begun with pyramid True, now False: use the same"):
        predict(models[3], large, out, PredictSettings(pyramid=False))
    file = begin(models[3], large, tmp_path / "out.tif", blocks=1)
    predict(models[3], large, file, PredictSettings(pyramid=False))


def test_what_is_repeated_is_counted_once(models, large, whole, tmp_path, monkeypatch):
    """A worker that is given a row again says first what of it is done."""
    computed = compute_module._run_executor

    def stutters(*what, **known):
        for block in computed(*what, **known):
            yield block
            yield block

    monkeypatch.setattr(compute_module, "_run_executor", stutters)
    assert predict(models[3], large, tmp_path / "out.zarr").voxels == 200 * 70 * 150
    same(tmp_path / "out.zarr", whole)
