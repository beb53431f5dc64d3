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
    model: parse.Model = None,
    input: parse.Volume = None,
    all: bool = False,
    sample: int = 8,
    seed: int = 0,
    tolerance: float = 0.0,
    checkpoint: parse.Name = "auto",
    about: parse.MetadataOptions = parse.NO_METADATA,
    device: parse.Name = "auto",
    json: bool = False,
) -> None:
    """Compute a random sample of a prediction's blocks again and compare; the exit code is 1 if voxels differ.

    With --all, it reads every shard of every level instead and checks that it is complete; this needs neither model nor
    input.

    Args:
        output: a prediction, complete or unfinished.
        model: the model or run that predicted it; the record of an unfinished prediction names it.
        input: the volume that was predicted; the record of an unfinished prediction names it.
        all: read all shards and compare their checksums (OME-Zarr 0.5); compute nothing.
        sample: number of blocks to compute.
        seed: seed of the random choice of blocks.
        tolerance: maximum difference of stored values that counts as equal; other devices round differently.
        checkpoint: checkpoint of a run: best, last or epoch-0005; auto is the best if there is one, else the last.
        about: metadata missing from the volume files.
        device: cpu, cuda, cuda:1, mps or auto, which takes a GPU if there is one.
        json: print the result as JSON.
    """
    if all:
        _check_all(address(output), as_json=json)
        return
    how: dict[str, Any] = {**about.keywords(), "model": model, "input": input, "which": checkpoint, "device": device}
    comparison = verify(output, sample=sample, seed=seed, tolerance=tolerance, **how)
    show.result(asdict(comparison), as_json=json)
    if comparison.differing:
        raise SystemExit(1)


def _check_all(output: str, *, as_json: bool) -> None:
    """Read all shards of an output; exit with code 1 if any are missing or damaged."""
    levels: dict[str, LevelCheck] = {}
    for path in volumes_in(output):
        image = "" if path == output else f"{name_of(path)}, "
        levels |= {f"{image}level {checked.level}": checked for checked in check_all(path)}
    wrong = sum(len(checked.missing) + len(checked.damaged) for checked in levels.values())
    report: dict[str, Any] = {
        "output": output,
        "shards": sum(checked.shards for checked in levels.values()),
        "missing": {name: checked.missing for name, checked in levels.items() if checked.missing},
        "damaged": {name: checked.damaged for name, checked in levels.items() if checked.damaged},
    }
    if wrong:
        report["cure"] = "delete the damaged files and repeat the command that wrote them; it restores what is missing"
    show.result(report, as_json=as_json)
    if wrong:
        raise SystemExit(1)
