"""Read metadata documents from disk or over HTTP, with limits on size and time.

tensorstore reads a key to its end, however long it is; therefore documents are read here and chunks by tensorstore.
"""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from vol2vol.errors import NotFound, Unreadable, UserError, one_line
from vol2vol.files import DOCUMENT, read_bytes
from vol2vol.volumes.addresses import is_web

SECONDS = 20.0
"""Timeout for an answer; a whole document may take four times as long."""
TRIES = 3
BUSY = (429, 500, 502, 503, 504)
"""Status codes after which the request is repeated."""


def read_document(where: str) -> bytes | None:
    """Return the bytes at a local path or an address, None if it does not exist or is a folder.

    Raises `Unreadable` where it is not a regular file, is too long, may not be read, or does not arrive in time.
    """
    if is_web(where):
        return _within(where, 4 * SECONDS)
    try:
        return None if Path(where).is_dir() else read_bytes(where)
    except NotFound:
        return None


def _within(address: str, seconds: float) -> bytes | None:
    answer: list[bytes | UserError | None] = []

    def read() -> None:
        try:
            answer.append(_read(address, DOCUMENT))
        except UserError as error:
            answer.append(error)

    thread = threading.Thread(target=read, daemon=True)  # a hanging request must not keep the process alive
    thread.start()
    thread.join(seconds)
    if not answer:
        raise Unreadable(f"{address}: the server does not send it within {seconds:.0f} seconds: try later")
    if isinstance(answer[0], UserError):
        raise answer[0]
    return answer[0]


def _read(address: str, most: int) -> bytes | None:
    parts = urlsplit(address)
    where = f"{parts.scheme}://{parts.netloc}{quote(unquote(parts.path))}"
    for left in reversed(range(TRIES)):
        try:
            request = urllib.request.Request(where, headers={"Accept-Encoding": "identity", "User-Agent": "vol2vol"})
            with urllib.request.urlopen(request, timeout=SECONDS) as reply:
                data: bytes = reply.read(most + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                return None
            if error.code not in BUSY or not left:
                raise _refusal(address, error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                silent = f"the server does not answer for {SECONDS:.0f} seconds"
                raise Unreadable(f"{address}: {silent}: check the address") from None
            if not left:
                raise Unreadable(f"{address} cannot be read ({one_line(reason, 200)}): check the address") from None
        else:
            if len(data) > most:
                raise Unreadable(f"{address} is longer than {most} bytes and not metadata: check the address")
            return data
        time.sleep(0.2 * (TRIES - left))
    raise AssertionError("every try returns or raises")


def _refusal(address: str, code: int) -> Unreadable:
    """Return the error for a status code other than 200."""
    if code in (401, 403):
        return Unreadable(f"{address}: no permission to read: change the permissions or choose another place")
    return Unreadable(f"{address} cannot be read (the server answers {code}): try later")
