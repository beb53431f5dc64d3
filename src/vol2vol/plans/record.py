"""How an output was made, as its attributes state it: written here, read here, asked by everyone else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from vol2vol.errors import BadInput, one_line
from vol2vol.geometry import Footprint, Shape
from vol2vol.plans.layout import Layout
from vol2vol.schemas import as_json, checked

KEY = "vol2vol"
"""Attribute of an output that holds its record."""


class Stating(Protocol):
    """The part of a `Volume` that a record is read from."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def spatial(self) -> Shape: ...  # noqa: D102
    @property
    def attrs(self) -> dict[str, Any]: ...  # noqa: D102


class Network(BaseModel):
    """The network that was applied, as `nets.build` takes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    arguments: dict[str, Any]


class Decisive(BaseModel):
    """What decides every voxel of an output; later versions may add to it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    version: str
    """Of vol2vol."""
    input: str
    """Fingerprint of the volume that was translated."""
    chosen: dict[str, Any] | None = None
    """Which part of its file that is, as keywords of `open_volume`; None where it is all of it."""
    model: str
    """Hash of the model."""
    intensity_from: dict[str, Any] | None = None
    """The intensity map that was measured for this prediction, with name and fingerprint of its volume."""
    settings: dict[str, Any]
    """Settings of the prediction that change what is written."""
    layout: Layout


class Record(Decisive):
    """How an output was made: what decides its voxels, and what describes its model."""

    input_name: str
    """Name of the input's file or folder, without the folders above it."""
    checkpoint: str
    """Name of the model, such as `epoch-0005 (best)`."""
    network: Network
    footprint: Footprint
    """What the trained network promises about space."""
    intensity: dict[str, Any]
    """By domain of the model: how stored values enter the network and leave it."""
    training: dict[str, Any]
    """What the model states of its training: recipe, volumes, versions."""
    complete: bool
    """Whether every voxel is written."""

    @classmethod
    def of(cls, volume: Stating, *, cure: str = "predict it again") -> Record | None:
        """Return the record of a volume, None where it has none: it is not a prediction.

        Raises `BadInput`, naming what does not fit and the cure, where a record makes no sense or is that of a volume
        of another size, such as a finer level.
        """
        data = volume.attrs.get(KEY)
        if not isinstance(data, dict):
            return None
        record = cls.read(data, volume.path, cure)
        if record.layout.region.shape != volume.spatial:
            was = record.layout.region.shape
            raise BadInput(f"{volume.path} has {volume.spatial} voxels, its record states {was}: {cure}")
        return record

    @classmethod
    def read(cls, data: Mapping[str, Any], name: str, cure: str) -> Record:
        """Return the record that plain data of a stranger hold; raise `BadInput` where they make no sense."""
        try:
            return checked(cls, data, "its record")
        except BadInput as error:
            raise BadInput(f"{name} states in no readable way how it was made ({one_line(error)}): {cure}") from None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of an output with this record, as JSON holds them."""
        plain = {
            "layout": self.layout.to_dict(),
            "network": self.network.model_dump(),
            "footprint": asdict(self.footprint),
        }
        data = {name: value for name, value in self if name != "chosen" or value}
        return {KEY: as_json({**data, **plain})}


def is_predicted(volume: Stating) -> bool:
    """Say whether a volume states that vol2vol predicted it, without reading how."""
    return isinstance(volume.attrs.get(KEY), dict)
