"""Read the image size in the headers of JPEG, JPEG 2000 and PNG inside other files, before they are decoded."""

from __future__ import annotations

import struct

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that begin a frame."""
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers of a JPEG without content."""
_BOX = b"\x00\x00\x00\x0cjP  "
"""First bytes of a JPEG 2000 file, whose code stream lies in a box."""


def announced(data: bytes) -> int:
    """Return the number of pixels that an image header states; 0 for other formats, or where it states none."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _of_jpeg(data)
        if data.startswith((b"\xff\x4f\xff\x51", _BOX)):
            start = data.index(b"\xff\x4f\xff\x51")
            right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
            return int((right - left) * (bottom - top))
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">2I", data, 16)
            return int(width * height)
    except (IndexError, ValueError, struct.error):
        pass  # the decoder reports the error
    return 0


def _of_jpeg(data: bytes) -> int:
    position, pixels = 2, 0
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # the scan: compressed data follow
            break
        if marker == 0xFF or marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            height, width = struct.unpack_from(">2H", data, position + 5)
            pixels = max(pixels, height * width)
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return pixels
