"""Types of outputs that cannot hold what a model makes: warned of, naming a type that does."""

import re

import numpy as np
import pytest
from tests.prediction.conftest import network, write_volume

from vol2vol.intensity import fixed
from vol2vol.models.bundle import save_bundle
from vol2vol.prediction import PredictSettings, predict
from vol2vol.protocol import between
from vol2vol.volumes import open_volume


def warned(tmp_path, caplog, made, trained, **settings):
    """Return what is said of the type when an image of 8 bits is translated, and the output's voxels."""
    facts = {"source": [{"name": "a", "dtype": "uint8"}], "target": [{"name": "b", "dtype": trained}]}
    maps, provenance = {"source": fixed(0, 255), "target": made}, {"patch": 30, "volumes": facts}
    model, out = tmp_path / "model", tmp_path / "out.zarr"
    if not model.exists():
        save_bundle(
            model,
            between({"forward": network(2)}),
            maps,
            channels={"source": 1, "target": 1},
            provenance=provenance,
        )
        image = np.random.default_rng(0).integers(0, 256, (1, 37, 41), dtype=np.uint8)
        write_volume(tmp_path / "in.zarr", image)
    caplog.clear()
    predict(model, tmp_path / "in.zarr", out, PredictSettings(**settings), overwrite=True)
    with open_volume(out) as volume:
        return [line for line in caplog.messages if "`dtype`" in line], np.asarray(volume)


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
    (line,), _ = warned(tmp_path, caplog, fixed(low, high), trained)
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
    lines, _ = warned(tmp_path, caplog, made, trained, **settings)
    assert not lines
