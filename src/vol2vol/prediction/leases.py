"""Which worker of a job array computes which portion: a file per portion that its worker keeps changing while it lives.

A claim only saves work. Two workers on one portion write the same bytes. Whether a claim is alive is judged by the one
who looks: it is dead when it has not changed for `STALE` seconds of the observer's own clock, so clocks need not agree.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vol2vol.errors import UserError, WorkerLost
from vol2vol.files import parse_json
from vol2vol.volumes.formats.store import delete_keys, exchange_key, read_key, write_key
from vol2vol.volumes.ledger import Ledger

log = logging.getLogger(__name__)
BEAT = 15.0
"""Seconds between two signs of life."""
STALE = 90.0
"""Seconds without one after which a worker is taken for dead."""
TRIES = 3
"""How often a portion is begun before it is given up."""


class Claims:
    """The claims of one worker, `owner`, on portions of an output; an owner that starts again has its claims back."""

    def __init__(self, ledger: Ledger, owner: str, *, stale: float = STALE) -> None:
        self._folder, self._owner, self._stale = ledger.folder, owner, stale
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._mine: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def take(self, portion: str, *, done: int = 0) -> bool:
        """Claim a portion unless another worker has it; raise `WorkerLost` where it has failed too often.

        `done` says how many of its blocks are done: where it is more than the last worker began with, that worker got
        on before it died, and its death is not counted.
        """
        current = read_key(self._folder, f"claims/{portion}")
        claim = _parse(current)
        if current is not None and claim.get("owner") not in (None, self._owner) and not self._dead(portion, current):
            return False
        tries = 1 if done > int(claim.get("done", 0)) else int(claim.get("tries", 0)) + 1
        if tries > TRIES:
            raise WorkerLost(
                f"block {portion}: {TRIES} workers failed on it ({claim.get('error', 'they died')}): see their logs; "
                "the same vol2vol predict tries again"
            )
        error = claim.get("error", "they died")
        mine = {"owner": self._owner, "tries": tries, "beat": 0, "done": done, "error": error}
        if not exchange_key(self._folder, f"claims/{portion}", _bytes(mine), expected=current):
            return False
        if tries > 1:
            log.info("block %s: taken over, try %d", portion, tries)
        with self._lock:
            self._mine[portion] = mine
        return True

    def _dead(self, portion: str, current: bytes) -> bool:
        now = time.monotonic()
        known, since = self._seen.get(portion, (b"", now))
        if known != current:
            self._seen[portion] = (current, now)
            return False
        return now - since > self._stale

    def release(self, portion: str) -> None:
        """Give a portion back: it is done, or this worker was told to stop."""
        with self._lock:
            self._mine.pop(portion, None)
        if self._is_ours(portion):
            delete_keys(self._folder, f"claims/{portion}")

    def fail(self, portion: str, error: UserError) -> None:
        """Give a portion back that could not be computed; others may try."""
        with self._lock:
            mine = self._mine.pop(portion)
        if self._is_ours(portion):
            write_key(self._folder, f"claims/{portion}", _bytes({**mine, "owner": None, "error": str(error)}))

    def _is_ours(self, portion: str) -> bool:
        """Say whether a claim is still this worker's: one that was taken for dead has lost its portions to others."""
        return _parse(read_key(self._folder, f"claims/{portion}")).get("owner") == self._owner

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Show signs of life for everything that is claimed, from a thread."""
        stop = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(min(BEAT, self._stale / 4)):
            with self._lock:
                for portion, mine in self._mine.items():
                    self._renew(portion, mine)

    def _renew(self, portion: str, mine: dict[str, Any]) -> None:
        """Change a claim; after a write that failed, or seemed to, go on from what is stored if that is ours."""
        changed = {**mine, "beat": mine["beat"] + 1}
        try:
            if exchange_key(self._folder, f"claims/{portion}", _bytes(changed), expected=_bytes(mine)):
                mine.update(changed)
            elif (stored := _parse(read_key(self._folder, f"claims/{portion}"))).get("owner") == self._owner:
                mine.update(stored)
        except UserError as error:
            log.warning("%s", error)


def _bytes(claim: dict[str, Any]) -> bytes:
    return json.dumps(claim).encode()


def _parse(text: bytes | None) -> dict[str, Any]:
    """Return a claim; a damaged one is nobody's."""
    try:
        claim = parse_json(text or b"{}")
    except ValueError:
        return {}
    whole = isinstance(claim, dict) and all(isinstance(claim.get(key, 0), int) for key in ("tries", "done", "beat"))
    return claim if whole else {}
