"""Run one trial: translate, take the measures that are still missing, and return its row."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from vol2vol.metrics.measures import MEASURES, measures
from vol2vol.report.rows.rows import Row
from vol2vol.study.assets import Assets
from vol2vol.study.row_builder import RowBuilder
from vol2vol.study.subjects import probabilities, subject_of
from vol2vol.study.translating import TrialVolume, first_of, translate
from vol2vol.study.trials import JUDGES, MEASURED, PICKED, Trial, compared, judges_of, left, measured


def run_trial(
    assets: Assets, trial: Trial, before: Row | None, sums: dict[str, np.ndarray]
) -> tuple[Row, dict[str, np.ndarray]]:
    """Return the finished row of a trial and its sums per block, `{value: (blocks, terms)}`.

    `before` is the trial's earlier row, whose values are kept. Everything that measures need is made first: if that
    fails, the trial fails.
    """
    row, asked = RowBuilder.of(before, sums), left(assets.study, before, trial)
    translated = translate(assets, trial)
    subject = subject_of(assets, translated, asked)
    for measure in measures():
        if (measure.name in asked or measure.always) and subject.has(measure.needs):
            subject.make(measure.needs)
            with row.unless_impossible(measure):
                row.add(measure, measure.take(subject))
    if subject.asked("segmentations"):
        judges = judges_of(assets.study, asked)
        paths = {judge: probabilities(assets.folder, trial, judge) for judge in judges}
        row.segmentations |= {judge: _relative(path, assets.folder) for judge, path in paths.items()}
        row.notes |= {JUDGES: " ".join(judges)} if compared(asked) else {}
    row.notes[MEASURED] = " ".join(_measured(assets, translated, before))
    if trial.picked:
        row.notes[PICKED] = trial.picked
    return _finished(assets, translated, row), row.sums


def _measured(assets: Assets, translated: TrialVolume, before: Row | None) -> list[str]:
    """Return the measures that the row has, without comparisons with a reference volume that is still missing."""
    names = dict.fromkeys([*sorted(measured(before)), *translated.trial.measures])
    lacks_first = translated.first is None and first_of(assets, translated.trial) is not None
    return [name for name in names if not (lacks_first and name in MEASURES and MEASURES[name].against_first)]


def _finished(assets: Assets, translated: TrialVolume, row: RowBuilder) -> Row:
    trial, predicted = translated.trial, translated.predicted
    return replace(
        trial.row(),
        volume=_relative(translated.volume, assets.folder),
        run=_relative(predicted.model.path, assets.folder) if predicted is not None and trial.kind == "network" else "",
        segmentations=row.segmentations,
        values=row.values,
        notes=row.notes,
    )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
