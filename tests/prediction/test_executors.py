"""Executors: every item once, whatever happens to workers; the same bytes from one process and from many."""

import sys

import numpy as np
import pytest
import tifffile
from tests.prediction import mapped
from tests.prediction.conftest import write_volume
from tests.prediction.test_faults import begin, same

from vol2vol.errors import BadInput, CannotWrite, NotFound, WorkerLost
from vol2vol.machines import executors
from vol2vol.prediction import PredictSettings, predict, predict_files


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(sys.modules["vol2vol.machines.executors.local"], "PAUSE", 0.05)


def test_every_item_is_mapped_once():
    made = list(executors.local(mapped.squares, range(9), workers=2))
    assert sorted(made) == sorted([n * n for n in range(9)] + [-n for n in range(9)])
    assert list(executors.local(mapped.squares, [], workers=2)) == []


def test_several_processes_work_and_end():
    import psutil

    made = list(executors.local(mapped.who, range(12), workers=2))
    assert {place for place, _ in made} == {0, 1}
    assert not any(psutil.pid_exists(pid) for _, pid in made)


def test_a_consumer_that_stops_early_leaves_no_process():
    import psutil

    results = executors.local(mapped.who, range(100), workers=1)
    _, pid = next(results)
    results.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("fn", [mapped.dies_once, mapped.fails_once])
def test_a_failure_is_repeated(fn, tmp_path):
    items = [tmp_path / name for name in "abc"]
    assert sorted(executors.local(fn, items, workers=2)) == ["a", "b", "c"]


def test_failures_are_bounded_and_named(tmp_path):
    with pytest.raises(WorkerLost, match=r"block a failed 3 times \(its process ended with signal 9\)"):
        list(executors.local(mapped.dies, [tmp_path / "a"], workers=1, name=lambda path: f"block {path.name}"))
    with pytest.raises(CannotWrite, match="never"):
        list(executors.local(mapped.fails, [tmp_path / "b"], workers=1))
    assert (tmp_path / "b").read_text() == "xxx"
    with pytest.raises(BadInput, match="no"):
        list(executors.local(mapped.refuses, [tmp_path / "c"], workers=1))
    assert (tmp_path / "c").read_text() == "x"


def test_an_item_that_is_given_up_does_not_stop_the_others(tmp_path):
    def lost(path, error):
        return f"{path.name}: {str(error).partition(' (')[0]}"

    items = [tmp_path / name for name in "abc"]
    made = executors.local(mapped.dies_on_b, items, workers=2, name=lambda path: path.name, lost=lost)
    assert sorted(made) == ["a", "b: b failed 3 times", "c"]


@pytest.fixture(scope="module")
def cluster():
    """A Dask scheduler with two worker processes, as somebody else would have started it."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as made:
        yield made.scheduler_address


def test_dask_maps_every_item_once_and_names_failures(cluster, tmp_path):
    made = list(executors.dask(mapped.squares, range(9), workers=1, scheduler=cluster))
    assert sorted(made) == sorted([n * n for n in range(9)] + [-n for n in range(9)])
    assert list(executors.dask(mapped.fails_once, [tmp_path / "a"], workers=1, scheduler=cluster)) == ["a"]
    with pytest.raises(CannotWrite, match="never"):
        list(executors.dask(mapped.fails, [tmp_path / "b"], workers=1, scheduler=cluster))
    assert (tmp_path / "b").read_text() == "xxx"
    with pytest.raises(BadInput, match="no"):
        list(executors.dask(mapped.refuses, [tmp_path / "c"], workers=1, scheduler=cluster))
    assert (tmp_path / "c").read_text() == "x"


def test_dask_workers_share_files(cluster, models, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abcd":
        values = np.random.default_rng(ord(name)).integers(0, 256, (30, 31), np.uint8)
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", values, photometric="minisblack")
    (tmp_path / "in" / "b.tif").write_bytes(b"")
    for out, settings in (("alone", {}), ("shared", {"executor": "dask", "scheduler": cluster})):
        made = predict_files(models[2], tmp_path / "in" / "*", tmp_path / out, PredictSettings(**settings))
        assert (made.predicted, list(made.failed)) == (3, [str(tmp_path / "in" / "b.tif")])
    for name in "acd":
        assert (tmp_path / "alone" / f"{name}.tif").read_bytes() == (tmp_path / "shared" / f"{name}.tif").read_bytes()


def test_dask_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        list(executors.dask(mapped.squares, [1], workers=1, scheduler=str(tmp_path / "none.yaml")))
    (tmp_path / "bad.yaml").write_text("- cores\n- 1\n")
    with pytest.raises(BadInput, match="holds no arguments"):
        list(executors.dask(mapped.squares, [1], workers=1, scheduler=str(tmp_path / "bad.yaml")))
    with pytest.raises(NotFound, match="no Dask scheduler answers"):
        list(executors.dask(mapped.squares, [1], workers=1, scheduler="nonsense://127.0.0.1:9"))


@pytest.fixture(scope="module")
def two_rows(tmp_path_factory):
    """A volume of several columns, each several blocks long."""
    array = np.random.default_rng(8).integers(0, 256, (150, 70, 70), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("rows") / "in.zarr", array)


class Seen:
    def __call__(self, *numbers):
        self.last = numbers


@pytest.mark.parametrize("settings", [{"raw": True}, {"tile": "32", "strategy": "average"}])
def test_l4_one_process_many_and_dask_write_the_same_bytes(settings, models, two_rows, cluster, tmp_path):
    ways = {
        "one": {},
        "two": {"workers": 2},
        "dask": {"executor": "dask", "workers": 2, "scheduler": cluster},
    }
    seen = Seen()
    for name, way in ways.items():
        out = tmp_path / name / "out.zarr"
        begin(models[3], two_rows, out, blocks=1, settings=PredictSettings(**settings))
        made = predict(models[3], two_rows, out, PredictSettings(**settings, **way), progress=seen)
        assert seen.last[:2] == (made.blocks, made.blocks)
        assert made.blocks_before >= 1
        same(out, tmp_path / "one" / "out.zarr")


def test_several_machines_and_one_tiff_are_refused(models, two_rows, tmp_path):
    with pytest.raises(BadInput, match=r"end in \.zarr"):
        predict(models[3], two_rows, tmp_path / "out.tif", PredictSettings(executor="slurm"))
