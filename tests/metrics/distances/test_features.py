"""Patches are even, distinct and cheap to read; features carry where they come from; a scale from floor to ceiling."""

from collections import Counter
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tests.metrics.stored import store

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import fixed
from vol2vol.metrics.bootstrap import Resampling
from vol2vol.metrics.distances.cut_patches import Cutting, cell_of, cut, positions
from vol2vol.metrics.distances.feature_sets import Features
from vol2vol.metrics.distances.features import extract, grey_map, read_ahead
from vol2vol.metrics.distances.inception import InceptionV3
from vol2vol.metrics.distances.scale import distance_interval, extrapolated, scale
from vol2vol.metrics.distances.set_distances import fid, mmd


class Memory:
    """A volume of numbered voxels that counts what is read."""

    path = "some volume é.zarr"
    channels = 1

    def __init__(self, spatial, chunks=(8, 8, 8)):
        self.spatial, self.shape, self.chunks = spatial, (1, *spatial), (1, *chunks)
        self.reads = []

    def read(self, box):
        assert Box.of(self.spatial).contains(box)
        self.reads.append(box)
        z, y, x = np.meshgrid(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)), indexing="ij")
        return ((z * 1000 + y) * 1000 + x)[None]


sides = st.integers(1, 40)


@given(
    spatial=st.tuples(sides, sides, sides),
    chunks=st.tuples(*[st.integers(1, 70)] * 3),
    size=st.integers(1, 12),
    axis=st.sampled_from(["xy", "xz", "yz", "xyz"]),
    layout=st.sampled_from(["random", "grid"]),
    count=st.integers(1, 60),
)
@settings(max_examples=150, deadline=None)
def test_patches_are_distinct_inside_and_where_they_say(spatial, chunks, size, axis, layout, count):
    volume = Memory(spatial, chunks)
    cutting = Cutting(count=count, size=size, axis=axis, layout=layout)
    if any(s > n for s, n in zip(cutting.shape, spatial, strict=True)):
        with pytest.raises(BadInput, match="holds no"):
            positions(volume, cutting)
        return
    places = positions(volume, cutting)
    room = np.array(spatial) - cutting.shape + 1
    assert 1 <= len(places) <= count
    if layout == "random":
        assert len(places) == min(count, room.prod())
    assert len({tuple(p) for p in places}) == len(places)
    assert (places >= 0).all()
    assert (places < room).all()
    patches = list(cut(volume, places, cutting))
    assert len(patches) == len(places)
    for place, patch in zip(places, patches, strict=True):
        assert patch.shape == (1, *cutting.shape)
        assert patch.flat[0] == (place[0] * 1000 + place[1]) * 1000 + place[2]
        last = place + cutting.shape - 1
        assert patch.flat[-1] == (last[0] * 1000 + last[1]) * 1000 + last[2]
    assert len(volume.reads) == len({tuple(p // np.array(cell_of(chunks))) for p in places})


def test_every_position_of_a_large_volume_is_equally_likely(monkeypatch):
    monkeypatch.setattr("vol2vol.metrics.distances.cut_patches.MAX_ENUMERATED", 0)
    monkeypatch.setattr("vol2vol.metrics.distances.cut_patches.CELL", (4, 4))
    volume, tally = Memory((3, 13, 11), (1, 4, 4)), Counter()
    for seed in range(400):
        places = positions(volume, Cutting(count=40, size=3, seed=seed, per_cell=4))
        assert len(places) == 40
        tally.update(map(tuple, places))
    expected = 400 * 40 / (3 * 11 * 9)
    counts = np.array([tally[z, y, x] for z in range(3) for y in range(11) for x in range(9)])
    assert abs(counts / expected - 1).max() < 0.45
    edge = np.array([tally[z, 0, 0] for z in range(3)]).sum() / 3 / expected
    assert 0.7 < edge < 1.3


def test_grid_lies_side_by_side():
    places = positions(Memory((20, 16, 24)), Cutting(count=30, size=8, layout="grid"))
    assert {tuple(p[1:]) for p in places} == {(y, x) for y in (0, 8) for x in (0, 8, 16)}
    assert set(np.diff(np.unique(places[:, 0]))) == {4}
    assert len(places) == 30


def test_reads_are_bounded_and_shared():
    volume = Memory((4000, 5000, 6000), (64, 64, 64))
    cutting = Cutting(count=2000, size=128)
    places = positions(volume, cutting)
    assert len(places) == 2000
    cells = {tuple(p // 64) for p in places}
    assert len(cells) <= 2000 / 8 + 1
    plane = Memory((30, 3000, 3000), (1, 3000, 3000))
    list(cut(plane, positions(plane, Cutting(count=20, size=128, axis="xy")), Cutting(size=128)))
    assert max(box.size for box in plane.reads) <= 32 * 384 * 384


class Averages(torch.nn.Module):
    """Mean, spread and slope of an image."""

    def forward(self, x):
        x = x.flatten(1, -3) if x.ndim == 5 else x.mean(1)
        flat = x.flatten(1)
        slope = (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1)
        return torch.stack([flat.mean(1), flat.std(1), slope], 1)


def tissue(shape, seed, sigma=1.5, gain=30.0):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return np.clip(np.rint(128 + gain * field / field.std()), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("axis", ["xy", "xz", "yz", "xyz"])
def test_features_are_those_of_the_patches(tmp_path, axis):
    array = tissue((20, 22, 24), 0)
    volume = store(tmp_path / "v.zarr", array, chunks=(8, 8, 8))
    features = extract(volume, Averages(), fixed(0, 255, (0.0, 255.0)), Cutting(count=37, size=9, axis=axis), batch=8)
    assert features.values.shape == (37, 3)
    for row, place in zip(features.values, features.places, strict=True):
        patch = array[tuple(slice(p, p + n) for p, n in zip(place, features.cutting.shape, strict=True))] / 255
        assert row[0] == pytest.approx(patch.mean(), abs=1e-6)
        slope = np.abs(np.diff(patch.squeeze(), axis=-1)).mean()
        assert row[2] == pytest.approx(slope, abs=1e-6)


def test_one_map_for_all_sets_in_steps_of_a_byte(tmp_path):
    target = store(tmp_path / "t.zarr", (tissue((16, 32, 32), 0) * 100.0 + 7).astype(np.float32))
    grey = grey_map(target)
    seen = []

    class Look(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :2]

    extract(target, Look(), grey, Cutting(count=8, size=16))
    levels = torch.cat(seen) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.min() >= 0
    assert levels.max() == pytest.approx(255)
    assert levels.std() > 20


def test_channels_are_named(tmp_path):
    two = store(tmp_path / "two.zarr", np.stack([tissue((4, 16, 16), s) for s in (0, 1)]))
    grey, cutting = fixed(0, 255, (0.0, 255.0)), Cutting(count=4, size=8)
    with pytest.raises(BadInput, match="2 channels: choose one"):
        extract(two, Averages(), grey, cutting)
    with pytest.raises(BadInput, match="no channel 2"):
        extract(two, Averages(), grey, cutting, channel=2)
    first, second = (extract(two, Averages(), grey, cutting, channel=c).values for c in (0, 1))
    assert not np.allclose(first, second)
    with pytest.raises(BadInput, match=r"must return \(B, d\)"):
        extract(two, torch.nn.Identity(), grey, cutting, channel=0)


def test_halves_are_disjoint_in_space():
    values = np.zeros((500, 2), np.float32)
    for spatial, size, axis in [((40, 64, 64), 16, "xy"), ((90, 40, 40), 16, "xy"), ((33, 20, 70), 8, "yz")]:
        cutting = Cutting(count=500, size=size, axis=axis)
        places = positions(Memory(spatial), cutting)
        whole = Features(
            values=values[: len(places)], places=places, cutting=cutting, volume="v", spatial=spatial, network="n"
        )
        first, second = whole.halves()
        ends = first.places + cutting.shape
        assert any((ends[:, i].max() <= second.places[:, i].min()) for i in range(3))
        assert min(len(first), len(second)) > len(whole) / 6
    place = np.zeros((1, 3), int)
    tiny = Features(
        values=values[:1], places=place, cutting=Cutting(size=8), volume="v", spatial=(1, 8, 8), network="n"
    )
    with pytest.raises(BadInput, match="no two disjoint halves"):
        tiny.halves()
    assert whole.blocks(20).max() + 1 == 2 * 1 * 4


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    shape, cutting = (24, 96, 96), Cutting(count=400, size=16)
    arrays = {"target": tissue(shape, 0), "source": tissue(shape, 1, 3.0, 15), "output": tissue(shape, 2, 1.7, 27)}
    volumes = {name: store(folder / f"{name}.zarr", array) for name, array in arrays.items()}
    grey = grey_map(volumes["target"])
    return {name: extract(volume, Averages(), grey, cutting) for name, volume in volumes.items()}


def test_floor_is_above_chance_where_the_target_changes_along_itself(tmp_path):
    array = tissue((16, 48, 192), 0).astype(np.float32) * np.linspace(0.5, 1.5, 192, dtype=np.float32)
    volume = store(tmp_path / "t.zarr", array)
    features = extract(volume, Averages(), grey_map(volume), Cutting(count=400, size=16))
    distance_scale = scale(features, features, features)
    assert distance_scale.floor > 20 * distance_scale.chance


@pytest.mark.parametrize("distance", [fid, mmd])
def test_scale_runs_from_floor_to_ceiling(sets, distance):
    distance_scale = scale(sets["source"], sets["output"], sets["target"], distance)
    assert (
        max(abs(distance_scale.chance), abs(distance_scale.floor)) < distance_scale.value < distance_scale.ceiling / 10
    )
    assert 0.9 < distance_scale.gap_closed < 1
    assert scale(sets["source"], sets["source"], sets["target"], distance).gap_closed == pytest.approx(0, abs=1e-9)
    assert distance_scale == scale(sets["source"], sets["output"], sets["target"], distance)
    assert 100 < distance_scale.patches <= 200
    assert (distance_scale.features, distance_scale.rank_deficient) == (3, False)


def test_inception_takes_grey_patches(tmp_path):
    volume = store(tmp_path / "v.zarr", tissue((2, 70, 70), 0))
    torch.manual_seed(0)
    features = extract(volume, InceptionV3(), grey_map(volume), Cutting(count=2, size=64))
    assert features.values.shape == (2, 2048)
    assert features.network == "InceptionV3"


def test_distance_interval_is_of_blocks(sets):
    how = Resampling(resamples=60)
    wide = distance_interval(sets["output"], sets["target"], block=24, resampling=how)
    assert wide.low < wide.value < wide.high
    assert wide.blocks == 16
    better = distance_interval(sets["source"], sets["target"], minus=sets["output"], block=24, resampling=how)
    assert 0 < better.low < better.high
    assert better.value == pytest.approx(
        fid(sets["source"].values, sets["target"].values) - fid(sets["output"].values, sets["target"].values)
    )
    with pytest.raises(BadInput, match="an interval needs 4: use smaller ones"):
        distance_interval(sets["output"], sets["target"], block=96, resampling=how)


@pytest.mark.parametrize("distance", [fid, mmd])
@pytest.mark.parametrize("kept", [0, 1 << 27])
def test_draws_are_distances_of_repeated_patches(sets, distance, kept, monkeypatch):
    """A distance that is not known by name is taken of the repeated patches themselves."""
    monkeypatch.setattr("vol2vol.metrics.distances.resampling.MAX_KEPT", kept)
    how = Resampling(resamples=20, seed=3)
    for minus in (None, sets["source"]):
        pair = sets["output"], sets["target"]
        interval = distance_interval(*pair, distance, block=24, resampling=how, minus=minus)
        direct = distance_interval(*pair, lambda a, b: distance(a, b), block=24, resampling=how, minus=minus)
        for name in ("value", "low", "high"):
            assert getattr(interval, name) == pytest.approx(getattr(direct, name), rel=1e-6, abs=1e-9)


def blocks_of_patches(rng, blocks, patches=12):
    """Return features that vary from block to block, side by side along X; their mean is 0 in the long run."""
    places = np.zeros((blocks * patches, 3), int)
    places[:, 2] = np.repeat(np.arange(blocks), patches) * 100 + 10
    values = rng.normal(size=(blocks, 1, 1)) + 0.7 * rng.normal(size=(blocks, patches, 1))
    about = {"cutting": Cutting(size=8), "volume": "v", "spatial": (1, 100, 100 * blocks), "network": "n"}
    return Features(values=values.reshape(-1, 1).astype(np.float32), places=places, **about)


def test_intervals_of_few_blocks_cover_and_are_widened():
    rng, how = np.random.default_rng(0), Resampling(resamples=1000)

    def apart(a, b):
        return float(a.mean() - b.mean())

    intervals = []
    for _ in range(100):
        pair = [blocks_of_patches(rng, 4) for _ in range(2)]
        intervals.append(distance_interval(*pair, apart, block=100, resampling=how))
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.9 <= covered <= 0.99  # bare percentiles: 0.84
    narrow = distance_interval(*pair, apart, block=100, resampling=replace(how, expanded=False))
    assert narrow.low > intervals[-1].low
    assert narrow.high < intervals[-1].high
    first, second, third = (blocks_of_patches(rng, 4) for _ in range(3))
    wide, narrow = (
        distance_interval(first, second, apart, block=100, minus=third, resampling=replace(how, expanded=wider))
        for wider in (True, False)
    )
    assert wide.high - wide.low > 1.2 * (narrow.high - narrow.low)
    assert 0 < wide.p <= 1


def test_an_interval_lies_around_a_value_of_fewer_patches():
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, 24, 200), rng.integers(0, 80, 200), rng.integers(0, 80, 200)], 1)
    about = {"places": places, "cutting": Cutting(size=16), "volume": "v", "spatial": (24, 96, 96), "network": "n"}
    source, output, target = (Features(values=rng.normal(size=(200, 60)), **about) for _ in range(3))
    seen, how = scale(source, output, target), Resampling(resamples=40)
    alone = distance_interval(output, target, block=24, resampling=how)
    assert seen.value > alone.high  # 90 patches of 60 features are further apart than 200 are
    moved = distance_interval(output, target, block=24, around=seen.value, resampling=how)
    assert moved.low <= moved.value == seen.value <= moved.high
    assert moved.high - moved.low == pytest.approx(alone.high - alone.low)


def test_extrapolation_removes_the_bias_of_sample_size():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 800, 24))
    extrapolation = extrapolated(x, y)
    assert extrapolation.value > 0.4  # the truth is 0
    assert abs(extrapolation.infinite) < 0.2 * extrapolation.value
    assert extrapolation.bias == pytest.approx(extrapolation.value - extrapolation.infinite)
    assert not extrapolation.rank_deficient
    assert "800 patches" in extrapolation.statement
    few = extrapolated(x[:20], y[:20])
    assert few.rank_deficient
    assert "fewer patches than the 24 features" in few.statement
    with pytest.raises(BadInput, match="16 patches of each set, there are 9"):
        extrapolated(x[:9], y)


def test_unlike_views_are_not_compared(sets):
    with pytest.raises(BadInput, match="use one network, plane and size"):
        scale(sets["source"], replace(sets["output"], network="other"), sets["target"])
    few = sets["output"].at(np.arange(5))
    with pytest.raises(BadInput, match="there are 5"):
        scale(sets["source"], few, sets["target"])
    with pytest.raises(BadInput, match="count and size"):
        Cutting(size=0)
    with pytest.raises(BadInput, match="xy, xz, yz"):
        Cutting(axis="zz")


def test_the_next_patches_are_read_while_the_last_are_used():
    asked = Event()

    def patches():
        yield 1
        asked.set()
        yield 2
        raise BadInput("the third is damaged")

    patches_read = read_ahead(patches())
    assert next(patches_read) == 1
    assert asked.wait(10)
    assert next(patches_read) == 2
    with pytest.raises(BadInput, match="third"):
        next(patches_read)
    assert list(read_ahead(iter("abc"))) == ["a", "b", "c"]
    assert list(read_ahead(iter(()))) == []
