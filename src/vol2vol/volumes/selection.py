"""Select channels of a stored array, in the order a user names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vol2vol.errors import BadInput, one_line
from vol2vol.volumes.stored import Slices, Stored


def some_channels(stored: Stored, axes: str, chosen: Sequence[int | str]) -> Stored:
    """Return a read-only stored array with the channels in `chosen`, by name or by number from 0.

    `axes` are the letters of its axes. Raises `BadInput` listing the channels.
    """
    at = axes.find("c")
    count = stored.shape[at] if at >= 0 else 1
    picked = [_number(stored, count, channel) for channel in chosen]
    if not picked or len(set(picked)) < len(picked):
        raise BadInput(f"`channels` {','.join(map(str, chosen))} must name channels, each once")
    if at < 0:
        return stored
    places = np.array(picked)

    def read(slices: Slices) -> np.ndarray:
        inner = places[slices[at]]
        first = int(inner.min())
        block = stored.read((*slices[:at], slice(first, int(inner.max()) + 1), *slices[at + 1 :]))
        return block.take(inner - first, axis=at)

    return replace(
        stored,
        axes=axes,
        shape=(*stored.shape[:at], len(picked), *stored.shape[at + 1 :]),
        chunks=(*stored.chunks[:at], len(picked), *stored.chunks[at + 1 :]),
        shards=None,
        channel_names=[stored.channel_names[i] for i in picked] if stored.channel_names else (),
        read=read,
        stamp=lambda: [stored.stamp(), picked],
        write=None,
        set_attrs=None,
    )


def _number(stored: Stored, count: int, channel: int | str) -> int:
    """Return the number of a channel; a name takes precedence over a number."""
    names = list(stored.channel_names)
    if isinstance(channel, str) and names.count(channel) == 1:
        return names.index(channel)
    if str(channel).isdecimal() and int(channel) < count:
        return int(channel)
    choice = "one channel, 0" if count == 1 else f"the channels 0 to {count - 1}"
    named = f" ({', '.join(one_line(name, 40) for name in names[:8])})" if names else ""
    raise BadInput(
        f"{stored.path} has no channel {one_line(channel, 60)!r}, it has {choice}{named}: correct `channels`"
    )
