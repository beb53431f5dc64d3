"""A translated volume that is computed when it is read, block by block.

A predicted file, a viewer and a notebook all read the same blocks. A block does not depend on who reads it or in which
order, so that any box has the bytes of the finished file.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.plans.layout import Layout
from vol2vol.prediction.intensities import check_fit
from vol2vol.prediction.job import Job
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings, parse_bytes
from vol2vol.prediction.statistics import with_statistics
from vol2vol.volumes import Stated, Volume, open_finished
from vol2vol.volumes.axes import from_czyx
from vol2vol.volumes.display import RGB
from vol2vol.volumes.stored import Slices, Stored

CACHE = "256MB"
"""Default size of the cache of computed blocks; the last block is always kept."""


class Translated(Volume):
    """A translated volume (C, Z, Y, X) whose voxels are computed when they are read; see `translated`.

    It offers everything that a `Volume` offers, except writing. Blocks are computed one at a time, even for several
    threads; the most recently used ones are kept, up to `cache` bytes. It can be pickled: unpickling opens it again.
    """

    def __init__(self, job: Job, cache: int = 0) -> None:
        super().__init__(_stored(job), reopen=partial(_reopen, job.request, job.source, job.bundle, job.layout, cache))
        self._job, self._lock = job, threading.Lock()
        self._blocks = _Blocks(cache)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes that the finished file has."""
        return self._job.record(complete=True).attributes()

    @property
    def layout(self) -> Layout:
        """The tiles and blocks of the volume."""
        return self._job.layout

    @property
    def source(self) -> Volume:
        """The volume that is translated."""
        return self._job.source

    @property
    def _at_once(self) -> int:
        return max(self.spatial)  # a whole row of blocks is computed by one sweep

    def _part(self, channels: slice, box: Box) -> np.ndarray:
        assert Box.of(self.spatial).contains(box), f"{box} is not inside {self}"
        count = len(range(*channels.indices(self.channels)))
        values = np.empty((count, *box.shape), self.dtype)
        target = box.shift(self.layout.region.start)
        with self._lock:
            for block, computed in self._computed_blocks(target):
                shared = block & target
                destination = shared.relative_to(target.start).slices
                values[:, *destination] = computed[channels, *shared.relative_to(block.start).slices]
        return values

    def _computed_blocks(self, target: Box) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield the blocks that touch a box, in voxels of the source: cached blocks first."""
        todo = []
        for block in self.layout.touching(target):
            if (kept := self._blocks.get(block)) is not None:
                yield block, kept
            else:
                todo.append(block)
        for row in self.layout.rows(todo):
            for block, raw in self._job.predict_row(row):
                yield block, self._blocks.keep(block, self._job.stored(raw))

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that identify the voxels, without computing any of them."""
        decisive = [self._job.decisive(), self.layout.to_dict()]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()


class _Blocks:
    """A cache of the most recently used blocks, up to a number of bytes; the last block is kept whatever its size."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.used_bytes = max_bytes, 0
        self._blocks: OrderedDict[Box, np.ndarray] = OrderedDict()

    def get(self, box: Box) -> np.ndarray | None:
        if box in self._blocks:
            self._blocks.move_to_end(box)
        return self._blocks.get(box)

    def keep(self, box: Box, values: np.ndarray) -> np.ndarray:
        self._blocks[box] = values
        self.used_bytes += values.nbytes
        while self.used_bytes > self.max_bytes and len(self._blocks) > 1:
            self.used_bytes -= self._blocks.popitem(last=False)[1].nbytes
        return values


def translated(
    model: str | Path | Bundle,
    input: str | Path | Volume | np.ndarray,
    settings: PredictSettings | None = None,
    *,
    which: str = "auto",
    cache: str = CACHE,
    **stated: Unpack[Stated],
) -> Translated:
    """Return a volume's translation, (C, Z, Y, X), which is computed when it is read.

    `model` is a bundle, its folder or a run, of which `which` picks a checkpoint (see `find_bundle`). `input` is a
    path, an open volume, or an array, whose `axes`, `voxel_size` and `unit` are stated as for `open_volume`. Indexing,
    `np.asarray`, `dask.array.from_array` and every function that takes a volume read it; any box has the bytes that
    `predict` with equal `settings` writes there. (`memory="auto"` fits the blocks to the free memory: state a size to
    get the same bytes on another machine.) Everything is computed in the process that reads. Computed blocks are kept
    up to `cache`, such as 1GB. Memory: that of a prediction, plus the cache.

    Raises what `predict` raises before it starts, including `BadInput` for intensities unlike the training data's.
    """
    source = _source(input, stated)
    bundle = model if isinstance(model, Bundle) else load_bundle(find_bundle(model, which))
    request = Request(model=bundle.path, input=source.path, settings=settings or PredictSettings(), stated=stated)
    if request.settings.split_outputs:
        raise BadInput(
            "a translation computed when read is one volume: leave out split_outputs, or name a domain in outputs"
        )
    job = Job.of(request, source, LoadedModel(bundle.path, request.settings, bundle=bundle))
    check_fit(job)
    return Translated(with_statistics(job), parse_bytes(cache))


def translate(
    model: str | Path | Bundle,
    input: str | Path | Volume | np.ndarray,
    settings: PredictSettings | None = None,
    *,
    which: str = "auto",
    **stated: Unpack[Stated],
) -> np.ndarray:
    """Return the translation of a whole array as an array with the same axes, in stored values.

    If the output has several channels and the input has no channel axis, channels come first. Takes the same arguments
    and raises the same errors as `translated`, which also handles volumes that do not fit in memory.
    """
    lazy = translated(model, input, settings, which=which, cache="0", **stated)
    axes = lazy.source.axes.replace("t", "")
    if "c" not in axes and lazy.channels > 1:
        axes = f"c{axes}"
    return np.ascontiguousarray(from_czyx(np.asarray(lazy), axes))


def _source(input: str | Path | Volume | np.ndarray, stated: Stated) -> Volume:
    if isinstance(input, (list, tuple)):
        raise BadInput("a list is neither a path nor an array: give np.asarray(...) of numbers, or a single path")
    if not isinstance(input, Volume):
        return open_finished(input, **stated)
    if stated_names := [name for name, value in stated.items() if value is not None]:
        raise BadInput(f"{input.path} is open: state its {stated_names[0]} where it is opened, with open_volume")
    return input


def _reopen(request: Request, source: Volume, bundle: Bundle, layout: Layout, cache: int) -> Translated:
    """Open a pickled translation again, on a device of the machine where it is unpickled."""
    model = LoadedModel(bundle.path, request.settings, bundle=bundle)
    return Translated(with_statistics(Job.of(request, source, model, layout=layout)), cache)


def _stored(job: Job) -> Stored:
    """Return the description of a job's output as a stored array; `Translated` itself computes its voxels."""
    source, region = job.source, job.layout.region
    block: Shape = tuple(map(min, job.layout.block, region.shape))
    placed = source.placed or job.settings.roi
    return Stored(
        path=f"translation of {source.path}",
        format="translation",
        shape=(job.channels, *region.shape),
        dtype=job.dtype,
        axes="czyx",
        voxel_size=dict(zip("zyx", source.voxel_size, strict=True)),
        unit=source.unit,
        offset=dict(zip("zyx", source.place_of(region), strict=True)) if placed else {},
        chunks=(job.channels, *block),
        channel_names=_channel_names(job),
        read=_unread,
        stamp=lambda: None,
    )


def _unread(_: Slices) -> np.ndarray:
    raise AssertionError("a translation is computed, not read")


def _channel_names(job: Job) -> tuple[str, ...]:
    """Return the output's channel names: those of the training volumes, or red, green and blue for RGB inputs."""
    trained: dict[str, Any] = job.bundle.meta["provenance"].get("volumes") or {}
    names: list[str] = []
    for domain in job.makes:
        stated = {tuple(fact.get("channels") or ()) for fact in trained.get(domain) or []}
        names += stated.pop() if len(stated) == 1 else ()
    if not names and job.source.channel_names == RGB:
        names = list(RGB)
    return tuple(names) if len(names) == job.channels else ()
