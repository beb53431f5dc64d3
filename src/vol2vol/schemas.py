"""Validate plain data from files (plans, layouts, records): missing, unknown and mistyped fields are refused."""

from __future__ import annotations

import functools
import json
from math import isfinite
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vol2vol.errors import BadInput, one_line

T = TypeVar("T")
FORBID = ConfigDict(extra="forbid")
"""Value of `__pydantic_config__` for dataclasses whose unknown keys `checked` refuses."""


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: type[T], data: Any, what: str) -> T:
    """Return JSON data as an instance of a pydantic model or a dataclass.

    Types are not converted: "3" is not a number, 3.0 is not an integer. Dataclasses refuse unknown keys where their
    `__pydantic_config__` is `FORBID`. Raises `BadInput` with `what`, the name of the data, and the invalid key.
    """
    try:
        value: T = _adapter(cast("Any", kind)).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join([what, *map(str, first["loc"])])
        own = first["msg"].removeprefix("Value error, ")
        said = own if own != first["msg"] else own.lower()
        raise BadInput(f"{one_line(where, 120)}: {one_line(said, 200)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{what} is not plain data ({one_line(error, 100)})") from None
    return value


def as_json(data: Any) -> Any:
    """Return data in the types of JSON.

    Keys become strings, and so do values that YAML has and JSON lacks: dates and numbers that are not finite.
    """
    if isinstance(data, dict):
        return {str(key): as_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set):
        return [as_json(value) for value in data]
    is_json = data is None or isinstance(data, str | bool | int) or (isinstance(data, float) and isfinite(data))
    return data if is_json else str(data)
