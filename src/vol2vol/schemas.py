"""Plain data of strangers (plans, layouts, records) as values: what is missing, unknown or mistyped is refused."""

from __future__ import annotations

import functools
import json
from math import isfinite
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vol2vol.errors import BadInput, one_line

T = TypeVar("T")
FORBID = ConfigDict(extra="forbid")
"""As `__pydantic_config__` of a dataclass: `checked` refuses unknown keys."""


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: type[T], data: Any, what: str) -> T:
    """Return data, plain as JSON holds it, as a value of a pydantic model or a dataclass.

    Types are not converted: "3" is not a number, 3.0 not a count. Dataclasses forbid unknown keys where their
    `__pydantic_config__` says so. Raises `BadInput`, calling the data `what` and naming the key that does not fit.
    """
    try:
        value: T = _adapter(cast("Any", kind)).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join([what, *map(str, first["loc"])])
        raise BadInput(f"{one_line(where, 120)}: {one_line(first['msg'], 200).lower()}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{what} is not plain data ({one_line(error, 100)})") from None
    return value


def as_json(data: Any) -> Any:
    """Return data as JSON can hold it, so that an output may repeat it.

    Keys become texts, and so do dates and numbers that are not finite, which YAML knows and JSON does not.
    """
    if isinstance(data, dict):
        return {str(key): as_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set):
        return [as_json(value) for value in data]
    kept = data is None or isinstance(data, str | bool | int) or (isinstance(data, float) and isfinite(data))
    return data if kept else str(data)
