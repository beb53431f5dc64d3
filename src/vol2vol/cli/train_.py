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
    with _naming_options(), _only_the_first_prints():
        parse.call(_train, words, "train")


@dataclass(frozen=True)
class TargetMetadata:
    """Metadata of the target volumes, if they differ from those of the source."""

    target_voxel_size: parse.VoxelSize = None
    """voxel size of the target volumes."""
    target_channels: parse.Channels = None
    """channels of the target volumes."""

    def keywords(self) -> dict[str, Any]:
        """Return the metadata as keywords of `train`."""
        size, channels = (
            show.numbers(self.target_voxel_size, "--target-voxel-size"),
            parse.channels(self.target_channels),
        )
        return {"target_voxel_size": size, "target_channels": channels}


@dataclass(frozen=True)
class Devices:
    """The devices of a training."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """number of GPUs, or of processes on a CPU; the same as train.devices=N."""
    strategy: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """strategy of Lightning for several devices; the same as train.strategy=NAME."""

    def changes(self) -> tuple[str, ...]:
        """Return the options as changes to the recipe."""
        options = {"train.devices": self.devices, "train.strategy": self.strategy}
        return tuple(f"{key}={value}" for key, value in options.items() if value is not None)


def _train(
    overrides: parse.Overrides = (),
    *,
    source: parse.Paths = (),
    target: parse.Paths = (),
    data: parse.Domains = (),
    sheet: parse.File = None,
    out: parse.Folder,
    recipe: parse.Name = "small-2d",
    about: parse.MetadataOptions = parse.NO_METADATA,
    of_target: tyro.conf.OmitArgPrefixes[TargetMetadata] = TargetMetadata(),
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="MODEL")] = None,
    machine: tyro.conf.OmitArgPrefixes[Devices] = Devices(),
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Train a translation, a regression, a denoiser or a segmenter on volumes of any size.

    Ctrl-C, SIGTERM and SIGUSR1 save the state after the current step; the same command continues from there.

    Args:
        overrides: changes to the recipe, such as train.epochs=20 data.patch=190; they may stand anywhere.
        source: one or more volumes of the source domain.
        target: volumes of the target domain; if they are aligned with the source (masks, pairs), one per source volume.
        data: a volume of another domain that the task needs
        sheet: CSV file that names all volumes: a column per domain, a row per aligned set, an optional column split.
        out: folder of the run.
        recipe: a shipped recipe (see `vol2vol recipes`) or a YAML file.
        about: metadata missing from the volume files.
        of_target: metadata of the target volumes, if they differ from those of the source.
        from_: a model, or the folder of a run, from whose weights training starts, as far as they fit (fine-tuning).
        machine: devices.
        overwrite: replace a run that exists.
        json: print the result as JSON.
    """
    how = {**about.keywords(), **of_target.keywords(), "sheet": sheet, "start": from_, "overwrite": overwrite}
    changes = overrides + machine.changes()
    run = train(recipe, source, target, out, data=_domains(data), overrides=changes, **how)
    show.result({"run": run.run, "model": run.last_bundle}, as_json=json)


@contextmanager
def _only_the_first_prints() -> Iterator[None]:
    """Let only the first of several processes that train together print and log; the others print errors alone."""
    if not int(os.environ.get("LOCAL_RANK") or 0):
        yield
        return
    logging.getLogger("vol2vol").setLevel(logging.ERROR)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _naming_options() -> Iterator[None]:
    """Add the option that names a domain to the message that the domain is missing."""
    try:
        yield
    except MissingDomain as error:
        option = f"--{error.domain} PATH" if error.domain in ("source", "target") else f"--data {error.domain}=PATH"
        raise BadInput(f"{error} with {option}, or name all volumes in a --sheet") from None


def _domains(words: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the paths of every domain from words such as nuclei=a.tif."""
    domains: dict[str, list[str]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise BadInput(f"--data {word} is not NAME=PATH, such as nuclei=a.tif")
        domains.setdefault(name, []).append(path)
    return domains
