"""Report the progress of a study in a folder: trials done, failed and to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vol2vol import plainyaml
from vol2vol.errors import Unreadable, quoted
from vol2vol.files import read_text
from vol2vol.recipes.yamlfiles import explain
from vol2vol.report.rows.rows import REPORT, ROWS, read_rows
from vol2vol.study.planning import picked_count
from vol2vol.study.runner import STUDY, whole
from vol2vol.study.settings import Study
from vol2vol.study.trials import baseline_trials, checkpoint_trials, picked_trials
from vol2vol.volumes.addresses import local_path


def study_status(folder: str | Path) -> dict[str, Any]:
    """Return a study's name, its trials done, failed and to do, and where its report is, as plain data.

    Raises `Unreadable` where the study's own copy of its settings is damaged.
    """
    folder = local_path(folder, "a study")
    study = _kept(folder / STUDY)
    rows = {row.trial: row for row in read_rows(folder)} if (folder / ROWS).is_file() else {}
    first = checkpoint_trials(study)
    looking = any(trial.name not in rows for trial in first)  # picks need the rows of all checkpoints
    later = [] if looking else picked_trials(study, list(rows.values()))
    trials = {trial.name: trial for trial in (*baseline_trials(study), *first, *later)}
    failed = {name: rows[name].reason for name in trials if name in rows and rows[name].status == "failed"}
    done = [name for name, trial in trials.items() if whole(study, rows.get(name), trial)]
    to_do = [name for name in trials if name not in done and name not in failed]
    status: dict[str, Any] = {"kind": "study", "path": str(folder), "name": study.name, "about": study.about}
    status |= {"done": len(done), "failed": failed, "to do": to_do}
    if looking:
        status["then"] = f"up to {picked_count(study)} trials of picked checkpoints"
    report = folder / REPORT
    status["report"] = str(report) if report.is_file() else "not written yet"
    command = f"vol2vol study {quoted(folder / STUDY)} --out {quoted(folder)}"
    status["go on with"] = command if to_do or failed else "nothing left to do"
    return status


def _kept(path: Path) -> Study:
    try:
        return Study.model_validate(plainyaml.load(read_text(path)))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unreadable(f"{path} is not YAML: restore the file, or start the study in another folder") from None
    except ValidationError as error:
        raise Unreadable(f"{path}: {explain(error, Study)}: restore the file") from None
