"""What a study's own file says of it, as far as its report needs to know; see `design/0005`."""

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
    """A study in words."""

    name: str
    about: str = ""
    picks: Sequence[tuple[str, bool | None]] = ()
    """Values that checkpoints are picked by, and whether small ones are good (None: those near 1).

    The first one chooses what is shown."""
    lines: Sequence[str] = field(default=())
    """What takes part."""


def read_declared(folder: Path) -> Declared:
    """Read `study.yaml`; without one, a study is called as its folder. Raises `Unreadable`."""
    path = folder / STUDY
    if not path.is_file():
        return Declared(name=real_path(folder).name)
    try:
        told = plainyaml.load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} is damaged ({str(error).splitlines()[0]}): restore it, or start anew") from None
    told = told if isinstance(told, dict) else {}
    picks = [one for one in told.get("picks") or [] if isinstance(one, dict) and one.get("by")]
    return Declared(
        name=str(told.get("name") or real_path(folder).name),
        about=str(told.get("about") or ""),
        picks=[(str(one["by"]), smallest_best(str(one["by"]), one.get("lowest"))) for one in picks],
        lines=_lines(told),
    )


def _lines(told: Mapping[str, Any]) -> list[str]:
    pairs = [" → ".join(map(str, pair)) for pair in told.get("pairs") or []]
    lines = [f"Translated: {', '.join(pairs)}."] if pairs else []
    for name, one in _named(told, "translators"):
        seeds = len(one.get("seeds") or [0])
        ways = ", ".join(one.get("strategies") or ["exact"])
        lines.append(
            f"Translator {name}: recipe {one.get('recipe', '')}, {_count(seeds, 'training')}; stitched {ways}."
        )
    for name, one in _named(told, "segmenters"):
        lines.append(
            f"Segmenter {name}: recipe {one.get('recipe', '')}, {_count(len(one.get('seeds') or [0]), 'seed')}."
        )
    simple = ", ".join(BASELINE_NAMES.get(str(name), str(name)) for name in told.get("baselines") or [])
    return [*lines, f"Simple translations beside: {simple}."] if simple else lines


def _named(told: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = told.get(key)
    return [(str(name), one) for name, one in found.items() if isinstance(one, dict)] if isinstance(found, dict) else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
