"""Volumes: the only room that knows file formats and axis letters; everything inside the house is `(C, Z, Y, X)`."""

from vol2vol.volumes.opening import VOLUME_FORMATS, create_volume, open_finished, open_together, open_volume
from vol2vol.volumes.pyramid import build_pyramid
from vol2vol.volumes.stated import Stated
from vol2vol.volumes.volume import Volume

__all__ = [
    "VOLUME_FORMATS",
    "Stated",
    "Volume",
    "build_pyramid",
    "create_volume",
    "open_finished",
    "open_together",
    "open_volume",
]
