"""Steps other than resampling, and chains of steps, equal numpy on the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.preparation.array_volumes import ArrayVolume, chain, get, put, whole

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, grid
from vol2vol.preparation import (
    Binarise,
    Chain,
    Channels,
    Convert,
    Crop,
    Preparation,
    Resample,
    Split,
    parse_split,
    prepare_volume,
)
from vol2vol.preparation.chain import resolved
from vol2vol.preparation.content import find_content


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(*[st.integers(1, 13)] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 3),
    st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=4),
    st.integers(1, 2),
)
def test_content_is_the_bounding_box(shape, block, margin, points, channels):
    array = np.random.default_rng(0).integers(3, 6, (channels, *shape))
    for number, point in enumerate(points):
        array[(number % channels, *(p % n for p, n in zip(point, shape, strict=True)))] = 9 if number % 2 else 0
    content = find_content(ArrayVolume(array).read, shape, block, (3, 5), margin)
    inside = np.argwhere(((array < 3) | (array > 5)).any(0))
    low, high = inside.min(0) - margin, inside.max(0) + 1 + margin
    assert content.start == tuple(max(0, a) for a in low)
    assert content.stop == tuple(min(n, b) for n, b in zip(shape, high, strict=True))


def test_content_is_found_from_the_outside_in():
    array = np.zeros((1, 64, 64, 64), np.uint8)
    array[0, 8:56, 8:56, 8:56] = 1
    held = ArrayVolume(array)
    assert find_content(held.read, (64, 64, 64), (8, 8, 8), (0, 0), 0) == Box((8, 8, 8), (56, 56, 56))
    assert held.read_voxels < 0.75 * array.size
    with pytest.raises(BadInput, match="all is background"):
        find_content(held.read, (64, 64, 64), (8, 8, 8), (0, 1), 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "uint32"])
def test_binarise(dtype):
    array = np.random.default_rng(1).integers(0, 9, (1, 4, 9, 11)).astype(dtype)
    for step, expected in (
        (Binarise(), array != 0),
        (Binarise(ids=(3, 7)), (array == 3) | (array == 7)),
        (Binarise(above=4.5), array > 4.5),
    ):
        binary = chain(array, step)
        assert binary.header.labels
        np.testing.assert_array_equal(whole(binary), expected.astype(np.uint8))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("new", ["uint8", "uint16", "int16", "float32"])
def test_convert_by_two_numbers(dtype, new):
    array = (np.random.default_rng(2).normal(100, 40, (1, 4, 9, 11))).clip(0, 255).astype(dtype)
    converted = whole(chain(array, Convert(dtype=new, range=(50, 150))))
    assert converted.dtype == new
    low, high = (0, 1) if new == "float32" else (np.iinfo(new).min, np.iinfo(new).max)
    exact = (array.astype(np.float64) - 50) / 100 * (high - low) + low
    if new == "float32":
        np.testing.assert_allclose(converted, exact, atol=1e-5)
    else:
        assert np.abs(converted - np.clip(exact, low, high)).max() <= 0.5 + 1e-4 * (high - low) / 255


def test_convert_by_the_limits_of_the_type_and_by_a_measured_range():
    array = np.random.default_rng(3).integers(1000, 60000, (1, 8, 30, 30)).astype(np.uint16)
    converted = whole(chain(array, Convert(dtype="uint8", range="type")))
    assert np.abs(converted - array / 257).max() <= 0.5 + 1e-3
    for word, ends in (("minmax", (0, 100)), ("percentile", (0.1, 99.9))):
        requested = chain(array, Convert(dtype="uint8", range=word))
        measured = resolved(requested)
        np.testing.assert_allclose(measured.steps[0].range, np.percentile(array, ends))
        low, high = measured.steps[0].range
        assert np.abs(whole(measured) - np.clip((array - low) / (high - low) * 255, 0, 255)).max() <= 0.5 + 1e-3


def test_convert_refuses_values_that_do_not_fit():
    array = np.array([0, 5, 300]).astype(np.int16).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(whole(chain(array, Convert(dtype="float32"))), array)
    np.testing.assert_array_equal(whole(chain(array, Convert(dtype="uint8", range="keep"))).ravel(), [0, 5, 255])
    with pytest.raises(BadInput, match="`range`"):
        chain(array, Convert(dtype="uint8"))
    with pytest.raises(BadInput, match="label 300 does not fit"):
        whole(chain(array, Convert(dtype="uint8"), labels=True))
    np.testing.assert_array_equal(whole(chain(array, Convert(dtype="uint16"), labels=True)), array)


def test_channels():
    array = np.random.default_rng(4).integers(0, 9, (3, 2, 3, 4)).astype(np.uint8)
    np.testing.assert_array_equal(whole(chain(array, Channels(keep=(2, 0)))), array[[2, 0]])
    with pytest.raises(BadInput, match="channel 3 does not exist"):
        chain(array, Channels(keep=(3,)))


def test_steps_that_compute_new_values_refuse_nan():
    array = np.zeros((1, 4, 8, 8), np.float32)
    array[0, 1, 2, 3] = np.nan
    for step in (Resample(voxel_size=(16, 16, 16)), Binarise(), Convert(dtype="uint8", range=(0, 1))):
        with pytest.raises(BadInput, match="NaN"):
            whole(chain(array, step))
    assert np.isnan(whole(chain(array, Crop(box="1:2,:,:")))).sum() == 1


STEPS = st.lists(
    st.sampled_from(
        [
            Crop(box="1:,2:7,:"),
            Crop(box="content", background=(0, 1), margin=1),
            Resample(voxel_size=(10, 6, 13)),
            Resample(voxel_size=(16, 16), method="area"),
            Convert(dtype="uint16", range=(0, 200)),
            Convert(dtype="float32", range="minmax"),
            Channels(keep=(1,)),
            Channels(keep=(0, 0)),
            Binarise(above=90),
            Resample(voxel_size=(5, 20, 20), method="nearest"),
        ]
    ),
    min_size=2,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.tuples(*[st.integers(2, 9)] * 3))
def test_a_chain_is_its_steps_one_after_the_other(steps, block):
    array = np.random.default_rng(5).integers(0, 256, (2, 9, 14, 12)).astype(np.uint8)
    try:
        steps_at_once = resolved(chain(array, *steps))
    except BadInput:
        return  # a channel or a box that is not there any more; the same steps one by one say so too
    held, labels = ArrayVolume(array), False
    for step in steps:
        alone = resolved(Chain.of(held, (step,), labels=labels))
        held, labels = ArrayVolume(whole(alone), alone.header.voxel_size), alone.header.labels
    assert steps_at_once.header.voxel_size == pytest.approx(held.voxel_size)
    result = np.empty(steps_at_once.shape, steps_at_once.dtype)
    for box in grid(Box.of(steps_at_once.spatial), block):
        result[(slice(None), *box.slices)] = steps_at_once.read(box)
    assert result.dtype == held.dtype
    assert result.tobytes() == held.array.tobytes()


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3))
def test_the_predicted_number_of_decoded_voxels_is_exact(part):
    array = np.zeros((1, 11, 23, 19), np.uint8)
    resampled = chain(array, Crop(box="1:,3:,:17"), Resample(voxel_size=(10, 20, 5)), Crop(box=":,1:,:"))
    sizes = [[min(p, n - at) for at in range(0, n, p)] for n, p in zip(resampled.spatial, part, strict=True)]
    for box in grid(Box.of(resampled.spatial), part):
        resampled.read(box)
    assert resampled.volume.read_voxels == resampled.decoded_voxels([tuple(along) for along in sizes])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(0.05, 0.4), min_size=1, max_size=4),
    st.integers(40, 200),
    st.integers(0, 4),
    st.sampled_from("zyx"),
)
def test_shares_of_a_split_fill_their_part_without_overlap(shares, size, gap, axis):
    if sum(shares) > 1:
        shares = [share / sum(shares) for share in shares]
    spatial = tuple(size if a == axis else 5 for a in "zyx")
    split = Split(parts={f"p{i}": share for i, share in enumerate(shares)}, axis=axis, gap=gap)
    at, length = 0, size - gap * (len(shares) - 1)
    for share, box in zip(shares, split.boxes(spatial).values(), strict=True):
        place = "zyx".index(axis)
        assert box.start[place] == at
        assert abs(box.shape[place] - share * length) <= 1
        assert box.stop[place] <= size
        assert [n for i, n in enumerate(box.shape) if i != place] == [5, 5]
        at = box.stop[place] + gap


def test_a_split_in_voxels():
    split = Split(**parse_split("y:train=4,test=3"), gap=2)
    assert split.boxes((5, 9, 6)) == {"train": Box((0, 0, 0), (5, 4, 6)), "test": Box((0, 6, 0), (5, 9, 6))}
    with pytest.raises(BadInput, match="train 4, test 3 voxels with gaps of 2 do not fit into the 8 along y"):
        split.boxes((5, 8, 6))
    for text in ("train", "train=", "a=b", "z:"):
        with pytest.raises(BadInput, match="such as z:train"):
            parse_split(text)


def test_a_split_is_cut_out_of_the_whole(tmp_path):
    array = np.random.default_rng(6).integers(0, 256, (20, 31, 33)).astype(np.uint8)
    put(tmp_path / "a.zarr", array)
    steps = (Resample(voxel_size=(10, 12, 14)),)
    prepare_volume(tmp_path / "a.zarr", tmp_path / "all.zarr", Preparation(steps=steps))
    settings = Preparation(steps=steps, split=Split(parts={"train": 0.6, "test": 0.3}, gap=2))
    prepared = prepare_volume(tmp_path / "a.zarr", tmp_path / "part.zarr", settings)
    everything = get(tmp_path / "all.zarr")
    assert [part.output for part in prepared] == [str(tmp_path / "part-train.zarr"), str(tmp_path / "part-test.zarr")]
    np.testing.assert_array_equal(get(prepared[0].output), everything[:, :8])
    np.testing.assert_array_equal(get(prepared[1].output), everything[:, 10:15])


@pytest.mark.parametrize("settings", [{"margin": 2}, {"background": (0, 5)}])
def test_background_and_margin_need_box_content(settings):
    with pytest.raises(ValueError, match="leave them out, or give box content"):
        Crop(box="0:3,:,:", **settings)
    assert Crop(box="content", **settings).data_dependent
    assert Crop.model_validate(Crop(box="0:3,:,:").model_dump()).box == "0:3,:,:", "defaults may be written out"


@pytest.mark.parametrize("first", [Binarise(), Crop(box=":,:,:")])
def test_different_steps_have_different_words(first):
    steps = [
        first,
        Binarise(above=1.5),
        Binarise(above=1.5000000001),
        Crop(box="content"),
        Crop(box="content", background=(0, 18560.036)),
        Crop(box="content", background=(0, 18560.037)),
        Resample(voxel_size=(8, 8, 8)),
        Resample(voxel_size=(8, 8)),
        Resample(voxel_size=(8, 8, 8), method="cubic"),
        Convert(dtype="uint8", range=(1, 2)),
        Convert(dtype="uint8", range="keep"),
        Convert(dtype="uint8"),
    ]
    assert len({step.words() for step in steps}) == len(steps)
