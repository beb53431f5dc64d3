"""A generator that continues its own output reads grey images as RGB: from training to prediction and certificate."""

import numpy as np
import pytest
import torch

from vol2vol import nets
from vol2vol.evaluation.certificate import certify
from vol2vol.geometry import Box
from vol2vol.models.bundle import load_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.protocol import March
from vol2vol.recipes import Recipe, train
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
RECIPE = Recipe.model_validate(
    {
        "data": {"patch": 30, "calibration": 2, "intensity": "fixed", "low": 0, "high": 255},
        "task": {
            "name": "cyclegan",
            "generator": {"name": "unet", "arguments": {"levels": 2, "width": 4}},
            "critic": {"name": "patchgan", "arguments": {"width": 4, "n_layers": 1}},
            "ssim_forward": 0,
            "stitching": {"both": True},
        },
        "train": {"epochs": 1, "steps_per_epoch": 2, "checkpoint_every": 1, "accelerator": "cpu"},
    }
)


def write(path, channels):
    array = np.random.default_rng(channels).integers(0, 256, (channels, 2, 50, 54)).astype(np.uint8)
    with create_volume(path, shape=array.shape, dtype=np.uint8, voxel_size=(1, 1, 1), unit="um") as volume:
        volume.write(Box.of(volume.spatial), array)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rgb")
    grey, colour = write(folder / "grey.zarr", 1), write(folder / "colour.zarr", 3)
    return {"forward": grey, "backward": colour}, train(RECIPE, grey, colour, folder / "run", progress=False).run


@pytest.mark.parametrize(("direction", "made"), [("forward", 3), ("backward", 1)])
@pytest.mark.parametrize("strategy", ["exact", "average"])
def test_every_strategy_shows_grey_images_repeated(trained, direction, made, strategy, tmp_path):
    sources, run = trained
    settings = PredictSettings(strategy=strategy, direction=direction, raw=True, pyramid=False)
    predict(run, sources[direction], tmp_path / "out.zarr", settings)
    with open_volume(tmp_path / "out.zarr") as volume:
        output = volume.read(Box.of(volume.spatial))
    assert output.shape == (made, 2, 50, 54)
    assert np.isfinite(output).all()


def test_exact_is_one_pass_over_the_mirrored_image_with_three_equal_channels(trained, tmp_path):
    sources, run = trained
    settings = PredictSettings(strategy="exact", raw=True, pyramid=False)
    predict(run, sources["forward"], tmp_path / "out.zarr", settings)
    network = nets.cropped(nets.frozen(load_bundle(run / "models" / "epoch-0001").network("forward")))
    with open_volume(sources["forward"]) as volume, open_volume(tmp_path / "out.zarr") as output:
        grey, made = (v.read(Box.of(v.spatial))[:, 0].astype(np.float32) for v in (volume, output))
    mirrored = np.pad(grey / 127.5 - 1, ((0, 0), (8, 8), (8, 8)), mode="reflect")  # 8: reach 6, a multiple of 4
    with torch.no_grad():
        whole = network(torch.from_numpy(mirrored.repeat(3, 0))[None])[0]
    np.testing.assert_allclose(made, whole[:, 2:52, 2:56].numpy(), atol=2e-6)


def test_both_networks_march_and_are_certified(trained):
    sources, run = trained
    bundle = load_bundle(run / "models" / "epoch-0001")
    for direction, offset in (("forward", 2.0), ("backward", -2.0)):
        assert bundle.translation(direction).applied == March(share=(0.25, 0.25), offset=offset)
        assert bundle.network(direction).in_channels == 3
        with open_volume(sources[direction]) as volume:
            assert certify(bundle, volume, direction=direction).stitchable
