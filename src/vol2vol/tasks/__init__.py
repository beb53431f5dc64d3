"""Training objectives: which networks are trained against which losses. No optimisers, no data, no loggers."""

from vol2vol.tasks.base import Batch, Judge, NetworkSettings, Progressive, Task, TaskSettings, Turn, alone
from vol2vol.tasks.catalogue import TASKS, AnyTask, build, packages
from vol2vol.tasks.cyclegan import CycleGAN
from vol2vol.tasks.cyclegan_settings import CycleGANSettings
from vol2vol.tasks.pool import ImagePool
from vol2vol.tasks.segment import Segment, SegmentSettings

__all__ = [
    "TASKS",
    "AnyTask",
    "Batch",
    "CycleGAN",
    "CycleGANSettings",
    "ImagePool",
    "Judge",
    "NetworkSettings",
    "Progressive",
    "Segment",
    "SegmentSettings",
    "Task",
    "TaskSettings",
    "Turn",
    "alone",
    "build",
    "packages",
]
