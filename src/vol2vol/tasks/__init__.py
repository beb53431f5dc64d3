"""Training objectives: who plays against whom. No optimisers, no data, no loggers."""

from vol2vol.tasks.base import Batch, Judge, Task, Turn, alone
from vol2vol.tasks.cyclegan import CycleGAN, CycleGANSettings, NetworkSettings
from vol2vol.tasks.pool import ImagePool
from vol2vol.tasks.segment import Segment, SegmentSettings

__all__ = [
    "Batch",
    "CycleGAN",
    "CycleGANSettings",
    "ImagePool",
    "Judge",
    "NetworkSettings",
    "Segment",
    "SegmentSettings",
    "Task",
    "Turn",
    "alone",
]
