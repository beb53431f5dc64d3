"""Read and check `model.yaml`, the description of a trained model, without trusting it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, Unreadable, one_line
from vol2vol.files import read_text
from vol2vol.schemas import as_json

SCHEMA = 2
MODEL = "model.yaml"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""Of a domain or a translation: what a person types after --direction or --data."""
Count = Annotated[int, Field(ge=1, le=1 << 16)]


class _Network(BaseModel):
    name: str
    arguments: dict[str, Any]


class _Translation(BaseModel):
    network: _Network
    footprint: dict[str, Any]
    reads: list[Name] = Field(min_length=1)
    makes: list[Name] = Field(min_length=1)
    applied: dict[str, Any]
    noise: int = Field(default=0, ge=0, le=1 << 16)


class _Domain(BaseModel):
    channels: Count
    intensity: dict[str, Any]


class _Package(BaseModel):
    package: str = Field(max_length=200)
    version: str = Field(max_length=200)


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="allow")

    patch: Count | None = None
    packages: dict[Literal["networks", "tasks", "losses"], dict[str, _Package]] = {}
    """Other packages that this model was made with: by kind and name, their package and version."""


class _Model(BaseModel):
    """The required content of `model.yaml`."""

    translations: dict[Name, _Translation] = Field(min_length=1)
    domains: dict[Name, _Domain] = Field(min_length=1)
    provenance: _Provenance

    @model_validator(mode="after")
    def _domains_are_known(self) -> _Model:
        for name, translation in self.translations.items():
            for domain in (*translation.reads, *translation.makes):
                if domain not in self.domains:
                    raise ValueError(f"translation {name} names the domain {domain}, which the model does not have")
        return self


def read_model(folder: Path) -> dict[str, Any]:
    """Return the content of the `model.yaml` of a folder.

    Raises `NotFound` where there is none, `Unreadable` where it is not YAML or expands without bound, `BadInput` where
    it belongs to another program or another version, or is incomplete; every message names the file.
    """
    file = folder / MODEL
    if not file.is_file():
        raise NotFound(f"{folder} is not a model: it holds no {MODEL}")
    try:
        meta = as_json(plainyaml.load(read_text(file)))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise Unreadable(f"{file} is not YAML ({one_line(error, 300)}): restore it or train the model again") from None
    if not isinstance(meta, dict) or "schema" not in meta:
        raise BadInput(f"{file} was not written by vol2vol: it has no schema")
    schema = meta["schema"]
    if not isinstance(schema, int) or schema > SCHEMA:
        stated = repr(schema)[:80]
        raise BadInput(f"{file} has schema {stated}, this vol2vol reads {SCHEMA}: update vol2vol")
    if schema < SCHEMA:
        raise BadInput(
            f"{file} has schema {schema} of an older vol2vol, this one reads {SCHEMA}: train the model again"
        )
    try:
        _Model.model_validate(meta)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:120] or "domains"
        raise BadInput(f"{file}: {where}: {first['msg'].lower()}: restore it or train the model again") from None
    return meta


def plain(value: Any) -> Any:
    """Return data that YAML's safe dumper and JSON accept: tuples become lists, paths strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def versions() -> dict[str, Any]:
    """Return the versions of vol2vol, torch and Python, and the commit of this checkout."""
    installed = {"vol2vol": version("vol2vol"), "torch": version("torch"), "python": platform.python_version()}
    return {"versions": installed, "git": _git_hash(Path(__file__).parents[2] / ".git")}


def _git_hash(folder: Path) -> str | None:
    """Return the commit of the checkout this package runs from, None where it is installed."""
    try:
        head = (folder / "HEAD").read_text().strip()
        return (folder / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    except OSError:
        return None
