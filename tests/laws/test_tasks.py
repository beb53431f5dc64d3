"""L11: every task of the catalogue draws what it needs, plays a step, resumes bit for bit, and predicts as promised.

A task in the catalogue is swept by these tests without being named here; what it is told to build is made small.
"""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from vol2vol import nets
from vol2vol.describe import info
from vol2vol.errors import BadInput
from vol2vol.evaluation.certificate import certify
from vol2vol.geometry import Box
from vol2vol.models.bundle import load_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.engine import predicting
from vol2vol.recipes import Recipe, load_recipe, train
from vol2vol.recipes.cost import recipe_cost
from vol2vol.recipes.training import prepare
from vol2vol.recipes.training_data import open_training_data
from vol2vol.tasks import TASKS
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
SMALL = {
    "unet": {"levels": 2, "width": 4, "norm": "calibrated", "up": "resize"},
    "patchgan": {"width": 4, "n_layers": 1},
    "segmenter": {"levels": 2, "width": 4, "norm": "batch"},
    "resnet": {"width": 2, "blocks": 1, "norm": "calibrated"},
}
STITCHED = [name for name in TASKS if "stitching" in TASKS[name].Settings.model_fields]
GAMES = [*((name, False) for name in TASKS), *((name, True) for name in STITCHED)]
"""Every task, and those that may learn to continue their own output also with that."""
SHAPE = {2: (12, 80, 84), 3: (56, 52, 58)}


def recipe(name, dims, stitched=False, **train_settings):
    """Return a recipe of a task with its defaults (in 2D with noise), small networks, the smallest patch from 30 on."""
    fields = TASKS[name].Settings().model_dump(mode="json")
    networks = [key for key, value in fields.items() if isinstance(value, dict) and {"name", "arguments"} == set(value)]
    task = {key: {**fields[key], "arguments": SMALL[fields[key]["name"]]} for key in networks}
    if "noise" in fields and dims == 2:
        task["noise"] = 2
    if stitched:
        task["stitching"] = {"overlap": [0.4, 0.45], "ramp": False}  # with a ramp, more epochs change earlier ones
    footprint = nets.footprint(nets.build(fields[networks[0]]["name"], dims=dims, **task[networks[0]]["arguments"]))
    return Recipe.model_validate(
        {
            "dims": dims,
            "task": {"name": name, **task},
            "data": {
                "patch": footprint.admissible(30, 0, at_least=True),
                "calibration": 2,
                "labels": {"held_out_patches": 2, "foreground": 0.01},
            },
            "train": {"epochs": 2, "steps_per_epoch": 2, "checkpoint_every": 1, "accelerator": "cpu", **train_settings},
        }
    )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Per number of axes, an image and a function that makes volumes of any domain, which lie on it."""
    folder = tmp_path_factory.mktemp("volumes")

    def make(dims, need):
        path = folder / f"{need.name}{dims}.zarr"
        if not path.exists():
            rng = np.random.default_rng(dims)
            coarse = np.kron(rng.integers(0, 5, [-(-n // 4) for n in SHAPE[dims]]), np.ones((4, 4, 4)))
            image = (40 * coarse[tuple(map(slice, SHAPE[dims]))] + rng.integers(0, 50, SHAPE[dims])).astype(np.uint8)
            image = 200 - image if need.name == "target" and need.kind == "image" else image
            write(path, image if need.kind == "image" else (image > 120).astype(np.uint8))
        return path

    return make


def write(path, array):
    volume = create_volume(path, shape=(1, *array.shape), dtype=np.uint8, voxel_size=(8, 8, 8), unit="nm")
    volume.write(Box.of(volume.spatial), array[None])
    volume.close()


def run(settings, volumes, out):
    given = {need.name: volumes(settings.dims, need) for need in settings.task.needs() if not need.optional}
    source, target = given.pop("source", None), given.pop("target", None)
    return train(settings, source, target, out, data=given, progress=False)


def weights(result):
    return load_file(result.last_bundle / "weights.safetensors")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "stitched"), GAMES)
def test_it_trains_resumes_and_predicts_alike_on_every_tiling(name, stitched, dims, volumes, tmp_path):
    settings = recipe(name, dims, stitched)
    whole = run(settings, volumes, tmp_path / "whole")
    run(recipe(name, dims, stitched, epochs=1), volumes, tmp_path / "parts")
    resumed = run(settings, volumes, tmp_path / "parts")
    one, two = weights(whole), weights(resumed)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    bundle = load_bundle(whole.last_bundle)
    needs = {need.name: need for need in settings.task.needs()}
    for direction, translation in bundle.translations.items():
        assert {*translation.reads, *translation.makes} <= needs.keys()
        [read] = translation.reads
        source = volumes(dims, needs[read])
        for strategy in ("exact", "average"):
            predicted_alike(whole.run, source, direction, strategy, tmp_path / f"{direction}-{strategy}")


def predicted_alike(model, source, direction, strategy, out):
    """Assert that two tilings give the same voxels where a strategy promises so, and that all are finite."""
    settings = {"strategy": strategy, "direction": direction, "raw": True, "pyramid": False, "roi": ":6,:40,:44"}
    network = predicting(
        load_bundle(model / "models" / "epoch-0002").network(direction), PredictSettings(strategy=strategy)
    )
    footprint = nets.footprint(network)
    tiles = [str(footprint.admissible(48, 0, at_least=True)), *(["auto"] if strategy == "exact" else [])]
    made = []
    for tile in tiles:
        path = f"{out}-{tile}.zarr"
        predict(model, source, path, PredictSettings(**settings, tile=tile))
        with open_volume(path) as volume:
            made.append(volume.read(Box.of(volume.spatial)))
    assert all(np.isfinite(block).all() for block in made)
    np.testing.assert_allclose(made[0], made[-1], atol=2e-6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", TASKS)
def test_it_is_described_priced_and_certified(name, dims, volumes, tmp_path):
    settings = recipe(name, dims, epochs=1, steps_per_epoch=1)
    made = run(settings, volumes, tmp_path / "run")
    bundle = load_bundle(made.last_bundle)
    foretold, of_run, of_model = recipe_cost(settings), info(made.run), info(made.last_bundle)
    for cost in (of_run["cost"], of_model["cost"]):
        assert {key: cost[key] for key in ("weights", "operations per step")} == {
            key: foretold[key] for key in ("weights", "operations per step")
        }
        assert cost["operations per voxel"].keys() == bundle.translations.keys()
    assert of_run["recipe"]["task"]["name"] == name
    for direction, translation in bundle.translations.items():
        [read] = [need for need in settings.task.needs() if need.name in translation.reads]
        with open_volume(volumes(dims, read)) as shown:
            certificate = certify(bundle, shown, direction=direction)
        assert certificate.stitchable, certificate.sentence
        assert certificate.footprint == nets.footprint(translation.network)


@pytest.mark.parametrize("name", TASKS)
def test_a_data_sheet_gives_the_same_patches_as_paths(name, volumes, tmp_path):
    settings = recipe(name, 2)
    paths = {need.name: str(volumes(2, need)) for need in settings.task.needs() if not need.optional}
    (tmp_path / "data.csv").write_text(f"{','.join(paths)}\n{','.join(paths.values())}\n")
    given = [(paths, None), ({}, tmp_path / "data.csv")]
    opened = [open_training_data(settings.task.needs(), *each, {}, {}) for each in given]
    one, two = (prepare(settings, each.train, each.validate) for each in opened)
    assert one.intensity == two.intensity
    for index in range(3):
        assert one.data[index].keys() == two.data[index].keys() == paths.keys()
        assert all(torch.equal(one.data[index][domain], two.data[index][domain]) for domain in paths)
    assert (one.held_out is None) == (two.held_out is None)
    if one.held_out is not None:
        for first, second in zip(one.held_out(), two.held_out(), strict=True):
            assert all(torch.equal(first[domain], second[domain]) for domain in paths)


@pytest.mark.parametrize("name", TASKS)
def test_a_missing_and_an_unknown_domain_are_named(name, volumes, tmp_path):
    settings = recipe(name, 2)
    with pytest.raises(BadInput, match="needs the domain source"):
        train(settings, None, None, tmp_path / "run")
    source = volumes(2, settings.task.needs()[0])
    with pytest.raises(BadInput, match="does not know the domain nuclei: it takes source"):
        train(settings, source, source, tmp_path / "run", data={"nuclei": source})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"name": "pix3pix"}, {}, "segment"])
def test_a_task_that_is_not_there_is_named(wrong, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"task": wrong}))
    with pytest.raises(BadInput, match="task") as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value)


def test_two_exposures_enter_the_network_alike(volumes, tmp_path):
    """A second exposure is compared with the first one's denoised image, so that one map of intensities serves both."""
    settings = recipe("denoise", 2, epochs=1)
    source, target = (volumes(2, need) for need in settings.task.needs())
    made = train(settings, source, target, tmp_path / "run", progress=False)
    intensity = load_bundle(made.last_bundle).intensity
    assert intensity["target"] == intensity["source"]
