"""Inputs whose intensities do not fit the model: warned of, refused, or mapped by a range that was measured."""

import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from tests.prediction.conftest import network, write_volume

from vol2vol.cli import main
from vol2vol.errors import BadInput, Mismatch
from vol2vol.geometry import Box
from vol2vol.intensity import apart, fixed, likeness, measure, sample
from vol2vol.models.bundle import load_bundle, save_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.prediction.verification import verify
from vol2vol.protocol import between
from vol2vol.recipes import adapt_statistics
from vol2vol.volumes import create_volume, open_volume

SHAPE = (19, 53, 61)


def image(shape=SHAPE, seed=0):
    """Grey values of 8 bits, most of them 40 to 200."""
    return np.clip(np.random.default_rng(seed).normal(120, 30, shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model trained on 8 bits, with what training remembers of its volumes."""
    folder = tmp_path_factory.mktemp("trained")
    grey = measure([open_volume(write_volume(folder / "trained.zarr", image()))])
    facts = [{"name": "trained.zarr", "dtype": "uint8"}]
    both = {"source": grey, "target": grey}
    networks = {"forward": network(2), "backward": network(2, seed=1)}
    provenance = {"patch": 30, "volumes": {"source": facts, "target": facts}}
    return save_bundle(
        folder / "model", between(networks), both, channels={"source": 1, "target": 1}, provenance=provenance
    )


def blank_border(values):
    """Three quarters of the planes are empty."""
    framed = np.zeros_like(values)
    framed[:5] = values[:5]
    return framed


def hot(values):
    """A few voxels are saturated."""
    values.ravel()[::500] = 65535
    return values


FIT = {
    "another crop": image(seed=1),
    "8 bits in 16": image(seed=1).astype(np.uint16),
    "floats of the same range": image(seed=1).astype(np.float32),
    "blank border": blank_border(image(seed=1)),
    "blank border of another value": np.where(np.arange(SHAPE[0])[:, None, None] < 12, 255, image(seed=1)),
    "constant": np.full(SHAPE, 7, np.uint8),
    "empty": np.zeros(SHAPE, np.float32),
    "background alone": (image(seed=1) // 64 + 90).astype(np.uint8),
    "saturated voxels": hot(image(seed=1).astype(np.uint16)),
}
OTHER = {
    "12 bits": image(seed=1).astype(np.uint16) * 16,
    "floats in 0..1": image(seed=1).astype(np.float32) / 255,
    "signed": image(seed=1).astype(np.int16) * 128 - 16000,
    "floats around 0": (image(seed=1).astype(np.float32) - 120) / 30,
}


def say(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("name", FIT)
def test_what_fits_is_predicted_without_a_word(name, model, tmp_path, caplog):
    predict(model, write_volume(tmp_path / "in.zarr", FIT[name]), tmp_path / "out.zarr")
    assert not [line for line in say(caplog) if "intensities" in line]


@pytest.mark.parametrize("name", OTHER)
def test_what_does_not_fit_is_refused_before_anything_is_written(name, model, tmp_path, capsys, caplog):
    source = write_volume(tmp_path / "in.zarr", OTHER[name])
    kept = write_volume(tmp_path / "kept.zarr", image())
    words = ["predict", str(model), str(source)]
    for output, more in (("out.zarr", ["--dry-run"]), ("out.zarr", []), ("kept.zarr", ["--overwrite"])):
        assert main([*words, str(tmp_path / output), *more]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert all(part in err for part in ("in.zarr", "--intensity-from", "vol2vol adapt --intensity"))
        assert err.count("\n") == 1
    assert not (tmp_path / "out.zarr").exists()
    np.testing.assert_array_equal(open_volume(kept).read(Box.of(SHAPE))[0], image())
    assert main([*words, str(tmp_path / "out.zarr"), "--any-intensity"]) == 0
    assert "does not have the intensities that the model was trained on" in say(caplog)[0]


def test_each_cure_of_a_refusal_works(model, tmp_path, capsys, monkeypatch):
    source, output = write_volume(tmp_path / "my input.zarr", OTHER["12 bits"]), tmp_path / "out.zarr"
    words = ["predict", str(model), str(source), str(output), "--dtype", "uint8"]
    assert main(words) == 2
    cure = re.search(r"--intensity-from .* (?=measures its own)", capsys.readouterr().err)[0]
    assert main([*words, *shlex.split(cure), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["voxels computed"] == np.prod(SHAPE)
    translated = open_volume(output).read(Box.of(SHAPE))
    assert main(["adapt", str(model), str(source), str(tmp_path / "adapted"), "--intensity"]) == 0
    trained, adapted = load_bundle(model), load_bundle(tmp_path / "adapted")
    assert adapted.intensity["source"] == measure([open_volume(source)])
    assert adapted.intensity["target"] == trained.intensity["target"]
    assert main(["predict", str(tmp_path / "adapted"), *words[2:3], str(tmp_path / "second.zarr")]) == 0
    eight = write_volume(tmp_path / "eight.zarr", image(seed=1))
    assert main(["predict", str(model), str(eight), str(tmp_path / "8.zarr"), "--intensity-from", str(eight)]) == 0
    np.testing.assert_array_equal(open_volume(tmp_path / "8.zarr").read(Box.of(SHAPE)), translated)

    made = open_volume(output).attrs["vol2vol"]
    assert made["intensity_from"]["name"] == "my input.zarr"
    assert made["intensity"]["source"] == made["intensity_from"]["map"] == measure([open_volume(source)]).to_dict()
    assert verify(output, model=model, input=source).differing == 0
    monkeypatch.setattr("vol2vol.prediction.intensities.measure_like", lambda *_, **__: pytest.fail("measured again"))
    again = predict(model, source, output, PredictSettings(dtype="uint8", intensity_from=str(source)))
    assert again.voxels == 0
    with pytest.raises(Mismatch, match="another volume to measure the intensities on"):
        predict(model, source, output, PredictSettings(dtype="uint8", any_intensity=True))


def test_a_second_start_goes_on_with_the_range_that_was_measured(model, tmp_path, monkeypatch):
    source = write_volume(tmp_path / "in.zarr", OTHER["12 bits"])
    whole, output = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    settings = PredictSettings(intensity_from=str(source))
    predict(model, source, whole, settings)

    def stop(done, total, voxels):
        if voxels:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(model, source, output, settings, progress=stop)
    monkeypatch.setattr("vol2vol.prediction.intensities.measure_like", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr("vol2vol.prediction.run.check_fit", lambda job: pytest.fail("checked again"))
    from vol2vol.prediction.array_task import work

    work(str(output))
    np.testing.assert_array_equal(*(open_volume(path).read(Box.of(SHAPE)) for path in (output, whole)))


def test_one_in_fifty_voxels_outside_is_worth_a_warning(model, tmp_path, caplog):
    values = image(seed=1).astype(np.uint16)
    values.ravel()[::50] = 40000 + np.arange(len(values.ravel()[::50]))
    predict(model, write_volume(tmp_path / "in.zarr", values), tmp_path / "out.zarr")
    (line,) = [line for line in say(caplog) if "intensities" in line]
    assert "2.03 % of the voxels lie far outside the range of 26 to 212" in line


def test_a_region_is_sampled_inside_itself_and_a_dark_one_is_no_fault(model, tmp_path, caplog):
    values = image(seed=1).astype(np.uint16)
    values[:, :, 30:] = 100 + np.arange(SHAPE[0] * SHAPE[1] * 31).reshape(SHAPE[0], SHAPE[1], 31) % 2
    bright = image(seed=1).astype(np.uint16) * 16
    bright[:, :, :30] //= 16
    dark, half = write_volume(tmp_path / "dark.zarr", values), write_volume(tmp_path / "half.zarr", bright)
    predict(model, dark, tmp_path / "a.zarr", PredictSettings(roi=":,:,30:"))
    predict(model, half, tmp_path / "b.zarr", PredictSettings(roi=":,:,:30"))
    assert not [line for line in say(caplog) if "intensities" in line]
    with pytest.raises(BadInput, match=r"99\.\d+ % of the voxels|100 % of the voxels"):
        predict(model, half, tmp_path / "c.zarr", PredictSettings(roi=":,:,30:"))


def test_the_range_of_another_volume_has_to_fit_the_model(model, tmp_path):
    source = write_volume(tmp_path / "in.zarr", image())
    two = write_volume(tmp_path / "two.zarr", np.stack([image(), image()]))
    flat = write_volume(tmp_path / "flat.zarr", np.full(SHAPE, 3, np.uint8))
    for path, words in ((two, "has 2 channels, the model reads 1"), (flat, "is 3 everywhere")):
        with pytest.raises(BadInput, match=words):
            predict(model, source, tmp_path / "out.zarr", PredictSettings(intensity_from=str(path)))


class Counted:
    """A volume that is never whole in memory, and counts what is read of it."""

    def __init__(self, shape, chunks, dtype=np.uint16):
        self.path, self.shape, self.spatial, self.chunks = "huge", (1, *shape), shape, (1, *chunks)
        self.dtype, self.boxes = np.dtype(dtype), []

    def read(self, box):
        assert Box.of(self.spatial).contains(box)
        self.boxes.append(box)
        return np.full((1, *box.shape), len(self.boxes), self.dtype)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((20_000, 30_000, 40_000), (64, 64, 64)),
        ((20_000, 30_000, 40_000), (1, 4096, 4096)),
        ((20_000, 3_000, 4_000), (512, 512, 512)),
        ((1, 50_000, 50_000), (1, 256, 256)),
        ((1, 50_000, 50_000), (1, 1, 50_000)),
        ((7, 11, 13), (16, 16, 16)),
        ((1, 1, 1), (1, 1, 1)),
        ((100_003, 1, 1), (1, 1, 1)),
    ],
)
def test_a_sample_is_small_spread_out_and_always_the_same(shape, chunks):
    one, two = Counted(shape, chunks), Counted(shape, chunks)
    values = sample(one)
    assert np.array_equal(values, sample(two))
    assert one.boxes == two.boxes
    assert 0 < values.size <= 24 * 2**17
    for axis, size in enumerate(shape):
        starts = {box.start[axis] for box in one.boxes}
        if size > 1000 and len(one.boxes) > 4 and one.boxes[0].shape[axis] < size / 4:
            assert max(starts) - min(starts) > size / 2
    region = Box(tuple(n // 3 for n in shape), tuple(max(n // 3 + 1, n // 2) for n in shape))
    sample(three := Counted(shape, chunks), region)
    assert all(region.contains(box) for box in three.boxes)


def test_voxels_that_are_no_number_are_not_compared(tmp_path):
    holed = image().astype(np.float32)
    holed[:, ::2] = np.nan
    volume = open_volume(write_volume(tmp_path / "nan.zarr", holed))
    trained = measure([open_volume(write_volume(tmp_path / "in.zarr", image()))])
    found = likeness(sample(volume), trained)
    assert found.fits
    assert not found.unlike
    assert likeness(np.zeros((1, 0)), trained) is None


def test_volumes_of_one_domain_that_differ_are_named(tmp_path, caplog):
    from vol2vol.recipes.domains import warn_of_differences

    def volume(name, values, size=(8, 8, 8)):
        return open_volume(write_volume(tmp_path / name, values, voxel_size=size))

    one, two = volume("8.zarr", image()), volume("same.zarr", image(seed=3), (8, 8, 8.01))
    warn_of_differences("source", [one, two])
    assert not say(caplog)
    twelve = volume("12.zarr", OTHER["12 bits"])
    for first, second in ((one, twelve), (twelve, one)):
        assert apart(first, second)
        warn_of_differences("source", [first, second])
        (line,) = say(caplog)
        assert "8.zarr" in line
        assert "12.zarr" in line
        caplog.clear()
    warn_of_differences("target", [one, twelve], image=False)
    assert not say(caplog)
    warn_of_differences("target", [one, volume("coarse.zarr", image(), (16, 8, 8))], image=False)
    (line,) = say(caplog)
    assert "voxel size: " in line
    assert "(8, 8, 8)" in line
    assert "(16, 8, 8)" in line


def test_volumes_of_other_ranges_are_compared_with_a_warning(tmp_path, caplog):
    from vol2vol.evaluation.compare import evaluate_fidelity

    names = ("8", "12 bits")
    one, other = (open_volume(write_volume(tmp_path / f"{name}.zarr", OTHER.get(name, image()))) for name in names)
    evaluate_fidelity(one, one)
    assert not say(caplog)
    evaluate_fidelity(other, one)
    assert all(f"{name}.zarr" in say(caplog)[0] for name in names)


def test_a_network_without_statistics_is_adapted_by_its_range_alone(tmp_path):
    net = network(2, seed=3)
    bare = type(net)(**{**net.describe()["arguments"], "norm": "none"}).eval()
    trained = SimpleNamespace(source=open_volume(write_volume(tmp_path / "8.zarr", image())))
    grey = measure([trained.source])
    model = save_bundle(
        tmp_path / "bare",
        between({"forward": bare}),
        {"source": grey, "target": grey},
        channels={"source": 1, "target": 1},
    )
    twelve = write_volume(tmp_path / "12.zarr", OTHER["12 bits"])
    with pytest.raises(BadInput, match="no statistics"):
        adapt_statistics(model, twelve, tmp_path / "no")
    adapted = load_bundle(adapt_statistics(model, twelve, tmp_path / "yes", intensity=True))
    assert adapted.intensity["source"] == measure([open_volume(twelve)])


@pytest.mark.parametrize(
    ("size", "unit", "dims", "warned"),
    [
        ((8, 8, 8), "nanometer", 2, ""),
        ((0.008, 0.00801, 0.008), "micrometer", 3, ""),
        ((40, 8, 8), "nanometer", 2, ""),
        ((40, 8, 8), "nanometer", 3, "has voxels of 40 x 8 x 8 nanometer, the model was trained on 8 x 8 x 8: "),
        (
            (0.008, 0.016, 0.008),
            "micrometer",
            2,
            "has voxels of 0.016 x 0.008 micrometer, the model was trained on 0.008",
        ),
        ((30, 4, 4), "nanometer", 2, ""),
        ((16, 16, 16), "", 3, ""),
    ],
)
def test_voxels_of_another_size_are_warned_of_once(size, unit, dims, warned, tmp_path, caplog):
    facts = [{"dtype": "uint8", "voxel_size": [8.0] * 3, "unit": "nanometer"}, {"dtype": "uint8"}]
    facts += [{"voxel_size": [0.03, 0.004, 0.004], "unit": "micrometer"}]
    grey = dict.fromkeys(("source", "target"), fixed(0, 255))
    provenance = {"patch": 30, "volumes": {"source": facts, "target": facts}}
    model = save_bundle(
        tmp_path / "model",
        between({"forward": network(dims)}),
        grey,
        channels={"source": 1, "target": 1},
        provenance=provenance,
    )
    volume = create_volume(tmp_path / "in.zarr", shape=(1, 4, 30, 31), dtype="u1", voxel_size=size, unit=unit)
    volume.write(Box.of((4, 30, 31)), image((1, 4, 30, 31)))
    volume.close()
    for out in ("a.zarr", "b.tif"):
        caplog.clear()
        predict(model, tmp_path / "in.zarr", tmp_path / out)
        texts = [record.getMessage() for record in caplog.records if "voxels of" in record.getMessage()]
        assert len(texts) == bool(warned)
        assert all(warned in text and "in.zarr" in text and "`resample`" in text for text in texts)
    caplog.clear()
    predict(model, tmp_path / "in.zarr", tmp_path / "a.zarr")
    assert not [record for record in caplog.records if "voxels of" in record.getMessage()]
