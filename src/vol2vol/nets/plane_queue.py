"""Queue the planes of a tensor along one axis; planes are copied as rarely as possible."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor


def blank(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return placeholder planes whose values are not needed: zeros that take no memory."""
    return like.new_zeros(()).expand(tuple(shape))


def is_blank(planes: Tensor) -> bool:
    """Return whether these are (a part of) placeholder planes of `blank`."""
    return not any(planes.stride())


class Planes:
    """A queue of (B, C, *space) tensors that are consecutive along a spatial axis (0 is the first)."""

    def __init__(self, axis: int) -> None:
        self.dim = axis + 2
        self._parts: deque[Tensor] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def bytes(self) -> int:
        """Bytes of the queued planes."""
        return sum(part.numel() * part.element_size() for part in self._parts if not is_blank(part))

    def append(self, planes: Tensor | None) -> None:
        """Add planes at the end; None or an empty tensor adds nothing."""
        if planes is not None and planes.shape[self.dim]:
            self._parts.append(planes)
            self._length += planes.shape[self.dim]

    def pieces(self, count: int) -> list[Tensor]:
        """Return views of the first `count` planes, in order."""
        pieces = []
        for part in self._parts:
            if count <= 0:
                break
            size = min(count, part.shape[self.dim])
            pieces.append(part.narrow(self.dim, 0, size))
            count -= size
        return pieces

    def first(self, count: int) -> Tensor:
        """Return the first `count` planes as one tensor, a view where they already are one tensor."""
        pieces = self.pieces(count)
        if all(map(is_blank, pieces)):
            return blank([count if dim == self.dim else n for dim, n in enumerate(pieces[0].shape)], pieces[0])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, self.dim)

    def drop(self, count: int) -> None:
        """Remove the first `count` planes; the remainder of a divided tensor is copied, so that its memory is freed."""
        self._length -= count
        while count > 0:
            size = self._parts[0].shape[self.dim]
            part = self._parts.popleft()
            if size > count:
                rest = part.narrow(self.dim, count, size - count)
                copied = 2 * count > size and not is_blank(rest)
                self._parts.appendleft(rest.clone(memory_format=torch.preserve_format) if copied else rest)
            count -= size

    def take(self, count: int) -> Tensor | None:
        """Remove and return the first `count` planes; None for a count of 0 or less."""
        if count <= 0:
            return None
        taken = self.first(count)
        self.drop(count)
        return taken

    def zeros(self, count: int, like: Tensor) -> Tensor:
        """Return `count` planes of zeros with the other sizes, dtype and device of `like`."""
        shape = [count if dim == self.dim else n for dim, n in enumerate(like.shape)]
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
