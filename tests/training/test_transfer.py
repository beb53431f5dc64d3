"""Tests of training from another model's weights: layers that fit are copied once, the others are listed."""

import shutil

import numpy as np
import pytest
import tifffile
import torch
import yaml
from safetensors.torch import load_file

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput, Mismatch
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.protocol import Translation, between
from vol2vol.recipes import Recipe, train
from vol2vol.tasks import TASKS, NetworkSettings, build
from vol2vol.training.transfer import transfer, words

torch.set_num_threads(1)
UNET = {"levels": 2, "width": 4, "norm": "none"}
CRITIC = NetworkSettings(name="patchgan", arguments={"width": 4, "n_layers": 1})


def task(name, *, dims=2, channels=None, seed=0, **arguments):
    """Return a task with small networks."""
    unet = NetworkSettings(name="unet", arguments={**UNET, **arguments})
    fields = TASKS[name].Settings.model_fields
    networks = {key: unet for key in ("network", "generator") if key in fields}
    if "critic" in fields:
        networks["critic"] = CRITIC
    return build(TASKS[name].Settings(**networks), dims=dims, channels=channels, seed=seed)


def model(translations):
    """Return a model in memory that has weights but no domains."""
    return Bundle(dict(translations), {}, {}, "hash")


def weights(network):
    """Return a copy of a network's weights without biases, which start as zeros in all networks."""
    return {name: weight.detach().clone() for name, weight in network.named_parameters() if name.endswith("weight")}


def equal(a, b):
    return {name for name in a if torch.equal(a[name], b[name])}


@pytest.mark.parametrize(
    ("name", "other"),
    [("pix2pix", "regress"), ("regress", "cyclegan"), ("cyclegan", "cyclegan"), ("denoise", "pix2pix")],
)
def test_networks_of_one_name_are_taken_whole(name, other):
    new, old = task(name, seed=1), task(other, seed=2)
    record = transfer(new, model(old.translations()), "old")
    for name_here, translation in new.translations().items():
        own, source = weights(translation.network), weights(old.translations()[name_here].network)
        assert equal(own, source) == own.keys()
        assert record["networks"][name_here]["fresh"] == {}
    critics = {key: part for key, part in record["networks"].items() if key not in new.translations()}
    assert all(part["layers"] == 0 and "only the networks that predict" in part["fresh"] for part in critics.values())
    assert bool(critics) == (name in ("cyclegan", "pix2pix"))


def test_a_layer_of_another_shape_stays_as_it_was_and_is_named():
    new, old = task("regress", channels={"source": 3}, seed=1), task("regress", seed=2)
    before = weights(new.generator)
    record = transfer(new, model(old.translations()), "old")
    after, first = weights(new.generator), {"encoder.0.conv.weight"}
    assert equal(after, before) == first
    assert equal(after, weights(old.generator)) >= after.keys() - first
    assert record["networks"]["forward"]["fresh"] == {
        "encoder.0.conv": "4 x 3 x 4 x 4 here, 4 x 1 x 4 x 4 in the model"
    }
    lines = list(words(record))
    assert lines[0] == (
        "weights of forward: 3 of 4 layers from forward of old; random in encoder.0.conv (4 x 3 x 4 x 4 here, "
        "4 x 1 x 4 x 4 in the model)"
    )


def test_one_of_the_same_architecture_under_another_name_is_taken_once():
    new, old = task("cyclegan", seed=1), task("regress", seed=2)
    fresh = weights(new.translations()["backward"].network)
    up = {"up": Translation(network=old.generator, reads=("dark",), makes=("bright",))}
    record = transfer(new, model(up), "old")
    own = {name: weights(translation.network) for name, translation in new.translations().items()}
    assert record["networks"]["forward"]["from"] == "up"
    assert equal(own["forward"], weights(old.generator)) == own["forward"].keys()
    assert equal(own["backward"], fresh) == fresh.keys()
    line = "weights of backward: random, because the model has no network backward, only up (2D unet)"
    assert line in list(words(record))


@pytest.mark.parametrize(
    ("translations", "why"),
    [
        (lambda: task("regress", dims=3).translations(), "forward: it is a 2D unet, but a 3D unet in the model"),
        (
            lambda: between({"forward": nets.build("resnet", dims=2, width=4, blocks=1)}),
            "forward: it is a 2D unet, but a 2D resnet in the model",
        ),
        (lambda: task("regress", width=5).translations(), "forward: no layer has the same shape in the model"),
    ],
)
def test_where_nothing_fits_it_is_refused_with_the_reason(translations, why):
    new = task("regress")
    before = weights(new.generator)
    with pytest.raises(BadInput) as caught:
        transfer(new, model(translations()), "old")
    assert str(caught.value) == (
        f"old: none of its weights fit this training ({why}): start from another model, or from none"
    )
    assert equal(weights(new.generator), before) == before.keys()


@pytest.mark.parametrize(
    ("norm", "channels", "taken"), [("batch", 1, True), ("batch", 2, False), ("calibrated", 1, False)]
)
def test_statistics_come_along_where_they_hold(norm, channels, taken):
    new = task("regress", norm=norm, levels=3, channels={"source": channels})
    old = task("regress", norm=norm, levels=3)
    old.generator.train()(torch.randn(2, 1, 62, 62))
    if norm == "calibrated":
        nets.calibrate(old.generator, [torch.randn(2, 1, 62, 62)])
    transfer(new, model(old.translations()), "old")
    pairs = list(zip(new.generator.buffers(), old.generator.buffers(), strict=True))
    assert pairs
    assert all(torch.equal(own, source) == taken for own, source in pairs)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two images and a trained run."""
    folder = tmp_path_factory.mktemp("transfer")
    coarse = np.kron(np.random.default_rng(0).integers(0, 5, (3, 20, 22)), np.ones((4, 4, 4)))
    for name, image in (("a", 40 * coarse), ("b", 255 - 40 * coarse)):
        tifffile.imwrite(folder / f"{name}.tif", image.astype(np.uint8), photometric="minisblack")
    run(folder, "first")
    return folder


def recipe(epochs=1):
    return Recipe.model_validate(
        {
            "task": {"name": "regress", "network": {"name": "unet", "arguments": {**UNET, "norm": "calibrated"}}},
            "data": {"patch": 34, "calibration": 1},
            "train": {"epochs": epochs, "steps_per_epoch": 2, "checkpoint_every": 1, "accelerator": "cpu"},
        }
    )


def run(folder, out, *, epochs=1, **how):
    return train(recipe(epochs), folder / "a.tif", folder / "b.tif", folder / out, progress=False, **how)


def stored(result):
    return load_file(result.last_bundle / "weights.safetensors")


def test_it_happens_once_and_the_same_call_continues_without_the_other_model(world):
    whole = run(world, "whole", epochs=2, start=world / "first")
    shutil.copytree(world / "first", world / "copy")
    run(world, "parts", start=world / "copy")
    shutil.rmtree(world / "copy")
    with pytest.raises(Mismatch, match=r"was begun with start '.*copy', now it is unset"):
        run(world, "parts", epochs=2)
    resumed = run(world, "parts", epochs=2, start=world / "copy")
    first, second = stored(whole), stored(resumed)
    assert all(torch.equal(first[key], second[key]) for key in first)
    provenance = load_bundle(resumed.last_bundle).meta["provenance"]
    assert provenance["started"]["networks"]["forward"] == {"from": "forward", "layers": 4, "fresh": {}}
    assert provenance["started"]["hash"] == load_bundle(world / "first/models/epoch-0001").hash
    fresh = stored(run(world, "fresh", epochs=2))
    assert not any(torch.equal(first[key], fresh[key]) for key in first if key.endswith("weight"))


def test_a_recipe_names_it_too(world, monkeypatch):
    monkeypatch.chdir(world)
    file = world / "recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe().model_dump(mode="json"), "start": "first"}))
    words = ["train", "--source", "a.tif", "--target", "b.tif"]
    assert main([*words, "--recipe", "recipe.yaml", "--out", "by-recipe"]) == 0
    file.write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    assert main([*words, "--recipe", "recipe.yaml", "--out", "by-flag", "--from", "first"]) == 0
    models = [load_file(world / name / "models/epoch-0001/weights.safetensors") for name in ("by-recipe", "by-flag")]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def old_schema(world):
    shutil.copytree(world / "first/models/epoch-0001", world / "old")
    text = (world / "old/model.yaml").read_text()
    (world / "old/model.yaml").write_text(text.replace("schema: 2", "schema: 1"))


@pytest.mark.parametrize(
    ("start", "more", "message"),
    [
        ("nowhere", [], "nowhere does not exist: give a folder that holds model.yaml, or a run folder"),
        (
            "a.tif",
            [],
            "a.tif is neither a model nor a run with saved models: give a folder that holds model.yaml, or a ",
        ),
        ("old", [], "old/model.yaml has schema 1 of an older vol2vol, this one reads 2: train the model again"),
        (
            "first",
            ["--out", "first", "--overwrite"],
            "first/models/epoch-0001 lies in the run first that would start from it: choose another folder for the new",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_training(start, more, message, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    if start == "old":
        old_schema(world)
    (world / "plain.yaml").write_text(yaml.safe_dump(recipe().model_dump(mode="json")))
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*") if path.is_file()}
    words = ["train", "--recipe", "plain.yaml", "--source", "a.tif", "--target", "b.tif", "--from", start]
    assert main([*words, *(more or ["--out", "new"])]) == 2
    assert capsys.readouterr().err.startswith(f"vol2vol: {message}")
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*") if path.is_file()} == before
