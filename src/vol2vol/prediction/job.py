"""One prediction: opened once, computed block by block, continued where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import vol2vol
from vol2vol import nets
from vol2vol.bundles import Bundle, find_bundle, load_bundle
from vol2vol.errors import AlreadyExists, BadInput
from vol2vol.executors import local
from vol2vol.geometry import Box, reflect
from vol2vol.intensity import Intensity
from vol2vol.prediction.gather import Read, Runner, gather, mean_of, resampled
from vol2vol.prediction.layout import Layout, Pass, make_layout
from vol2vol.prediction.ledger import Ledger, refuse_other
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import Volume, build_pyramid, create_volume, open_volume

log = logging.getLogger(__name__)
Progress = Callable[[int, int, int], None]
"""Called with blocks done, blocks in all and voxels done since the start."""
_PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NOT_BYTES = ("memory", "device", "batch_size", "pyramid")
"""Settings that change how fast and where, not what is written."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What `predict` returns."""

    output: str
    voxels: int
    """Voxels computed by this call; fewer than the output's where it continued an earlier one."""
    seconds: float
    blocks: int
    blocks_before: int
    """Blocks that were already done when this call began."""
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything one block needs: open volumes, the predicting network, the intensities and the layout."""

    source: Volume
    bundle: Bundle
    settings: PredictSettings
    network: nn.Module
    runner: Runner
    layout: Layout

    @classmethod
    def plan(
        cls,
        model: str | Path,
        source: Volume,
        settings: PredictSettings,
        layout: Layout | None = None,
        which: str = "last",
    ) -> Job:
        """Load the model, construct its predicting variant and lay the volume out."""
        bundle = load_bundle(find_bundle(model, which))
        trained = bundle.network(settings.direction)
        network = predicting(trained, settings)
        dims = nets.footprint(network).dims
        assembly = _assembly(settings, dims, source)
        _check_channels(bundle, source, settings.direction)
        if layout is None:
            layout = make_layout(
                network,
                source.spatial,
                settings,
                assembly=assembly,
                voxel_size=tuple(source.voxel_size),
                patch=bundle.meta["provenance"].get("patch"),
                channels=source.channels,
            )
        device = _device(settings.device)
        runner = Runner(
            network=network.to(device),
            trim=nets.footprint(network).trim,
            device=device,
            precision=_PRECISION[settings.precision],
        )
        return cls(source=source, bundle=bundle, settings=settings, network=network, runner=runner, layout=layout)

    @property
    def domains(self) -> tuple[str, str]:
        """Which domain is read and which is made."""
        return ("source", "target") if self.settings.direction == "forward" else ("target", "source")

    @property
    def dtype(self) -> np.dtype:
        """Type of the output's voxels."""
        if self.settings.raw:
            return np.dtype(np.float32)
        return np.dtype(self.source.dtype if self.settings.dtype == "source" else self.settings.dtype)

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return int(self.bundle.meta["channels"][self.domains[1]])

    def predict_box(self, box: Box) -> np.ndarray:
        """Return one box of the result in stored values, `(C, *box.shape)`; a pure function of the box."""
        raw = mean_of(self._sweep(one, box) for one in self.layout.passes)
        if self.settings.raw:
            return raw
        return self.bundle.intensity[self.domains[1]].from_network(raw, self.dtype)

    def _sweep(self, one: Pass, box: Box) -> np.ndarray:
        planes = self.layout.spatial[0]
        read = _reader(self.source, self.bundle.intensity[self.domains[0]])
        if one.planes == planes:
            return self._gather(read, one, box)
        stretched = resampled(read, 0, (planes, one.planes))
        predicted = partial(self._gather, stretched, one)
        return resampled(predicted, 0, (one.planes, planes))(box)

    def _gather(self, read: Read, one: Pass, box: Box) -> np.ndarray:
        return gather(read, one.plan, self.runner, box, batch_size=self.settings.batch_size, planar=one.planar)

    def record(self) -> dict[str, Any]:
        """Return what decides every voxel of the output; also what a second start is compared with."""
        return {
            "version": vol2vol.__version__,
            "input": self.source.fingerprint(),
            "model": self.bundle.hash,
            "settings": self.settings.model_dump(exclude=set(_NOT_BYTES)),
        }

    def provenance(self) -> dict[str, Any]:
        """Return how the output is made, for its attributes."""
        footprint = self.bundle.meta["directions"][self.settings.direction]["footprint"]
        return {
            **self.record(),
            "input_name": Path(str(self.source.path)).name,
            "layout": self.layout.to_dict(),
            "footprint": footprint,
            "intensity": {name: value.to_dict() for name, value in self.bundle.intensity.items()},
            "training": self.bundle.meta["provenance"],
        }


def predicting(trained: nn.Module, settings: PredictSettings) -> nn.Module:
    """Construct the network that a strategy runs: frozen, then cropped, padded or full; the trained one stays as it is."""
    if nets.tile_dependent(trained) and settings.strategy != "exact":
        fixed = trained
    else:
        fixed = nets.frozen(trained)
    if settings.strategy in ("average", "blend"):
        return nets.padded(fixed)
    return nets.cropped(fixed) if settings.strategy != "disjoint" and nets.croppable(fixed) else fixed


def predict(
    model: str | Path,
    input: str | Path,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    which: str = "last",
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Translate a whole volume, block by block, and continue where an earlier call was killed.

    `model` is a bundle or a run folder, of which `which` picks a checkpoint (`last`, `best`, `epoch-0005`). `axes`,
    `voxel_size` and `unit` describe an input whose file does not. Memory does not grow with the volume. Raises
    `Mismatch` if the output was begun with another model, input or setting, `AlreadyExists` if something else is
    there and `overwrite` is not given.
    """
    settings = settings or PredictSettings()
    began = time.monotonic()
    source = open_volume(input, axes=axes, voxel_size=voxel_size, unit=unit)
    output = str(output)
    _refuse_same(source, output)
    ledger = Ledger(output, inside=not output.lower().endswith((".tif", ".tiff")))
    before = None if overwrite else ledger.plan()
    job = Job.plan(model, source, settings, Layout.from_dict(before["layout"]) if before else None, which)
    if before is None:
        if not overwrite and (complete := _complete(job, output)):
            return complete
        destination = _create(job, output, overwrite)
        ledger.begin({**job.record(), "layout": job.layout.to_dict()})
    else:
        refuse_other(before, job.record(), output)
        destination = open_volume(output)
    blocks = job.layout.blocks()
    finished = ledger.done()
    todo = [box for box in blocks if _name(box) not in finished]
    voxels = _run(
        job,
        destination,
        ledger,
        todo,
        lambda n, v: progress and progress(len(blocks) - len(todo) + n, len(blocks), v),
    )
    if settings.pyramid and ledger.folder.endswith("/.vol2vol/"):
        build_pyramid(output)
    destination.set_attrs({"vol2vol": {**job.provenance(), "complete": True}})
    ledger.remove()
    return Prediction(
        output=output,
        voxels=voxels,
        seconds=time.monotonic() - began,
        blocks=len(blocks),
        blocks_before=len(blocks) - len(todo),
        layout=job.layout,
    )


def _run(job: Job, destination: Volume, ledger: Ledger, todo: list[Box], report: Callable[[int, int], object]) -> int:
    """Compute, write, flush and mark each block in turn; return the voxels computed."""
    count = voxels = 0

    def one_block(box: Box) -> None:
        destination.write(box.relative_to(job.layout.region.start), job.predict_box(box))
        destination.flush()
        ledger.mark(_name(box))

    def done(box: Box) -> None:
        nonlocal count, voxels
        count, voxels = count + 1, voxels + box.size
        report(count, voxels)

    report(0, 0)
    local(one_block, todo, done=done)
    return voxels


def _create(job: Job, output: str, overwrite: bool) -> Volume:
    _warn_range(job)
    return create_volume(
        output,
        shape=(job.channels, *job.layout.region.shape),
        dtype=job.dtype,
        voxel_size=job.source.voxel_size,
        unit=job.source.unit,
        chunks=job.layout.chunks,
        shards=job.layout.block if job.settings.ome_version == "0.5" else None,
        version=job.settings.ome_version,
        overwrite=overwrite,
        attrs={"vol2vol": {**job.provenance(), "complete": False}},
    )


def _complete(job: Job, output: str) -> Prediction | None:
    """Return the earlier result if this very prediction is there already; raise if something else is."""
    if "://" in output or not Path(output).exists():
        return None
    made: dict[str, Any] = {}
    if Path(output).is_dir():
        made = open_volume(output).attrs.get("vol2vol", {})
    if not made.get("complete"):
        raise AlreadyExists(f"{output} exists and was not begun by this prediction: choose another name or --overwrite")
    refuse_other(made, job.record(), output)
    log.info("%s is complete: nothing to do", output)
    layout = Layout.from_dict(made["layout"])
    blocks = len(layout.blocks())
    return Prediction(output=output, voxels=0, seconds=0.0, blocks=blocks, blocks_before=blocks, layout=layout)


def _reader(source: Volume, intensity: Intensity) -> Read:
    def read(box: Box) -> np.ndarray:
        values = source.read_padded(box)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            _, *where = np.argwhere(~np.isfinite(values))[0]
            first = tuple(reflect(int(a + b), n) for a, b, n in zip(where, box.start, source.spatial, strict=True))
            raise BadInput(f"{source.path} holds NaN or infinity, first at voxel {first}: replace it by a number")
        return intensity.to_network(values)

    return read


def _name(box: Box) -> str:
    return ".".join(map(str, box.start))


def _assembly(settings: PredictSettings, dims: int, source: Volume) -> Literal["slices", "volume", "ortho"]:
    wanted = settings.assembly if settings.assembly != "auto" else "volume" if dims == 3 else "slices"
    if dims == 3 and wanted != "volume":
        raise BadInput(f"assembly {wanted} needs a 2D model, this one is 3D: use --assembly volume")
    if dims == 2 and wanted == "volume":
        raise BadInput("assembly volume needs a 3D model, this one is 2D: use --assembly slices or ortho")
    if source.spatial[0] == 1 and wanted != "slices":
        raise BadInput(f"{source.path} is a single image: a {dims}D model with assembly {wanted} needs a volume")
    return wanted


def _check_channels(bundle: Bundle, source: Volume, direction: str) -> None:
    needed = bundle.meta["channels"]["source" if direction == "forward" else "target"]
    if source.channels != needed:
        raise BadInput(
            f"{source.path} has {source.channels} channels, the model reads {needed}: convert it, or train one"
        )


def _warn_range(job: Job) -> None:
    if job.settings.raw or job.dtype.kind == "f":
        return
    top = max(job.bundle.intensity[job.domains[1]].high)
    if top > np.iinfo(job.dtype).max:
        log.warning(
            "the %s domain reaches %g, more than %s holds: give --dtype uint16",
            job.domains[1],
            top,
            job.dtype,
        )


def _refuse_same(source: Volume, output: str) -> None:
    if "://" not in output and Path(output).exists() and Path(output).resolve() == Path(str(source.path)).resolve():
        raise AlreadyExists(f"{output} is the input: choose another name for the output")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInput(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInput(f"device {name!r} is not there: use --device cpu")
    return device
