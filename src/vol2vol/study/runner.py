"""Run a study: every trial once, with one row each. After a failure or a kill the same call continues."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from vol2vol import plainyaml
from vol2vol.errors import AlreadyExists, CannotWrite, Mismatch, Unreadable, UserError, one_line
from vol2vol.files import read_text, write_text
from vol2vol.locks import writing
from vol2vol.report.rows.conditions import reference
from vol2vol.report.rows.rows import ROWS, Row, append_row, read_rows, read_sums
from vol2vol.study.assets import FAILURES, Assets, check_masks
from vol2vol.study.domain_files import check_data, check_patches
from vol2vol.study.loading import load_study
from vol2vol.study.planning import check_trainings, hours, picked_count
from vol2vol.study.settings import Study
from vol2vol.study.trial import run_trial
from vol2vol.study.trials import PICKED, Trial, baseline_trials, checkpoint_trials, left, picked_trials
from vol2vol.volumes.addresses import local_path

log = logging.getLogger(__name__)
STUDY = "study.yaml"
GROWS = (
    *("about", "data", "pairs", "baselines", "picks", "predict"),
    *("translators.*.seeds", "translators.*.checkpoints", "translators.*.assemblies"),
    *("segmenters.*.seeds", "segmenters.*.predict"),
)
"""Keys that may differ on a second start (`*` is any name): existing rows stay valid, and more may be added."""
WHOLE = ("domains.*.parts", "domains.*.truths", "translators.*.strategies.*", "segmenters.*.domains")
"""Keys below which nothing may be added either, because a missing entry has a meaning there too."""
Progress = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of running a study."""

    folder: Path
    report: Path | None
    """Path of the report; None if it could not be written (the reason is logged)."""
    done: int
    """Number of trials that are done, in this start or an earlier one."""
    failed: tuple[str, ...]
    """Names of the trials that failed."""


def run_study(
    study: str | Path | Study,
    out: str | Path,
    *,
    data: str | Path | None = None,
    overrides: Sequence[str] = (),
    every: float = 900,
    progress: Progress | None = None,
) -> Outcome:
    """Run a study in the folder `out`; write its report at the end and about every `every` seconds.

    `study` is the name of a shipped study, a YAML file or a `Study`; `data` is the folder of its volumes; `overrides`
    are `key.sub=value` changes. Finished trials are not repeated, failed ones are; a failed trial does not stop the
    others. Raises `NotFound` for missing volumes, `Mismatch` if the folder holds another study, `AlreadyExists` if it
    holds something else, and `BadInput` for impossible settings.
    """
    settings, out, say = load_study(study, tuple(overrides), data), local_path(out, "a study"), progress or log.info
    check_data(settings)
    check_patches(settings)
    check_trainings(settings)
    assets = Assets(settings, out)
    check_masks(settings, assets.parts)
    assets.check_weights()
    with _begun(out, settings):
        if settings.segmenters:
            for source in dict.fromkeys(source for source, _ in settings.pairs):
                assets.check_foreground(source)
        runner = _Runner(assets, every, say)
        runner.run(baseline_trials(settings), ahead=_later(settings))
        runner.run(checkpoint_trials(settings), ahead=_later(settings, checkpoints=False))
        runner.run(picked_trials(settings, list(runner.rows.values())))
        report = runner.report()
    failed = tuple(name for name, row in runner.rows.items() if row.status == "failed")
    return Outcome(folder=out, report=report, done=len(runner.rows) - len(failed), failed=failed)


def _later(study: Study, *, checkpoints: bool = True) -> int:
    """Return about how many trials come after the baselines, or after the first round of checkpoints."""
    first = len(checkpoint_trials(study)) if checkpoints else 0
    return first + picked_count(study)


class _Runner:
    """Runs trials, counts them and reports progress."""

    def __init__(self, assets: Assets, every: float, say: Progress) -> None:
        self.assets, self.every, self.say = assets, every, say
        self.rows = {row.trial: row for row in read_rows(assets.folder)} if (assets.folder / ROWS).is_file() else {}
        self.began = self.reported = time.monotonic()
        self.finished = 0

    def run(self, trials: Sequence[Trial], *, ahead: int = 0) -> None:
        """Run all trials that are not done; `ahead` is the number of trials that come after these."""
        for number, trial in enumerate(trials):
            row = self.rows.get(trial.name)
            if row is not None and whole(self.assets.study, row, trial):
                self._note_pick(trial, row)
            else:
                self._run_trial(trial, left=len(trials) - number - 1 + ahead)
                if time.monotonic() - self.reported > self.every:
                    self.report()

    def _note_pick(self, trial: Trial, row: Row) -> None:
        """Update why a checkpoint was picked, if the picks have changed since its row was written."""
        if trial.picked and row.notes.get(PICKED) != trial.picked:
            self.rows[trial.name] = replace(row, notes={**row.notes, PICKED: trial.picked})
            append_row(self.assets.folder, self.rows[trial.name])

    def _run_trial(self, trial: Trial, *, left: int) -> None:
        began = time.monotonic()
        before = self.rows.get(trial.name)
        folder = self.assets.folder
        try:
            row, sums = run_trial(self.assets, trial, before, read_sums(folder, trial.name))
        except FAILURES as error:
            log.debug("%s failed", trial.name, exc_info=True)
            row, sums = replace(trial.row(), status="failed", reason=_line(error)), {}
        append_row(folder, row, sums)
        self.rows[trial.name] = row
        self.finished += 1
        seconds = time.monotonic() - began
        state = "done" if row.status == "done" else f"failed: {row.reason}"
        eta = (time.monotonic() - self.began) / self.finished * left
        self.say(f"{trial.name}: {state} ({hours(seconds)}; {left} trials left, about {hours(eta)})")

    def report(self) -> Path | None:
        """Write the report; an error in it does not stop the study."""
        if not self.rows:
            return None
        from vol2vol.report import write_study_report

        try:
            return write_study_report(self.assets.folder)
        except FAILURES as error:
            log.warning("the report was not written: %s", _line(error))
            return None
        finally:
            self.reported = time.monotonic()


def whole(study: Study, row: Row | None, trial: Trial) -> bool:
    """Return whether a row has all measures of a trial."""
    return row is not None and row.status == "done" and not left(study, row, trial)


def _line(error: BaseException) -> str:
    return one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error, 300)}"


@contextmanager
def _begun(out: Path, study: Study) -> Iterator[None]:
    """Create a study's folder, or check that it belongs to this study; lock it against other processes."""
    path = out / STUDY
    try:
        if out.exists() and not path.is_file() and (not out.is_dir() or any(p.name != ".lock" for p in out.iterdir())):
            raise AlreadyExists(f"{out} exists and is not a study: choose another folder")
        out.mkdir(parents=True, exist_ok=True)
    except UserError:
        raise
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error.strerror or error}") from error
    with writing(out):
        settings = study.model_dump(mode="json")
        if path.is_file():
            _compare(path, settings)
        write_text(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
        yield


def _compare(path: Path, settings: dict[str, Any]) -> None:
    """Raise `Mismatch`, naming the key, if a setting has changed on which existing rows depend."""
    try:
        begun = plainyaml.load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError):
        begun = None
    if not isinstance(begun, dict):
        raise Unreadable(f"{path} is damaged: choose another folder")
    for key, old, new in (*_fixed(begun, settings, ""), *_references(begun, settings)):
        if old != new:
            raise Mismatch(
                f"{path.parent} was begun with {key} {old!r}, now it is {new!r}: set it back or choose another folder"
            )


def _fixed(old: Any, new: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield key, old and new value of the settings that must not change: shared keys, and all keys below `WHOLE`."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield key, old, new
        return
    whole = _matches(key, WHOLE)
    for name in {**old, **new} if whole else old:
        below = f"{key}.{name}" if key else str(name)
        if whole or (name in new and not _matches(below, GROWS)):
            yield from _fixed(old.get(name), new.get(name), below)


def _references(begun: dict[str, Any], settings: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the old and new reference strategy of each translator: an added strategy must not become the reference."""
    old, new = (data.get("translators", {}) for data in (begun, settings))
    for name in old:
        if name in new:
            before, now = (reference(translators[name].get("strategies", ())) for translators in (old, new))
            yield f"translators.{name}.strategies compared with", before, now


def _matches(key: str, patterns: Sequence[str]) -> bool:
    """Return whether a dotted key matches a pattern; names of domains and networks contain no dots."""
    steps = key.split(".")
    return any(
        len(steps) == len(parts) and all(part in ("*", step) for part, step in zip(parts, steps, strict=True))
        for parts in (pattern.split(".") for pattern in patterns)
    )
