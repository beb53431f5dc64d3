"""The InceptionV3 of the Frechet Inception distance: the graph of 2015-12-05, its published weights, 2048 features.

The graph is that of Szegedy et al. 2016 (arXiv 1512.00567, table 1) with the details of the TensorFlow release on which
published FIDs are based: average pooling excludes the padding from the mean, the last block pools by maximum, batch
normalisation adds 1e-3 to the variance, and images are resized bilinearly without antialiasing to 299 x 299 and scaled
to -1..1. Names of weights are those of `pt_inception-2015-12-05-6726825d.pth`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 2048
SIDE = 299

Kernel = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution without bias, batch normalisation with frozen statistics, ReLU."""

    def __init__(self, channels: int, out: int, kernel: Kernel, *, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    """Average 3 x 3 pixels; the padding does not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class Square(nn.Module):
    """Block on 35 x 35: 1 x 1, 5 x 5, two 3 x 3, and pooling (figure 5 of the paper)."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(channels, 64, 1)
        self.branch5x5_1 = Unit(channels, 48, 1)
        self.branch5x5_2 = Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(channels, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class Shrink(nn.Module):
    """Block from 35 x 35 to 17 x 17."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = Unit(channels, 64, 1)
        self.branch3x3dbl_2 = Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class Factorised(nn.Module):
    """Block on 17 x 17: 7 x 7 convolutions as rows and columns (figure 6 of the paper)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        row: dict[str, Kernel] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, Kernel] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = Unit(channels, 192, 1)
        self.branch7x7_1 = Unit(channels, width, 1)
        self.branch7x7_2 = Unit(width, width, row["kernel"], padding=row["padding"])
        self.branch7x7_3 = Unit(width, 192, column["kernel"], padding=column["padding"])
        self.branch7x7dbl_1 = Unit(channels, width, 1)
        self.branch7x7dbl_2 = Unit(width, width, column["kernel"], padding=column["padding"])
        self.branch7x7dbl_3 = Unit(width, width, row["kernel"], padding=row["padding"])
        self.branch7x7dbl_4 = Unit(width, width, column["kernel"], padding=column["padding"])
        self.branch7x7dbl_5 = Unit(width, 192, row["kernel"], padding=row["padding"])
        self.branch_pool = Unit(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class ShrinkAgain(nn.Module):
    """Block from 17 x 17 to 8 x 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Unit(channels, 192, 1)
        self.branch3x3_2 = Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Unit(channels, 192, 1)
        self.branch7x7x3_2 = Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], 1)


class Wide(nn.Module):
    """Block on 8 x 8 (figure 7 of the paper); the network's two such blocks pool differently."""

    def __init__(self, channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = Unit(channels, 320, 1)
        self.branch3x3_1 = Unit(channels, 384, 1)
        self.branch3x3_2a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Unit(channels, 448, 1)
        self.branch3x3dbl_2 = Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Unit(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Unit(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Unit(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self.pool(x))]
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """A network from images `(B, 1 or 3, Y, X)` in 0..1 to features `(B, 2048)`; load it with `load_inception`.

    `fc`, the classifier over 1008 classes, belongs to the published weights and does not contribute to the features.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b = Square(192, 32)
        self.Mixed_5c = Square(256, 64)
        self.Mixed_5d = Square(288, 64)
        self.Mixed_6a = Shrink(288)
        self.Mixed_6b = Factorised(768, 128)
        self.Mixed_6c = Factorised(768, 160)
        self.Mixed_6d = Factorised(768, 160)
        self.Mixed_6e = Factorised(768, 192)
        self.Mixed_7a = ShrinkAgain(768)
        self.Mixed_7b = Wide(1280, _average)
        self.Mixed_7c = Wide(2048, _largest)
        self.fc = nn.Linear(FEATURES, 1008)
        self.eval()

    def train(self, mode: bool = True) -> InceptionV3:
        """Stay in evaluation mode: this network does not learn."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of grey or RGB images in 0..1, of any size."""
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=False)
        return self.pooled(2 * x - 1)

    def pooled(self, x: Tensor) -> Tensor:
        """Return the features of images in -1..1 without resizing; they need at least 75 x 75 pixels."""
        for name, block in self.named_children():
            if name == "fc":
                break
            x = block(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, stride=2)
        return x.mean((2, 3))
