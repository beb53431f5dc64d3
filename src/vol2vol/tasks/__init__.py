"""Training objectives: who plays against whom. No optimisers, no data, no loggers."""

from vol2vol.tasks.base import Batch, Task, Turn, alone
from vol2vol.tasks.cyclegan import CycleGAN, CycleGANSettings, NetworkSettings
from vol2vol.tasks.pool import ImagePool

__all__ = ["Batch", "CycleGAN", "CycleGANSettings", "ImagePool", "NetworkSettings", "Task", "Turn", "alone"]
