"""Lease work items to the workers of a job array: one file per item, which its worker keeps changing while it lives.

A lease only saves work: two workers on one item write the same bytes. Each observer judges by itself whether a lease is
alive: it has expired when it has not changed for `STALE` seconds of the observer's own clock, so clocks need not agree.
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
"""Seconds between two heartbeats."""
STALE = 90.0
"""Seconds without a heartbeat after which a worker is considered dead."""
TRIES = 3
"""How often a work item is started before it is given up."""


class Leases:
    """The leases of one worker, `owner`, on work items of an output; a restarted owner gets its leases back."""

    def __init__(self, ledger: Ledger, owner: str, *, stale: float = STALE) -> None:
        self._folder, self._owner, self._stale = ledger.folder, owner, stale
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._mine: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def take(self, item: str, *, done: int = 0) -> bool:
        """Lease a work item unless another worker has it; raise `WorkerLost` if it has failed too often.

        `done` is the number of its blocks that are done: if it is larger than when the last worker started, that
        worker made progress before it died, and its death is not counted.
        """
        current = read_key(self._folder, f"leases/{item}")
        lease = _parse(current)
        if current is not None and lease.get("owner") not in (None, self._owner) and not self._dead(item, current):
            return False
        tries = 1 if done > int(lease.get("done", 0)) else int(lease.get("tries", 0)) + 1
        if tries > TRIES:
            raise WorkerLost(
                f"block {item}: {TRIES} workers failed on it ({lease.get('error', 'they died')}): see their logs; "
                "the same vol2vol predict tries again"
            )
        error = lease.get("error", "they died")
        mine = {"owner": self._owner, "tries": tries, "beat": 0, "done": done, "error": error}
        if not exchange_key(self._folder, f"leases/{item}", _bytes(mine), expected=current):
            return False
        if tries > 1:
            log.info("block %s: taken over, try %d", item, tries)
        with self._lock:
            self._mine[item] = mine
        return True

    def _dead(self, item: str, current: bytes) -> bool:
        now = time.monotonic()
        known, since = self._seen.get(item, (b"", now))
        if known != current:
            self._seen[item] = (current, now)
            return False
        return now - since > self._stale

    def release(self, item: str) -> None:
        """Release a work item: it is done, or this worker was asked to stop."""
        with self._lock:
            self._mine.pop(item, None)
        if self._is_ours(item):
            delete_keys(self._folder, f"leases/{item}")

    def fail(self, item: str, error: UserError) -> None:
        """Release a work item that could not be computed; other workers may try."""
        with self._lock:
            mine = self._mine.pop(item)
        if self._is_ours(item):
            write_key(self._folder, f"leases/{item}", _bytes({**mine, "owner": None, "error": str(error)}))

    def _is_ours(self, item: str) -> bool:
        """Return whether a lease still belongs to this worker: others take the items of a worker considered dead."""
        return _parse(read_key(self._folder, f"leases/{item}")).get("owner") == self._owner

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew all leases from a thread until the block ends."""
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
                for item, mine in self._mine.items():
                    self._renew(item, mine)

    def _renew(self, item: str, mine: dict[str, Any]) -> None:
        """Change a lease; after a write that failed or seemed to fail, continue from the stored lease if it is ours."""
        changed = {**mine, "beat": mine["beat"] + 1}
        try:
            if exchange_key(self._folder, f"leases/{item}", _bytes(changed), expected=_bytes(mine)):
                mine.update(changed)
            elif (stored := _parse(read_key(self._folder, f"leases/{item}"))).get("owner") == self._owner:
                mine.update(stored)
        except UserError as error:
            log.warning("%s", error)


def _bytes(lease: dict[str, Any]) -> bytes:
    return json.dumps(lease).encode()


def _parse(content: bytes | None) -> dict[str, Any]:
    """Return a lease; a damaged one has no owner."""
    try:
        lease = parse_json(content or b"{}")
    except ValueError:
        return {}
    valid = isinstance(lease, dict) and all(isinstance(lease.get(key, 0), int) for key in ("tries", "done", "beat"))
    return lease if valid else {}
