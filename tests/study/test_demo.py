"""The demo is a shipped study: nine volumes whose seams can be judged, and a report that shows them."""

import csv

import pytest
import torch
from tests.report.browsing import Page

import vol2vol.recipes
from vol2vol import nets
from vol2vol.errors import AlreadyExists, Mismatch
from vol2vol.intensity import measure
from vol2vol.metrics.seams.grid import Grid
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import make_layout, predicting
from vol2vol.protocol import between
from vol2vol.report.rows.rows import read_rows
from vol2vol.study import assets, load_study, run_study, runner
from vol2vol.volumes import open_volume

SHAPE = (40, 64, 64)
SMALL = (
    *(f"domains.{name}.phantom.shape={list(SHAPE)}" for name in ("rat", "human")),
    *(f"translators.small-{dims}.strategies.exact.tile=54" for dims in ("2d", "3d")),
    *(f"translators.small-{dims}.strategies.average.tile=32" for dims in ("2d", "3d")),
    *(f"translators.small-{dims}.strategies.disjoint.tile=54" for dims in ("2d", "3d")),
)


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
    volumes = {"source": source, "target": target}
    intensity = {name: measure(list(map(open_volume, paths)), "minmax") for name, paths in volumes.items()}
    save_bundle(
        out / "models" / "epoch-0001",
        between(networks),
        intensity,
        channels={"source": 1, "target": 1},
        provenance={"epoch": 1, "patch": 54, "recipe": {"train": {"seed": 1}}},
    )
    with (out / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "step", "seconds", "generators"], [1, 3, 2.0, 0.5]])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small demo, begun, killed in the middle, and started again."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("demo") / "a demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "train", stand_in)
        patch.setattr(runner, "check_trainings", lambda study: None)  # the volume is smaller than a patch
        real, calls = runner._Runner._run_trial, []

        def killed(*arguments, **keywords):
            if len(calls) == 5:
                raise KeyboardInterrupt
            calls.append(arguments)
            return real(*arguments, **keywords)

        patch.setattr(runner._Runner, "_run_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            run_study("demo-quick", out, overrides=SMALL)
        before = read_rows(out)
        patch.setattr(runner._Runner, "_run_trial", real)
        progress = []
        outcome = run_study("demo-quick", out, overrides=SMALL, progress=progress.append)
        again = []
        patch.setattr(runner._Runner, "report", lambda self: None)
        run_study("demo-quick", out, overrides=SMALL, progress=again.append)
    return outcome, before, progress, again


def test_nine_volumes_and_the_untranslated_source(finished):
    outcome, *_ = finished
    assert (outcome.done, outcome.failed) == (10, ())
    rows = read_rows(outcome.folder)
    assert rows[0].translator == "identity"
    assert [row.strategy for row in rows[1:]] == ["exact", "average", "disjoint"] * 3
    assert [row.assembly for row in rows[1::3]] == ["slices", "ortho", "volume"]
    assert all(row.number("fidelity/psnr") > 0 for row in rows), "the known answer is known of all"
    for row in rows[1:]:
        assert open_volume(outcome.folder / row.volume).spatial == SHAPE
        assert row.number("cost/redundancy") >= 1
        assert row.number("cost/flops_per_voxel") > 0
        assert row.number("cost/seconds") > 0


def test_the_report_shows_seams_cost_and_nearness(finished):
    page = Page(finished[0].report.read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    for title in (
        "Are there seams?",
        "What does it cost?",
        "What do translations look like?",
        "How did the trainings converge?",
    ):
        assert title in text, title
    assert "FID" not in text, "no distance is measured, so none is mentioned"
    assert "disjoint: tiles lie side by side" in text
    titles = "".join(image["alt"] for image in page.all("img"))
    for group in ("small-2d, slices", "small-2d, ortho", "small-3d, volume"):
        assert f"Close-up of {group}, disjoint" in titles


def test_a_second_start_goes_on_and_a_third_has_nothing_to_predict(finished):
    outcome, before, progress, again = finished
    assert len(before) == 5
    assert read_rows(outcome.folder)[:5] == before, "numbers measured before the interruption are kept"
    assert len(progress) == 5
    assert again == []


def test_folders_of_others_are_left_alone(tmp_path, finished):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="is not a study: choose another folder"):
        run_study("demo", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(Mismatch, match="'demo-quick', now it is 'demo'"):
        run_study("demo", finished[0].folder)


@pytest.mark.slow
def test_the_real_demo_in_quick(tmp_path):
    outcome = run_study("demo-quick", tmp_path / "demo")
    assert (outcome.done, outcome.failed) == (10, ())
    assert outcome.report.stat().st_size < 6e6


@pytest.mark.parametrize("name", ["demo", "demo-quick"])
def test_every_strategy_of_the_demo_has_seams_that_can_be_judged(name):
    """In-plane axes of the volume are cut at least twice: one seam alone leaves every test without an answer."""
    study = load_study(name)
    shape = study.domains["rat"].phantom.shape
    for called, translator in study.translators.items():
        recipe = vol2vol.recipes.load_recipe(translator.recipe)
        generator = recipe.task.generator
        network = nets.build(generator.name, dims=recipe.dims, **{**generator.arguments, "norm": "none"}).eval()
        for strategy, changes in translator.strategies.items():
            settings = study.settings({"strategy": strategy}, changes)
            layout = make_layout(
                predicting(network, settings),
                shape,
                settings,
                assembly=translator.ways()[0],
                voxel_size=(1.0, 1.0, 1.0),
                patch=None,
                channels=1,
                limit=None,
            )
            grid = Grid.of(layout.passes[0].plan)
            assert all(len(grid.borders(shape[axis], axis)) >= 2 for axis in (1, 2)), (called, strategy)
