"""One output of a preparation: create it or go on with it, compute what is not done, finish."""

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
from vol2vol.preparation.storage import Layout
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
"""Called with blocks done, blocks in all and voxels done since the start."""
Item = TypeVar("Item")
Result = TypeVar("Result")
KEY = "preparation"
"""The attribute under which an output says how it was made."""
RETRIES = 2
"""How often a block is repeated after a failure of the network."""
PAUSE = 1.0
"""Seconds before the first repetition; doubled each time."""
READERS = 4


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One output of `prepare`."""

    output: str
    shape: Shape
    """C, Z, Y, X."""
    voxel_size: tuple[float, float, float]
    unit: str
    dtype: str
    steps: tuple[str, ...]
    """What was done, with what was found on the way: boxes and ranges."""
    blocks: int
    blocks_before: int
    """Blocks that were already done when this call began."""
    voxels: int
    """Voxels computed by this call."""
    seconds: float


def found_before(output: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return what an earlier start of the same preparation left in an output or its ledger, nothing where it is new.

    Raises `Mismatch` where another preparation was begun there, `AlreadyExists` where something else is.
    """
    ledger = Ledger.of(output)
    if (plan := ledger.plan()) is not None:
        refuse_other(plan, record, output)
        ledger.refuse_spoiled()
        return plan
    made = read_record(output, KEY)
    if made.get("complete"):
        refuse_other(made, record, output)
        ledger.remove()
        return made
    clear_aborted(output, ours=bool(made) and all(made.get(key) == value for key, value in record.items()))
    return {}


@dataclass(frozen=True)
class Job:
    """Everything that decides one output."""

    chain: Chain
    common: tuple[Step, ...]
    """The steps that all parts of a split share, their questions answered."""
    output: str
    record: dict[str, Any] = field(kw_only=True)
    """What a second start is compared with."""
    preparation: Preparation = field(kw_only=True)

    def provenance(self) -> dict[str, Any]:
        """Return how the output is made, for its attributes and its ledger."""
        return {
            **self.record,
            "name": self.preparation.name,
            "input_name": Path(self.chain.path).name,
            "steps": [step.model_dump(mode="json") for step in self.common],
            "origin": list(self.chain.look.origin),
            "labels": self.chain.look.labels,
        }

    def run(self, before: dict[str, Any], *, overwrite: bool, workers: int, progress: Progress | None) -> Prepared:
        """Compute what is not done of the output; `before` is what `found_before` returned."""
        began = time.monotonic()
        layout = Layout.of(self.chain, self.preparation)
        blocks = layout.blocks()
        if before.get("complete") and Ledger.of(self.output).inside and missing(self.output):
            begun, marks = reopen(self.output, blocks, self.provenance(), origin=(0, 0, 0), readers=READERS)
            done = {block_name(box) for box in blocks} & marks.done
        elif before.get("complete"):
            begun, marks, done = "", Marks(self.output, ""), {block_name(box) for box in blocks}
        else:
            begun, marks, done = self._begin(before, layout, overwrite=overwrite)
        todo, voxels = [box for box in blocks if block_name(box) not in done], 0
        if progress is not None:
            progress(len(done), len(blocks), 0)
        if begun:
            for count, box in enumerate(self._compute(layout, todo, marks, begun, workers), start=len(done) + 1):
                voxels += box.size
                if progress is not None:
                    progress(count, len(blocks), voxels)
            self._finish(layout, marks, begun, workers)
        seconds = time.monotonic() - began
        return self._made(blocks=len(blocks), blocks_before=len(blocks) - len(todo), voxels=voxels, seconds=seconds)

    def _begin(self, before: dict[str, Any], layout: Layout, *, overwrite: bool) -> tuple[str, Marks, set[str]]:
        """Create the output or go on with it; return the beginning, its marks and what is done of the blocks."""
        if not before.get("begun"):
            begun = self._create(layout, overwrite=overwrite)
            return begun, Ledger.of(self.output).marks(begun), set()
        self._check(layout)
        begun = str(before["begun"])
        marks = Ledger.of(self.output).marks(begun)
        return begun, marks, intact(self.output, layout.blocks(), marks, origin=(0, 0, 0), readers=READERS)

    def _made(self, **counted: Any) -> Prepared:
        """Return what the output is, and what was counted on the way."""
        look = self.chain.look
        return Prepared(
            output=self.output,
            shape=look.shape,
            voxel_size=look.voxel_size,
            unit=self.chain.volume.unit,
            dtype=str(look.dtype),
            steps=tuple(step.words() for step in self.chain.steps),
            **counted,
        )

    def _create(self, layout: Layout, *, overwrite: bool) -> str:
        """Create the empty output and its ledger; return the name of this beginning."""
        ledger, look = Ledger.of(self.output), self.chain.look
        if overwrite:
            clear_output(self.output)
        create_volume(
            self.output,
            shape=look.shape,
            dtype=look.dtype,
            voxel_size=look.voxel_size,
            unit=self.chain.volume.unit,
            offset=self.chain.place,
            chunks=layout.chunks,
            shards=layout.shards,
            version=self.preparation.ome_version,
            attrs={KEY: {**self.provenance(), "complete": False}},
            channel_names=self.chain.channel_names,
            flat=self.chain.volume.is_2d,
        ).close()
        return ledger.begin(self.provenance())

    def _check(self, layout: Layout) -> None:
        look, sharded = self.chain.look, layout.shards is not None
        check_store(self.output, shape=look.shape, dtype=look.dtype, block=layout.block, sharded=sharded)

    def _compute(self, layout: Layout, todo: Sequence[Box], marks: Marks, begun: str, workers: int) -> Iterator[Box]:
        """Yield blocks when they are on disk and marked; each thread computes and writes one at a time."""
        ledger = Ledger.of(self.output)
        with open_volume(self.output) as stored:

            def write(box: Box) -> Box:
                values = self._patiently(layout, box)
                ledger.check(begun)
                stored.write(box, values)
                stored.flush()
                marks.mark(block_name(box), checksum(values))
                return box

            yield from _in_threads(write, todo, workers)

    def _patiently(self, layout: Layout, box: Box) -> np.ndarray:
        """Return the voxels of a block, computed part by part; a failed read from a remote volume is repeated."""
        for tries in range(RETRIES + 1):
            try:
                return self._block(layout, box)
            except (Unreadable, CannotWrite) as error:
                if tries == RETRIES or not is_remote(self.chain.path):
                    raise
                log.warning("%s; trying again", error)
                time.sleep(PAUSE * 2**tries)
        raise AssertionError("the last try returns or raises")

    def _block(self, layout: Layout, box: Box) -> np.ndarray:
        made = np.empty((self.chain.shape[0], *box.shape), self.chain.dtype)
        for part in layout.parts(box):
            made[(slice(None), *part.relative_to(box.start).slices)] = self.chain.read(part)
        return made

    def _finish(self, layout: Layout, marks: Marks, begun: str, workers: int) -> None:
        """Write what follows the last block; raise `Mismatch` if the input has changed meanwhile."""
        ledger, volume = Ledger.of(self.output), self.chain.volume
        ledger.check(begun)
        if volume.fingerprint() != self.record["input"]:
            ledger.spoil(
                f"{volume.path} was changed while it was read, so parts of {self.output} belong to the old and parts "
                "to the new: start again with --overwrite"
            )
        missing = {block_name(box) for box in layout.blocks()} - marks.done
        assert not missing, f"{self.output} lacks blocks {sorted(missing)[:4]}"
        if self.preparation.pyramid and ledger.inside and (not self.chain.look.labels or self._of_two):
            self._coarser(layout, marks, begun, workers)
        store_windows(self.output)
        with open_volume(self.output) as made:
            made.set_attrs({KEY: {**self.provenance(), "complete": True}})
        ledger.remove()

    def _coarser(self, layout: Layout, marks: Marks, begun: str, workers: int) -> None:
        """Write the coarser levels that are not done, each when the one above it is, then list them."""
        levels = coarser_levels(self.output)
        boxes = {level.number: grid(Box.of(level.spatial), layout.block) for level in levels}
        each = ((((self.output, level),), box) for level in levels for box in boxes[level.number])
        done = intact_coarser(self.output, each, marks)
        for level in levels:
            level.create(self.output, open=True)
            todo = [box for box in boxes[level.number] if block_name(box, level.number) not in done]
            deque(
                _in_threads(
                    partial(average_block, self.output, ((self.output, level),), marks=marks, begun=begun),
                    todo,
                    workers,
                ),
                maxlen=0,
            )
        list_levels(self.output, levels)

    @property
    def _of_two(self) -> bool:
        """Say whether all values are 0 and 1, of which the rounded mean is the majority."""
        return any(isinstance(step, Binarise) for step in self.chain.steps)


def _in_threads(fn: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Apply a function to every item, a few at a time, and yield the results in any order; none is begun
    after a stop.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting, running = iter(items), set[Future[Result]]()
        while True:
            running |= {pool.submit(fn, item) for item in islice(waiting, workers - len(running))}
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
