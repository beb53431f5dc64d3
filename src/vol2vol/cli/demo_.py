"""`vol2vol demo --out DIR`."""

from __future__ import annotations

from pathlib import Path

from vol2vol.cli import parse, show
from vol2vol.study.demo import run_demo


def run(words: list[str]) -> None:
    """Parse the command line and run the demo."""
    parse.call(_demo, words, "demo")


def _demo(*, out: str = "demo", quick: bool = False, json: bool = False) -> None:
    """Make two phantom volumes, train in 2D and 3D, predict nine ways and write a report; about three minutes.

    Args:
        out: folder of the demo; the same command continues a demo that was stopped or killed.
        quick: make it smaller and shorter, to see that everything works.
        json: print the result as JSON.
    """
    report = run_demo(Path(out), quick=quick)
    show.result({"report": str(report)}, as_json=json)
