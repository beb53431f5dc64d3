"""A translated volume that is not computed yet: what is read of it is computed, block by block, as it would be written.

Every door to a prediction shows this one value: a file is its blocks written one after the other, a viewer or a
notebook reads what it shows. A block is computed alike whoever asks for it and in whatever order, so that any box has
the bytes of the finished file.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from itertools import product
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
from vol2vol.volumes import Stated, Volume, open_finished
from vol2vol.volumes.axes import from_czyx
from vol2vol.volumes.display import RGB
from vol2vol.volumes.stored import Slices, Stored

CACHE = "256MB"
"""Computed blocks that are kept, unless it is stated; at least the last one is."""


class Translated(Volume):
    """A translated volume (C, Z, Y, X) whose voxels are computed when they are read; see `translated`.

    It is a `Volume` in all it offers, but for writing. Blocks are computed one at a time, whichever threads ask; those
    used last are kept, up to `cache` bytes. Pickled, it is opened again where it arrives.
    """

    def __init__(self, job: Job, cache: int = 0) -> None:
        super().__init__(_stored(job), reopen=partial(_again, job.request, job.source, job.bundle, job.layout, cache))
        self._job, self._lock = job, threading.Lock()
        self._blocks = _Blocks(cache)

    @property
    def attrs(self) -> dict[str, Any]:
        """What the finished file states of itself."""
        return self._job.record(complete=True).attributes()

    @property
    def layout(self) -> Layout:
        """How the volume is cut into tiles and blocks."""
        return self._job.layout

    @property
    def source(self) -> Volume:
        """The volume that is translated."""
        return self._job.source

    @property
    def _at_once(self) -> int:
        return max(self.spatial)  # rows of blocks are computed in one go, where they are wanted whole

    def _part(self, channels: slice, box: Box) -> np.ndarray:
        assert Box.of(self.spatial).contains(box), f"{box} is not inside {self}"
        count = len(range(*channels.indices(self.channels)))
        values = np.empty((count, *box.shape), self.dtype)
        wanted = box.shift(self.layout.region.start)
        with self._lock:
            for block, made in self._made(wanted):
                shared = block & wanted
                to = shared.relative_to(wanted.start).slices
                values[:, *to] = made[channels, *shared.relative_to(block.start).slices]
        return values

    def _made(self, wanted: Box) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield the blocks that touch a box, in voxels of the source: those that are kept, then the others."""
        todo = []
        for block in _touched(self.layout, wanted):
            if (kept := self._blocks.get(block)) is not None:
                yield block, kept
            else:
                todo.append(block)
        for row in self.layout.rows(todo):
            for block, raw in self._job.predict_row(row):
                yield block, self._blocks.keep(block, self._job.stored(raw))

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that change with what decides its voxels; computes none of them."""
        decisive = [self._job.decisive(), self.layout.to_dict()]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()


class _Blocks:
    """The blocks that were used last, up to a number of bytes, and the last one whatever its size."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._blocks: OrderedDict[Box, np.ndarray] = OrderedDict()

    def get(self, box: Box) -> np.ndarray | None:
        if box in self._blocks:
            self._blocks.move_to_end(box)
        return self._blocks.get(box)

    def keep(self, box: Box, values: np.ndarray) -> np.ndarray:
        self._blocks[box] = values
        self.held += values.nbytes
        while self.held > self.most and len(self._blocks) > 1:
            self.held -= self._blocks.popitem(last=False)[1].nbytes
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
    """Return a volume's translation, (C, Z, Y, X), of which nothing is computed before it is read.

    `model` is a bundle, its folder or a run, of which `which` picks a checkpoint (see `find_bundle`); `input` a path,
    an open volume, or an array, whose `axes`, `voxel_size` and `unit` are stated as for `open_volume`. Indexed,
    `np.asarray`, `dask.array.from_array` and every function that takes a volume read it; any box has the bytes that
    `predict` with equal `settings` writes there. (`memory="auto"` fits the blocks to what is free: state it to have the
    same on another machine.) How work is shared among processes is left to whoever reads. Computed blocks are kept up
    to `cache`, such as 1GB. Memory: that of a prediction, and the cache.

    Raises what `predict` raises before it begins, `BadInput` for intensities unlike those of the training too.
    """
    source = _source(input, stated)
    bundle = model if isinstance(model, Bundle) else load_bundle(find_bundle(model, which))
    request = Request(model=bundle.path, input=source.path, settings=settings or PredictSettings(), stated=stated)
    if request.settings.split_outputs:
        raise BadInput("a translation that is read is one volume: leave split_outputs out, or name a domain in outputs")
    job = Job.of(request, source, LoadedModel(bundle.path, request.settings, bundle=bundle))
    check_fit(job)
    return Translated(job, parse_bytes(cache))


def translate(
    model: str | Path | Bundle,
    input: str | Path | Volume | np.ndarray,
    settings: PredictSettings | None = None,
    *,
    which: str = "auto",
    **stated: Unpack[Stated],
) -> np.ndarray:
    """Return the translation of a whole array as an array of the same axes, in stored values.

    Where the output has several channels and the input has no channel axis, channels come first. Takes and raises what
    `translated` does, which also translates what does not fit the memory.
    """
    lazy = translated(model, input, settings, which=which, cache="0", **stated)
    axes = lazy.source.axes.replace("t", "")
    if "c" not in axes and lazy.channels > 1:
        axes = f"c{axes}"
    return np.ascontiguousarray(from_czyx(np.asarray(lazy), axes))


def _source(input: str | Path | Volume | np.ndarray, stated: Stated) -> Volume:
    if not isinstance(input, Volume):
        return open_finished(input, **stated)
    if given := [name for name, value in stated.items() if value is not None]:
        raise BadInput(f"{input.path} is open: state its {given[0]} where it is opened, with open_volume")
    return input


def _again(request: Request, source: Volume, bundle: Bundle, layout: Layout, cache: int) -> Translated:
    """Return what was pickled, on a device of the machine where it arrives."""
    model = LoadedModel(bundle.path, request.settings, bundle=bundle)
    return Translated(Job.of(request, source, model, layout=layout), cache)


def _touched(layout: Layout, wanted: Box) -> Iterator[Box]:
    """Yield the blocks that touch a box inside the region, last axis fastest."""
    region = layout.region
    inside = wanted.relative_to(region.start)
    starts = [range(a // n * n, b, n) for a, b, n in zip(inside.start, inside.stop, layout.block, strict=True)]
    for corner in product(*starts):
        block = Box(corner, tuple(a + n for a, n in zip(corner, layout.block, strict=True)))
        yield block.shift(region.start) & region


def _stored(job: Job) -> Stored:
    """Return a job's output as the volumes' room knows arrays; its voxels are read by `Translated` itself."""
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
    """Return the names of the output's channels: those of the volumes trained on; colours that are unnamed stay so."""
    trained: dict[str, Any] = job.bundle.meta["provenance"].get("volumes") or {}
    names: list[str] = []
    for domain in job.makes:
        stated = {tuple(fact.get("channels") or ()) for fact in trained.get(domain) or []}
        names += stated.pop() if len(stated) == 1 else ()
    if not names and job.source.channel_names == RGB:
        names = list(RGB)
    return tuple(names) if len(names) == job.channels else ()
