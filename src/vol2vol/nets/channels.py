"""Show an image to a network that reads more channels than the image has: repeated ones, and noise."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.shapes import shaped


@shaped
def repeated(
    image: Annotated[Tensor, "batch channels *space"], channels: int
) -> Annotated[Tensor, "batch wanted *space"]:
    """Return an image with `channels` channels: as it is where it has them, or its only channel repeated.

    A network that continues its own output (`protocol.March`) reads as many channels as the wider of both has; grey
    images reach it with three equal channels where it makes RGB. Raises `BadInput` for other numbers of channels.
    """
    if image.shape[1] == channels:
        return image
    if image.shape[1] != 1:
        raise BadInput(f"an image of {image.shape[1]} channels cannot be shown to a network that reads {channels}")
    return image.expand(-1, channels, *image.shape[2:])


@shaped
def with_noise(
    image: Annotated[Tensor, "batch channels *space"],
    channels: int,
    noise: int,
    generator: torch.Generator | None = None,
) -> Annotated[Tensor, "batch wanted *space"]:
    """Return an image as a network of `channels` reads it: `repeated`, and `noise` channels of fresh normal noise last.

    The noise is drawn on the image's device by its global generator, or by a `generator` of the CPU. Raises `BadInput`
    for images whose channels do not fit.
    """
    image = repeated(image, channels - noise)
    if not noise:
        return image
    place = image.device if generator is None else "cpu"
    drawn = torch.randn(len(image), noise, *image.shape[2:], device=place, dtype=image.dtype, generator=generator)
    return torch.cat([image, drawn.to(image.device)], 1)
