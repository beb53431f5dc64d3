"""A prediction job: all that a worker needs to compute any block, which it can open from the ledger alone."""

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
from vol2vol.prediction.march import marched
from vol2vol.prediction.noise import noise_of_tiles, read_with_noise
from vol2vol.prediction.out_of_memory import ran_out, smaller
from vol2vol.prediction.output_types import settled, settled_before
from vol2vol.prediction.reading import check_channels, check_outputs, select_domains
from vol2vol.prediction.records import read_plan
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import MEASURED, PredictSettings
from vol2vol.prediction.statistics import known
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
    """The input's fingerprint when it was opened."""
    begun: str = ""
    """Identifier of this start in the output's ledger; a worker may write only while the ledger holds it."""
    normalised: bool = True
    """Whether the network has its statistics; with `statistics` global only once they are measured."""
    shrunk: list[Layout] = field(default_factory=list)
    """After the memory has run out: the layout of smaller tiles that fitted."""

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
        """Open the input, load `model` if it is None, and choose `layout` if it is None.

        `before` is the record of an earlier start, whose measured intensities are reused where they still apply.
        `model` must have been loaded for the same request, except for its input.
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
        """Do what `open` does with an open volume and a loaded model."""
        settings, bundle = request.settings, model.bundle
        fingerprint = source.fingerprint()
        translation = bundle.translation(settings.direction)
        check_outputs(settings, translation)
        check_channels(source, bundle.width(translation.reads))
        if request.measured is None and settings.intensity_from is not None:
            request = replace(request, measured=measured_map(request, bundle, before or {}, source))
        if request.measured is not None:
            bundle = with_map(bundle, settings.direction, request.measured)
        request = replace(request, settings=settled(settings, bundle, source, measured=request.measured is not None))
        layout = layout or model.layout(source)
        engine = model.engine(layout.passes[0].seen)
        return cls(
            request=request, source=source, bundle=bundle, engine=engine, layout=layout, fingerprint=fingerprint,
            normalised=settings.statistics not in MEASURED,
        )  # fmt: skip

    @classmethod
    def attach(cls, output: str, *, device: str | None = None) -> Job:
        """Open the job in an output's ledger; raise `Mismatch` if there is none or its input or model has changed."""
        plan = read_plan(output)
        if plan is None:
            raise Mismatch(f"{output}: nothing to do: no prediction was started here, or it is already complete")
        job = cls.continued(Request.from_dict(plan["request"]), plan, output, device=device)
        if not job.normalised:
            raise Mismatch(f"{output}: statistics are not yet measured: run the same vol2vol predict to continue")
        return job

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
        """Open the job of a ledger's plan; raise `Mismatch` if the request asks for a different prediction."""
        Ledger.of(output).refuse_spoiled()
        layout = Layout.from_dict(plan["layout"])
        job = cls.open(request.choosing(plan), layout, device=device, before=plan, model=model)
        job.refuse_other(plan, output)
        if job.layout.spatial != job.source.spatial:
            raise Mismatch(f"{output} is planned for another shape than that of {job.source.path}: give `overwrite`")
        return known(replace(job, begun=plan["begun"]), output)

    def source_changed(self) -> bool:
        """Return whether the input has changed since it was opened."""
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
        """The translation that is applied: its network, and the domains it reads and makes."""
        return self.bundle.translation(self.settings.direction)

    @property
    def dtype(self) -> np.dtype:
        """The output's dtype; each volume of an output of several has its own (`parts`)."""
        return np.dtype(self.settings.dtype)

    @property
    def makes(self) -> tuple[str, ...]:
        """Domains that are written, along channels or each in its own volume."""
        return self.settings.outputs or self.translation.makes

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.bundle.width(self.makes)

    def predict_row(self, row: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield blocks with the network's output, float32 `(C, *block.shape)`; a pure function of the blocks.

        A march yields stored values instead, which it has rounded to show them, in any order of blocks.
        If the memory runs out, the rest of the row is computed in smaller tiles, down to the smallest: exact results
        do not depend on the tile, except for rounding. Raises `BadInput` if not even the smallest tile fits.
        """
        assert self.normalised, "statistics are measured first"
        if self.layout.march is not None:
            yield from marched(self, self.layout.march, row)
            return
        remaining = list(row)
        try:
            for box, raw in self._row(remaining) if not self.shrunk else ():
                yield box, raw
                remaining = remaining[1:]
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            log.warning("the memory ran out: continuing with smaller tiles (%s)", str(error).partition("\n")[0][:120])
        if remaining:
            release(self.engine.device)
        for box in remaining:
            yield box, self._predict_smaller(box)

    def _row(self, row: Sequence[Box]) -> Iterator[tuple[Box, np.ndarray]]:
        if self.layout.sweep is not None:
            yield from swept(self.read, self.engine, self.layout.sweep, row)
            return
        for box in row:
            read = self.read if len(self.layout.passes) == 1 else self._around(box)
            yield box, mean_of(self._run_pass(pass_, box, read) for pass_ in self.layout.passes)

    def _around(self, block: Box) -> Read:
        """Read the surroundings of a block once and return a reader that serves all passes from them."""
        around = self.layout.surroundings(block, self.engine.footprint)
        values = self.read(around)

        def read(box: Box) -> np.ndarray:
            return values[:, *box.relative_to(around.start).slices] if around.contains(box) else self.read(box)

        return read

    def _predict_smaller(self, box: Box) -> np.ndarray:
        """Compute a block in the largest exact tiles that the memory holds."""
        if self.settings.strategy != "exact" or not self.engine.stitchable:
            raise BadInput(
                f"a tile of {self.layout.passes[0].seen} does not fit in memory, and with strategy "
                f"{self.settings.strategy} the result depends on it: give a smaller `tile` and `overwrite`"
            )
        for layout in [*self.shrunk] or smaller(self.layout, self.engine.footprint):
            job = replace(self, layout=layout, engine=replace(self.engine))
            try:
                prediction = mean_of(job._run_pass(pass_, box, self.read) for pass_ in layout.passes)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                log.warning("tiles of %s do not fit in memory", layout.passes[0].seen)
            else:
                self.shrunk[:] = [layout]
                return prediction
            release(self.engine.device)
        if self.shrunk:
            self.shrunk.clear()
            return self._predict_smaller(box)
        raise BadInput(f"not even the smallest tile, {layout.passes[0].seen}, fits in memory: free some memory")

    def stored(self, raw: np.ndarray) -> np.ndarray:
        """Return the written domains of what `predict_row` yields, in stored values unless `raw` is set."""
        return raw if self.layout.march is not None else self.rounded(raw)

    def rounded(self, raw: np.ndarray) -> np.ndarray:
        """Return the written domains of the network's output, in stored values unless `raw` is set."""
        selection = select_domains(raw, self.translation.makes, self.makes, self.bundle.channels)
        return selection if self.settings.raw else self.bundle.maps(self.makes).from_network(selection, self.dtype)

    def unrounded(self, stored: np.ndarray) -> np.ndarray:
        """Return what `rounded` returned in the network's range."""
        return stored if self.settings.raw else self.bundle.maps(self.makes).to_network(stored)

    @functools.cached_property
    def read(self) -> Read:
        """Reads a box of the input in the network's range, mirrored outside the volume, with noise if it reads some."""
        return read_with_noise(self)

    def _run_pass(self, pass_: Pass, box: Box, read: Read) -> np.ndarray:
        """Return the prediction of one pass for a block."""
        planes = self.layout.spatial[0]
        if pass_.planes == planes:
            return self._on_grid(read, pass_, box)
        back = functools.partial(self._on_grid, resampled(read, 0, (planes, pass_.planes)), pass_)
        return resampled(back, 0, (pass_.planes, planes))(box)

    def _on_grid(self, read: Read, pass_: Pass, box: Box) -> np.ndarray:
        if pass_.sweep is not None:
            return dict(swept(read, self.engine, pass_.sweep, [box]))[box]
        if pass_.frugal:
            return gather_by_tile(read, pass_.plan, self.engine, box, planar=pass_.planar)
        size, own = self.settings.batch_size, noise_of_tiles(self.translation.noise, self.settings)
        return gather(read, pass_.plan, self.engine, box, batch_size=size, planar=pass_.planar, own=own)

    def decisive(self) -> dict[str, Any]:
        """Return all facts that determine the output's voxels; a second start is compared with them."""
        return {
            "version": vol2vol.__version__,
            **({"chosen": dict(self.source.chosen)} if self.source.chosen else {}),
            "input": self.fingerprint,
            **self.request.decisive(self.bundle.hash),
        }

    def refuse_other(self, before: Mapping[str, Any], output: str) -> None:
        """Raise `Mismatch` if the record of an earlier start names anything else that determines the voxels."""
        settings = settled_before(before["settings"], self.source.dtype)
        refuse_other({**before, "settings": settings}, self.decisive(), output)

    def record(self, *, complete: bool) -> Record:
        """Return the record of how the output was made, for its attributes."""
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
