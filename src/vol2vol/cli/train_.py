"""`vol2vol train --recipe NAME --source A --target B --out RUN [key=value ...]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput
from vol2vol.recipes import train


def run(words: list[str]) -> None:
    """Parse the command line and train."""
    parse.call(_train, words, "train")


@dataclass(frozen=True)
class TargetMetadata:
    """Metadata of the target volumes, where they differ from those of the source."""

    target_voxel_size: parse.VoxelSize = None
    """voxel size of the target volumes."""
    target_channels: parse.Channels = None
    """channels of the target volumes."""

    def keywords(self) -> dict[str, Any]:
        """Return the keywords by which `train` takes it."""
        size, channels = (
            show.numbers(self.target_voxel_size, "--target-voxel-size"),
            parse.channels(self.target_channels),
        )
        return {"target_voxel_size": size, "target_channels": channels}


def _train(
    overrides: parse.Overrides = (),
    *,
    source: parse.Paths = (),
    target: parse.Paths = (),
    data: parse.Domains = (),
    out: str,
    recipe: str = "small-2d",
    about: parse.About = parse.SAID,
    of_target: tyro.conf.OmitArgPrefixes[TargetMetadata] = TargetMetadata(),
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="MODEL")] = None,
    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
    strategy: parse.Text = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Train a translation, a segmenter or a denoiser on volumes of any size.

    Ctrl-C, SIGTERM and SIGUSR1 save the state after the step under way; the same command continues from there.

    Args:
        overrides: changes to the recipe, such as train.epochs=20 data.patch=190; they may stand anywhere.
        source: one or more volumes of the source domain.
        target: volumes of the target domain; masks and other targets at the place of the source: one for each source.
        data: volumes of another domain that the task needs, one each time it is given
        out: folder of the run.
        recipe: a shipped recipe (see `vol2vol recipes`) or a YAML file.
        about: metadata missing from the volume files.
        of_target: metadata of the target volumes, where they differ from those of the source.
        from_: a model, or the folder of a run, whose weights are taken where they fit, such as for fine-tuning.
        devices: number of GPUs, or of processes on a CPU; short for train.devices=N.
        strategy: how devices share the work, by its name in Lightning; short for train.strategy=NAME.
        overwrite: replace a run that exists.
        json: print the result as JSON.
    """
    changes = (*overrides, *_short({"train.devices": devices, "train.strategy": strategy}))
    how: dict[str, Any] = {**about.keywords(), **of_target.keywords(), "start": from_}
    made = train(recipe, source, target, out, data=_domains(data), overrides=changes, overwrite=overwrite, **how)
    show.result({"run": made.run, "model": made.last_bundle}, as_json=json)


def _short(options: dict[str, Any]) -> list[str]:
    """Return the changes to the recipe for which there are options of their own."""
    return [f"{key}={value}" for key, value in options.items() if value is not None]


def _domains(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the paths of every domain from words such as nuclei=a.tif."""
    domains: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise BadInput(f"--data {word} is not NAME=PATH, such as nuclei=a.tif")
        domains.setdefault(name, []).append(path)
    return domains
