"""Write and read the record in an output's attributes: how the output was made."""

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
    """The part of the interface of `Volume` that a record is read from."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def spatial(self) -> Shape: ...  # noqa: D102
    @property
    def attrs(self) -> dict[str, Any]: ...  # noqa: D102


class Network(BaseModel):
    """Name and arguments of the network that was applied, as `nets.build` takes them."""

    model_config = ConfigDict(frozen=True)

    name: str
    arguments: dict[str, Any]


class Decisive(BaseModel):
    """Everything that decides the voxels of an output; later versions may have more fields."""

    model_config = ConfigDict(frozen=True, extra="allow")

    version: str
    """Version of vol2vol."""
    input: str
    """Fingerprint of the volume that was translated."""
    chosen: dict[str, Any] | None = None
    """The part of its file, as keywords of `open_volume`; None where it is the whole file."""
    model: str
    """Hash of the model."""
    intensity_from: dict[str, Any] | None = None
    """The intensity map that was measured for this prediction, with name and fingerprint of its volume."""
    settings: dict[str, Any]
    """Settings of the prediction that change what is written."""
    layout: Layout


class Record(Decisive):
    """How an output was made: everything that decides its voxels, and a description of its model."""

    input_name: str
    """Name of the input's file or folder, without the folders above it."""
    checkpoint: str
    """Name of the model, such as `epoch-0005 (best)`."""
    network: Network
    footprint: Footprint
    """Footprint of the trained network."""
    intensity: dict[str, Any]
    """The intensity map of each domain of the model, as plain data."""
    training: dict[str, Any]
    """The training of the model: recipe, volumes and versions."""
    complete: bool
    """Whether every voxel is written."""

    @classmethod
    def of(cls, volume: Stating, *, cure: str = "predict it again") -> Record | None:
        """Return the record of a volume, None where it has none and therefore is not a prediction.

        Raises `BadInput`, naming the misfit and the `cure`, where the record is invalid or belongs to a volume of
        another size, such as a finer level.
        """
        data = volume.attrs.get(KEY)
        if not isinstance(data, dict):
            return None
        record = cls.read(data, volume.path, cure)
        if record.layout.region.shape != volume.spatial:
            recorded = record.layout.region.shape
            raise BadInput(f"{volume.path} has {volume.spatial} voxels, its record states {recorded}: {cure}")
        return record

    @classmethod
    def read(cls, data: Mapping[str, Any], name: str, cure: str) -> Record:
        """Return the record from plain data of a file; raise `BadInput`, naming the file, where they are invalid."""
        try:
            return checked(cls, data, "its record")
        except BadInput as error:
            raise BadInput(f"the record of how {name} was made cannot be read ({one_line(error)}): {cure}") from None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of an output with this record, as JSON data."""
        plain = {
            "layout": self.layout.to_dict(),
            "network": self.network.model_dump(),
            "footprint": asdict(self.footprint),
        }
        data = {name: value for name, value in self if name != "chosen" or value}
        return {KEY: as_json({**data, **plain})}


def is_predicted(volume: Stating) -> bool:
    """Return whether a volume has a record of vol2vol, without reading it."""
    return isinstance(volume.attrs.get(KEY), dict)
