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
    source: parse.Paths,
    target: parse.Paths,
    out: str,
    recipe: str = "small-2d",
    about: parse.About = parse.SAID,
    target_voxel_size: parse.VoxelSize = None,
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    strategy: parse.Text = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Train a translation between two unpaired sets of volumes, or a segmenter on volumes and their masks.

    Ctrl-C, SIGTERM and SIGUSR1 save the state after the step under way; the same command continues from there. What
    changes no result, such as train.checkpoint_every, may be changed on the way.

    Args:
        overrides: changes to the recipe, such as train.epochs=20 data.patch=190; they may stand anywhere.
        source: one or more volumes of the source domain.
        target: one or more volumes of the target domain, of any size and number; for a segmenter, the masks of the
            sources in the same order.
        out: folder of the run.
        recipe: a shipped recipe (see `vol2vol recipes`) or a YAML file.
        about: metadata missing from the volume files.
        target_voxel_size: voxel size of the target volumes, where it differs from that of the source.
        devices: number of GPUs, or of processes on a CPU; short for train.devices=N.
        strategy: how devices share the work, by its name in Lightning; short for train.strategy=NAME.
        overwrite: replace a run that exists.
        json: print the result as JSON.
    """
    short = {"train.devices": devices, "train.strategy": strategy}
    changes = (*overrides, *(f"{key}={value}" for key, value in short.items() if value is not None))
    size = show.numbers(target_voxel_size, "--target-voxel-size")
    how: dict[str, Any] = {**about.keywords(), "target_voxel_size": size, "overwrite": overwrite}
    made = train(recipe, source, target, out, overrides=changes, **how)
    show.result({"run": made.run, "model": made.last_bundle}, as_json=json)
