"""Show an image to a network that reads more channels than the image has."""

from __future__ import annotations

from typing import Annotated

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
