"""Generators of the public reference code, imported and run exactly, give the reference's own numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from vol2vol.geometry import Box
from vol2vol.models.reference_code import import_reference
from vol2vol.prediction import PredictSettings, predict
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
GOLDEN = Path(__file__).parents[2] / "../shared/golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden outputs are not beside this checkout")


@pytest.mark.parametrize("dims", [2, 3])
def test_import_and_exact_prediction_reproduce_the_golden_output(dims, tmp_path):
    facts = json.loads((GOLDEN / "golden.json").read_text())[f"{dims}d"]
    image = np.random.default_rng(facts["input_seed"]).integers(0, 256, facts["input_shape"], dtype=np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", image)
    model = import_reference(GOLDEN / f"{dims}d_net_G_A.pth", tmp_path / "model", dims=dims)
    out = tmp_path / "out.zarr"
    tile = "190" if dims == 2 else "auto"
    predict(model, tmp_path / "in.tif", out, PredictSettings(raw=True, tile=tile), voxel_size=(1,) * dims)
    made = open_volume(out)
    whole = made.read(Box.of(made.spatial))[0]
    assert made.dtype == np.float32
    kept = tuple(slice(facts["kept_offset"], facts["kept_offset"] + n) for n in facts["kept_shape"])
    expected = np.load(GOLDEN / f"{dims}d_kept.npy").squeeze()
    np.testing.assert_allclose(whole.reshape(image.shape)[kept], expected, atol=1e-5, rtol=0)
