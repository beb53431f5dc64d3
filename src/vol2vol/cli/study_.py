"""`vol2vol study STUDY --out DIR [key=value ...]`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import tyro
import yaml

from vol2vol.cli import parse, show
from vol2vol.cli.flags import with_flags
from vol2vol.errors import BadInput, one_line
from vol2vol.study import list_studies, load_study, plan_study, run_study


def run(words: list[str]) -> None:
    """Parse the command line and run a study."""
    parse.call(_study, words, "study")


def _study(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")] = None,
    overrides: parse.Overrides = (),
    *,
    out: parse.OptionalFolder = None,
    data: parse.OptionalFolder = None,
    print_: Annotated[bool, tyro.conf.arg(name="print")] = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Compare checkpoints, strategies, assemblies, baselines and segmenters, and write a report.

    Args:
        name: a shipped study or a YAML file; without it, the shipped studies are listed.
        overrides: changes to the study, such as translators.flat.seeds=[0,1]; they may stand anywhere.
        out: folder of the study; the same command continues a study that was stopped or killed.
        data: folder that holds the volumes of the study.
        print_: print the study in full instead of running it, to be copied to a file and changed.
        dry_run: print the trials and an estimate of their time; compute nothing.
        json: print the result as JSON.
    """
    if name is None:
        show.result(list_studies(), as_json=json)
        return
    if print_:
        _print(load_study(name, overrides, data).model_dump(mode="json"), as_json=json)
        return
    if out is None and not dry_run:
        raise BadInput("a study needs a folder: name one with --out")
    if dry_run:
        show.result(plan_study(name, out, data=data, overrides=overrides), as_json=json)
        return
    run_and_show(name, str(out), data=data, overrides=overrides, as_json=json)


def run_and_show(
    name: str, out: str, *, data: str | None = None, overrides: tuple[str, ...] = (), as_json: bool = False
) -> None:
    """Run a study, print the outcome of each trial and the path of the report; exit with code 1 if trials failed."""
    outcome = run_study(name, out, data=data, overrides=overrides, progress=_say)
    show.result(
        {"report": str(outcome.report or ""), "done": outcome.done, "failed": list(outcome.failed)}, as_json=as_json
    )
    if outcome.failed:
        sys.exit(1)


def _print(settings: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show.result(settings, as_json=True)
    else:
        print(yaml.safe_dump(settings, sort_keys=False), end="")


def _say(line: str) -> None:
    print(f"vol2vol: {one_line(with_flags(line))}", file=sys.stderr, flush=True)
