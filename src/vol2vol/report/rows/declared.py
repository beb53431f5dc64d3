"""Read from a study's `study.yaml` what its report needs: name, purpose, picks and participants; see `design/0005`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vol2vol import plainyaml
from vol2vol.errors import Unreadable
from vol2vol.files import read_text, real_path
from vol2vol.report.rows.checkpoint_roles import smallest_best
from vol2vol.report.rows.conditions import BASELINE_NAMES

STUDY = "study.yaml"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Description of a study, for its report."""

    name: str
    about: str = ""
    picks: Sequence[tuple[str, bool | None]] = ()
    """Values that checkpoints are picked by, and whether low values are good (None: values near 1).

    The first pick decides which checkpoints the report shows."""
    lines: Sequence[str] = field(default=())
    """Sentences about pairs, translators, segmenters and baselines."""


def read_declared(folder: Path) -> Declared:
    """Read `study.yaml`; without one, the study has the name of its folder. Raises `Unreadable` if it is damaged."""
    path = folder / STUDY
    if not path.is_file():
        return Declared(name=real_path(folder).name)
    try:
        settings = plainyaml.load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Unreadable(
            f"{path} is damaged ({str(error).splitlines()[0]}): restore it, or start the study in another folder"
        ) from None
    settings = settings if isinstance(settings, dict) else {}
    picks = [pick for pick in settings.get("picks") or [] if isinstance(pick, dict) and pick.get("by")]
    return Declared(
        name=str(settings.get("name") or real_path(folder).name),
        about=str(settings.get("about") or ""),
        picks=[(str(pick["by"]), smallest_best(str(pick["by"]), pick.get("lowest"))) for pick in picks],
        lines=_lines(settings),
    )


def _lines(settings: Mapping[str, Any]) -> list[str]:
    pairs = [" → ".join(map(str, pair)) for pair in settings.get("pairs") or []]
    lines = [f"Translated: {', '.join(pairs)}."] if pairs else []
    for name, translator in _named(settings, "translators"):
        trainings = _count(len(translator.get("seeds") or [0]), "training")
        strategies = ", ".join(translator.get("strategies") or ["exact"])
        lines.append(f"Translator {name}: recipe {translator.get('recipe', '')}, {trainings}; stitched {strategies}.")
    for name, segmenter in _named(settings, "segmenters"):
        seeds = _count(len(segmenter.get("seeds") or [0]), "seed")
        lines.append(f"Segmenter {name}: recipe {segmenter.get('recipe', '')}, {seeds}.")
    baselines = ", ".join(BASELINE_NAMES.get(str(name), str(name)) for name in settings.get("baselines") or [])
    return [*lines, f"Simple translations for comparison: {baselines}."] if baselines else lines


def _named(settings: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    entries = settings.get(key)
    if not isinstance(entries, dict):
        return []
    return [(str(name), entry) for name, entry in entries.items() if isinstance(entry, dict)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
