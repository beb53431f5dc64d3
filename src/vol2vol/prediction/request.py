"""A request for a prediction, as plain data that any process can open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction.output_types import settled_before
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import absolute

_NOT_BYTES = (
    *("memory", "device", "batch_size", "pyramid", "workers", "executor", "scheduler", "sbatch"),
    *("any_intensity", "intensity_from"),
)
"""Settings that do not change the output's bytes; measured intensities are recorded separately."""
_ADDED = ("outputs", "split_outputs", "statistics", "keep")
"""Settings that earlier versions did not have: recorded unless they have their default."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Model, input and settings of a prediction, as plain data: any process can open the same job from it."""

    model: str
    """Folder of the bundle."""
    input: str
    settings: PredictSettings
    stated: Stated = field(default_factory=Stated)
    """Metadata missing from the input file."""
    measured: dict[str, Any] | None = None
    """The intensity map measured on another volume, see `intensities.measured_map`."""

    @classmethod
    def of(
        cls, model: str | Path, input: str | Path, settings: PredictSettings, which: str, **stated: Unpack[Stated]
    ) -> Request:
        """Find the bundle, and make local paths absolute for other processes."""
        bundle = str(find_bundle(model, which).absolute())
        return cls(model=bundle, input=absolute(input), settings=settings, stated=stated)

    def choosing(self, record: Mapping[str, Any]) -> Request:
        """Return the request with the choices of an earlier start (such as channels) that this request leaves open."""
        stated_here = {key: value for key, value in self.stated.items() if value is not None}
        stated: Any = {**(record.get("chosen") or {}), **stated_here}
        return replace(self, stated=stated)

    def decisive(self, model: str) -> dict[str, Any]:
        """Return what determines the output's voxels besides the input, given the hash of the model."""
        usual = [name for name in _ADDED if getattr(self.settings, name) == PredictSettings.model_fields[name].default]
        settings = self.settings.model_dump(mode="json", exclude={*_NOT_BYTES, *usual})
        return {"model": model, "intensity_from": self.measured, "settings": settings}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        size = self.stated.get("voxel_size")
        stated = {**self.stated, "voxel_size": None if size is None else [float(value) for value in size]}
        return {**vars(self), "settings": self.settings.model_dump(), "stated": stated}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Request:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "settings": PredictSettings(**settled_before(data["settings"]))})
