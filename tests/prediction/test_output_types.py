"""Types of outputs: by default that of what the model was trained to make; what cannot hold it is warned of."""

import json
import re
import zlib

import numpy as np
import pytest
from tests.prediction.conftest import network, write_volume

from vol2vol.errors import BadInput, Mismatch
from vol2vol.intensity import PROBABILITY, fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, dry_run, dry_run_files, predict, predict_files, translate, translated
from vol2vol.prediction.request import Request
from vol2vol.prediction.run import find, start
from vol2vol.prediction.verification import verify
from vol2vol.protocol import Translation, between
from vol2vol.recipes import adapt_statistics
from vol2vol.volumes import open_volume
from vol2vol.volumes.ledger import Ledger, _canonical

SHAPE = (1, 37, 41)


@pytest.fixture
def image(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    return write_volume(tmp_path / "in.zarr", array)


def model_of(folder, trained, made=None, *, reads="source", makes=("target",), **provenance):
    """Write a model of images of 8 bits, whose domains were trained on volumes of these types; return its folder."""
    made = made or fixed(0, 60_000)
    facts = {name: [{"name": "a", "dtype": dtype} for dtype in types] for name, types in trained.items()}
    domains = {reads: fixed(0, 255), **dict.fromkeys(makes, made)}
    if reads in makes:
        domains[reads] = fixed(0, 255)
    save_bundle(
        folder,
        {"forward": Translation(network=network(2, out_channels=len(makes)), reads=(reads,), makes=makes)},
        domains,
        channels=dict.fromkeys(domains, 1),
        provenance={"patch": 30, **({"volumes": facts} if facts else {}), **provenance},
    )
    return folder


def written(model, image, out, **settings):
    """Predict; return the voxels that are stored."""
    predict(model, image, out, PredictSettings(**settings), overwrite=True)
    with open_volume(out) as volume:
        return np.asarray(volume)


@pytest.mark.parametrize(
    ("trained", "made", "dtype"),
    [
        (["uint16"], None, "uint16"),
        (["<u2"], None, "uint16"),
        ([">u2", "uint16"], None, "uint16"),
        (["float32"], fixed(0, 1), "float32"),
        (["float64"], fixed(-0.2, 0.9), "float64"),
        (["int16"], fixed(-900, 900), "int16"),
        (["uint32"], fixed(0, 70_000), "uint32"),
        (["int64"], fixed(-900, 900), "int16"),
        (["uint64"], fixed(0, 70_000), "float32"),
        (["bool"], fixed(0, 1), "uint8"),
        (["bool"], PROBABILITY, "uint8"),
        (["uint16"], PROBABILITY, "uint8"),
        (["uint8", "uint16"], PROBABILITY, "uint8"),
        ([], None, "uint8"),
        ([7, None, "no type", "M8[s]", "u1,u1"], None, "uint8"),
    ],
)
def test_the_default_is_the_type_of_the_training_volumes(trained, made, dtype, image, tmp_path, caplog):
    model = model_of(tmp_path / "model", {"source": ["uint8"], "target": trained}, made)
    auto = written(model, image, tmp_path / "out.zarr")
    assert auto.dtype == dtype
    if dtype in trained:
        assert not [line for line in caplog.messages if "`dtype`" in line]
    exact = written(model, image, tmp_path / "exact.zarr", dtype="float64")
    held = np.clip(exact, *((0, 255) if auto.dtype == np.uint8 else (-np.inf, np.inf)))
    assert np.abs(auto - held).max() <= (0.51 if auto.dtype.kind in "iu" else 1e-2)
    assert translated(model, image).dtype == translate(model, np.zeros(SHAPE[1:], np.uint8)).dtype == dtype
    assert written(model, image, tmp_path / "own.zarr", dtype="source").dtype == np.uint8


def test_every_way_to_predict_takes_the_same_type(image, tmp_path):
    model = model_of(tmp_path / "model", {"target": ["uint16"]})
    auto = written(model, image, tmp_path / "out.zarr")
    assert auto.dtype == np.uint16
    assert auto.max() > 255
    np.testing.assert_array_equal(np.asarray(translated(model, image)), auto)
    predict_files(model, [image], tmp_path / "many", suffix=".tif")
    with open_volume(tmp_path / "many" / "in.tif") as volume:
        np.testing.assert_array_equal(np.asarray(volume), auto)
    size, key = 2 * np.prod(SHAPE), "bytes written, before compression"
    assert dry_run(model, image)[key] == dry_run_files(model, [image], tmp_path / "many2")[key] == size
    assert dry_run(model, image, PredictSettings(dtype="source"))[key] == size / 2
    assert verify(tmp_path / "out.zarr", model=model, input=image).differing == 0
    assert open_volume(tmp_path / "out.zarr").attrs["vol2vol"]["settings"]["dtype"] == "uint16"


@pytest.mark.parametrize(
    ("trained", "said", "cure"),
    [
        ({"a": ["uint8"], "b": ["uint16"]}, r"domains a \(uint8\) and b \(uint16\) have different types", "split"),
        ({"target": ["uint16", "uint8"]}, "trained on target volumes of uint16 and uint8", "uint8"),
    ],
)
def test_domains_or_volumes_of_different_types_are_refused_and_the_cures_work(trained, said, cure, image, tmp_path):
    model, out = model_of(tmp_path / "model", trained, makes=tuple(trained)), tmp_path / "out.zarr"
    for verb in (
        lambda: predict(model, image, out),
        lambda: dry_run(model, image),
        lambda: translated(model, image),
        lambda: predict_files(model, [image], tmp_path / "many", suffix=".zarr"),
    ):
        with pytest.raises(BadInput, match=f"{said}.*give `dtype` uint16"):
            verb()
    if cure != "split":
        with pytest.raises(BadInput, match=said):
            predict(model, image, out, PredictSettings(split_outputs=True))
    assert not out.exists()
    assert not (tmp_path / "many").exists()
    predict(model, image, out, PredictSettings(**({"split_outputs": True} if cure == "split" else {"dtype": cure})))
    with open_volume(out / "a" if cure == "split" else out) as volume:
        assert volume.dtype == np.uint8
    assert written(model, image, tmp_path / "cured.zarr", dtype="uint16").dtype == np.uint16


def test_an_output_has_the_type_of_the_volumes_that_its_intensities_were_measured_on(image, tmp_path):
    denoiser = model_of(tmp_path / "denoiser", {"source": ["uint8"]}, makes=("source",))
    bright = write_volume(tmp_path / "bright.zarr", np.random.default_rng(1).integers(0, 4000, SHAPE, dtype=np.uint16))
    measured = written(denoiser, bright, tmp_path / "out.zarr", intensity_from=str(bright))
    assert measured.dtype == np.uint16
    assert measured.max() > 1000
    adapted = adapt_statistics(denoiser, bright, tmp_path / "adapted", intensity=True, patches=1)
    assert written(adapted, bright, tmp_path / "out.zarr").dtype == np.uint16
    still = adapt_statistics(denoiser, image, tmp_path / "still", patches=1)
    assert written(still, image, tmp_path / "out.zarr").dtype == np.uint8


def test_a_type_that_outputs_cannot_have_is_refused_where_the_input_decides(tmp_path):
    wide = np.random.default_rng(1).integers(0, 255, SHAPE, dtype=np.int64)
    known = model_of(tmp_path / "known", {"target": ["uint16"]})
    unknown = model_of(tmp_path / "unknown", {})
    assert translate(known, wide[0]).dtype == np.uint16
    for model, settings in ((unknown, None), (known, PredictSettings(dtype="source"))):
        with pytest.raises(BadInput, match="holds int64, which is not supported for outputs: give `dtype` uint16"):
            translate(model, wide[0], settings)


@pytest.mark.parametrize("settings", [{}, {"raw": True}, {"split_outputs": True}])
@pytest.mark.parametrize("complete", [True, False])
def test_records_of_versions_without_auto_are_continued_where_the_type_is_the_same(complete, settings, image, tmp_path):
    trained = "uint16" if "split_outputs" in settings else "uint8"  # what these versions wrote
    model = model_of(tmp_path / "model", {"target": [trained]}, fixed(0, 200))
    out, settings = tmp_path / "out.zarr", PredictSettings(**settings)
    if complete:
        predict(model, image, out, settings)
        for file in (out, *(out / name for name in ("target",) if (out / name).exists())):
            path = file / "zarr.json"
            path.write_text(path.read_text().replace(f'"dtype": "{_recorded(path)}"', '"dtype": "source"', 1))
    else:
        _, job = find(Request.of(model, image, settings, "auto"), str(out), overwrite=False)
        start(job, str(out), overwrite=False)
        plan = Ledger.of(str(out)).plan()
        for part in (plan, plan["request"]):
            part["settings"]["dtype"] = "source"
        text = json.dumps({**plan, "checksum": zlib.crc32(_canonical(plan))})
        (out / ".vol2vol" / "plan.json").write_text(text)
    again = predict(model, image, out, settings)
    assert again.voxels == (0 if complete else np.prod(SHAPE))
    other = settings.model_copy(update={"dtype": "int16", "raw": False})
    with pytest.raises(Mismatch, match="dtype"):
        predict(model, image, out, other)


def _recorded(path):
    return json.loads(path.read_text())["attributes"]["vol2vol"]["settings"]["dtype"]


def warned(tmp_path, caplog, made, trained, **settings):
    """Return what is said of the type when an image of 8 bits is translated, and the output's voxels."""
    facts = {"source": [{"name": "a", "dtype": "uint8"}], "target": [{"name": "b", "dtype": trained}]}
    maps, provenance = {"source": fixed(0, 255), "target": made}, {"patch": 30, "volumes": facts}
    model = tmp_path / "model"
    if not model.exists():
        one = {"source": 1, "target": 1}
        save_bundle(model, between({"forward": network(2)}), maps, channels=one, provenance=provenance)
        array = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
        write_volume(tmp_path / "in.zarr", array)
    caplog.clear()
    voxels = written(model, tmp_path / "in.zarr", tmp_path / "out.zarr", **settings)
    return [line for line in caplog.messages if "`dtype`" in line], voxels


@pytest.mark.parametrize(
    ("low", "high", "trained", "cure"),
    [
        (0, 60_000, "uint16", "uint16"),
        (-900, 900, "int16", "int16"),
        (-900, 100, "int16", "int16"),
        (0, 70_000, "uint32", "float32"),
        (-900, 60_000, "int32", "float32"),
        (0, 1, "float32", "float32"),
        (-0.2, 0.9, "float64", "float32"),
        (0, 4000, "float32", "float32"),
    ],
)
def test_a_type_that_cannot_hold_the_domain_is_warned_of_and_the_cure_holds_it(
    low, high, trained, cure, tmp_path, caplog
):
    (line,), _ = warned(tmp_path, caplog, fixed(low, high), trained, dtype="source")
    assert "the target domain" in line
    assert re.search(r"`dtype` (\w+)", line)[1] == cure
    lines, cured = warned(tmp_path, caplog, fixed(low, high), trained, dtype=cure)
    _, exact = warned(tmp_path, caplog, fixed(low, high), trained, dtype="float32")
    assert not lines
    assert np.abs(cured - exact).max() <= (0.51 if cure != "float32" else 0)


@pytest.mark.parametrize(
    ("made", "trained", "settings"),
    [
        (fixed(0, 255), "uint8", {}),
        (fixed(-0.4, 255.4), "uint8", {}),
        (fixed(0, 3), "uint8", {}),
        (fixed(20.5, 200), "float32", {}),
        (fixed(0, 1), "float32", {"raw": True}),
        (fixed(0, 255, network=(0.0, 1.0)), "uint8", {}),
    ],
)
def test_a_type_that_holds_the_domain_is_not_warned_of(made, trained, settings, tmp_path, caplog):
    lines, _ = warned(tmp_path, caplog, made, trained, dtype="source", **settings)
    assert not lines
