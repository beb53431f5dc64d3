"""Write one output of a preparation: create or continue it, compute the missing blocks, and complete it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vol2vol.errors import CannotWrite, Unreadable
from vol2vol.geometry import Box, Shape, grid
from vol2vol.preparation.chain import Chain
from vol2vol.preparation.settings import Preparation
from vol2vol.preparation.steps import Binarise, Step
from vol2vol.preparation.storage import Storage
from vol2vol.volumes import create_volume, open_volume
from vol2vol.volumes.addresses import is_remote
from vol2vol.volumes.completeness import missing
from vol2vol.volumes.ledger import Ledger, block_name, checksum, refuse_other
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import (
    average_block,
    check_store,
    clear_aborted,
    clear_output,
    intact,
    intact_coarser,
    read_record,
    reopen,
)
from vol2vol.volumes.pyramid import coarser_levels, list_levels
from vol2vol.volumes.windows import store_windows

log = logging.getLogger(__name__)
Progress = Callable[[int, int, int], None]
"""Called with the blocks done, the total number of blocks, and the voxels computed since the start."""
Item = TypeVar("Item")
Result = TypeVar("Result")
KEY = "preparation"
"""Attribute of an output that holds the record of its preparation."""
RETRIES = 2
"""Number of times a block is read again after a failure of a remote store."""
PAUSE = 1.0
"""Seconds before the first retry; doubled each time."""
READERS = 4
"""Threads that check the blocks of an earlier start."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The result of `prepare` for one output."""

    output: str
    shape: Shape
    """C, Z, Y, X."""
    voxel_size: tuple[float, float, float]
    """Z, Y, X, in `unit`."""
    unit: str
    dtype: str
    steps: tuple[str, ...]
    """The steps in words, with the boxes and ranges that were measured."""
    blocks: int
    """Blocks of the output."""
    blocks_before: int
    """Blocks that an earlier call had completed."""
    voxels: int
    """Voxels computed by this call."""
    seconds: float
    """Duration of this call."""


def earlier_record(output: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an earlier start of the same preparation, from the ledger or the output; empty where none.

    Raises `Mismatch` where another preparation was begun there, `AlreadyExists` where the output is anything else.
    """
    ledger = Ledger.of(output)
    if (plan := ledger.plan()) is not None:
        refuse_other(plan, record, output)
        ledger.refuse_spoiled()
        return plan
    attributes = read_record(output, KEY)
    if attributes.get("complete"):
        refuse_other(attributes, record, output)
        ledger.remove()
        return attributes
    clear_aborted(output, ours=bool(attributes) and all(attributes.get(key) == value for key, value in record.items()))
    return {}


@dataclass(frozen=True)
class Output:
    """One output with everything that decides its bytes."""

    chain: Chain
    common: tuple[Step, ...]
    """The steps that all parts of a split share, resolved (see `chain.resolved`)."""
    path: str
    record: dict[str, Any] = field(kw_only=True)
    """What a second start is compared with: versions, fingerprint of the input, settings."""
    preparation: Preparation = field(kw_only=True)

    def provenance(self) -> dict[str, Any]:
        """Return the full record of the preparation, for the output's attributes and its ledger."""
        return {
            **self.record,
            "name": self.preparation.name,
            "input_name": Path(self.chain.path).name,
            "steps": [step.model_dump(mode="json") for step in self.common],
            "origin": list(self.chain.header.origin),
            "labels": self.chain.header.labels,
        }

    def run(self, earlier: dict[str, Any], *, overwrite: bool, workers: int, progress: Progress | None) -> Prepared:
        """Compute the missing blocks of the output; `earlier` is the result of `earlier_record`."""
        began = time.monotonic()
        storage = Storage.of(self.chain, self.preparation)
        blocks = storage.blocks()
        if earlier.get("complete") and Ledger.of(self.path).inside and missing(self.path):
            begun, marks = reopen(self.path, blocks, self.provenance(), origin=(0, 0, 0), readers=READERS)
            done = {block_name(box) for box in blocks} & marks.done
        elif earlier.get("complete"):
            begun, marks, done = "", Marks(self.path, ""), {block_name(box) for box in blocks}
        else:
            begun, marks, done = self._begin(earlier, storage, overwrite=overwrite)
        todo, voxels = [box for box in blocks if block_name(box) not in done], 0
        if progress is not None:
            progress(len(done), len(blocks), 0)
        if begun:
            for count, box in enumerate(self._compute(storage, todo, marks, begun, workers), start=len(done) + 1):
                voxels += box.size
                if progress is not None:
                    progress(count, len(blocks), voxels)
            self._finish(storage, marks, begun, workers)
        seconds = time.monotonic() - began
        return self._prepared(blocks=len(blocks), blocks_before=len(blocks) - len(todo), voxels=voxels, seconds=seconds)

    def _begin(self, earlier: dict[str, Any], storage: Storage, *, overwrite: bool) -> tuple[str, Marks, set[str]]:
        """Create or continue the output; return the name of its beginning, its marks and its complete blocks."""
        if not earlier.get("begun"):
            begun = self._create(storage, overwrite=overwrite)
            return begun, Ledger.of(self.path).marks(begun), set()
        self._check(storage)
        begun = str(earlier["begun"])
        marks = Ledger.of(self.path).marks(begun)
        return begun, marks, intact(self.path, storage.blocks(), marks, origin=(0, 0, 0), readers=READERS)

    def _prepared(self, **counts: Any) -> Prepared:
        """Return the description of the output with these counts."""
        header = self.chain.header
        return Prepared(
            output=self.path,
            shape=header.shape,
            voxel_size=header.voxel_size,
            unit=self.chain.volume.unit,
            dtype=str(header.dtype),
            steps=tuple(step.words() for step in self.chain.steps),
            **counts,
        )

    def _create(self, storage: Storage, *, overwrite: bool) -> str:
        """Create the empty output and its ledger; return the name of this beginning."""
        ledger, header = Ledger.of(self.path), self.chain.header
        if overwrite:
            clear_output(self.path)
        create_volume(
            self.path,
            shape=header.shape,
            dtype=header.dtype,
            voxel_size=header.voxel_size,
            unit=self.chain.volume.unit,
            offset=self.chain.place,
            chunks=storage.chunks,
            shards=storage.shards,
            version=self.preparation.ome_version,
            attrs={KEY: {**self.provenance(), "complete": False}},
            channel_names=self.chain.channel_names,
            flat=self.chain.volume.is_2d,
        ).close()
        return ledger.begin(self.provenance())

    def _check(self, storage: Storage) -> None:
        """Raise where the stored array is not the one that this preparation creates."""
        header, sharded = self.chain.header, storage.shards is not None
        check_store(self.path, shape=header.shape, dtype=header.dtype, block=storage.block, sharded=sharded)

    def _compute(self, storage: Storage, todo: Sequence[Box], marks: Marks, begun: str, workers: int) -> Iterator[Box]:
        """Yield each block once it is on disk and marked; each thread computes and writes one block at a time."""
        ledger = Ledger.of(self.path)
        with open_volume(self.path) as stored:

            def write(box: Box) -> Box:
                values = self._with_retries(storage, box)
                ledger.check(begun)
                stored.write(box, values)
                stored.flush()
                marks.mark(block_name(box), checksum(values))
                return box

            yield from _in_threads(write, todo, workers)

    def _with_retries(self, storage: Storage, box: Box) -> np.ndarray:
        """Return the voxels of a block (C, Z, Y, X); a failed read from a remote volume is repeated."""
        for attempt in range(RETRIES + 1):
            try:
                return self._voxels(storage, box)
            except (Unreadable, CannotWrite) as error:
                if attempt == RETRIES or not is_remote(self.chain.path):
                    raise
                log.warning("%s; trying again", error)
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _voxels(self, storage: Storage, box: Box) -> np.ndarray:
        """Return the voxels of a block, computed part by part."""
        values = np.empty((self.chain.shape[0], *box.shape), self.chain.dtype)
        for part in storage.parts(box):
            values[(slice(None), *part.relative_to(box.start).slices)] = self.chain.read(part)
        return values

    def _finish(self, storage: Storage, marks: Marks, begun: str, workers: int) -> None:
        """Write coarser levels and attributes; raise `Mismatch` if the input changed during the preparation."""
        ledger, volume = Ledger.of(self.path), self.chain.volume
        ledger.check(begun)
        if volume.fingerprint() != self.record["input"]:
            ledger.spoil(
                f"{volume.path} was changed while it was read, so parts of {self.path} belong to the old and parts "
                "to the new: start again with `overwrite`"
            )
        absent = {block_name(box) for box in storage.blocks()} - marks.done
        assert not absent, f"{self.path} lacks blocks {sorted(absent)[:4]}"
        if self.preparation.pyramid and ledger.inside and (not self.chain.header.labels or self._binary):
            self._coarser(storage, marks, begun, workers)
        store_windows(self.path)
        with open_volume(self.path) as stored:
            stored.set_attrs({KEY: {**self.provenance(), "complete": True}})
        ledger.remove()

    def _coarser(self, storage: Storage, marks: Marks, begun: str, workers: int) -> None:
        """Write the missing coarser levels, each from the complete finer level, then list them."""
        levels = coarser_levels(self.path)
        boxes = {level.number: grid(Box.of(level.spatial), storage.block) for level in levels}
        each = ((((self.path, level),), box) for level in levels for box in boxes[level.number])
        done = intact_coarser(self.path, each, marks)
        for level in levels:
            level.create(self.path, open=True)
            todo = [box for box in boxes[level.number] if block_name(box, level.number) not in done]
            deque(
                _in_threads(
                    partial(average_block, self.path, ((self.path, level),), marks=marks, begun=begun),
                    todo,
                    workers,
                ),
                maxlen=0,
            )
        list_levels(self.path, levels)

    @property
    def _binary(self) -> bool:
        """Whether all values are 0 and 1, so that a rounded mean is the majority."""
        return any(isinstance(step, Binarise) for step in self.chain.steps)


def _in_threads(fn: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Apply a function to every item in threads and yield the results in the order in which they are ready.

    At most `workers` items are in progress; after an exception no further item is started.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting, running = iter(items), set[Future[Result]]()
        while True:
            running |= {pool.submit(fn, item) for item in islice(waiting, workers - len(running))}
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
