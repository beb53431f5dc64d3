"""What a study measures of a volume, where no network is needed to know the answer."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vol2vol.geometry import Box
from vol2vol.metrics.measures import MEASURES
from vol2vol.metrics.measures.settings import Judging
from vol2vol.metrics.similarity.volume_pairs import extremes
from vol2vol.study import subjects
from vol2vol.study.assets import Model
from vol2vol.study.row_builder import RowBuilder
from vol2vol.study.subjects import subject_of
from vol2vol.study.translating import Predicted, TrialVolume
from vol2vol.volumes import create_volume, open_volume


def stored(path, array):
    about = {"shape": (1, *array.shape), "dtype": array.dtype, "voxel_size": (8, 8, 8), "unit": "nanometer"}
    with create_volume(path, **about) as volume:
        volume.write(Box.of(array.shape), array[None])
    return path


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_what_returns_was_quantised_whatever_the_volume_is_stored_in(tmp_path, monkeypatch, dtype):
    """Translator and way back are the identity: all that is lost is noise of one level and rounding to 256."""
    values = np.random.default_rng(0).uniform(0, 1, (8, 24, 24))
    scale = {"float32": 1, "uint16": 60_000, "uint8": 255}[dtype]
    array = (values * scale).astype(dtype)
    source, volume = (stored(tmp_path / f"{name}.zarr", array) for name in ("source", "volume"))
    asked = []

    def predict(bundle, start, out, how):
        asked.append(how)
        shutil.copytree(start, out)

    monkeypatch.setattr(subjects, "predict", predict)
    monkeypatch.setattr(subjects, "find_bundle", lambda path, which: path)
    assets = SimpleNamespace(
        study=SimpleNamespace(settings=lambda changes: changes, segmenters={}, judging=Judging(blocks=2)),
        span=lambda _: extremes(open_volume(source)),
        parts=SimpleNamespace(truth=lambda *_: None, has_mask=lambda _: False),
    )
    model = Model(path=Path("model"), direction="forward", back="backward")
    predicted = Predicted(model=model, which="epoch-0003", settings=None, prediction=None, peak=0.0)
    trial = SimpleNamespace(source="rat", target="human", kind="network")
    done = TrialVolume(trial=trial, source=source, volume=volume, predicted=predicted, first=None)
    row, cycle = RowBuilder(), MEASURES["cycle"]
    row.add(cycle, cycle.take(subject_of(assets, done, [])))
    psnr, error, hidden = (row.values[f"cycle/{name}"] for name in ("psnr", "mean_absolute", "hidden"))
    assert psnr.value == pytest.approx(20 * np.log10(255 / np.sqrt(1 + 1 / 12)), abs=0.3)
    assert psnr.low < psnr.value < psnr.high
    assert error.value * 255 / scale == pytest.approx(np.sqrt(2 / np.pi), rel=0.06)
    assert hidden.value == pytest.approx(error.value)
    assert {how["direction"] for how in asked} == {"backward"}
    assert {path.name for path in tmp_path.iterdir()} == {"source.zarr", "volume.zarr"}
