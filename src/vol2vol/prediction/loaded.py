"""A model made ready to predict in this process: loaded, its predicting network built, traced and on its device."""

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
from vol2vol.prediction.planner import make_layout
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import Volume
from vol2vol.volumes.space import need_voxel_size

MOST = 256
"""Layouts and tests that are remembered: of images of so many sizes."""
Value = TypeVar("Value")


class LoadedModel:
    """A model that predicts any number of volumes with one direction, strategy and precision.

    Layouts and tests of half precision, which depend on a volume's shape alone, are worked out once for each shape.
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
        self._known: dict[Hashable, Any] = {}

    def layout(self, source: Volume) -> Layout:
        """Return how a volume is cut; raises what `make_layout` does, `BadInput` for an assembly it does not allow."""
        assembly = _assembly(self.settings, self._engine.footprint.dims, source)
        size = tuple(source.voxel_size)
        return self._once(
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
            ),
        )

    def engine(self, seen: Shape) -> Engine:
        """Return the network at work, in an arithmetic that was tested on tiles of this size."""
        return self._once(seen, lambda: self._engine.tested(seen))

    def _once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key not in self._known:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = make()
        result: Value = self._known[key]
        return result


def _assembly(settings: PredictSettings, dims: int, source: Volume) -> Literal["slices", "volume", "ortho"]:
    wanted = settings.assembly if settings.assembly != "auto" else "volume" if dims == 3 else "slices"
    if dims == 3 and wanted != "volume":
        raise BadInput(f"assembly {wanted} needs a 2D model, this one is 3D: use --assembly volume")
    if dims == 2 and wanted == "volume":
        raise BadInput("assembly volume needs a 3D model, this one is 2D: use --assembly slices or ortho")
    if source.spatial[0] == 1 and wanted != "slices":
        raise BadInput(f"{source.path} is a single image: a {dims}D model with assembly {wanted} needs a volume")
    if wanted == "ortho":
        need_voxel_size(source, "orthoslices need")
    return wanted
