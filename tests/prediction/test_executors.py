"""Executors: every item once, whatever happens to workers; the same bytes from one process and from many."""

import os
import signal

import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import given
from hypothesis.strategies import floats, integers
from tests.prediction import mapped
from tests.prediction.conftest import write_volume
from tests.prediction.killing import help_is_waited_for
from tests.prediction.test_faults import begin, same

from vol2vol.errors import BadInput, CannotWrite, NotFound, WorkerLost
from vol2vol.machines import executors
from vol2vol.machines.executors import crew, pace, process
from vol2vol.prediction import PredictSettings, predict, predict_files


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(crew, "PAUSE", 0.05)


@pytest.fixture
def mapping(monkeypatch, tmp_path):
    """Maps in several processes, of which each gets something: others are started at once, and waited for."""
    monkeypatch.setattr(pace, "START", 0.0)

    def mapped_by(fn, items, **options):
        here = mapped.Here(fn, tmp_path)
        return executors.local(mapped.Signed(fn, tmp_path), items, here=here, **options)

    return mapped_by


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_item_is_mapped_once(mapping, workers, tmp_path):
    if workers == 1:
        (tmp_path / "another process is there").touch()
    made = list(mapping(mapped.squares, range(9), workers=workers))
    assert sorted(made) == sorted([n * n for n in range(9)] + [-n for n in range(9)])
    assert list(mapping(mapped.squares, [], workers=workers)) == []


def test_several_processes_work_and_end(mapping):
    made = list(mapping(mapped.who, range(12), workers=2))
    assert {place for place, _ in made} == {0, 1}
    assert {pid for place, pid in made if place == 0} == {os.getpid()}
    assert not any(psutil.pid_exists(pid) for place, pid in made if place == 1)


def test_a_consumer_that_stops_early_leaves_no_process(mapping):
    results = mapping(mapped.who, range(100), workers=2)
    pid = next(pid for place, pid in results if place == 1)
    results.close()
    assert not psutil.pid_exists(pid)


def test_an_item_waits_until_it_is_ready(mapping):
    open_to, made = {0, 1}, []
    for square in mapping(mapped.squares, [9, 4, 1, 0], workers=2, ready=open_to.__contains__):
        made.append(square)
        open_to |= {1: {4}, 16: {9}}.get(square, set())
    assert [square for square in made if square > 0] == [1, 16, 81]
    assert len(made) == 8


@pytest.mark.parametrize("fn", [mapped.dies_once, mapped.fails_once])
def test_a_failure_is_repeated(fn, mapping, tmp_path):
    items = [tmp_path / name for name in "abcd"]
    assert sorted(mapping(fn, items, workers=2)) == ["a", "b", "c", "d"]
    assert [path for path in items if path.exists()]


def test_failures_are_bounded_and_named(mapping, tmp_path):
    """The first item is for this process, which waits for the other; that one has none but the second."""
    first = tmp_path / "first"
    with pytest.raises(WorkerLost, match=r"block a failed 3 times \(its process ended with signal 9\)"):
        list(mapping(mapped.dies, [first, tmp_path / "a"], workers=2, name=lambda path: f"block {path.name}"))
    for name, fn, error, tries in (("b", mapped.fails, CannotWrite, "xxx"), ("c", mapped.refuses, BadInput, "x")):
        (tmp_path / "another process is there").unlink()
        with pytest.raises(error, match=r"never|no"):
            list(mapping(fn, [first, tmp_path / name], workers=2))
        assert (tmp_path / name).read_text() == tries


def test_processes_that_cannot_start_are_done_without(mapping, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(process, "serve", mapped.cannot_start)
    (tmp_path / "another process is there").touch()
    assert len(list(mapping(mapped.who, range(30), workers=2))) == 30
    if "this one goes on alone" not in caplog.text:
        pytest.skip("all was done before a process could have started")


def test_another_process_is_started_only_where_that_pays(monkeypatch):
    """Blocks of 2 ms after a first one of 25 ms: a hundred do not pay, ten thousand do. What is not done counts."""
    clock = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])

    def seconds(*results, then=0.0):
        shown = pace.Pace()
        for result in results:
            clock[0] += result
            shown.count()
        clock[0] += then
        return shown.seconds(1.5)

    assert seconds() == seconds(then=1.0) == 0
    assert seconds(then=60.0) == pytest.approx(60)
    assert seconds(0.025, then=0.5) == pytest.approx(0.5)
    assert seconds(0.025, *[0.002] * 9) == pytest.approx(0.002)
    assert not pace.pays(98 * 0.002, 1.5, 1)
    assert pace.pays(10_000 * 0.002, 1.5, 1)


@given(left=floats(0, 1e4), start=floats(0.1, 60), most=integers(1, 20))
def test_more_processes_never_take_longer_than_fewer(left, start, most):
    """By the arithmetic of those that start at once: until they work, this one computes alone."""
    processes, alone = 1, left
    while processes < most and pace.pays(left, start, processes):
        processes += 1
    together = left if processes == 1 else start + max(0.0, left - start) / processes
    assert together <= alone
    if processes > 1:
        assert together < 0.9 * alone


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
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture(scope="module")
def two_rows(tmp_path_factory):
    """A volume of several columns, each several blocks long."""
    array = np.random.default_rng(8).integers(0, 256, (150, 70, 70), dtype=np.uint8)
    return write_volume(tmp_path_factory.mktemp("rows") / "in.zarr", array)


class Seen:
    def __call__(self, *numbers):
        self.last = numbers


@pytest.mark.parametrize("settings", [{"raw": True}, {"tile": "34", "strategy": "disjoint"}])
def test_l4_one_process_many_and_dask_write_the_same_bytes(settings, models, two_rows, cluster, tmp_path, monkeypatch):
    ways = {
        "one": {},
        "two, one at work": {"workers": 2},
        "two": {"workers": 2},
        "dask": {"executor": "dask", "workers": 2, "scheduler": cluster},
    }
    seen = Seen()
    for name, way in ways.items():
        out = tmp_path / name / "out.zarr"
        begin(models[3], two_rows, out, blocks=1, settings=PredictSettings(**settings))
        monkeypatch.setattr(pace, "START", 1e9)
        if name == "two":
            help_is_waited_for(monkeypatch.setattr)
        made = predict(models[3], two_rows, out, PredictSettings(**settings, **way), progress=seen)
        assert seen.last[:2] == (made.blocks, made.blocks)
        assert made.blocks_before >= 1
        same(out, tmp_path / "one" / "out.zarr")


def test_several_machines_and_one_tiff_are_refused(models, two_rows, tmp_path):
    with pytest.raises(BadInput, match=r"end in \.zarr"):
        predict(models[3], two_rows, tmp_path / "out.tif", PredictSettings(executor="slurm"))
