"""A model that is ready to predict in this process: loaded, with its network built and on its device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeVar

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.machines.devices import find_device, free_memory, full_precision
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.plans.layout import Layout
from vol2vol.prediction.engine import DTYPES, Engine, predicting
from vol2vol.prediction.noise import check_noise
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.reading import check_march
from vol2vol.prediction.settings import PredictSettings
from vol2vol.protocol import March
from vol2vol.volumes import Volume
from vol2vol.volumes.space import need_voxel_size

CACHE_SIZE = 256
"""Maximum number of remembered layouts and precision tests, one per image size."""
Value = TypeVar("Value")


class LoadedModel:
    """A model that predicts any number of volumes with one direction, strategy and precision.

    Layouts and tests of half precision depend only on a volume's shape and are computed once for each shape.
    """

    def __init__(
        self, path: str, settings: PredictSettings, device: str | None = None, bundle: Bundle | None = None
    ) -> None:
        self.settings = settings
        self.bundle = bundle or load_bundle(path)
        trained = self.bundle.network(settings.direction)
        network = predicting(trained, settings)
        self._network = copy.deepcopy(network) if network is trained else network  # it may move to a device
        full_precision()
        self._engine = Engine.of(self._network, find_device(device or settings.device), DTYPES[settings.precision])
        translation = self.bundle.translation(settings.direction)
        check_march(settings, translation, self.bundle.channels)
        check_noise(settings, translation.noise)
        self._shown = translation.applied.share if isinstance(translation.applied, March) else None
        self._cache: dict[Hashable, Any] = {}

    def layout(self, source: Volume) -> Layout:
        """Return the layout for a volume; raises `BadInput` for an unsuitable assembly or tile."""
        assembly = _assembly(self.settings, self._engine.footprint.dims, source)
        size = tuple(source.voxel_size)
        return self._cached(
            (source.spatial, size, source.channels, assembly),
            lambda: make_layout(
                self._network,
                source.spatial,
                self.settings,
                assembly=assembly,
                voxel_size=size,
                patch=self.bundle.meta["provenance"].get("patch"),
                channels=source.channels,
                limit=free_memory(self._engine.device),
                shown=self._shown,
            ),
        )

    def engine(self, seen: Shape) -> Engine:
        """Return the engine, in an arithmetic that was tested on tiles of size `seen`."""
        return self._cached(seen, lambda: self._engine.tested(seen))

    def _cached(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        if key not in self._cache:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = compute()
        result: Value = self._cache[key]
        return result


def _assembly(settings: PredictSettings, dims: int, source: Volume) -> Literal["slices", "volume", "ortho"]:
    assembly = settings.assembly if settings.assembly != "auto" else "volume" if dims == 3 else "slices"
    if dims == 3 and assembly != "volume":
        raise BadInput(f"assembly {assembly} needs a 2D model, this one is 3D: use `assembly` volume")
    if dims == 2 and assembly == "volume":
        raise BadInput("assembly volume needs a 3D model, this one is 2D: use `assembly` slices or ortho")
    if settings.strategy == "march" and assembly == "ortho":
        raise BadInput("a march shows what it writes, and orthoslices write a mean of three: use `assembly` slices")
    if source.spatial[0] == 1 and assembly != "slices":
        raise BadInput(f"{source.path} is a single image: a {dims}D model with assembly {assembly} needs a volume")
    if assembly == "ortho":
        need_voxel_size(source, "orthoslices need")
    return assembly
