"""The certificate measures what networks do; wrong claims, tile statistics and foreign networks are told apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

import vol2vol
from vol2vol import nets
from vol2vol.cli import main
from vol2vol.errors import BadInput
from vol2vol.evaluation import certify
from vol2vol.evaluation.mismatch import PLACES, dice, measure_smallest, measure_typical, typical_tile
from vol2vol.geometry import Box, Footprint
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.protocol import between
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)
SHIPPED = [
    ("unet", {"dims": 2, "levels": 2, "width": 4, "norm": "tracked"}),
    ("unet", {"dims": 2, "levels": 3, "width": 4, "norm": "batch", "padding": "same"}),
    ("unet", {"dims": 2, "levels": 2, "width": 4, "norm": "none", "decoder": "cropped", "up": "resize"}),
    ("unet", {"dims": 3, "levels": 1, "width": 2, "norm": "frozen"}),
    ("resnet", {"dims": 2, "blocks": 2, "width": 3, "norm": "tracked"}),
    ("resnet", {"dims": 2, "blocks": 2, "width": 3, "norm": "tracked", "padding": "valid"}),
    ("segmenter", {"dims": 2, "width": 2}),
    ("segmenter", {"dims": 3, "width": 2, "levels": 2, "padding": "same"}),
    ("lookup", {"dims": 3}),
    ("spectral", {"dims": 2, "radius": 3}),
    ("pixel", {"dims": 2, "width": 2, "norm": "none"}),
]


def lively(name, seed=0, **arguments):
    """Build a network whose output has contrast."""
    torch.manual_seed(seed)
    net = nets.build(name, **arguments)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


def unet(norm="tracked", **arguments):
    return lively("unet", dims=2, levels=2, width=4, norm=norm, **arguments)


@pytest.mark.parametrize(("name", "arguments"), SHIPPED, ids=lambda x: x if isinstance(x, str) else "")
def test_shipped_networks_are_stitchable_and_measure_as_derived(name, arguments):
    net = lively(name, **arguments)
    certificate = certify(net)
    foot = nets.footprint(net)
    assert certificate.stitchable, certificate.sentence
    assert certificate.footprint == foot
    for axis, spread in enumerate(certificate.measured.values()):
        assert (spread.before, spread.after, spread.period) == (
            foot.reach[0][axis], foot.reach[1][axis], foot.period[axis],
        )  # fmt: skip
    assert max(certificate.mismatch.invariance, certificate.mismatch.far) < certificate.rounding
    if max(foot.period) > 1:
        assert certificate.mismatch.aliasing > 1e-3
    json.dumps(certificate.to_dict(), allow_nan=False)


def test_certifying_changes_nothing():
    net = unet()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    certify(net)
    assert all(
        torch.equal(value, before[key]) and value.dtype == before[key].dtype for key, value in net.state_dict().items()
    )
    assert not net.training


@pytest.mark.parametrize("norm", ["instance", "calibrated"])
def test_statistics_of_the_tile_are_named_by_layer(norm):
    certificate = certify(unet(norm))
    assert not certificate.stitchable
    assert certificate.tile_dependent == tuple(nets.tile_dependent(unet(norm)))
    assert certificate.sentence.startswith(f"Not stitchable: layer {certificate.tile_dependent[0]} normalises")
    assert certificate.mismatch.invariance > 1e-2
    assert certificate.mismatch.far > 1e-2
    assert certificate.mismatch.disparity == 0, "training and prediction are the same function"


def test_tile_mismatch_falls_to_rounding_at_the_reach_and_not_before():
    certificate = certify(unet(padding="same"))
    by_distance, reach = certificate.mismatch.by_distance, certificate.footprint.reach[0][0]
    assert max(by_distance[reach:]) < 1e-9
    assert min(by_distance[:2]) > 1e-3
    assert certify(unet("instance")).mismatch.by_distance[-1] > 1e-3


@pytest.mark.parametrize("side", [0, 1])
def test_a_claimed_reach_that_is_too_small_is_caught(side):
    net = unet()
    foot = nets.footprint(net)
    reach = [foot.reach[0], foot.reach[1]]
    reach[side] = tuple(n - 1 for n in reach[side])
    certificate = certify(net, footprint=replace(foot, reach=tuple(reach)))
    assert not certificate.stitchable
    assert (
        f"an output depends on 6 voxels {('before', 'after')[side]} it along x, the footprint states 5"
        in certificate.sentence
    )


def test_a_claimed_period_that_is_wrong_is_caught():
    net = unet()
    foot = nets.footprint(net)
    certificate = certify(net, footprint=replace(foot, period=(2, 2)))
    assert "repeats every 4 voxels along x, the footprint states 2" in certificate.sentence
    assert certify(net, footprint=replace(foot, period=(8, 8), residue=foot.minimum)).stitchable


TRICKS = {
    "mean": lambda x, y, axis: y - y.mean(),
    "mean along": lambda x, y, axis: y - y.mean(axis, keepdim=True),
    "roll": lambda x, y, axis: y + x.roll(9, axis),
    "roll back": lambda x, y, axis: y + x.roll(-9, axis),
}


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize(("dims", "axis"), [(2, -1), (2, -2), (3, -1), (3, -2), (3, -3)])
def test_a_network_that_does_more_than_its_layers_say_is_caught_by_its_tiles(trick, dims, axis):
    net = unet() if dims == 2 else lively("unet", dims=3, levels=1, width=2, norm="none", padding="same")
    foot = nets.footprint(net)
    assert max(map(max, foot.reach)) < 9

    class Tricky(type(net)):
        def forward(self, x):
            return TRICKS[trick](x, super().forward(x), axis)

    net.__class__ = Tricky
    certificate = certify(net, footprint=foot)
    assert not certificate.stitchable
    assert "standard deviations" in certificate.sentence


def test_disparity_of_networks():
    net = unet("tracked")
    mismatch = certify(net).mismatch
    assert mismatch.disparity > 0.1
    assert mismatch.disparity_dice is None
    assert certify(nets.frozen(net)).mismatch.disparity == 0
    assert certify(unet("none")).mismatch.disparity == 0
    segmenter = certify(lively("segmenter", dims=2, width=2)).mismatch
    assert segmenter.overlap_dice == 1
    assert 0 <= segmenter.disparity_dice <= 1


class Centred(nn.Module):
    """Subtracts the tile's mean in training, nothing in prediction."""

    def forward(self, x):
        return x - x.mean() if self.training else x


FLAT = Footprint(reach=((0, 0), (0, 0)), period=(1, 1), residue=(0, 0), minimum=(1, 8), trim=((0, 0), (0, 0)))


def ramp(shape, place):
    """Rise along x, from another value at every place."""
    return (torch.arange(shape[-1], dtype=torch.float64) + 100 * place).expand(1, 1, *shape)


def test_mismatch_of_known_statistics():
    mismatch = measure_smallest(Centred().eval(), FLAT, ramp)
    assert (mismatch.tile, mismatch.invariance, mismatch.far) == ((1, 8), 0, 0)
    shifting = measure_smallest(Centred().train(), FLAT, ramp)
    assert shifting.invariance == pytest.approx(1 / np.arange(10).std(ddof=1)), "along x, tiles of 1 x 10"
    assert shifting.far == pytest.approx(1 / np.tile(np.arange(8), 3).std(ddof=1)), "along y, of 3 x 8"


def test_borders_and_modes_are_means_over_places():
    tile = (2, 10)
    shown = np.concatenate([np.tile(np.arange(10) + 100 * place, 2) for place in range(1, PLACES + 1)])
    mismatch = measure_typical(Centred().eval(), FLAT, ramp, tile, segments=True)
    assert (mismatch.typical, mismatch.places, mismatch.overlap_dice) == (tile, PLACES, 1)
    assert mismatch.disparity == pytest.approx(shown.mean() / shown.std(ddof=1))
    assert mismatch.disparity_dice == pytest.approx(2 * 8 / (8 + 20))
    assert max(mismatch.by_distance) == 0
    shifting = measure_typical(Centred().train(), FLAT, ramp, tile, segments=False)
    spread = np.tile(np.arange(10), 2 * PLACES).std(ddof=1)
    assert shifting.by_distance == pytest.approx([1 / 2 / spread, *[1 / spread] * 4]), "half of the places are along y"


def test_the_typical_tile_is_the_training_patch_where_one_is_known():
    foot = nets.footprint(unet())
    assert typical_tile(foot, 30) == (30, 30)
    assert typical_tile(foot) == (126, 126), "admissible, nearest to 128"
    assert typical_tile(foot, 5) == tuple(n + p for n, p in zip(foot.minimum, foot.period, strict=True))
    solid = nets.footprint(lively("unet", dims=3, levels=2, width=2, norm="none"))
    assert typical_tile(solid, 94) == (94,) * 3
    assert typical_tile(solid, 158) == typical_tile(solid) == (62,) * 3, "too large to be asked several times"


def test_statistics_of_the_tile_are_measured_at_its_typical_size_and_all_over_the_volume(folder):
    """The smallest tiles of a network with instance norm disagree ten times as much as those it is used with."""
    bundle = load_bundle(folder / "model")
    small, large = (
        certify(replace(bundle, meta={**bundle.meta, "provenance": {"patch": patch}}), direction="backward").mismatch
        for patch in (18, 270)
    )
    assert (small.typical, large.typical) == ((18, 18), (270, 270))
    assert small.by_distance[-1] > 5 * large.by_distance[-1]
    assert (small.invariance, small.far) == (large.invariance, large.far), "of the smallest tile, whatever the patch"
    mismatch = certify(folder / "model", open_volume(folder / "in.zarr")).to_dict()["mismatch"]
    assert (mismatch["typical"], mismatch["places"]) == ([30, 30], PLACES)


def test_dice_of_known_answers():
    first, second = torch.tensor([0.9, 0.8, 0.1, 0.2]), torch.tensor([0.9, 0.1, 0.7, 0.2])
    assert dice(first, second) == 0.5
    assert dice(first * 0, second * 0) == 1


class Strange(nn.Module):
    """Something of another making: no describe, strided, mirrored, one activation."""

    def __init__(self, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.down = nn.Conv2d(3, 4, 2, stride=2)
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 1, 2, stride=2)
        self.norm = nn.InstanceNorm2d(4) if norm else nn.Identity()

    def forward(self, x):
        return self.up(torch.relu(self.norm(self.middle(self.down(self.first(x))))))


def test_a_callable_of_other_making_is_measured():
    certificate = certify(Strange().double(), dims=2)
    assert certificate.stitchable, certificate.sentence
    assert certificate.footprint_from == "measurement"
    for spread in certificate.measured.values():  # 1, then 1 at half resolution, and the other voxel of the pair
        assert (spread.before, spread.after, spread.period) == (4, 4, 2)


def test_of_other_making_with_tile_statistics():
    certificate = certify(Strange(norm=True).eval(), dims=2)
    assert not certificate.stitchable
    assert certificate.tile_dependent == ("norm",)
    hidden = Strange(norm=True).eval()
    certificate = certify(lambda x: hidden(x), dims=2)
    assert certificate.tile_dependent == ()
    assert "depend on the whole tile along x" in certificate.sentence
    assert "beyond the reach" in certificate.sentence or "disagree" in certificate.sentence


def test_a_module_of_other_making_is_judged_as_it_predicts_and_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    before = net[1].running_mean.clone()
    assert certify(net, dims=2).stitchable
    assert net.training
    assert torch.equal(net[1].running_mean, before)


def silent(bias=-20.0):
    """Make a network for bright data: around 0 its only activation gives nothing."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    nn.init.constant_(net[0].bias, bias)
    return net


@pytest.mark.parametrize("bias", [-3.0, -20.0])
def test_a_network_that_does_not_react_is_asked_in_the_volumes_own_tones(folder, bias):
    with pytest.raises(BadInput, match="does not react to the probe, values around 0 that change by 3: give a volume"):
        certify(silent(bias), dims=2)
    volume = open_volume(folder / "in.zarr")
    certificate = certify(silent(bias), volume, dims=2)
    assert certificate.stitchable, certificate.sentence
    assert [(spread.before, spread.after, spread.period) for spread in certificate.measured.values()] == [(2, 2, 1)] * 2
    hidden = silent(bias)
    certificate = certify(lambda x: hidden(x) - hidden(x).mean(), volume, dims=2)
    assert "depend on the whole tile along y" in certificate.sentence
    with pytest.raises(BadInput, match=r"reacts neither to values around 0 nor to the grey values of .*in\.zarr"):
        certify(lambda x: 0 * x, volume, dims=2)


def test_a_network_that_skips_planes_is_heard_at_those_it_reads():
    certificate = certify(lambda x: x[..., 1::2, 1::2].repeat_interleave(2, -1).repeat_interleave(2, -2), dims=2)
    assert certificate.stitchable, certificate.sentence
    assert {(spread.before, spread.after, spread.period) for spread in certificate.measured.values()} == {(0, 0, 2)}


def test_an_exported_program_is_certified_through_its_module():
    size = {2: torch.export.Dim("y", min=2, max=512) * 2, 3: torch.export.Dim("x", min=2, max=512) * 2}
    program = torch.export.export(Strange(), (torch.zeros(1, 1, 32, 32),), dynamic_shapes=(size,))
    certificate = certify(program.module(), dims=2)
    assert certificate.stitchable, certificate.sentence
    assert certificate.measured["x"].period == 2
    static = torch.export.export(Strange(), (torch.zeros(1, 1, 32, 32),))
    with pytest.raises(BadInput, match="dynamic sizes"):
        certify(static.module(), dims=2, size=(32, 32))


def test_networks_that_cannot_be_judged_say_so():
    with pytest.raises(BadInput, match="dims=2"):
        certify(lambda x: x)
    with pytest.raises(BadInput, match="one voxel per input voxel"):
        certify(nn.Conv2d(1, 1, 2, stride=2), dims=2)
    with pytest.raises(BadInput, match="NaN"):
        certify(lambda x: x / 0 * 0, dims=2)
    broken = unet("none")
    broken.decoder[0].apply(lambda m: [p.data.fill_(float("nan")) for p in m.parameters(recurse=False)])
    with pytest.raises(BadInput, match="NaN"):
        certify(broken)
    with pytest.raises(BadInput, match="accepts no input"):
        certify(nn.Conv2d(2, 1, 3), dims=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certify this")
    grey, channels = fixed(0, 255), {"source": 1, "target": 1}
    both = {"forward": unet(), "backward": unet("instance")}
    save_bundle(
        folder / "model", between(both), {"source": grey, "target": grey}, channels=channels, provenance={"patch": 30}
    )
    array = np.random.default_rng(0).integers(0, 256, (1, 4, 130, 134), dtype=np.uint8)
    array[..., 30:] //= 2
    volume = create_volume(folder / "in.zarr", shape=array.shape, dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer")
    volume.write(Box.of(volume.spatial), array)
    volume.flush()
    return folder


def test_the_verb(folder, capsys):
    assert main(["certify", str(folder / "model"), str(folder / "in.zarr"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["stitchable"]
    assert answer["data"].endswith("in.zarr")
    assert main(["certify", str(folder / "model"), "--direction", "backward"]) == 1
    assert "Not stitchable: layer" in capsys.readouterr().out


def test_a_volume_smaller_than_the_tile_is_mirrored(folder):
    small = create_volume(
        folder / "small.zarr", shape=(1, 1, 9, 7), dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer"
    )
    small.write(Box.of(small.spatial), np.arange(63, dtype=np.uint8).reshape(small.shape))
    small.flush()
    assert certify(folder / "model", open_volume(folder / "small.zarr")).stitchable


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["network.pt2"], "does not exist"),
        (["network.onnx"], "give the module to vol2vol.certify"),
        (["nothing"], "does not exist"),
        (["model", "in.zarr", "--direction", "sideways"], "sideways"),
        (["model", "nothing.zarr"], "nothing.zarr"),
    ],
)
def test_mistakes_are_one_line(words, message, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["certify", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_what_is_certified_is_predicted_without_seams(folder, capsys):
    """The exact prediction shows no seam, full tiles side by side do; the network's own pattern is none."""
    rng = np.random.default_rng(1)
    array = gaussian_filter(rng.normal(0, 1, (4, 150, 156)), (0, 1, 1))
    array = np.clip(128 + 30 * array / array.std(), 0, 255).astype(np.uint8)[None]
    source = create_volume(
        folder / "tissue.zarr", shape=array.shape, dtype="uint8", voxel_size=(8, 8, 8), unit="nanometer"
    )
    source.write(Box.of(source.spatial), array)
    source.flush()
    for strategy, seams in (("exact", False), ("disjoint", True)):
        out = folder / f"{strategy}.zarr"
        settings = vol2vol.PredictSettings(strategy=strategy, tile="46", device="cpu")
        vol2vol.predict(folder / "model", folder / "tissue.zarr", out, settings)
        assert main(["evaluate", "seams", str(out), "--source", str(folder / "tissue.zarr"), "--json"]) == 0
        (report,) = json.loads(capsys.readouterr().out)["passes"]
        assert report["grid"]["period"] == [1, 4, 4]
        tested = [row for row in report["rows"] if row["verdict"] != "not tested"]
        assert {row["axis"] for row in tested} == {"y", "x"}
        assert any(row["verdict"] == "seam" for row in tested) == seams
