import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

import vol2vol.recipes
from vol2vol import nets
from vol2vol.errors import AlreadyExists, Mismatch, Unreadable
from vol2vol.intensity import measure
from vol2vol.metrics.seams.grid import Grid
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, make_layout, predicting
from vol2vol.protocol import between
from vol2vol.report import read_results
from vol2vol.study import demo
from vol2vol.volumes import open_volume


def stand_in(recipe, source, target, out, *, overrides=()):
    """Leave what a training leaves, with networks that learned nothing."""
    if out.exists():
        return
    dims = 3 if "3d" in recipe else 2
    torch.manual_seed(0)
    networks = {
        direction: nets.build("unet", dims=dims, levels=2, width=2, padding="valid", norm="none").eval()
        for direction in ("forward", "backward")
    }
    intensity = {
        name: measure([open_volume(path)], "minmax") for name, path in (("source", source), ("target", target))
    }
    save_bundle(
        out / "models" / "epoch-0001",
        between(networks),
        intensity,
        channels={"source": 1, "target": 1},
        provenance={"epoch": 1, "patch": 54, "recipe": {"train": {"seed": 1}}},
    )
    with (out / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "generators", "critics"], [1, 2.0, 0.5]])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small demo, begun, killed in the middle, and started again."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("demo") / "a demo"
    tiles = {"exact": 54, "average": 32, "disjoint": 54}
    parts = tuple(replace(part, tiles=tiles) for part in demo.FULL.parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(vol2vol.recipes), "train", stand_in)
        patch.setattr(demo, "QUICK", demo.Demo(shape=(40, 64, 64), parts=parts))
        real, calls = demo._predicted, []

        def killed(*arguments):
            if len(calls) == 4:
                raise KeyboardInterrupt
            calls.append(arguments)
            return real(*arguments)

        patch.setattr(demo, "_predicted", killed)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(out, quick=True)
        before = read_results(out)
        patch.setattr(demo, "_predicted", real)
        said = []
        report = demo.run_demo(out, quick=True, progress=said.append)
        again = []
        demo.run_demo(out, quick=True, progress=again.append)
    return out, before, report, said, again


def test_nine_volumes_and_the_untranslated_source(finished):
    out, _, report, _, _ = finished
    rows = read_results(out)
    assert [row.strategy for row in rows] == ["untranslated", *["exact", "average", "disjoint"] * 3]
    assert [row.assembly for row in rows[1::3]] == ["slices", "ortho", "volume"]
    for row in rows[1:]:
        assert open_volume(out / row.output).spatial == (40, 64, 64)
        assert row.redundancy >= 1
        assert row.flops_per_voxel > row.floor_per_voxel > 0
        assert row.voxels_per_second > 0
        assert 50e6 < row.peak_memory < 64e9
        assert row.psnr > 0
        assert (row.difference_from_exact == 0) == (row.strategy == "exact")
    assert report == out / "report.html"
    assert "small-3d" in report.read_text(encoding="utf-8")


def test_a_second_start_goes_on_and_a_third_has_nothing_to_predict(finished):
    out, before, _, said, again = finished
    assert len(before) == 5
    assert read_results(out)[:5] == before, "numbers measured before the interruption are kept"
    assert sum(line.startswith("predicting") for line in said) == 5
    assert not any(line.startswith(("predicting", "making")) for line in again)


def test_folders_of_others_are_left_alone(tmp_path, finished):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="is not a demo: choose another folder"):
        demo.run_demo(tmp_path)
    with pytest.raises(AlreadyExists, match="is not a demo"):
        demo.run_demo(tmp_path / "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(Mismatch, match="begun with --quick"):
        demo.run_demo(finished[0])


def test_a_damaged_marker_is_named(tmp_path):
    for text in ("{", "[]", json.dumps("quick")):
        (tmp_path / "demo.json").write_text(text)
        with pytest.raises(Unreadable, match=r"demo\.json is damaged"):
            demo.run_demo(tmp_path)


def test_half_written_phantoms_are_made_anew(tmp_path):
    (tmp_path / ".volumes.part" / "source.zarr").mkdir(parents=True)
    demo._make_volumes(tmp_path, (8, 16, 16), lambda text: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["volumes"]
    assert open_volume(tmp_path / "volumes" / "target.zarr").spatial == (8, 16, 16)
    shutil.rmtree(tmp_path / "volumes")


@pytest.mark.slow
def test_the_real_demo_in_quick(tmp_path):
    report = demo.run_demo(tmp_path / "demo", quick=True)
    assert len(read_results(tmp_path / "demo")) == 10
    assert report.stat().st_size < 6e6


@pytest.mark.parametrize("size", [demo.FULL, demo.QUICK], ids=["full", "quick"])
def test_every_strategy_of_the_demo_has_seams_that_can_be_judged(size):
    """In-plane axes of the volume are cut at least twice: one seam alone leaves every test without an answer."""
    for part in size.parts:
        task = vol2vol.recipes.load_recipe(part.recipe).task
        dims = 3 if "3d" in part.recipe else 2
        network = nets.build(task.generator.name, dims=dims, **{**task.generator.arguments, "norm": "none"}).eval()
        for strategy, tile in part.tiles.items():
            settings = PredictSettings(strategy=strategy, tile=str(tile))
            layout = make_layout(
                predicting(network, settings),
                size.shape,
                settings,
                assembly=part.assemblies[0],
                voxel_size=(1.0, 1.0, 1.0),
                patch=None,
                channels=1,
                limit=None,
            )
            grid = Grid.of(layout.passes[0].plan)
            assert all(len(grid.borders(size.shape[axis], axis)) >= 2 for axis in (1, 2)), (part.recipe, strategy)
