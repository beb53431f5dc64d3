"""Segmentation from recipe to predicted volume: it learns, it resumes, it moves to another domain."""

import numpy as np
import pytest
import torch
import yaml

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.models.bundle import load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.phantoms import write_tissue
from vol2vol.prediction import PredictSettings, predict
from vol2vol.recipes import adapt_statistics, load_recipe, train
from vol2vol.recipes.training import prepare
from vol2vol.tasks import Segment
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
PAPER = {"dice-iou": ("dice", "iou"), "mse-iou": ("mse", "iou"), "bce-iou": ("bce", "iou"),
         "dice-mse": ("dice", "mse"), "mse-dice": ("mse", "dice")}  # fmt: skip
TINY = (
    "data.patch=76",
    "data.labels.held_out=0.3",
    "data.labels.held_out_patches=6",
    "task.network.arguments.width=4",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.batch_size=2",
    "train.checkpoint_every=1",
    "train.ema=0",
    "train.accelerator=cpu",
)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write_tissue(tmp_path_factory.mktemp("phantom"), (40, 160, 200), 3)


def read(path):
    volume = open_volume(path)
    return volume.read(Box.of(volume.spatial))


def run(phantom, out, *overrides, recipe="small-segment-2d"):
    return train(recipe, phantom["source"], phantom["source_mito"], out, overrides=(*TINY, *overrides), progress=False)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_five_models_are_recipes(name):
    recipe = load_recipe(f"segment-{name}")
    assert (recipe.task.loss, recipe.task.choice) == PAPER[name]
    assert (recipe.task.name, recipe.dims, recipe.patch) == ("segment", 3, (140,) * 3)
    t = recipe.train
    assert (t.lr, t.lr_stop, t.epochs, t.schedule.name) == (4e-4, 1e-8, 100, "plateau")
    assert (t.schedule.factor, t.schedule.patience, recipe.data.labels.foreground) == (0.5, 5, 0.02)
    task = Segment(recipe.task, dims=recipe.dims)
    task.check(recipe.patch)
    assert task.segmenter.describe()["arguments"]["width"] == 32


def test_it_learns_to_find_mitochondria(phantom, tmp_path):
    changes = ("train.epochs=5", "train.steps_per_epoch=15", "train.batch_size=4", "task.network.arguments.width=8")
    result = run(phantom, tmp_path / "run", *changes, "train.checkpoint_every=5", "train.ema=0.9", "train.lr=2e-3")
    assert result.log[-1]["segmenter"] < 0.9 * result.log[0]["segmenter"]
    settings = PredictSettings(pyramid=False)
    predict(tmp_path / "run", phantom["source"], tmp_path / "found.zarr", settings, which="best")
    prediction, mask = read(tmp_path / "found.zarr") > 127, read(phantom["source_mito"]) > 0
    unseen = (..., slice(164, None))
    iou = (prediction & mask)[unseen].sum() / (prediction | mask)[unseen].sum()
    chance = mask[unseen].mean()
    assert iou > 0.35 > 5 * chance


def test_probabilities_are_written_as_0_to_255_or_as_they_are(phantom, tmp_path):
    run(phantom, tmp_path / "run")
    predict(tmp_path / "run", phantom["source"], tmp_path / "a.zarr", PredictSettings(pyramid=False))
    predict(tmp_path / "run", phantom["source"], tmp_path / "b.zarr", PredictSettings(pyramid=False, raw=True))
    stored, raw = read(tmp_path / "a.zarr"), read(tmp_path / "b.zarr")
    assert (stored.dtype, raw.dtype) == (np.uint8, np.float32)
    assert 0 <= raw.min() < raw.max() <= 1
    assert np.array_equal(stored, np.rint(raw * 255).astype(np.uint8))
    small = PredictSettings(pyramid=False, raw=True, tile="116")
    predict(tmp_path / "run", phantom["source"], tmp_path / "c.zarr", small)
    np.testing.assert_allclose(read(tmp_path / "c.zarr"), raw, atol=1e-5)


def test_an_interrupted_run_ends_like_a_whole_one(phantom, tmp_path):
    whole = run(phantom, tmp_path / "whole", "train.epochs=3")
    run(phantom, tmp_path / "part", "train.epochs=1", "train.schedule.name=constant")
    recipe = yaml.safe_load((tmp_path / "part" / "recipe.yaml").read_text())
    assert recipe["task"]["name"] == "segment"
    part = run(phantom, tmp_path / "part", "train.epochs=3", "train.schedule.name=constant")
    again = run(phantom, tmp_path / "again", "train.epochs=3", "train.schedule.name=constant")
    assert len(whole.log) == 3
    for a, b in zip(part.log, again.log, strict=True):
        assert all(a[name] == b[name] for name in a if name not in ("seconds", "memory"))
    assert load_bundle(part.last_bundle).hash == load_bundle(again.last_bundle).hash


def test_it_stops_where_the_learning_rate_has_become_too_small(phantom, tmp_path):
    changes = ("train.epochs=9", "train.schedule.name=step", "train.schedule.period=1", "train.lr=1e-3")
    first = run(phantom, tmp_path / "run", *changes, "train.lr_stop=3e-4", "train.checkpoint_every=9")
    assert [row["lr"] for row in first.log] == [1e-3, 5e-4]
    assert first.last_bundle.name == "epoch-0002"
    assert len(run(phantom, tmp_path / "run", *changes, "train.lr_stop=3e-4", "train.checkpoint_every=9").log) == 2


def test_the_best_checkpoint_is_the_one_held_out_blocks_prefer(phantom, tmp_path):
    result = run(phantom, tmp_path / "run", "train.epochs=3", "task.choice=mse", "train.lr=0.02")
    best = min(result.log, key=lambda row: row["mse"])
    assert find_bundle(result.run, "best").name == f"epoch-{int(best['epoch']):04d}"
    assert find_bundle(result.run) == find_bundle(result.run, "best")
    assert result.last_bundle.name == "epoch-0003"


def test_in_3d_it_runs_from_the_command_line(phantom, tmp_path, capsys):
    words = [
        "--recipe",
        "small-segment-3d",
        "--source",
        str(phantom["source"]),
        "--target",
        str(phantom["source_mito"]),
    ]
    changes = [*TINY, "data.patch=20", "task.network.arguments.levels=2", "data.labels.held_out_patches=16"]
    assert main(["train", *words, "--out", str(tmp_path / "run"), *changes, "train.epochs=1", "--json"]) == 0
    assert "epoch-0001" in capsys.readouterr().out
    assert (
        main(
            [
                "predict",
                str(tmp_path / "run"),
                str(phantom["source"]),
                str(tmp_path / "out.zarr"),
                "--roi",
                "0:9,0:40,0:40",
            ]
        )
        == 0
    )
    assert read(tmp_path / "out.zarr").shape == (1, 9, 40, 40)


def test_a_translation_preserves_what_the_targets_segmenter_sees_and_takes_its_intensities(phantom, tmp_path):
    judge = run(phantom, tmp_path / "judge").run
    preserves = f"task.segmenters.target={judge}"
    small = ("data.patch=94", "data.calibration=2", "task.generator.arguments={levels: 2, width: 2}",
             "task.critic.arguments.width=2", *(o for o in TINY if o.startswith("train.")))  # fmt: skip
    pair = (phantom["target"], phantom["source"])
    result = train("small-2d", *pair, tmp_path / "run", overrides=(*small, preserves), progress=False)
    assert float(result.log[-1]["segmentation_target"]) > 0
    bundle, seen = load_bundle(find_bundle(result.run)), load_bundle(find_bundle(judge))
    assert bundle.intensity["target"] == seen.intensity["source"]
    assert set(bundle.translations) == {"forward", "backward"}
    with pytest.raises(BadInput, match=r"target .*run is not a 2D segmenter of 1 channels: train one"):
        train("small-2d", *pair, tmp_path / "no", overrides=(*small, f"task.segmenters.target={result.run}"))


def test_adapting_measures_statistics_where_it_is_told_and_touches_no_weight(phantom, tmp_path, capsys):
    run(phantom, tmp_path / "run")
    model = load_bundle(find_bundle(tmp_path / "run"))
    array = read(phantom["source"]).astype(np.uint8)
    darker = create_volume(
        tmp_path / "dark er.zarr", shape=array.shape, dtype=np.uint8, voxel_size=(10, 10, 10), unit="nanometer",
        chunks=(24, 64, 64),
    )  # fmt: skip
    darker.write(Box.of(darker.spatial), (array // 2 + 20).astype(np.uint8))
    darker.flush()
    adapted = load_bundle(adapt_statistics(tmp_path / "run", tmp_path / "dark er.zarr", tmp_path / "adapted"))
    old, new = model.network("forward"), adapted.network("forward")
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert not torch.allclose(old.down[0][1].mean, new.down[0][1].mean)
    assert not nets.tile_dependent(new)
    assert "dark er.zarr" in adapted.meta["translations"]["forward"]["statistics"]
    home = load_bundle(adapt_statistics(tmp_path / "run", phantom["source"], tmp_path / "home"))

    def statistics_of(bundle, path):
        net, box = nets.frozen(bundle.network("forward")), Box((10, 0, 0), (11, 120, 160))
        values = bundle.intensity["source"].to_network(open_volume(path).read(box))
        return net(torch.from_numpy(values[:, 0][None]))

    reference = statistics_of(home, phantom["source"])
    moved = (statistics_of(adapted, tmp_path / "dark er.zarr") - reference).abs().mean()
    stayed = (statistics_of(home, tmp_path / "dark er.zarr") - reference).abs().mean()
    assert moved < 0.25 * stayed
    words = [
        str(tmp_path / "run"),
        str(tmp_path / "dark er.zarr"),
        str(tmp_path / "m"),
        "--intensity",
        "--patches",
        "3",
    ]
    assert main(["adapt", *words]) == 0
    assert load_bundle(tmp_path / "m").intensity["source"].high < model.intensity["source"].high


@pytest.mark.parametrize(("zoom", "amplitude"), [(0.0, 0), (0.35, 0), (0.35, 8)])
def test_no_mask_is_both_learnt_and_judged_by(tmp_path, zoom, amplitude):
    places = np.broadcast_to(np.arange(300, dtype=np.uint16), (1, 2, 160, 300))
    for name, values in (("image", places), ("mask", np.ones_like(places))):
        with create_volume(
            tmp_path / f"{name}.zarr", shape=values.shape, dtype=np.uint16, voxel_size=(5, 5, 5),
            unit="nanometer", chunks=(2, 160, 300),
        ) as volume:  # fmt: skip
            volume.write(Box.of(values.shape[1:]), values)
    augment = f"data.augment={{zoom: {zoom}, elastic: {{amplitude: {amplitude}, length: 20}}}}"
    changes = (augment, "data.intensity=fixed", "data.low=0", "data.high=299")
    settings = load_recipe("small-segment-2d", (*TINY, "data.labels.held_out=0.2", *changes))
    opened = {d: [open_volume(tmp_path / f"{n}.zarr")] for d, n in (("source", "image"), ("target", "mask"))}
    prepared = prepare(settings, opened)
    certain = (..., *[slice(20, -20)] * 2)
    learnt = [(prepared.data[i]["source"][certain].max().item() + 1) / 2 * 299 for i in range(150)]
    judged = [(part["source"][certain].min().item() + 1) / 2 * 299 for part in prepared.held_out()]
    assert max(learnt) < min(judged) < max(learnt) + 30 + 3 * amplitude


def test_what_does_not_fit_is_one_line(phantom, tmp_path):
    with pytest.raises(BadInput, match="give as many of both, in the same order"):
        train("small-segment-2d", [phantom["source"]] * 2, phantom["source_mito"], tmp_path / "r")
    with pytest.raises(BadInput, match="try 76 or 80"):
        run(phantom, tmp_path / "r", "data.patch=78")
    with pytest.raises(BadInput, match=r"task\.los is not a key: did you mean loss"):
        load_recipe("small-segment-2d", ("task.los=dice",))
