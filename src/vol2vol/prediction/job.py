"""Everything one worker needs to compute any block of a prediction, and how to get it from the ledger alone."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import vol2vol
from vol2vol.errors import BadInput, Mismatch
from vol2vol.geometry import Box, Footprint
from vol2vol.machines.devices import release
from vol2vol.models.bundle import Bundle
from vol2vol.models.checkpoints import checkpoint_name
from vol2vol.plans.layout import Layout, Pass
from vol2vol.plans.record import Network, Record
from vol2vol.prediction.engine import Engine
from vol2vol.prediction.gather import Read, gather, gather_by_tile, mean_of, resampled
from vol2vol.prediction.intensities import measured_map, with_map
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.out_of_memory import ran_out, smaller
from vol2vol.prediction.reading import check_channels, check_outputs, check_types, chosen, reader
from vol2vol.prediction.records import read_plan
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.sweep import swept
from vol2vol.protocol import Translation
from vol2vol.schemas import checked
from vol2vol.volumes import Volume, open_finished
from vol2vol.volumes.ledger import Ledger, refuse_other

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Open input, predicting network, intensities and layout."""

    request: Request
    source: Volume
    bundle: Bundle
    engine: Engine
    layout: Layout
    fingerprint: str
    """Of the input, when it was opened."""
    begun: str = ""
    """Name of the beginning in the output's ledger; its worker may write only while that is in force."""
    shrunk: list[Layout] = field(default_factory=list)
    """The layout of smaller tiles that did fit, once the memory has run out."""

    @classmethod
    def open(
        cls,
        request: Request,
        layout: Layout | None = None,
        *,
        device: str | None = None,
        before: Mapping[str, Any] | None = None,
        model: LoadedModel | None = None,
    ) -> Job:
        """Open the input, load the model unless it is given, and, unless given, choose a layout.

        `before` is the record of an earlier start, whose measured intensities are taken over where they still hold.
        `model` was loaded for the same request but for its input.
        """
        source = open_finished(request.input, **request.stated)
        model = model or LoadedModel(request.model, request.settings, device)
        return cls.of(request, source, model, layout=layout, before=before)

    @classmethod
    def of(
        cls,
        request: Request,
        source: Volume,
        model: LoadedModel,
        *,
        layout: Layout | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> Job:
        """Do what `open` does, with a volume that is open and a model that is loaded."""
        settings, bundle = request.settings, model.bundle
        check_types(source, settings)
        fingerprint = source.fingerprint()
        check_outputs(settings, bundle.translation(settings.direction))
        check_channels(source, bundle.width(bundle.translation(settings.direction).reads))
        if request.measured is None and settings.intensity_from is not None:
            request = replace(request, measured=measured_map(request, bundle, before or {}, source))
        if request.measured is not None:
            bundle = with_map(bundle, settings.direction, request.measured)
        layout = layout or model.layout(source)
        engine = model.engine(layout.passes[0].seen)
        return cls(request=request, source=source, bundle=bundle, engine=engine, layout=layout, fingerprint=fingerprint)

    @classmethod
    def attach(cls, output: str, *, device: str | None = None) -> Job:
        """Open the job that an output's ledger describes; raise `Mismatch` where input or model are not the same."""
        plan = read_plan(output)
        if plan is None:
            raise Mismatch(f"{output} has nothing left to do: it was not begun, or it is complete")
        return cls.continued(Request.from_dict(plan["request"]), plan, output, device=device)

    @classmethod
    def continued(
        cls,
        request: Request,
        plan: dict[str, Any],
        output: str,
        *,
        device: str | None = None,
        model: LoadedModel | None = None,
    ) -> Job:
        """Open the job of a ledger's plan; raise `Mismatch` unless the request means the same prediction."""
        Ledger.of(output).refuse_spoiled()
        layout = Layout.from_dict(plan["layout"])
        job = cls.open(request.choosing(plan), layout, device=device, before=plan, model=model)
        refuse_other(plan, job.decisive(), output)
        if job.layout.spatial != job.source.spatial:
            raise Mismatch(f"{output} is planned for another shape than {job.source.path} has: give --overwrite")
        return replace(job, begun=plan["begun"])

    def source_changed(self) -> bool:
        """Say whether the input is no longer what it was when it was opened."""
        try:
            return self.source.fingerprint() != self.fingerprint
        except FileNotFoundError:
            return True

    @property
    def settings(self) -> PredictSettings:
        """How to predict."""
        return self.request.settings

    @property
    def translation(self) -> Translation:
        """What is applied: its network, the domains it reads and makes."""
        return self.bundle.translation(self.settings.direction)

    @property
    def dtype(self) -> np.dtype:
        """Type of the output's voxels."""
        if self.settings.raw:
            return np.dtype(np.float32)
        return np.dtype(self.source.dtype if self.settings.dtype == "source" else self.settings.dtype)

    @property
    def makes(self) -> tuple[str, ...]:
        """Domains that are written, side by side along channels or each in a volume of its own."""
        return self.settings.outputs or self.translation.makes

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.bundle.width(self.makes)

    def predict_row(self, row: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield blocks with the network's output, float32 `(C, *block.shape)`; a pure function of the blocks.

        Where the memory runs out, what is left of the row is computed in smaller tiles, of which exact results do not
        depend (but for rounding), down to the smallest. Raises `BadInput` where not even that fits.
        """
        left = list(row)
        try:
            for box, raw in self._row(left) if not self.shrunk else ():
                yield box, raw
                left = left[1:]
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            log.warning("the memory ran out: smaller tiles from here on (%s)", str(error).partition("\n")[0][:120])
        if left:
            release(self.engine.device)
        for box in left:
            yield box, self._shrinking(box)

    def _row(self, row: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
        if self.layout.sweep is not None:
            yield from swept(self._read, self.engine, self.layout.sweep, row)
            return
        for box in row:
            read = self._read if len(self.layout.passes) == 1 else self._around(box)
            yield box, mean_of(self._one(one, box, read) for one in self.layout.passes)

    def _around(self, block: Box) -> Read:
        """Read what several passes need for a block once, and serve them from it."""
        around = self.layout.surroundings(block, self.engine.footprint)
        values = self._read(around)

        def read(box: Box) -> np.ndarray:
            return values[:, *box.relative_to(around.start).slices] if around.contains(box) else self._read(box)

        return read

    def _shrinking(self, box: Box) -> np.ndarray:
        """Compute a block in the largest exact tiles that the memory holds."""
        if self.settings.strategy != "exact" or not self.engine.stitchable:
            raise BadInput(
                f"a tile of {self.layout.passes[0].seen} does not fit the memory, and with strategy "
                f"{self.settings.strategy} the result depends on it: give a smaller --tile and --overwrite"
            )
        for layout in [*self.shrunk] or smaller(self.layout, self.engine.footprint):
            job = replace(self, layout=layout, engine=replace(self.engine))
            try:
                made = mean_of(job._one(one, box, self._read) for one in layout.passes)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                log.warning("tiles of %s do not fit the memory", layout.passes[0].seen)
            else:
                self.shrunk[:] = [layout]
                return made
            release(self.engine.device)
        if self.shrunk:
            self.shrunk.clear()
            return self._shrinking(box)
        raise BadInput(f"not even the smallest tile, {layout.passes[0].seen}, fits the memory: free some of it")

    def stored(self, raw: np.ndarray) -> np.ndarray:
        """Return the domains that are written of the network's output, in stored values unless they are wanted raw."""
        wanted = chosen(raw, self.translation.makes, self.makes, self.bundle.channels)
        return wanted if self.settings.raw else self.bundle.maps(self.makes).from_network(wanted, self.dtype)

    @functools.cached_property
    def _read(self) -> Read:
        return reader(self.source, self.bundle.maps(self.translation.reads))

    def _one(self, one: Pass, box: Box, read: Read) -> np.ndarray:
        """Return what one pass makes of a block."""
        planes = self.layout.spatial[0]
        if one.planes == planes:
            return self._on_grid(read, one, box)
        back = functools.partial(self._on_grid, resampled(read, 0, (planes, one.planes)), one)
        return resampled(back, 0, (one.planes, planes))(box)

    def _on_grid(self, read: Read, one: Pass, box: Box) -> np.ndarray:
        if one.sweep is not None:
            [(_, made)] = swept(read, self.engine, one.sweep, [box])
            return made
        if one.frugal:
            return gather_by_tile(read, one.plan, self.engine, box, planar=one.planar)
        return gather(read, one.plan, self.engine, box, batch_size=self.settings.batch_size, planar=one.planar)

    def decisive(self) -> dict[str, Any]:
        """Return what decides every voxel of the output; also what a second start is compared with."""
        return {
            "version": vol2vol.__version__,
            **({"chosen": dict(self.source.chosen)} if self.source.chosen else {}),
            "input": self.fingerprint,
            **self.request.decisive(self.bundle.hash),
        }

    def record(self, *, complete: bool) -> Record:
        """Return how the output is made, for its attributes."""
        described = self.bundle.meta["translations"][self.settings.direction]
        return Record(
            **self.decisive(),
            input_name=Path(self.source.path).name,
            checkpoint=checkpoint_name(self.request.model),
            layout=self.layout,
            network=Network(**described["network"]),
            footprint=checked(Footprint, described["footprint"], "the model's footprint"),
            intensity={name: value.to_dict() for name, value in self.bundle.intensity.items()},
            training=self.bundle.meta["provenance"],
            complete=complete,
        )
