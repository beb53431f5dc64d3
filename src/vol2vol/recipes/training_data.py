"""Open, pair and check the volumes of a training, from paths or from a data sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.protocol import Need, check_domains
from vol2vol.recipes.domains import Paths, facts_of, open_domains
from vol2vol.recipes.pairing import check_aligned, paired
from vol2vol.recipes.sheet import Sheet, read_sheet
from vol2vol.volumes import Stated, Volume


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The opened volumes of a training by domain; those of aligned domains are in the same order."""

    train: Mapping[str, list[Volume]]
    validate: Mapping[str, list[Volume]]
    """Validation volumes of a data sheet; empty without a sheet."""
    sheet: Sheet | None

    def facts(self) -> dict[str, Any]:
        """Return the description of the volumes that a model stores, as plain data."""
        facts: dict[str, Any] = {"volumes": _facts(self.train)}
        if self.sheet is not None:
            facts |= {"validate": _facts(self.validate), "sheet": self.sheet.facts()}
        return facts


def _facts(volumes: Mapping[str, list[Volume]]) -> dict[str, list[dict[str, Any]]]:
    return {domain: facts_of(opened) for domain, opened in volumes.items()}


def open_training_data(
    needs: Sequence[Need], paths: Mapping[str, Paths], sheet: str | Path | None, stated: Stated, about: Stated
) -> TrainingData:
    """Open the volumes of `paths`, or those of a sheet, and check that they suit the task and each other.

    `about` holds the metadata of the target's volumes that differ from `stated`. Raises `BadInput`, listing what does
    not fit.
    """
    if sheet is None:
        check_domains(needs, paths)
        volumes = open_domains(paths, stated, about)
        return TrainingData(
            train=paired([need for need in needs if need.name in volumes], volumes), validate={}, sheet=None
        )
    if paths:
        raise BadInput(
            f"{sheet} names the volumes of every domain: leave out the sheet, or the volumes of {' and '.join(paths)}"
        )
    content = read_sheet(sheet, needs)
    train, validate = (
        open_domains(content.files[split], stated, about, literal=True) for split in ("train", "validate")
    )
    for volumes in (train, validate):
        check_aligned([need for need in needs if need.name in volumes], volumes)
    return TrainingData(train=train, validate=validate, sheet=content)
