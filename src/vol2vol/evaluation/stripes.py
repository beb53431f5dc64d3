"""Evaluate predicted images of striped objects: in how many the stripes do not go on as they began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from vol2vol.errors import BadInput
from vol2vol.evaluation.compare import measured, plain
from vol2vol.geometry import Box
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.objects.instances import stored_labels
from vol2vol.metrics.objects.stripes import Striped, Striping, striped_object
from vol2vol.progress import counted
from vol2vol.volumes import Volume


def evaluate_stripes(
    outputs: Sequence[Volume], labels: Sequence[Volume], how: Striping, *, border: bool = True
) -> dict[str, Any]:
    """Return the shares of striped objects whose colour or stripes change, and of those without stripes, 0 to 1.

    `labels` are the label images of the outputs, in their order. Intervals are those of a bootstrap over images.
    `changed` is the share of objects with stripes where they do not go on; `colour changed` and `stripes changed` are
    its parts, which may both hold for an object; `unstriped` is the share of all objects that have none. Objects too
    small to have an inside are left out; without `border` so is whatever touches the border of an image. Memory is that
    of a label image, and of the box around the largest object.

    Raises `BadInput` where numbers or shapes of outputs and labels differ, or there is no object to judge.
    """
    if len(outputs) != len(labels) or not outputs:
        raise BadInput(f"{len(outputs)} outputs and {len(labels)} label images: give the labels of each output")
    pairs = zip(outputs, labels, strict=True)
    images = [striped_objects(output, numbered, how, border=border) for output, numbered in pairs]
    if not any(images):
        raise BadInput(f"{labels[0].path} has no object that is wider than a period of {how.period:g} voxels")
    counts = np.array([_counts(image, how) for image in images], np.float64)
    names = {"changed": (0, 4), "colour changed": (1, 4), "stripes changed": (2, 4), "unstriped": (3, 5)}
    errors = {
        name: measured(Blockwise(name=name, sums=counts[:, list(of)], combine=_share)) for name, of in names.items()
    }
    result: dict[str, Any] = plain(
        {**errors, "images": len(images), "objects": int(counts[:, 5].sum()), "measured": how.model_dump()}
    )
    return result


def striped_objects(output: Volume, labels: Volume, how: Striping, *, border: bool = True) -> list[Striped]:
    """Return what is known of the stripes of each object of an image that has an inside.

    Raises `BadInput` where the shapes differ, `labels` does not hold integers of one channel, or a voxel is not finite.
    """
    if output.spatial != labels.spatial:
        raise BadInput(
            f"{output.path} has {output.spatial} voxels and {labels.path} {labels.spatial}: "
            "give the labels of this image"
        )
    numbers = stored_labels(labels)(Box.of(labels.spatial))
    names, place = np.unique(numbers, return_inverse=True)
    place = place.reshape(numbers.shape) + 1
    parts = [(place[part] == n, part) for n, part in enumerate(ndimage.find_objects(place), 1) if names[n - 1]]
    if not border:
        parts = [(mask, part) for mask, part in parts if not _touches(part, labels.spatial)]
    objects = [_measured(output, mask, part, how) for mask, part in counted(parts, "measuring objects", len(parts))]
    return [found for found in objects if found.inner]


def _touches(part: tuple[slice, ...], spatial: tuple[int, ...]) -> bool:
    return any(n > 1 and (s.start == 0 or s.stop == n) for s, n in zip(part, spatial, strict=True))


def _measured(output: Volume, mask: np.ndarray, part: tuple[slice, ...], how: Striping) -> Striped:
    image = output.read(Box(tuple(s.start for s in part), tuple(s.stop for s in part)))
    if not np.isfinite(image).all():
        raise BadInput(f"{output.path} holds NaN or infinity: predict it again")
    full = float(np.iinfo(image.dtype).max) if image.dtype.kind in "iu" else 1.0
    flat = output.spatial[0] == 1
    share = image.astype(np.float32) / np.float32(full)
    return striped_object(share[:, 0] if flat else share, mask[0] if flat else mask, how)


def _counts(objects: Sequence[Striped], how: Striping) -> list[int]:
    """Return how many change, change colour, change stripes, have none, have some, and are judged."""
    seen = [each for each in objects if each.visible(how)]
    return [
        sum(each.changed(how) for each in seen),
        sum(each.other_colour > how.least for each in seen),
        sum(each.other_phase > how.least for each in seen),
        len(objects) - len(seen),
        len(seen),
        len(objects),
    ]


def _share(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = sums[..., 0] / sums[..., 1]
    return result
