"""A march that cannot be is refused in one line with a cure, and a model that did not learn to march is warned of."""

import logging

import numpy as np
import pytest
import torch
from tests.prediction.conftest import write_volume
from tests.prediction.marching import model

from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.evaluation.seams import grids_of, seam_planes
from vol2vol.intensity import Intensity
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, dry_run, predict, translate
from vol2vol.protocol import March, OnePass, Translation
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 52), dtype=np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return model(tmp_path_factory.mktemp("trained") / "m", 2, share=(0.25, 0.25))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_volume(tmp_path_factory.mktemp("source") / "in.zarr", np.stack([IMAGE] * 3))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"overlap": 0}, "overlap 0 shows a tile nothing of earlier ones, .*: use `overlap` 4"),
        ({"overlap": 16}, "overlap 16 leaves nothing of a tile of 16: use `overlap` 4"),
        ({"overlap": 6}, "overlap 6 of a tile of 16 was not shown in training, .*: use `overlap` 4, or leave it out"),
        ({"tile": "8"}, "tile 8 on axis -2 does not fit this network: the smallest that fits is 16"),
        ({"tile": "17"}, "tile 17 .* does not fit this network: try 16 or 20"),
        ({"assembly": "ortho"}, "orthoslices write a mean of three: use `assembly` slices"),
        ({"memory": "1MB"}, "the smallest layout of this model does not fit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, trained, source, how, says):
    with pytest.raises(BadInput, match=says) as caught:
        predict(trained, source, tmp_path / "out.zarr", PredictSettings(strategy="march", **how))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"keep": 0.5}, "keep has no effect with strategy exact"),
        ({"strategy": "march", "split_outputs": True}, "leave out `split_outputs"),
        ({"strategy": "march", "keep": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_have_no_effect_are_refused(how, says):
    with pytest.raises(ValueError, match=says):
        PredictSettings(**how)


def test_the_command_line_says_it_in_one_line(tmp_path, trained, source, capsys):
    words = ["predict", trained, source, tmp_path / "out.zarr", "--strategy", "march", "--overlap", "1"]
    assert main(list(map(str, words))) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("use --overlap 4, or leave it out")


def test_a_model_trained_without_stitching_marches_with_a_warning(tmp_path, caplog):
    plain = model(tmp_path / "m", 2, stitching=False)
    with caplog.at_level(logging.WARNING, "vol2vol"):
        made = translate(plain, IMAGE, PredictSettings(strategy="march"))
    assert made.shape == IMAGE.shape
    assert [r.getMessage() for r in caplog.records if "trained without stitching" in r.getMessage()]
    assert "expect objects at the borders of tiles to change twice" in caplog.text
    caplog.clear()
    translate(model(tmp_path / "with", 2), IMAGE, PredictSettings(strategy="march"))
    translate(plain, IMAGE, PredictSettings(strategy="average"))
    assert "stitching" not in caplog.text


def wide(folder, *, read, make, march=True):
    torch.manual_seed(0)
    channels = max(read, make) if march else read
    net = nets.build("unet", dims=2, in_channels=channels, out_channels=make, levels=2, width=2, norm="instance")
    applied = March(share=(0.25, 0.25), offset=2.0) if march else OnePass()
    grey = {n: Intensity(low=(0.0,) * n, high=(255.0,) * n) for n in (read, make)}
    translation = Translation(network=net, reads=("source",), makes=("target",), applied=applied)
    domains = {"source": read, "target": make}
    intensity = {"source": grey[read], "target": grey[make]}
    return save_bundle(folder, {"forward": translation}, intensity, channels=domains, provenance={"patch": 16})


@pytest.mark.parametrize(("read", "make"), [(1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("strategy", ["march", "average"])
def test_channels_of_grey_images_are_repeated(tmp_path, read, make, strategy):
    array = np.random.default_rng(0).integers(0, 256, (read, 1, 30, 41), dtype=np.uint8)
    path = wide(tmp_path / "m", read=read, make=make)
    made = translate(path, array, PredictSettings(strategy=strategy, overlap=4), axes="czyx")
    assert made.shape == (make, 1, 30, 41)
    if read == 1 and strategy == "average":
        repeated = wide(tmp_path / "three", read=3, make=3)
        again = translate(repeated, np.repeat(array, 3, 0), PredictSettings(strategy=strategy, overlap=4), axes="czyx")
        np.testing.assert_array_equal(made, again)


def test_a_network_that_cannot_be_shown_what_it_makes_is_refused(tmp_path):
    path = wide(tmp_path / "m", read=1, make=3, march=False)
    with pytest.raises(BadInput, match=r"reads 1 channels and makes 3, so a march cannot show it.*use another"):
        translate(path, IMAGE, PredictSettings(strategy="march"))


def test_seams_are_looked_for_where_tiles_meet(tmp_path, trained, source):
    """Tiles of 16 start at 0, 12, 24, 36; the earlier one keeps two voxels of an overlap of four."""
    out = tmp_path / "out.zarr"
    predict(trained, source, out, PredictSettings(strategy="march"))
    with open_volume(out) as volume:
        assert seam_planes(volume) == [[], [14, 26], [14, 26, 38]]
        assert [[*grid.borders(n, axis)] for grid in grids_of(volume) for axis, n in ((1, 40), (2, 52))] == [
            [14, 26],
            [14, 26, 38],
        ]
    predict(trained, source, tmp_path / "part.zarr", PredictSettings(strategy="march", roi=":,10:40,15:52"))
    with open_volume(tmp_path / "part.zarr") as volume:
        assert seam_planes(volume) == [[], [4, 16], [11, 23]]


def test_a_dry_run_says_what_a_region_costs(trained, source):
    whole, part = (
        dry_run(trained, source, PredictSettings(strategy="march", roi=roi)) for roi in (None, ":,20:40,:20")
    )
    assert (whole["tiles"], part["tiles"]) == (3 * 12, 3 * (4 + 3 + 2))
    assert part["operations"] / whole["operations"] == 9 / 12
    assert (whole["waves"], whole["strategy"], whole["step"]) == (8, "march", (1, 12, 12))
