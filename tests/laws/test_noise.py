"""L15: the noise that a network reads is a field over the volume, whatever tile, order, block or worker asks for it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import describe_bundle, load_bundle, save_bundle
from vol2vol.nets import with_noise
from vol2vol.plans.record import Record
from vol2vol.prediction import PredictSettings, predict, translate
from vol2vol.prediction.noise import NoiseField
from vol2vol.protocol import March, Translation, between
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
ends = st.tuples(st.integers(-(2**33), 2**33), st.integers(1, 9))


@given(*[ends] * 3, st.integers(0, 2**40), st.integers(1, 3), st.data())
@settings(deadline=None)
def test_any_box_is_a_crop_of_a_larger_one(z, y, x, seed, channels, data):
    start, shape = zip(z, y, x, strict=True)
    box = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))
    margin = data.draw(st.tuples(*[st.integers(0, 5)] * 3))
    larger = box.grow(margin, margin[::-1])
    field = NoiseField(channels, seed)
    assert field(box).dtype == np.float32
    np.testing.assert_array_equal(field(box), field(larger)[:, *box.relative_to(larger.start).slices])


def test_the_field_is_normal_and_its_channels_seeds_and_tiles_are_unrelated():
    box = Box((0, 0, 0), (8, 100, 100))
    one, two = NoiseField(1, 5)(box)[0], NoiseField(2, 5)(box)[1]
    others = [two, NoiseField(1, 6)(box)[0], NoiseField(1, 5).of_tile(box)[0], np.roll(one, 1, 2), np.roll(one, 1, 0)]
    assert stats.kstest(one.ravel(), "norm").statistic < 0.02
    for other in others:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_the_field_is_the_same_on_every_machine():
    values = NoiseField(2, 7)(Box((-1, 0, 5), (0, 1, 8)))
    expected = [3208428483, 3206116800, 1073591458, 3183966793, 1036908282, 1066829119]
    np.testing.assert_array_equal(values.ravel().view(np.uint32), expected)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that reads a grey image and one channel of noise, voxel by voxel, so that no tile can matter to it."""
    torch.manual_seed(2)
    net = nets.build("pixel", dims=2, in_channels=2, width=4, norm="none")
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.6)
    path, grey = tmp_path_factory.mktemp("noise") / "model", fixed(0, 255)
    translations = between({"forward": net}, noise=1)
    return save_bundle(path, translations, {"source": grey, "target": grey}, channels={"source": 1, "target": 1})


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (70, 83)).astype(np.uint8)


def test_a_model_remembers_that_it_reads_noise(model):
    assert load_bundle(model).translation("forward").noise == 1
    assert describe_bundle(model)["translations"]["forward"]["noise"] == 1


def test_no_tiling_changes_the_field_and_another_seed_does(model, image):
    def output(**how):
        return translate(model, image, PredictSettings(raw=True, **how))

    expected = output()
    for how in ({"tile": "32"}, {"strategy": "disjoint", "tile": "17"}, {"strategy": "blend", "tile": "40"}):
        np.testing.assert_allclose(output(**how), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(output(roi=":,20:51,3:60"), expected[20:51, 3:60])
    assert np.abs(output(seed=1) - expected).mean() > 0.1


def test_noise_of_each_tile_depends_on_the_tiling(model, image):
    one, two, again = (
        translate(model, image, PredictSettings(raw=True, strategy="disjoint", tile=tile, noise="tiles"))
        for tile in ("32", "40", "32")
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - two).mean() > 0.1


def test_a_march_shows_its_own_output_in_place_of_the_image_and_never_of_the_noise(tmp_path, image):
    """The network returns its noise: wherever earlier output is shown, the field must still be there."""
    net = nets.build("pixel", dims=2, in_channels=2, width=4, norm="none")
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    layers = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    layers[0].weight.data[0, 1], layers[0].weight.data[1, 1] = 1, -1
    for layer in layers[1:-1]:
        layer.weight.data[0, 0] = layer.weight.data[1, 1] = 1
    layers[-1].weight.data[0, :2, 0, 0] = torch.tensor([1.0, -1.0])
    grey = fixed(0, 255)
    forward = Translation(network=net, reads=("source",), makes=("target",), applied=March(share=(0.2, 0.3)), noise=1)
    domains = {"source": grey, "target": grey}
    path = save_bundle(tmp_path / "m", {"forward": forward}, domains, channels=dict.fromkeys(domains, 1))
    with torch.no_grad():
        drawn = torch.from_numpy(NoiseField(1, 2)(Box.of((1, *image.shape)))[:, 0][None])
        expected = net(torch.cat([torch.zeros_like(drawn), drawn], 1))[0, 0].numpy()
    for strategy in ("march", "disjoint"):
        how = PredictSettings(strategy=strategy, tile="32", seed=2, raw=True)
        np.testing.assert_allclose(translate(path, image, how), expected, rtol=0, atol=1e-6)


def test_workers_write_the_same_bytes_and_the_seed_is_recorded(model, tmp_path, monkeypatch):
    monkeypatch.setattr("vol2vol.prediction.planner.CHUNK", 16)
    with create_volume(
        tmp_path / "in.zarr", shape=(1, 3, 70, 83), dtype=np.uint8, voxel_size=(1, 1, 1), unit="nm"
    ) as source:
        source.write(Box.of(source.spatial), np.random.default_rng(0).integers(0, 256, (1, 3, 70, 83)).astype(np.uint8))
    for workers in (1, 2):
        predict(model, tmp_path / "in.zarr", tmp_path / f"{workers}.zarr", PredictSettings(seed=4, workers=workers))
    one, two = (open_volume(tmp_path / f"{n}.zarr") for n in (1, 2))
    np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    assert Record.of(one).settings["seed"] == 4
    with pytest.raises(BadInput, match="seed"):
        predict(model, tmp_path / "in.zarr", tmp_path / "1.zarr", PredictSettings(seed=5))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"noise": "tiles"}, "strategy exact needs one field"),
        ({"assembly": "ortho"}, "assembly ortho would interpolate the noise"),
    ],
)
def test_settings_that_break_the_field_are_refused(model, how, message):
    with pytest.raises(BadInput, match=message):
        translate(model, np.zeros((4, 32, 32), np.uint8), PredictSettings(**how), voxel_size=(1, 1, 1), unit="nm")


def test_a_seed_without_noise_is_refused(tmp_path):
    net, grey = nets.build("pixel", dims=2, width=2, norm="none"), fixed(0, 255)
    path = save_bundle(
        tmp_path / "m", between({"forward": net}), {"source": grey, "target": grey}, channels={"source": 1, "target": 1}
    )
    assert "noise" not in describe_bundle(path)["translations"]["forward"]
    with pytest.raises(BadInput, match="seed has no effect: the forward network reads no noise"):
        translate(path, np.zeros((32, 32), np.uint8), PredictSettings(seed=1))


def test_noise_of_training_is_fresh_normal_and_leaves_the_image():
    x = torch.rand(2, 3, 20, 20, dtype=torch.float64)
    one, two = with_noise(x, 5, 2), with_noise(x, 5, 2)
    assert one.shape == (2, 5, 20, 20)
    assert one.dtype == x.dtype
    assert torch.equal(one[:, :3], x)
    assert not torch.equal(one[:, 3:], two[:, 3:])
    assert abs(float(one[:, 3:].std()) - 1) < 0.1
    assert with_noise(x, 3, 0) is x
    assert torch.equal(with_noise(x[:, :1], 4, 1)[:, :3], x[:, :1].expand(-1, 3, -1, -1))
