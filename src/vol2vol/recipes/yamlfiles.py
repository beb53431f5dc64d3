"""Read the YAML files of recipes and studies, which may extend another file, and apply `key.sub=value` changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vol2vol import plainyaml
from vol2vol.errors import BadInput, NotFound, Unreadable, one_line, some_of
from vol2vol.files import read_text
from vol2vol.volumes.addresses import local_path

LONGEST = 80
"""Maximum length of a wrong value in a message, in characters."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The shipped files of one kind: where they are, and how messages name them."""

    what: str
    """`recipe` or `study`."""
    package: str
    """The package that contains the files."""
    folder: str
    """The folder of the files in this package."""
    example: str
    """An example of a `key.sub=value` change, for messages."""
    verb: str
    """The command that prints a shipped file, for messages."""

    @property
    def _folder(self) -> Any:
        return files(self.package) / self.folder

    def names(self) -> list[str]:
        """Return the names of the shipped files."""
        return sorted(p.name.removesuffix(".yaml") for p in self._folder.iterdir() if p.name.endswith(".yaml"))

    def load(self, name: str, children: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the data of a file, by path or shipped name, merged into those of the file that it extends.

        Raises `NotFound`, `Unreadable`, `BadInput`.
        """
        if name in children:
            chain = " extends ".join((*children, name))
            raise BadInput(f"{self.what} {name} extends itself: {chain}: correct one of these files")
        path = local_path(name, f"a {self.what}")
        file = path if path.is_file() else self._folder / f"{name}.yaml"
        if not file.is_file():
            near = get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {some_of(self.names(), 12)}"
            raise NotFound(f"{self.what} {name!r} is neither a file nor a shipped {self.what}: {hint}")
        try:
            data = plainyaml.load(read_text(path) if path.is_file() else file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Unreadable(f"{self.what} {name} is not YAML: {one_line(error)}") from None
        if not isinstance(data, dict):
            raise BadInput(f"{self.what} {name} holds no keys: see `vol2vol {self.verb}` for an example")
        parent = data.pop("extends", None)
        return data if parent is None else merged(self.load(str(parent), (*children, name)), data)

    def change(self, data: dict[str, Any], text: str) -> None:
        """Apply a `key.sub=value` change in place."""
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"override {text!r} is not key=value, such as {self.example}")
        *path, last = key.split(".")
        part = data
        for step in path:
            part = part.setdefault(step, {})
            if not isinstance(part, dict):
                raise BadInput(f"override {text!r}: {step} holds a value, not keys")
        try:
            part[last] = plainyaml.load(value)
        except yaml.YAMLError:
            raise BadInput(f"override {text!r}: the value is not YAML") from None


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with changes merged in, mapping by mapping; an empty mapping replaces what was there."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) and value else value
    return result


def explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Return the first error of data that do not fit a schema, in one line that names the key and the cure."""
    first = error.errors()[0]
    steps = _keys(schema, [str(step) for step in first["loc"] if step != "[key]"])
    where = ".".join(step for step, _ in steps)
    if first["type"] == "extra_forbidden":
        known = list(getattr(steps[-2][1] if len(steps) > 1 else schema, "model_fields", {}))
        near = get_close_matches(steps[-1][0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}" if known else "leave it out"
        return f"{where} is not a key: {hint}"
    if first["type"] == "union_tag_invalid":
        return f"{where}.name is {first['ctx']['tag']!r}: use one of {first['ctx']['expected_tags']}"
    if first["type"] in ("union_tag_not_found", "model_attributes_type"):
        return f"{where} needs a name: see vol2vol recipes small-2d for an example"
    message = first["msg"].removeprefix("Value error, ")
    if not where or (isinstance(first["input"], Mapping) and message != first["msg"]):  # an error of several keys
        return f"{where}: {message}" if where else message
    if str(first["input"]) in message:
        return f"{where}: {message}"
    return f"{where}: {message} (got {_short(first['input'])})"


def _short(value: Any) -> str:
    """Return a value as it is written; only the beginning if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _keys(schema: Any, steps: list[str]) -> list[tuple[str, Any]]:
    """Return the keys that lead to an error, as the user wrote them, each with the model of its value.

    If a model is selected by its `name`, the parser's path contains this name as an extra step.
    """
    keys: list[tuple[str, Any]] = []
    for step in steps:
        named = {kind.model_fields["name"].default: kind for kind in _models(schema) if "name" in _known(kind)}
        if step in named and len(named) > 1:
            schema = named[step]
            keys[-1] = (keys[-1][0], schema)
            continue
        if step in _known(schema):
            schema = schema.model_fields[step].annotation
        while not hasattr(schema, "model_fields") and (inner := _models(schema)) and not _is_choice(inner):
            schema = inner[0]
        keys.append((step, schema))
    return keys


def _is_choice(kinds: list[Any]) -> bool:
    """Return whether there are several models to choose from."""
    return sum(hasattr(kind, "model_fields") for kind in kinds) > 1


def _known(kind: Any) -> Mapping[str, Any]:
    return getattr(kind, "model_fields", {})


def _models(kind: Any) -> list[Any]:
    """Return the models, or types that may contain models, among the arguments of a type such as `dict[str, Model]`."""
    parts = [part for part in get_args(kind) if hasattr(part, "model_fields") or get_args(part)]
    return sorted(parts, key=lambda part: not hasattr(part, "model_fields"))
