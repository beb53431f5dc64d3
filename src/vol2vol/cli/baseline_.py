"""`vol2vol baseline KIND --source A --target B --out MODEL`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import tyro

from vol2vol.cli import parse, show
from vol2vol.recipes import fit_baseline


def run(words: list[str]) -> None:
    """Parse the command line and fit."""
    parse.call(_baseline, words, "baseline")


def _baseline(
    kind: Annotated[Literal["identity", "meanstd", "histogram", "spectrum"], tyro.conf.Positional],
    *,
    source: parse.Paths,
    target: parse.Paths,
    out: parse.Folder,
    dims: Literal[2, 3] = 2,
    radius: int | None = None,
    about: parse.MetadataOptions = parse.NO_METADATA,
    target_voxel_size: parse.VoxelSize = None,
    target_channels: parse.Channels = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Fit a translation without training, from statistics of whole volumes; `vol2vol predict` applies it.

    Args:
        kind: identity, meanstd (match mean and standard deviation), histogram (match the histogram by a look-up
            table), spectrum (histogram, then a filter that gives the target's power spectrum).
        source: one or more volumes of the source domain.
        target: one or more volumes of the target domain.
        out: folder of the new model.
        dims: for spectrum, 2 filters each plane, 3 filters in 3D; the other baselines do not depend on it.
        radius: for spectrum, radius of the filter in voxels (default: 12 in planes, 8 in 3D).
        about: metadata missing from the volume files.
        target_voxel_size: voxel size of the target volumes, if it differs from that of the source.
        target_channels: channels of the target volumes, if they differ from those of the source.
        overwrite: replace a model that exists.
        json: print the result as JSON.
    """
    of_target = {
        "target_voxel_size": show.numbers(target_voxel_size, "--target-voxel-size"),
        "target_channels": parse.channels(target_channels),
    }
    how: dict[str, Any] = {**about.keywords(), **of_target, "overwrite": overwrite}
    bundle = fit_baseline(kind, source, target, out, dims=dims, radius=radius, **how)
    show.result({"model": str(bundle), "baseline": kind}, as_json=json)
