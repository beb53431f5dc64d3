"""`vol2vol demo --out DIR`."""

from __future__ import annotations

from vol2vol.cli import parse
from vol2vol.cli.study_ import run_and_show


def run(words: list[str]) -> None:
    """Parse the command line and run the demo."""
    parse.call(_demo, words, "demo")


def _demo(*, out: parse.Folder = "demo", quick: bool = False, json: bool = False) -> None:
    """Run the study `demo`: make two phantom volumes, train in 2D and 3D, predict in nine ways, write a report.

    It takes about three minutes on two cores.

    Args:
        out: folder of the demo; the same command continues a demo that was stopped or killed.
        quick: run a smaller and shorter demo, to test the installation.
        json: print the result as JSON.
    """
    run_and_show("demo-quick" if quick else "demo", out, as_json=json)
