"""Tiles that start off the stride lattice, and weighted tiling at any size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol import nets, plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, reflect
from vol2vol.intensity import fixed
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.plans.record import Record
from vol2vol.prediction import PredictSettings, predict, translate, translated
from vol2vol.protocol import between
from vol2vol.volumes import create_volume, open_volume

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A network that only sees its voxel, and a network of stride 4 with random weights."""
    folder, grey = tmp_path_factory.mktemp("models"), fixed(0, 255)
    torch.manual_seed(0)
    point = nets.build("pixel", dims=2, width=3, norm="none")
    deep = nets.build("unet", dims=2, width=4, levels=2, padding="same", norm="none")
    for net in (point, deep):
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
    for name, net in (("point", point), ("deep", deep)):
        domains = {"source": grey, "target": grey}
        save_bundle(folder / name, between({"forward": net}), domains, channels=dict.fromkeys(domains, 1))
    return folder


def image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    offset=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    strategy=st.sampled_from(["disjoint", "average", "blend"]),
    window=st.sampled_from(["linear", "gaussian", "distance"]),
)
def test_any_offset_covers_every_voxel_of_any_size(models, size, offset, strategy, window):
    """A network that only sees its voxel gives the same image wherever tiles start."""
    how = {"strategy": strategy, "tile": "16", "window": window if strategy == "blend" else "linear", "raw": True}
    one = translate(models / "point", image(size), PredictSettings(raw=True))
    shifted = translate(models / "point", image(size), PredictSettings(**how, offset=f"{offset[0]},{offset[1]}"))
    assert np.isfinite(shifted).all()
    np.testing.assert_allclose(shifted, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strategy", ["disjoint", "average", "blend"])
def test_tiles_start_at_the_offset_and_at_whole_steps_from_it(models, strategy):
    shown = image((90, 81))
    how = PredictSettings(strategy=strategy, tile="32", offset="3,10")
    lazy = translated(models / "deep", shown, how)
    plan = lazy.layout.passes[0].plan
    assert plan.origin == (0, 3, 10)
    starts = [box.start for box in plan.kept_boxes(Box.of((1, 90, 81)))]
    assert {(y - 3) % plan.step[1] for _, y, _ in starts} == {(x - 10) % plan.step[2] for _, _, x in starts} == {0}
    assert min(starts)[1] <= 0


def test_an_offset_by_a_step_changes_nothing_and_by_less_it_does(models):
    shown = image((90, 81))

    def output(offset):
        return translate(
            models / "deep", shown, PredictSettings(strategy="disjoint", tile="32", offset=offset, raw=True)
        )

    np.testing.assert_array_equal(output("32"), output("0"))
    assert np.abs(output("2") - output("0")).max() > 1e-3


def test_a_file_and_a_lazy_volume_are_the_same_and_the_offset_is_recorded(models, tmp_path):
    with create_volume(
        tmp_path / "in.zarr", shape=(1, 2, 50, 41), dtype=np.uint8, voxel_size=(1, 1, 1), unit="nm"
    ) as v:
        v.write(Box.of(v.spatial), image((1, 2, 50, 41)))
    how = PredictSettings(strategy="average", tile="32", offset="5")
    predict(models / "deep", tmp_path / "in.zarr", tmp_path / "out.zarr", how)
    with open_volume(tmp_path / "out.zarr") as out:
        np.testing.assert_array_equal(
            np.asarray(out), np.asarray(translated(models / "deep", tmp_path / "in.zarr", how))
        )
        assert Record.of(out).settings["offset"] == "5"
    with pytest.raises(BadInput, match="offset"):
        predict(
            models / "deep", tmp_path / "in.zarr", tmp_path / "out.zarr", PredictSettings(strategy="average", tile="32")
        )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"offset": "2"}, "offset has no effect with strategy exact"),
        ({"offset": "2", "strategy": "printed", "tile": "64"}, "offset has no effect with strategy printed"),
        ({"offset": "-1", "strategy": "average"}, "offset '-1' is not one number"),
        ({"offset": "1,2,3", "strategy": "average"}, "offset '1,2,3' is not one number, or 2"),
        ({"offset": "a", "strategy": "blend"}, "offset 'a'"),
    ],
)
def test_offsets_that_cannot_be_are_refused(models, how, message):
    with pytest.raises(BadInput, match=message):
        translate(models / "deep", image((70, 70)), PredictSettings(**how))


def weighted(shown, patch, network):
    """Weighted tiling as de Bel et al. describe it: the central half of patches, a quarter apart, tent weights."""
    crop, step = patch // 2, patch // 4
    inside = np.minimum(np.arange(crop) + 0.5, crop - np.arange(crop) - 0.5)
    tent = np.minimum.outer(inside, inside)
    height, width = shown.shape
    total, weight = np.zeros(shown.shape), np.zeros(shown.shape)
    for top in range(-crop, height, step):
        for left in range(-crop, width, step):
            rows, columns = (
                np.arange(top - crop // 2, top + 3 * crop // 2),
                np.arange(left - crop // 2, left + 3 * crop // 2),
            )
            seen = shown[np.ix_([reflect(r, height) for r in rows], [reflect(c, width) for c in columns])]
            output = network(seen)[crop // 2 : -(crop // 2), crop // 2 : -(crop // 2)]
            for (y, x), value in np.ndenumerate(output):
                if 0 <= top + y < height and 0 <= left + x < width:
                    total[top + y, left + x] += tent[y, x] * value
                    weight[top + y, left + x] += tent[y, x]
    return total / weight


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (31, 45), (48, 1), (47, 19), (29, 48)])
def test_weighted_tiling_leaves_no_voxel_without_weight(models, size):
    """The published script leaves 20 % of an image of 2000 voxels without weight; any size from 1 to 3 patches here."""
    how = PredictSettings(strategy="blend", window="distance", tile="16", halo=4, overlap=4, raw=True)
    shown = image(size)
    made = translate(models / "deep", shown, how)
    assert np.isfinite(made).all()
    net = load_bundle(models / "deep").network("forward")

    def network(patch):
        with torch.no_grad():
            return net(torch.from_numpy((patch / 127.5 - 1).astype(np.float32))[None, None])[0, 0].numpy()

    np.testing.assert_allclose(made, weighted(shown, 16, network), rtol=0, atol=1e-5)


@given(size=st.integers(1, 48), patch=st.sampled_from([8, 12, 16]), shift=st.integers(0, 16))
def test_weights_of_weighted_tiling_are_positive_at_every_size(size, patch, shift):
    crop, step = patch // 2, patch // 4
    plan = plans.Plan(tile=(patch,), margin=((step,), (step,)), step=(step,), origin=(shift,), window="distance")
    assert plan.kept == (crop,)
    weight = np.zeros(size)
    for kept in plan.kept_boxes(Box.of((size,))):
        inside = kept & Box.of((size,))
        weight[inside.slices] += plan.weight()[inside.relative_to(kept.start).slices]
    assert weight.min() > 0
