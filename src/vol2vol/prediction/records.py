"""Read and validate what an output and its ledger record about a prediction."""

from __future__ import annotations

from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model, field_validator

from vol2vol.errors import BadInput, Mismatch, one_line
from vol2vol.intensity import Intensity
from vol2vol.plans.record import Decisive, Record
from vol2vol.prediction.settings import PredictSettings
from vol2vol.schemas import checked
from vol2vol.volumes.ledger import Ledger
from vol2vol.volumes.stated import Stated

Kind = TypeVar("Kind", bound=Decisive)
_Stated: Any = create_model(
    "_Stated",
    __config__=ConfigDict(extra="forbid"),
    **{key: (kind, None) for key, kind in get_type_hints(Stated).items()},  # type: ignore[call-overload]
)
"""The metadata of the input that the user stated: all keywords of `open_volume`."""


class _Measured(BaseModel):
    """Intensities measured for a prediction."""

    model_config = ConfigDict(extra="forbid")

    name: str
    fingerprint: str
    map: dict[str, Any]

    @field_validator("map")
    @classmethod
    def _is_a_map(cls, data: dict[str, Any]) -> dict[str, Any]:
        try:
            Intensity.from_dict(data)
        except TypeError as error:
            raise ValueError(str(error)) from None
        return data


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    input: str
    settings: PredictSettings
    stated: _Stated
    measured: _Measured | None = None


class _Typed(BaseModel):
    """The parts of an output's record that only this package can check."""

    settings: PredictSettings
    chosen: _Stated | None = None
    intensity_from: _Measured | None = None


class _Plan(_Typed):
    request: _Request
    begun: str


def read_plan(output: str) -> dict[str, Any] | None:
    """Return the plan in an output's ledger, None where there is none.

    Raises `Unreadable` if it is damaged, `Mismatch` if it is not valid.
    """
    plan = Ledger.of(output).plan()
    if plan is not None:
        _check(Decisive, _Plan, plan, output)
    return plan


def check_record(data: dict[str, Any], output: str) -> Record:
    """Return the record in an output's attributes; raise `Mismatch` if it is not valid."""
    return _check(Record, _Typed, data, output)


def _check(kind: type[Kind], typed: type[_Typed], data: dict[str, Any], output: str) -> Kind:
    try:
        checked(typed, data, "its record")
        return checked(kind, data, "its record")
    except BadInput as error:
        raise Mismatch(
            f"the record of how {output} was made cannot be read ({one_line(error, 300)}): start again with `overwrite`"
        ) from None
