"""`vol2vol verify OUTPUT`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.prediction.verification import verify
from vol2vol.volumes.addresses import address
from vol2vol.volumes.completeness import LevelCheck, check_all
from vol2vol.volumes.formats.imagegroups import volumes_in
from vol2vol.volumes.formats.nodes import name_of


def run(words: list[str]) -> None:
    """Parse the command line and verify."""
    parse.call(_verify, words, "verify")


def _verify(
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    *,
    model: parse.Text = None,
    input: parse.Text = None,
    all: bool = False,
    sample: int = 8,
    seed: int = 0,
    tolerance: float = 0.0,
    checkpoint: str = "auto",
    about: parse.About = parse.SAID,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Compute a random sample of a prediction's blocks again and compare; exit code 1 where voxels differ.

    With --all, read every shard of every level instead and check that it is there and whole: neither model nor input
    is needed.

    Args:
        output: a prediction, complete or unfinished.
        model: the model or run it was made with; an unfinished prediction states it.
        input: the volume it was made from; an unfinished prediction states it.
        all: read everything and compare checksums (OME-Zarr 0.5), compute nothing.
        sample: number of blocks.
        seed: seed of the random choice of blocks.
        tolerance: largest difference in stored values that counts as equal; another device rounds differently.
        checkpoint: of a run: best, last or epoch-0005; auto is the best that training judged, else the last.
        about: metadata missing from the volume files.
        device: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one.
        json: print the result as JSON.
    """
    if all:
        _check_all(address(output), as_json=json)
        return
    how: dict[str, Any] = {**about.keywords(), "model": model, "input": input, "which": checkpoint, "device": device}
    found = verify(output, sample=sample, seed=seed, tolerance=tolerance, **how)
    show.result(asdict(found), as_json=json)
    if found.differing:
        raise SystemExit(1)


def _check_all(output: str, *, as_json: bool) -> None:
    """Read all of an output; exit code 1 where something is missing or damaged."""
    levels: dict[str, LevelCheck] = {}
    for path in volumes_in(output):
        image = "" if path == output else f"{name_of(path)}, "
        levels |= {f"{image}level {checked.level}": checked for checked in check_all(path)}
    wrong = sum(len(checked.missing) + len(checked.damaged) for checked in levels.values())
    found: dict[str, Any] = {
        "output": output,
        "shards": sum(checked.shards for checked in levels.values()),
        "missing": {name: checked.missing for name, checked in levels.items() if checked.missing},
        "damaged": {name: checked.damaged for name, checked in levels.items() if checked.damaged},
    }
    if wrong:
        found["cure"] = "delete what is damaged, then repeat the command that wrote it, which adds what is lost"
    show.result(found, as_json=as_json)
    if wrong:
        raise SystemExit(1)
