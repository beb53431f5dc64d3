"""`model.yaml`: what the description of a trained model must hold, and how it is read without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import read_text

SCHEMA = 1
MODEL = "model.yaml"
Direction = Literal["forward", "backward"]
Domain = Literal["source", "target"]
Count = Annotated[int, Field(ge=1, le=1 << 16)]


class _Network(BaseModel):
    name: str
    arguments: dict[str, Any]


class _Direction(BaseModel):
    network: _Network
    footprint: dict[str, Any]


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="allow")

    patch: Count | None = None


class _Model(BaseModel):
    """What a `model.yaml` must hold."""

    directions: dict[Direction, _Direction] = Field(min_length=1)
    intensity: dict[Domain, dict[str, Any]] = Field(min_length=2)
    channels: dict[Domain, Count] = Field(min_length=2)
    provenance: _Provenance


def read_model(folder: Path) -> dict[str, Any]:
    """Return what the `model.yaml` of a folder says.

    Raises `NotFound` where there is none, `Unreadable` where it is no YAML or grows without bound, `BadInput` where it
    belongs to another program or a newer version, or lacks something; every message names the file.
    """
    file = folder / MODEL
    if not file.is_file():
        raise NotFound(f"{folder} is not a model: it holds no {MODEL}")
    try:
        meta = plainyaml.load(read_text(file))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise Unreadable(f"{file} is not YAML ({one_line(error, 300)}): restore it or train the model again") from None
    if not isinstance(meta, dict) or "schema" not in meta:
        raise BadInput(f"{file} was not written by vol2vol: it has no schema")
    schema = meta["schema"]
    if not isinstance(schema, int) or schema > SCHEMA:
        said = repr(schema)[:80]
        raise BadInput(f"{file} has schema {said}, this vol2vol reads up to {SCHEMA}: update vol2vol")
    try:
        _Model.model_validate(meta)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:120]
        raise BadInput(f"{file}: {where}: {first['msg'].lower()}: restore it or train the model again") from None
    return meta
