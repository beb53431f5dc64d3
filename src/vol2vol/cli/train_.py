"""`vol2vol train --recipe NAME --source A --target B --out RUN [key=value ...]`."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.recipes import train


def run(words: list[str]) -> None:
    """Parse the command line and train."""
    parse.call(_train, words, "train")


def _train(
    overrides: parse.Overrides = (),
    *,
    source: tuple[str, ...],
    target: tuple[str, ...],
    out: str,
    recipe: str = "small-2d",
    about: parse.About = parse.SAID,
    target_voxel_size: parse.VoxelSize = None,
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    strategy: parse.Text = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Train a translation between two unpaired sets of volumes, or a segmenter; started again, it goes on.

    Args:
        overrides: changes to the recipe, such as train.epochs=20 data.patch=190.
        source: one or more volumes of the source domain.
        target: one or more volumes of the target domain, of any size and number; for a segmenter, the sources' masks.
        out: the run folder.
        recipe: a shipped recipe (see `vol2vol recipes`) or a YAML file.
        about: what files of volumes do not say.
        target_voxel_size: that of the target's volumes, where it differs.
        devices: GPUs, or processes on a CPU; short for train.devices=N.
        strategy: Lightning strategy; short for train.strategy=NAME.
        overwrite: replace an existing run.
        json: print the result as JSON.
    """
    short = {"train.devices": devices, "train.strategy": strategy}
    changes = (*overrides, *(f"{key}={value}" for key, value in short.items() if value is not None))
    size = show.numbers(target_voxel_size, "--target-voxel-size")
    how: dict[str, Any] = {**about.keywords(), "target_voxel_size": size, "overwrite": overwrite}
    made = train(recipe, source, target, out, overrides=changes, **how)
    show.result({"run": made.run, "model": made.last_bundle}, as_json=json)
