"""`vol2vol train --recipe NAME --source A --target B --out RUN [key=value ...]`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput
from vol2vol.protocol import MissingDomain
from vol2vol.recipes import train


def run(words: list[str]) -> None:
    """Parse the command line and train."""
    with _naming_flags(), _only_the_first_speaks():
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


@dataclass(frozen=True)
class Devices:
    """What a training runs on."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """number of GPUs, or of processes on a CPU; short for train.devices=N."""
    strategy: parse.Text = None
    """how devices share the work, by its name in Lightning; short for train.strategy=NAME."""

    def changes(self) -> tuple[str, ...]:
        """Return the changes to the recipe for which these are short."""
        options = {"train.devices": self.devices, "train.strategy": self.strategy}
        return tuple(f"{key}={value}" for key, value in options.items() if value is not None)


def _train(
    overrides: parse.Overrides = (),
    *,
    source: parse.Paths = (),
    target: parse.Paths = (),
    data: parse.Domains = (),
    sheet: parse.Text = None,
    out: str,
    recipe: str = "small-2d",
    about: parse.About = parse.SAID,
    of_target: tyro.conf.OmitArgPrefixes[TargetMetadata] = TargetMetadata(),
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="MODEL")] = None,
    machine: tyro.conf.OmitArgPrefixes[Devices] = Devices(),
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
        sheet: instead of these, a CSV file with a column per domain, a row per aligned set and, if wanted, a split.
        out: folder of the run.
        recipe: a shipped recipe (see `vol2vol recipes`) or a YAML file.
        about: metadata missing from the volume files.
        of_target: metadata of the target volumes, where they differ from those of the source.
        from_: a model, or the folder of a run, whose weights are taken where they fit, such as for fine-tuning.
        machine: devices.
        overwrite: replace a run that exists.
        json: print the result as JSON.
    """
    how = {**about.keywords(), **of_target.keywords(), "sheet": sheet, "start": from_, "overwrite": overwrite}
    changes = overrides + machine.changes()
    run = train(recipe, source, target, out, data=_domains(data), overrides=changes, **how)
    show.result({"run": run.run, "model": run.last_bundle}, as_json=json)


@contextmanager
def _only_the_first_speaks() -> Iterator[None]:
    """Let those of several processes that train together, but for the first, print errors alone."""
    if not int(os.environ.get("LOCAL_RANK") or 0):
        yield
        return
    logging.getLogger("vol2vol").setLevel(logging.ERROR)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _naming_flags() -> Iterator[None]:
    """Add to what is said of a missing domain by which option it is given."""
    try:
        yield
    except MissingDomain as error:
        flag = f"--{error.domain} PATH" if error.domain in ("source", "target") else f"--data {error.domain}=PATH"
        raise BadInput(f"{error} with {flag}, or name all volumes in a --sheet") from None


def _of_target(voxel_size: str | None, channels: str | None) -> dict[str, Any]:
    """Return what is stated of the target's volumes, as keywords."""
    size = show.numbers(voxel_size, "--target-voxel-size")
    return {"target_voxel_size": size, "target_channels": parse.channels(channels)}


def _domains(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the paths of every domain from words such as nuclei=a.tif."""
    domains: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise BadInput(f"--data {word} is not NAME=PATH, such as nuclei=a.tif")
        domains.setdefault(name, []).append(path)
    return domains
