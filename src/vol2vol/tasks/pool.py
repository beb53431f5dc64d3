"""The image pool: critics also see translations of the past (Shrivastava et al. 2017, as in the cycleGAN paper)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keep up to `size` past images; once full, half of the answers are old ones. `size` 0 returns what it gets.

    Images stay on the device they came from: `size` times the bytes of what the critic sees. Contents and random
    state are part of `state_dict`, so that a resumed run draws the same images.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self._images: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Return as many images as given (B, C, ...), each new or, where the pool is full, perhaps an old one."""
        if self.size == 0:
            return images
        return torch.stack([self._exchange(image.detach()) for image in images])

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self._random) < 0.5:
            return image
        drawn = int(torch.randint(self.size, (), generator=self._random))
        old, self._images[drawn] = self._images[drawn], image.clone()
        return old.to(image.device)

    def get_extra_state(self) -> dict[str, Any]:
        """Return contents and random state as tensors."""
        return {"images": [image.cpu() for image in self._images], "random": self._random.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_extra_state` returned; images return to their device when they are drawn."""
        self._images = list(state["images"])
        self._random.set_state(state["random"].cpu())
