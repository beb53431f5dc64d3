"""The main job from end to end on made-up tissue: train in 2D and 3D, predict nine ways, write the report."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vol2vol.errors import AlreadyExists, CannotWrite, Mismatch, Unreadable
from vol2vol.files import parse_json, read_text
from vol2vol.geometry import Shape
from vol2vol.machines.memory import peak_memory
from vol2vol.metrics.similarity.fidelity import differences
from vol2vol.prediction.layout_cost import cost_of
from vol2vol.report import UNTRANSLATED, Result, read_results, write_report, write_results
from vol2vol.report.rows.results import RESULTS
from vol2vol.volumes import open_volume
from vol2vol.volumes.addresses import local_path

log = logging.getLogger(__name__)
MARKER = "demo.json"
"""Says that a folder is a demo's, and which."""
SEED = 1
Assembly = Literal["slices", "ortho", "volume"]
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model of the demo and what is predicted with it.

    Every strategy gets a small tile, so that each has at least two borders across an axis, which the seam tests need;
    `average` runs a padded network, which takes other sizes.
    """

    recipe: str
    assemblies: tuple[Assembly, ...]
    tiles: Mapping[str, int]
    """Strategy to the tile's side, in voxels."""
    batch_size: int
    """Tiles per forward pass: small ones cost more in calls than in arithmetic."""
    overrides: tuple[str, ...] = ()
    """Changes to the recipe."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A whole demo as data."""

    shape: Shape
    """Voxels of the volumes, Z, Y, X."""
    parts: tuple[Part, ...]


FULL = Demo(
    shape=(64, 192, 192),
    parts=(
        Part(
            recipe="small-2d",
            assemblies=("slices", "ortho"),
            tiles={"exact": 110, "average": 64, "disjoint": 62},
            batch_size=16,
        ),
        Part(
            recipe="small-3d",
            assemblies=("volume",),
            tiles={"exact": 74, "average": 48, "disjoint": 74},
            batch_size=1,
        ),
    ),
)
_FEW = ("train.epochs=1", "train.steps_per_epoch=3", "data.calibration=2")
QUICK = Demo(shape=(56, 160, 160), parts=tuple(replace(part, overrides=part.overrides + _FEW) for part in FULL.parts))


def run_demo(out: Path, *, quick: bool = False, progress: Say | None = None) -> Path:
    """Make phantoms, train, predict in every assembly and strategy, and return the report's path.

    Everything lies in `out`: `volumes/`, `runs/`, `predictions/`, `results.csv`, `report.html`. Started again, the demo
    goes on where it stopped; `quick` is smaller and shorter, to see that all works. `progress` is told each stage.
    Raises `AlreadyExists` where `out` holds something else, `Mismatch` where it was begun with another `quick`.
    """
    out, demo, say = local_path(out, "a demo"), QUICK if quick else FULL, progress or log.info
    _begin(out, quick)
    _make_volumes(out, demo.shape, say)
    for part in demo.parts:
        _train(out, part, say)
    rows = _finished(out)
    if not rows:
        rows.append(_untranslated(out))
    for part in demo.parts:
        for assembly in part.assemblies:
            for strategy in part.tiles:
                planned = _planned(part, assembly, strategy)
                if planned.output not in {row.output for row in rows}:
                    say(f"predicting {part.recipe}, {assembly}, {strategy}")
                    rows.append(_predicted(out, part, planned))
                    write_results(out, rows)
    say("writing the report")
    return write_report(out)


def _begin(out: Path, quick: bool) -> None:
    """Mark a new or empty folder as this demo's, or make sure that it is."""
    marker = out / MARKER
    try:
        if marker.is_file():
            begun = parse_json(read_text(marker))
            if begun.get("quick") is not quick:
                raise Mismatch(
                    f"{out} was begun {'with' if begun.get('quick') else 'without'} --quick: "
                    "start it the same way or choose another folder"
                )
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise AlreadyExists(f"{out} exists and is not a demo: choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        part = marker.with_name(f".{MARKER}.part")
        part.write_text(json.dumps({"quick": quick, "seed": SEED}), encoding="utf-8")
        os.replace(part, marker)
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError):
        raise Unreadable(f"{marker} is damaged: choose another folder") from None
    except OSError as error:
        if isinstance(error, AlreadyExists):
            raise
        raise CannotWrite(f"{out} cannot be written: {error.strerror or error}") from error


def _make_volumes(out: Path, shape: Shape, say: Say) -> None:
    """Write the phantoms; their folder appears when all are whole."""
    from vol2vol.phantoms import write_pair

    folder, part = out / "volumes", out / ".volumes.part"
    if folder.exists():
        return
    say(f"making two phantom volumes of {' x '.join(map(str, shape))} voxels")
    shutil.rmtree(part, ignore_errors=True)
    write_pair(part, shape, SEED, chunks=(64, 64, 64))
    os.replace(part, folder)


def _train(out: Path, part: Part, say: Say) -> None:
    from vol2vol.recipes import train

    run = out / "runs" / part.recipe
    say(f"training {part.recipe}")
    train(
        part.recipe,
        out / "volumes" / "source.zarr",
        out / "volumes" / "target.zarr",
        run,
        overrides=(f"train.seed={SEED}", *part.overrides),
    )


def _finished(out: Path) -> list[Result]:
    """Return the rows of an earlier start whose volumes are still there."""
    if not (out / RESULTS).is_file():
        return []
    return [row for row in read_results(out) if (out / row.output).exists()]


def _untranslated(out: Path) -> Result:
    """Compare the source itself with the known answer: what a translation has to beat."""
    source, answer = "volumes/source.zarr", "volumes/source_in_target.zarr"
    found = differences(open_volume(out / source), open_volume(out / answer))
    return Result(output=source, strategy=UNTRANSLATED, psnr=found["psnr"].value, pearson=found["pearson"].value)


def _planned(part: Part, assembly: Assembly, strategy: str) -> Result:
    return Result(
        output=f"predictions/{part.recipe}-{assembly}-{strategy}.zarr",
        strategy=strategy,
        model=part.recipe,
        assembly=assembly,
        source="volumes/source.zarr",
        target="volumes/target.zarr",
        answer="volumes/source_in_target.zarr",
        run=f"runs/{part.recipe}",
    )


def _predicted(out: Path, part: Part, planned: Result) -> Result:
    """Predict one volume and fill in its row: cost, distance from `exact`, distance from the known answer."""
    from vol2vol.models.bundle import load_bundle
    from vol2vol.models.checkpoints import find_bundle
    from vol2vol.prediction import PredictSettings, predict, predicting

    tile = part.tiles[planned.strategy]
    settings = PredictSettings(
        strategy=planned.strategy, assembly=planned.assembly, tile=str(tile), batch_size=part.batch_size
    )
    source, output = out / planned.source, out / planned.output
    output.parent.mkdir(exist_ok=True)
    with peak_memory() as peak:
        made = predict(out / planned.run, source, output, settings)
    network = load_bundle(find_bundle(out / planned.run)).network(settings.direction)
    cost = cost_of(made.layout, predicting(network, settings))
    exact = out / replace(planned, output=planned.output.replace(f"-{planned.strategy}.", "-exact.")).output
    answer = differences(open_volume(output), open_volume(out / planned.answer))
    return replace(
        planned,
        seconds=None if made.blocks_before else made.seconds,
        voxels_per_second=made.voxels / made.seconds if made.voxels else None,
        redundancy=cost.redundancy,
        flops_per_voxel=cost.flops_per_voxel,
        floor_per_voxel=cost.floor_per_voxel,
        peak_memory=peak() if made.voxels else None,
        difference_from_exact=differences(open_volume(output), open_volume(exact))["mean_absolute"].value,
        psnr=answer["psnr"].value,
        pearson=answer["pearson"].value,
    )
