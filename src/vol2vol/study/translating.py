"""Make the volume of a trial: translate the source's test part, or take it as it is."""

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
"""Translators that leave the source as it is."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """How a volume was predicted."""

    model: Model
    which: str
    """Which of the saved models."""
    settings: PredictSettings
    prediction: Prediction
    peak: float
    """Bytes that it took beyond what the process held before."""


@dataclass(frozen=True, kw_only=True)
class TrialVolume:
    """A trial with its volume."""

    trial: Trial
    source: Path
    volume: Path
    """The source itself, where the trial leaves it as it is."""
    predicted: Predicted | None
    """None where nothing was predicted."""
    first: Path | None
    """The finished volume of the same checkpoint and assembly in the study's first strategy, where that is another."""


def translate(assets: Assets, trial: Trial) -> TrialVolume:
    """Translate the source's test part as a trial says; what is finished is not done again."""
    source = assets.parts.image(trial.source, "test")
    model = _model(assets, trial)
    if model is None:
        return TrialVolume(trial=trial, source=source, volume=source, predicted=None, first=None)
    volume = volume_of(assets, trial)
    volume.parent.mkdir(exist_ok=True)
    settings, which = _how(assets, trial, model)
    trim()
    with peak_memory(find_device(settings.device), beyond=True) as peak:
        prediction = predict(model.path, source, volume, settings, which=which)
    predicted = Predicted(model=model, which=which, settings=settings, prediction=prediction, peak=peak())
    return TrialVolume(trial=trial, source=source, volume=volume, predicted=predicted, first=_first(assets, trial))


def volume_of(assets: Assets, trial: Trial) -> Path:
    """Return where the volume of a trial lies that is translated."""
    return assets.folder / "volumes" / f"{trial.name}.zarr"


def first_of(assets: Assets, trial: Trial) -> Trial | None:
    """Return the trial that this one is compared with: in the first strategy, all else alike; None for that itself."""
    if trial.kind != "network":
        return None
    first = assets.study.translators[trial.translator].reference
    return None if trial.strategy == first else replace(trial, strategy=first)


def _first(assets: Assets, trial: Trial) -> Path | None:
    first = first_of(assets, trial)
    path = None if first is None else volume_of(assets, first)
    return path if path is not None and finished(str(path)) else None


def _how(assets: Assets, trial: Trial, model: Model) -> tuple[PredictSettings, str]:
    """Return how a trial's volume is predicted, and by which of the saved models."""
    if trial.kind != "network":
        return assets.study.settings({"direction": model.direction}), "last"
    chosen = assets.study.translators[trial.translator].strategies[trial.strategy]  # type: ignore[index]
    changes = {"direction": model.direction, "strategy": trial.strategy, "assembly": trial.assembly, **chosen}
    return assets.study.settings(changes), f"epoch-{trial.checkpoint:04d}"


def _model(assets: Assets, trial: Trial) -> Model | None:
    if trial.kind == "network":
        assert trial.seed is not None, trial
        return assets.translator(trial.translator, trial.seed, trial.pair)
    return None if trial.translator in UNTRANSLATED else assets.baseline(trial.translator, trial.pair)
