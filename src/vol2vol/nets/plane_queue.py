"""Planes of one tensor along one axis, appended at the end and taken from the front, copied as seldom as possible."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor


def blank(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return planes that nobody needs: zeros that take no memory."""
    return like.new_zeros(()).expand(tuple(shape))


def is_blank(planes: Tensor) -> bool:
    """Say whether these are (a part of) planes that nobody needs."""
    return not any(planes.stride())


class Planes:
    """A queue of (B, C, *space) tensors that continue each other along a spatial axis (0 is the first)."""

    def __init__(self, axis: int) -> None:
        self.dim = axis + 2
        self._parts: deque[Tensor] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def bytes(self) -> int:
        """Memory of the planes that wait."""
        return sum(part.numel() * part.element_size() for part in self._parts if not is_blank(part))

    def append(self, planes: Tensor | None) -> None:
        """Add planes at the end; none at all is fine."""
        if planes is not None and planes.shape[self.dim]:
            self._parts.append(planes)
            self._length += planes.shape[self.dim]

    def pieces(self, count: int) -> list[Tensor]:
        """Return views of the first planes, in order."""
        found = []
        for part in self._parts:
            if count <= 0:
                break
            size = min(count, part.shape[self.dim])
            found.append(part.narrow(self.dim, 0, size))
            count -= size
        return found

    def first(self, count: int) -> Tensor:
        """Return the first planes as one tensor, a view where they are one already."""
        found = self.pieces(count)
        if all(map(is_blank, found)):
            return blank([count if dim == self.dim else n for dim, n in enumerate(found[0].shape)], found[0])
        return found[0] if len(found) == 1 else torch.cat(found, self.dim)

    def drop(self, count: int) -> None:
        """Forget the first planes; of a part that is cut through, what stays is copied so that the rest is freed."""
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
        """Return and forget the first planes; None where none are asked for."""
        if count <= 0:
            return None
        taken = self.first(count)
        self.drop(count)
        return taken

    def zeros(self, count: int, like: Tensor) -> Tensor:
        """Return planes of zeros that go with `like`."""
        shape = [count if dim == self.dim else n for dim, n in enumerate(like.shape)]
        return torch.zeros(shape, dtype=like.dtype, device=like.device)
