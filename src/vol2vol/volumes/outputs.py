"""Inspect, clear and reopen the place of an output, and check the blocks that it holds."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, Mismatch, NotFound, Unreadable, UserError, one_line
from vol2vol.files import real_path
from vol2vol.geometry import Box, Shape, grid
from vol2vol.volumes.addresses import is_remote, is_web
from vol2vol.volumes.formats import tiffout
from vol2vol.volumes.formats.nodes import read_node
from vol2vol.volumes.formats.omezarr import clear_aborted_group, clear_group, erase
from vol2vol.volumes.ledger import Ledger, block_name, checksum
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.opening import is_tiff, open_volume
from vol2vol.volumes.pyramid import Level, coarser_levels
from vol2vol.volumes.volume import Volume

log = logging.getLogger(__name__)
Levels = tuple[tuple[str, Level], ...]
"""The volumes of an output, one or several of one shape, with the same level of each."""


def read_record(output: str, key: str = "vol2vol") -> dict[str, Any]:
    """Return the record in the attributes of an output, empty where there is no output or no record.

    `key` is the attribute. An OME-Zarr has its record before its array exists.
    """
    try:
        attrs: Mapping[str, Any] = {}
        if not is_tiff(output):
            node = read_node(output)
            attrs = node.attributes if node is not None else {}
        elif Path(output).exists():
            with open_volume(output) as volume:
                attrs = volume.attrs
    except (NotFound, UserError):
        return {}
    record = attrs.get(key, {})
    return record if isinstance(record, dict) else {}


def clear_aborted(output: str, *, ours: bool) -> None:
    """Remove the metadata of an output whose creation was killed before its plan and any voxel were written.

    Raises `AlreadyExists` for anything else that exists. `ours` says that its attributes hold the record of this run.
    """
    if not is_tiff(output):
        clear_aborted_group(output, ours=ours)
    elif os.path.lexists(output):
        if not ours or not Path(output).is_file() or Path(output).is_symlink():
            tiffout.refuse_foreign(Path(output))
            raise AlreadyExists(
                f"{output} exists and was not begun by this command: choose another name or `overwrite`"
            )
        tiffout.delete_tiff(Path(output))


def clear_output(output: str) -> None:
    """Remove an output that is to be written again, its plan first, so that no other process continues it.

    Raises `AlreadyExists` where vol2vol did not write all of it.
    """
    if is_tiff(output):
        tiffout.refuse_foreign(Path(output))
        Ledger.of(output).remove()
        tiffout.delete_tiff(Path(output))
    elif output.rstrip("/").lower().endswith(".zarr") and not is_web(output):
        clear_group(output, overwrite=True)


def check_store(output: str, *, shape: Shape, dtype: np.dtype, block: Shape, sharded: bool) -> None:
    """Raise `Mismatch` unless an output is stored as planned, so that every block consists of whole shards.

    `shape` is (C, Z, Y, X), `block` (Z, Y, X); `sharded` says that a block is one shard rather than whole chunks.
    """
    try:
        volume = open_volume(output)
    except BadInput as error:
        raise Mismatch(f"{output} is damaged ({one_line(error, 300)}): start again with `overwrite`") from None
    with volume:
        shards = volume.shards[1:] if sharded else volume.chunks[1:]
        whole = all(n % s == 0 or s >= m for n, s, m in zip(block, shards, shape[1:], strict=True))
        if volume.shape != shape or volume.dtype != dtype or not (whole or output.lower().endswith((".tif", ".tiff"))):
            raise Mismatch(
                f"{output} holds {volume.shape} {volume.dtype} in shards of {shards}, the plan has {shape} {dtype} "
                f"in {block}: start again with `overwrite`"
            )


def refuse_input(input: str, output: str) -> None:
    """Raise `AlreadyExists` where writing the output, or clearing its place, would touch the input."""
    if not input or is_remote(output) or is_remote(input):
        return
    target = real_path(output)
    source = real_path(re.sub(r"(\.h(?:df)?5):.*", r"\1", input))
    if target == source:
        raise AlreadyExists(f"{output} is the input: choose another name for the output")
    if target in source.parents:
        raise AlreadyExists(f"{output} holds the input {input}: choose another name for the output")
    if source.is_dir() and source in target.parents:
        raise AlreadyExists(f"{output} lies in the input {input}: choose another place for the output")
    stores = [parent for parent in (source, *source.parents) if parent.suffix in (".zarr", ".n5")]
    if any(store == target or store in target.parents for store in stores):
        raise AlreadyExists(f"{output} lies in the input {input}: choose another place for the output")


def intact(
    output: str, boxes: Sequence[Box], marks: Marks, *, origin: Shape, readers: int, volumes: Sequence[str] = ()
) -> set[str]:
    """Return the names of the blocks that are marked as done and whose stored voxels have the marked checksum.

    `origin` is the voxel of `boxes` that is voxel zero of the output, `volumes` are its parts where it has several.
    Marks without their voxels (a machine that crashed, a truncated shard) are removed, so that the block is computed
    again. Reads every block once.
    """
    marks.refresh()
    marked = {block_name(box): box.relative_to(origin) for box in boxes if block_name(box) in marks.done}
    with _opened(volumes or (output,)) as stored, ThreadPoolExecutor(readers) as pool:
        undamaged = dict(
            zip(marked, pool.map(lambda name: _matches_mark(stored, marks, name, marked[name]), marked), strict=True)
        )
        for name in [name for name in marked if not undamaged[name]]:
            log.warning("%s: block %s is damaged: it is computed again", output, name)
            for volume in stored:
                erase(volume, marked[name])  # before the mark: without a mark, damage would not be detected later
            marks.unmark(name)
    return {name for name in marked if undamaged[name]}


@contextmanager
def _opened(volumes: Sequence[str]) -> Iterator[list[Volume]]:
    with ExitStack() as held:
        yield [held.enter_context(open_volume(path)) for path in volumes]


def _matches_mark(stored: Sequence[Volume], marks: Marks, name: str, box: Box) -> bool:
    try:
        return marks.checksum(name) == checksum(*(volume.read(box) for volume in stored))
    except Unreadable:
        return False


def reopen(
    output: str,
    boxes: Sequence[Box],
    plan: dict[str, Any],
    *,
    origin: Shape,
    readers: int,
    volumes: Sequence[str] = (),
) -> tuple[str, Marks]:
    """Reopen a complete output that has lost shards; return the name in its new ledger and the marks of its blocks.

    Readable blocks are marked, then the plan is written, so that lost blocks are computed again as after a
    kill. `boxes` are those of the finest level, `origin` is the voxel of them that is voxel zero of the output;
    `volumes` are its parts where it has several.
    """
    ledger, begun = Ledger.of(output), uuid.uuid4().hex
    ledger.make_folder()
    marks, volumes = ledger.marks(begun), volumes or (output,)

    def mark(name: str, box: Box, reads: Sequence[Callable[[Box], np.ndarray]]) -> None:
        with suppress(Unreadable):
            marks.mark(name, checksum(*(read(box) for read in reads)))

    with _opened(volumes) as stored, ThreadPoolExecutor(readers) as pool:
        for box in boxes:
            pool.submit(mark, block_name(box), box.relative_to(origin), [volume.read for volume in stored])
        for levels in levels_of(volumes) if ledger.inside else ():
            first = levels[0][1]
            for box in grid(Box.of(first.spatial), boxes[0].shape):
                reads = [partial(level.read, path) for path, level in levels]
                pool.submit(mark, block_name(box, first.number), box, reads)
    log.warning("%s has lost blocks: they are computed again", output)
    return ledger.begin(plan, begun), marks


def levels_of(volumes: Sequence[str]) -> list[Levels]:
    """Return the coarser levels that volumes of one shape should have, each with its volume."""
    return [tuple(zip(volumes, levels, strict=True)) for levels in zip(*map(coarser_levels, volumes), strict=True)]


def average_block(output: str, levels: Levels, box: Box, marks: Marks, *, begun: str) -> None:
    """Average a block of a coarser level from the level above, write it and mark it as done."""
    values = [level.average(path, box, begun) for path, level in levels]
    Ledger.of(output).check(begun)
    for (path, level), averaged in zip(levels, values, strict=True):
        level.write(path, box, averaged, begun)
    marks.mark(block_name(box, levels[0][1].number), checksum(*values))


def intact_coarser(output: str, blocks: Iterable[tuple[Levels, Box]], marks: Marks) -> set[str]:
    """Return the names of the blocks of coarser levels that are done and undamaged; damaged ones are unmarked."""
    undamaged = set()
    marks.refresh()
    for levels, box in blocks:
        name = block_name(box, levels[0][1].number)
        if name not in marks.done:
            continue
        if _level_matches_mark(levels, box, marks.checksum(name)):
            undamaged.add(name)
            continue
        log.warning("%s: block %s is damaged: it is computed again", output, name)
        for path, level in levels:
            level.erase(path, box)
        marks.unmark(name)
    return undamaged


def _level_matches_mark(levels: Levels, box: Box, marked: int | None) -> bool:
    try:
        return marked == checksum(*(level.read(path, box) for path, level in levels))
    except Unreadable:
        return False
