"""Seconds an image of circles takes to make and to judge, against the plain way of doing both.

    python -m benchmarks.circles                 images of 2048 x 2048, and the plain ways on 512 x 512
    python -m benchmarks.circles --ceiling 20    errors where tiles agree by chance

The plain way to place circles paints each candidate into an image of its own and looks for common pixels; the plain way
to judge floods the whole image once per circle. Both are timed on a small image, where the fast ways are timed, too.
Writes benchmarks/results/circles.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.machine import best_of, describe, save
from vol2vol.geometry import Box
from vol2vol.metrics.objects.colours import Colouring, colour_errors, coloured_objects
from vol2vol.phantoms import Circles, Picture, write_circles
from vol2vol.volumes import open_volume


def plain_labels(how: Circles) -> np.ndarray:
    """Return a label image by rejection: every candidate is a whole image, compared pixel by pixel."""
    rng, (height, width) = np.random.default_rng(how.seed), how.shape
    y, x = np.indices((height, width), dtype=np.float64)
    labels = np.zeros((height, width), np.uint16)
    number = 0
    while number < how.objects:
        inside = (y - rng.integers(height)) ** 2 + (x - rng.integers(width)) ** 2 < (how.diameter / 2) ** 2
        if not (labels[inside] > 0).any():
            number += 1
            labels[inside] = number
    return labels


def plain_colours(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the number of colours of each circle of `(C, Y, X)`, by one pass over the whole image per circle."""
    disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    means = [ndimage.correlate(np.where(labels > 0, c, 0).astype(float), disc / disc.sum()) for c in image]
    edge = ndimage.minimum_filter(labels, footprint=disc) != ndimage.maximum_filter(labels, footprint=disc)
    counts = []
    for label in range(1, int(labels.max()) + 1):
        own = (labels == label) & ~edge
        parts = [ndimage.label((mean > 60) & own, np.ones((3, 3)))[0] for mean in means]
        counts.append(sum(np.bincount(part.ravel())[1:].max(initial=0) > 30 for part in parts))
    return np.array(counts)


def disagreeing(labels: np.ndarray, tile: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image `(3, Y, X)` of labels `(Y, X)` whose circles take a colour of their own in each square tile."""
    image = np.zeros((3, *labels.shape), np.uint8)
    for y in range(0, labels.shape[0], tile):
        for x in range(0, labels.shape[1], tile):
            part = slice(y, y + tile), slice(x, x + tile)
            colours = np.append(-1, rng.integers(0, 3, int(labels.max())))[labels[part]]
            for channel in range(3):
                image[(channel, *part)][colours == channel] = 255
    return image


def ceiling(images: int) -> dict[str, Any]:
    """Return the share of published circles with several colours where tiles of 512 agree by chance, with intervals."""
    rng, how = np.random.default_rng(1), Circles(noise="none")
    ways = {"any pixel": Colouring(least=0, smoothing=0.0, margin=0.0), "as published": Colouring()}
    found: dict[str, list[Any]] = {name: [] for name in ways}
    for number in range(images):
        labels = Picture(how, "target", number).labels(Box.of(how.spatial))
        image = disagreeing(labels[0, 0], 512, rng)[:, None]
        volumes = [open_volume(array, axes="czyx", voxel_size=(1, 1, 1)) for array in (image, labels)]
        for name, way in ways.items():
            found[name].append(coloured_objects(*volumes, way))
    intervals = {name: colour_errors(measured)["multi"].interval() for name, measured in found.items()}
    return {name: {"multi": each.value, "low": each.low, "high": each.high} for name, each in intervals.items()}


def seconds(run: Callable[[], Any]) -> dict[str, float]:
    """Return wall time and processor time of a call, the shortest of three each: others may use the machine, too."""
    worked = []

    def timed() -> None:
        began = time.process_time()
        run()
        worked.append(time.process_time() - began)

    return {"wall": best_of(timed), "processor": min(worked)}


def times(how: Circles) -> dict[str, dict[str, float]]:
    """Return the seconds of making, writing and judging one coloured image."""
    box, number = Box.of(how.spatial), iter(range(1000))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_circles(folder, how, images=1, tests=0)
        image, labels = (open_volume(paths[name][0]) for name in ("target", "target-labels"))
        return {
            "place": seconds(lambda: Picture(how, "target", next(number)).bodies),
            "make white": seconds(lambda: Picture(how, "source", next(number)).white(box)),
            "make coloured": seconds(lambda: Picture(how, "target", next(number)).coloured(box)),
            "write white and coloured, each with labels": seconds(
                lambda: write_circles(Path(folder) / str(next(number)), how, images=1, tests=0)
            ),
            "judge": seconds(lambda: coloured_objects(image, labels)),
        }


def against_plain(how: Circles) -> dict[str, Any]:
    """Return the processor seconds of the plain ways on an image, and how many times ours are faster."""
    box, picture = Box.of(how.spatial), Picture(how, "target", 0)
    image, labels = picture.coloured(box), picture.labels(box)
    volumes = [open_volume(array, axes="czyx") for array in (image, labels)]
    counts = plain_colours(image[:, 0], labels[0, 0])
    assert (coloured_objects(*volumes).colours == counts).all(), "both ways must count the same colours"
    plain = {
        "labels": seconds(lambda: plain_labels(how))["processor"],
        "judge": seconds(lambda: plain_colours(image[:, 0], labels[0, 0]))["processor"],
    }
    fast = {
        "labels": seconds(lambda: Picture(how, "target", 0).labels(box))["processor"],
        "judge": seconds(lambda: coloured_objects(*volumes))["processor"],
    }
    return {"plain": plain, "fast": fast, "times faster": {name: plain[name] / fast[name] for name in plain}}


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=512, help="side of the image for the plain ways")
    parser.add_argument("--ceiling", type=int, default=0, help="images of tiles that agree by chance, instead of times")
    options = parser.parse_args()
    if options.ceiling:
        name = f"tiles of 512 that agree by chance, {options.ceiling} images"
        print(save("circles", {"machine": describe(), name: ceiling(options.ceiling)}))
        return
    small = options.small
    found = {
        "machine": describe(),
        "2048 x 2048, seconds": times(Circles()),
        f"{small} x {small}": against_plain(Circles(shape=(small, small))),
    }
    print(save("circles", found), found)


if __name__ == "__main__":
    main()
