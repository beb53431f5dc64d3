"""Make the volume of a trial: translate the source's test part, or use it untranslated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vol2vol.machines.devices import find_device, trim
from vol2vol.machines.memory import peak_memory
from vol2vol.prediction import Prediction, PredictSettings, predict
from vol2vol.prediction.finishing import finished
from vol2vol.study.assets import Assets, Model
from vol2vol.study.trials import IN_DOMAIN, Trial

UNTRANSLATED = (IN_DOMAIN, "identity", "adabn")
"""Translators that leave the source unchanged."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The prediction of a volume with its model and settings."""

    model: Model
    which: str
    """Checkpoint of the model, such as last or epoch-0005."""
    settings: PredictSettings
    prediction: Prediction
    peak: float
    """Peak memory in bytes beyond what the process held before."""


@dataclass(frozen=True, kw_only=True)
class TrialVolume:
    """A trial with the paths of its volumes."""

    trial: Trial
    source: Path
    volume: Path
    """Path of the translation, or of the source if the trial leaves it unchanged."""
    predicted: Predicted | None
    """None if the source is unchanged."""
    first: Path | None
    """Finished volume of the same checkpoint and assembly in the reference strategy; None if this is the reference."""


def translate(assets: Assets, trial: Trial) -> TrialVolume:
    """Translate the source's test part for a trial; a finished translation is kept."""
    source = assets.parts.image(trial.source, "test")
    model = _model(assets, trial)
    if model is None:
        return TrialVolume(trial=trial, source=source, volume=source, predicted=None, first=None)
    volume = volume_of(assets, trial)
    volume.parent.mkdir(exist_ok=True)
    settings, which = _settings(assets, trial, model)
    trim()
    with peak_memory(find_device(settings.device), beyond=True) as peak:
        prediction = predict(model.path, source, volume, settings, which=which)
    predicted = Predicted(model=model, which=which, settings=settings, prediction=prediction, peak=peak())
    return TrialVolume(trial=trial, source=source, volume=volume, predicted=predicted, first=_first(assets, trial))


def volume_of(assets: Assets, trial: Trial) -> Path:
    """Return the path of the translated volume of a trial."""
    return assets.folder / "volumes" / f"{trial.name}.zarr"


def first_of(assets: Assets, trial: Trial) -> Trial | None:
    """Return the same trial in the reference strategy; None if this trial uses it or has no network."""
    if trial.kind != "network":
        return None
    first = assets.study.translators[trial.translator].reference
    return None if trial.strategy == first else replace(trial, strategy=first)


def _first(assets: Assets, trial: Trial) -> Path | None:
    first = first_of(assets, trial)
    path = None if first is None else volume_of(assets, first)
    return path if path is not None and finished(str(path)) else None


def _settings(assets: Assets, trial: Trial, model: Model) -> tuple[PredictSettings, str]:
    """Return the settings of a trial's prediction, and the checkpoint."""
    if trial.kind != "network":
        return assets.study.settings({"direction": model.direction}), "last"
    chosen = assets.study.translators[trial.translator].settings(trial.strategy)
    changes = {"direction": model.direction, "assembly": trial.assembly, **chosen}
    return assets.study.settings(changes), f"epoch-{trial.checkpoint:04d}"


def _model(assets: Assets, trial: Trial) -> Model | None:
    if trial.kind == "network":
        assert trial.seed is not None, trial
        return assets.translator(trial.translator, trial.seed, trial.pair)
    return None if trial.translator in UNTRANSLATED else assets.baseline(trial.translator, trial.pair)
