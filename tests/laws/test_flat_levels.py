"""L3, L5, L7 for networks whose upper levels look only within planes: footprints per axis, streams along every axis."""

import numpy as np
import pytest
import torch
from tests.laws.test_footprints import lively
from tests.prediction.conftest import write_volume

from vol2vol import nets, plans
from vol2vol.errors import BadInput
from vol2vol.evaluation import certify
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.nets.stream import Stream
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.gather import gather
from vol2vol.protocol import between
from vol2vol.volumes import open_volume

torch.set_num_threads(1)
FLAT = [
    ("unet", {"levels": 3, "flat": 1, "width": 2, "norm": "frozen"}),
    ("unet", {"levels": 3, "flat": 2, "width": 2, "norm": "frozen", "decoder": "cropped", "up": "resize"}),
    ("unet", {"levels": 3, "flat": 2, "width": 2, "norm": "frozen", "padding": "same"}),
    ("segmenter", {"levels": 3, "flat": 1, "width": 2, "norm": "frozen"}),
    ("segmenter", {"levels": 2, "flat": 1, "width": 2, "norm": "frozen", "padding": "same"}),
    ("resunet", {"levels": 3, "flat": 2, "width": 2, "norm": "frozen", "weights": "plain"}),
]
every_network = pytest.mark.parametrize(("name", "arguments"), FLAT, ids=str)


def built(name, arguments, dims=3):
    return lively(nets.build(name, dims=dims, final="none", **arguments).double().eval())


@every_network
def test_the_footprint_of_every_axis_is_what_is_measured(name, arguments):
    net = built(name, arguments)
    found, foot = certify(net), nets.footprint(net)
    assert found.stitchable, found.sentence
    assert foot.reach[0][0] < foot.reach[0][1]
    assert foot.period[0] < foot.period[1]
    for axis, spread in enumerate(found.measured.values()):
        measured = (spread.before, spread.after, spread.period)
        assert measured == (foot.reach[0][axis], foot.reach[1][axis], foot.period[axis])


def test_flat_levels_count_for_the_plane_alone():
    flat, usual = (nets.footprint(nets.build("unet", dims=3, width=1, levels=n, flat=f)) for n, f in ((5, 2), (3, 0)))
    assert (flat.reach[0][0], flat.period[0]) == (usual.reach[0][0], usual.period[0]) == (14, 8)
    assert (flat.reach[0][1:], flat.period[1:]) == ((62, 62), (32, 32))


@pytest.mark.parametrize("name", ["unet", "segmenter", "resunet", "patchgan"])
@torch.no_grad()
def test_a_network_of_flat_levels_is_a_2d_network_on_every_plane(name):
    depth = "n_layers" if name == "patchgan" else "levels"
    own = {"width": 2, depth: 2, "norm": "channel", **({"final": "none"} if name != "patchgan" else {})}
    whole = lively(nets.build(name, dims=3, flat=2, **own).double())
    plane = nets.build(name, dims=2, **own).double()
    state = {key: value.squeeze(2) if value.ndim == 5 else value for key, value in whole.state_dict().items()}
    x = torch.randn(1, 1, 9, 46, 46, dtype=torch.float64)
    if name == "patchgan":  # its last layers of stride 1 look along z
        assert whole(x).shape[2] == 9 - 2
        return
    plane.load_state_dict(state)
    planes = torch.stack([plane(x[:, :, z]) for z in range(9)], 2)
    torch.testing.assert_close(whole(x), planes, atol=1e-10, rtol=0)


@every_network
@pytest.mark.parametrize("axis", [0, 1, 2])
@torch.no_grad()
def test_streams_along_every_axis_are_one_pass(name, arguments, axis):
    net = built(name, arguments)
    foot = nets.footprint(net)
    size = [n + p for n, p in zip(foot.minimum, foot.period, strict=True)]
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    stream = Stream(net, axis)
    parts = [stream.push(x.narrow(axis + 2, k, min(5, size[axis] - k))) for k in range(0, size[axis], 5)]
    streamed = torch.cat([part for part in [*parts, stream.finish()] if part is not None], axis + 2)
    expected = net(x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(streamed, expected, atol=1e-10, rtol=0)


@every_network
def test_tilings_agree_to_the_last_bits(name, arguments):
    net = nets.cropped(built(name, arguments))
    foot, run = nets.footprint(net), Engine.of(net)
    array = np.random.default_rng(3).standard_normal((1, 9, 37, 45))

    def read_box(box):
        pads = [(max(0, -a), max(0, b - n)) for a, b, n in zip(box.start, box.stop, array.shape[1:], strict=True)]
        padded = np.pad(array, [(0, 0), *pads], mode="reflect")
        start = [a + before for a, (before, _) in zip(box.start, pads, strict=True)]
        return padded[:, *(slice(a, a + n) for a, n in zip(start, box.shape, strict=True))]

    made = []
    for more in (0, 2):
        tile = tuple(plans.smallest_exact_tile(foot, axis) + more * foot.period[axis] for axis in range(3))
        made.append(gather(read_box, plans.exact(foot, tile), run, Box.of(array.shape[1:])))
    assert np.abs(made[0] - made[1]).max() < 1e-12


@pytest.mark.parametrize("strategy", ["exact", "blend"])
def test_an_anisotropic_volume_is_predicted(strategy, tmp_path):
    net = built("unet", {"levels": 3, "flat": 2, "width": 2, "norm": "frozen", "padding": "same"}).float()
    volume = np.random.default_rng(1).integers(0, 256, (6, 70, 61), dtype=np.uint8)
    source = write_volume(tmp_path / "in.zarr", volume, voxel_size=(45, 5, 5))
    grey, channels = fixed(0, 255), {"source": 1, "target": 1}
    both = between({"forward": net, "backward": built("unet", {"levels": 2, "width": 2, "norm": "frozen"}).float()})
    model = save_bundle(tmp_path / "model", both, {"source": grey, "target": grey}, channels=channels)
    predict(model, source, tmp_path / "out.zarr", PredictSettings(strategy=strategy, raw=True))
    made = open_volume(tmp_path / "out.zarr").read(Box.of(volume.shape))
    foot = nets.footprint(net)
    before = tuple(-(-r // p) * p for r, p in zip(foot.reach[0], foot.period, strict=True))
    size = [
        foot.admissible(n + b + 64, a, at_least=True) for a, (n, b) in enumerate(zip(volume.shape, before, strict=True))
    ]
    box = Box(tuple(-b for b in before), tuple(n - b for n, b in zip(size, before, strict=True)))
    x = torch.from_numpy(open_volume(source).read_padded(box).astype(np.float32) / 127.5 - 1)[None]
    with torch.no_grad():
        whole = net(x)[0].numpy()[:, *(slice(b, b + n) for b, n in zip(before, volume.shape, strict=True))]
    assert made.shape == whole.shape
    if strategy == "exact":
        assert np.abs(made - whole).max() < 1e-5 * whole.std()


def test_flat_levels_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match="2D network has no z"):
        nets.build("unet", dims=2, flat=1)
    with pytest.raises(BadInput, match="flat is 4: it is a number of levels, from 0 to 3"):
        nets.build("segmenter", dims=3, flat=4)
