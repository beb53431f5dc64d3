"""Whole-volume statistics equal numpy, and maps to the network's range and back are inverse."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.intensity import Intensity, fixed, histograms, measure, streaming
from vol2vol.prediction.reading import reader
from vol2vol.volumes import create_volume

REFERENCE = Intensity(low=(0.0,), high=(255.0,), network=(0.0, 1.0))


@dataclass
class Memory:
    """An array that answers like a volume and remembers what was read."""

    array: np.ndarray
    chunks: tuple[int, ...] = (1, 4, 5, 6)
    path: Path = Path("some folder/volume é.zarr")
    boxes: list[Box] = field(default_factory=list)

    shape = property(lambda self: self.array.shape)
    spatial = property(lambda self: self.array.shape[1:])
    dtype = property(lambda self: self.array.dtype)

    def read(self, box):
        self.boxes.append(box)
        assert Box.of(self.spatial).contains(box)
        return self.array[:, *box.slices].copy()


def draw(dtype, shape=(1, 7, 11, 13), seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * 100).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@given(
    low=st.floats(0, 50),
    high=st.floats(50.001, 100),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(2, 9), st.integers(2, 9)),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_percentiles_are_numpys(dtype, low, high, shape, seed):
    array = draw(dtype, shape, seed)
    other = draw(dtype, (shape[0], 3, 2, 5), seed + 1)
    result = measure([Memory(array), Memory(other)], percentiles=(low, high))
    both = np.concatenate([a.reshape(shape[0], -1) for a in (array, other)], axis=1).astype(np.float32)
    expected = np.percentile(both.astype(np.float64), [low, high], axis=1)
    np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(result.mean, both.mean(1, dtype=np.float64), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.std, both.std(1, dtype=np.float64), rtol=1e-6)
    assert (result.minimum, result.maximum) == (tuple(both.min(1)), tuple(both.max(1)))
    assert result.voxels == both.shape[1]


def test_percentiles_of_floats_survive_a_hot_pixel():
    array = np.linspace(0, 1, 7000, dtype=np.float32).reshape(1, 7, 10, 100)
    array[0, 0, 0, 0] = 1e30
    result = measure([Memory(array)], percentiles=(5, 95))
    np.testing.assert_allclose([result.low[0], result.high[0]], np.percentile(array.astype(float), [5, 95]), rtol=1e-6)


def test_mixed_dtypes_are_measured_together():
    a, b = draw("uint8"), draw("uint16", seed=1)
    result = measure([Memory(a), Memory(b)], "minmax")
    assert result.low == (float(min(a.min(), b.min())),)
    assert result.high == (float(b.max()),)


def test_meanstd_is_the_mean_and_three_deviations():
    array = draw("float32")
    result = measure([Memory(array)], "meanstd")
    np.testing.assert_allclose(result.high[0] - result.low[0], 6 * array.std(dtype=np.float64), rtol=1e-6)
    assert measure([Memory(array)], "meanstd", deviations=2.0).setting == (2.0,)


@pytest.mark.parametrize(("dtype", "passes"), [("uint8", 1), ("int16", 1), ("float32", 2)])
def test_every_voxel_is_read_once_per_pass_in_whole_chunks(monkeypatch, dtype, passes):
    monkeypatch.setattr(streaming, "BLOCK_VOXELS", 500)
    volume = Memory(draw(dtype, (1, 13, 17, 19)))
    measure([volume])
    count = np.zeros(volume.spatial, int)
    for box in volume.boxes:
        count[box.slices] += 1
        assert all(a % c == 0 for a, c in zip(box.start, volume.chunks[1:], strict=True))
        assert box.size <= 500
    assert (count == passes).all()


def test_blocks_do_not_change_the_result(monkeypatch):
    array = draw("uint16", (2, 13, 17, 19))
    whole = measure([Memory(array)])
    monkeypatch.setattr(streaming, "BLOCK_VOXELS", 1)
    small = measure([Memory(array)])
    assert (small.low, small.high) == (whole.low, whole.high)
    np.testing.assert_allclose(small.std, whole.std, rtol=1e-12)


def test_channels_are_measured_on_their_own():
    array = np.concatenate([draw("uint8"), draw("uint8", seed=1) // 2 + 100, draw("uint8", seed=2) // 4])
    result = measure([Memory(array)], "minmax")
    assert result.low[1] >= 100 > result.high[2]
    values = result.to_network(array)
    assert values.shape == array.shape
    np.testing.assert_array_equal(values.min((1, 2, 3)), -1)
    np.testing.assert_array_equal(values.max((1, 2, 3)), 1)
    np.testing.assert_array_equal(result.from_network(values, "uint8"), array)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_integers_come_back_exactly(dtype):
    array = draw(dtype)
    result = measure([Memory(array)], "minmax")
    values = result.to_network(array)
    assert values.dtype == np.float32
    assert values.min() == -1
    assert values.max() == 1
    np.testing.assert_array_equal(result.from_network(values, dtype), array)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32"])
def test_what_does_not_fit_the_dtype_is_clipped_never_wrapped(dtype):
    limits = np.iinfo(dtype)
    wide = fixed(float(limits.min), float(limits.max))
    values = np.array([[-np.inf, -7.0, -1.0, 1.0, 1.5, 1e9, np.inf]], np.float32)
    expected = np.array([[limits.min] * 3 + [limits.max] * 4], dtype)
    np.testing.assert_array_equal(wide.from_network(values, dtype), expected)
    np.testing.assert_array_equal(fixed(-1e12, 1e12).from_network(values[:, 3:], "uint8"), 255)


def test_out_of_range_input_is_clipped_only_if_asked():
    array = np.array([[-500, 0, 500]], np.int16)
    np.testing.assert_array_equal(fixed(-100, 100).to_network(array), [[-1, 0, 1]])
    np.testing.assert_array_equal(replace(fixed(-100, 100), clip=False).to_network(array), [[-5, 0, 5]])
    np.testing.assert_array_equal(fixed(-100, 100).to_network(array.astype(np.float32) / 10), [[-0.5, 0, 0.5]])


def test_float_output_keeps_the_networks_values():
    values = np.array([[-2.0, 0.0, 0.25]], np.float16)
    result = fixed(0, 200).from_network(values, "float32")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[-100, 100, 125]])


def test_the_reference_convention_divides_by_255_and_stores_the_clipped_tanh():
    array = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_allclose(REFERENCE.to_network(array), array / np.float32(255), rtol=1e-7, atol=0)
    tanh = np.array([[-0.7, 0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(REFERENCE.from_network(tanh, "uint8"), [[0, 0, 128, 255]])


def test_rounds_to_the_nearest_value():
    values = fixed(0, 255).to_network(np.array([[100.0, 100.4, 100.6]], np.float32))
    np.testing.assert_array_equal(fixed(0, 255).from_network(values, "uint8"), [[100, 100, 101]])


@pytest.mark.parametrize("method", ["percentile", "meanstd", "minmax"])
def test_comes_back_from_json_and_yaml_exactly(method):
    result = measure([Memory(draw("float32", (3, 5, 6, 7)))], method)
    assert Intensity.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert Intensity.from_dict(yaml.safe_load(yaml.safe_dump(result.to_dict()))) == result
    assert hash(result) == hash(Intensity.from_dict(result.to_dict()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_names_the_first_voxel_that_is_not_finite(bad):
    array = draw("float32", (2, 9, 11, 13))
    array[1, 8, 10, 12] = bad
    with pytest.raises(BadInput, match=r"volume é.zarr .*at voxel \(8, 10, 12\) of channel 1: replace") as caught:
        measure([Memory(draw("float32", (2, 3, 3, 3))), Memory(array)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_constant_volumes_are_refused_with_the_cure(dtype):
    with pytest.raises(BadInput, match=r"is 7 everywhere: leave the file out"):
        measure([Memory(np.full((1, 4, 4, 4), 7, dtype))])
    both = np.stack([np.full((4, 4, 4), 7, dtype), draw(dtype, (4, 4, 4))])
    with pytest.raises(BadInput, match=r"channel 0 is 7 everywhere: say so"):
        measure([Memory(both)], cure="say so")


def test_nearly_constant_volumes_are_refused_with_the_cure():
    array = np.zeros((1, 20, 20, 20), np.uint8)
    array[0, 0, 0, 0] = 9
    with pytest.raises(BadInput, match=r"is 0 at both ends of percentile \(0.1, 99.9\): call fixed\(low, high\)"):
        measure([Memory(array)])
    assert measure([Memory(array)], "minmax").high == (9.0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure([]), "at least one volume"),
        (lambda: measure([Memory(draw("uint8")), Memory(draw("uint8", (2, 3, 3, 3)))]), "2 channels"),
        (lambda: measure([Memory(draw("uint8"))], "median"), "median"),
        (lambda: measure([Memory(draw("uint8"))], "fixed"), "use one of percentile, meanstd, minmax"),
        (lambda: measure([Memory(draw("uint8"))], percentiles=(99, 1)), "ascend"),
        (lambda: fixed(5, 5), "below high"),
        (lambda: fixed(0, np.inf), "finite"),
        (lambda: fixed((0, 1), 5), "as many"),
        (lambda: fixed((0, 1), (5, 6)).to_network(np.zeros((3, 4))), "3 channels"),
        (lambda: fixed(0, 1).from_network(np.array([[np.nan]]), "uint8"), "NaN"),
        (lambda: fixed(0, 1).from_network(np.array([[0.5]]), "int64"), "use uint8, uint16"),
        (lambda: Intensity.from_dict({"low": [0], "high": [1], "gamma": 2}), "gamma"),
        (lambda: Intensity.from_dict({"low": [0]}), "needs low and high"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(BadInput, match=message):
        call()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_histograms_count_every_voxel(dtype):
    array = (np.random.default_rng(1).normal(100, 20, (2, 7, 11, 13))).astype(dtype)
    for channel, histogram in zip(array, histograms([Memory(array)]), strict=True):
        values, counts = np.unique(channel, return_counts=True)
        np.testing.assert_array_equal(histogram.values, values)
        np.testing.assert_array_equal(histogram.counts, counts)
        assert histogram.mean == pytest.approx(channel.mean())
        assert histogram.std == pytest.approx(channel.astype(float).std())


def test_histograms_of_floats_have_narrow_bins():
    array = np.random.default_rng(1).normal(0, 3, (1, 20, 21, 22)).astype(np.float32)
    (histogram,) = histograms([Memory(array)])
    assert histogram.counts.sum() == array.size
    np.testing.assert_allclose(
        histogram.quantiles(np.array([0.1, 0.5, 0.9])), np.quantile(array, [0.1, 0.5, 0.9]), atol=5e-3
    )
    constant = histograms([Memory(np.full((1, 3, 3, 3), 2.5, np.float32))])[0]
    assert (constant.values.tolist(), constant.counts.tolist(), constant.std) == ([2.5], [27], 0.0)


@pytest.mark.parametrize(
    ("dtype", "value", "beyond"),
    [
        ("int32", 2**24, False),
        ("int32", 2**24 + 1, True),
        ("int32", -(2**24) - 1, True),
        ("uint32", 2**31, True),
        ("float64", 1e8, True),
        ("float64", 1e6, False),
        ("float32", 1e8, False),
        ("uint16", 65535, False),
    ],
)
def test_values_that_float32_rounds_give_one_warning(tmp_path, caplog, dtype, value, beyond):
    volume = create_volume(tmp_path / "a.zarr", shape=(1, 2, 3, 4), dtype=dtype, voxel_size=(1, 1, 1), unit="nm")
    box = Box.of(volume.spatial)
    volume.write(box, np.full((1, 2, 3, 4), value, dtype))
    read = reader(volume, fixed(0, 1e9))
    for _ in range(2):
        read(box)
    assert [record.message.count("beyond 2^24") for record in caplog.records] == [1] * beyond
