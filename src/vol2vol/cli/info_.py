"""`vol2vol info PATH`."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.describe import info


def run(words: list[str]) -> None:
    """Parse the command line and describe."""
    parse.call(_info, words, "info")


def _info(
    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")],
    *,
    about: parse.MetadataOptions = parse.NO_METADATA,
    json: bool = False,
) -> None:
    """Describe a volume, a model, a run or a study, and its progress.

    Args:
        path: a volume, a model, or the folder of a run or a study.
        about: metadata missing from the volume files.
        json: print the result as JSON.
    """
    description: dict[str, Any] = info(path, **about.keywords())
    show.result(description, as_json=json)
