"""JPEG, JPEG 2000 and PNG inside other files: how large an image their own headers announce, before one is decoded."""

from __future__ import annotations

import struct

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that begin a frame."""
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers of a JPEG that nothing belongs to."""
_BOX = b"\x00\x00\x00\x0cjP  "
"""How a JPEG 2000 file begins, which holds a stream in boxes."""


def announced(data: bytes) -> int:
    """Return the number of pixels that an image announces; 0 where it is none of these, or does not say."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _of_jpeg(data)
        if data.startswith((b"\xff\x4f\xff\x51", _BOX)):
            at = data.index(b"\xff\x4f\xff\x51")
            right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
            return int((right - left) * (bottom - top))
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">2I", data, 16)
            return int(width * height)
    except (IndexError, ValueError, struct.error):
        pass  # the decoder says what is wrong
    return 0


def _of_jpeg(data: bytes) -> int:
    at, most = 2, 0
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:  # the scan: what follows is coded
            break
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            height, width = struct.unpack_from(">2H", data, at + 5)
            most = max(most, height * width)
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return most
