"""Check that the patch size of a recipe suits its task and fits into all volumes; if not, find a size that does."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.recipes.recipe import Recipe
from vol2vol.tasks import Task
from vol2vol.volumes import Volume


def check_patch(task: Task, settings: Recipe, volumes: Sequence[Volume]) -> None:
    """Raise `BadInput` if the recipe's patch size does not suit the task or does not fit into every volume.

    The message names the largest size that does both or, if there is none, the smallest size that suits the task. No
    voxels are read.
    """
    patch = settings.patch
    sections = [(volume.path, sizes) for volume in volumes for sizes in sections_of(volume.spatial, settings)]
    room = tuple(map(min, *(sizes for _, sizes in sections), patch))
    if room == patch and _works(task, patch):
        return
    footprint = nets.footprint(next(iter(task.translations().values())).network)
    smallest = footprint.minimum
    while not _works(task, smallest):
        smallest = tuple(map(sum, zip(smallest, footprint.period, strict=True)))
    full = ", or task.loss_region=full" if getattr(settings.task, "loss_region", "full") == "certain" else ""
    for path, sizes in sections:
        if any(n < s for n, s in zip(sizes, smallest, strict=True)):
            raise BadInput(
                f"{path} has {sizes} voxels, too few for patches of {patch}, and the smallest that work with this "
                f"network and these losses are {smallest}: use a larger volume, fewer levels of the network{full}"
            )
    if room == patch:
        task.check(patch)
    path, sizes = next(section for section in sections if any(n < p for n, p in zip(section[1], patch, strict=True)))
    if isinstance(settings.data.patch, int):
        room = (min(room),) * settings.dims
    wide = map(max, room, smallest)
    best = tuple(footprint.admissible(n, axis, at_least=False) for axis, n in enumerate(wide))
    raise BadInput(
        f"{path} has {sizes} voxels, too few for patches of {patch}: the largest that works with all volumes is {best}"
    )


def _works(task: Task, patch: Shape) -> bool:
    try:
        task.check(patch)
    except BadInput:
        return False
    return True


def sections_of(spatial: Shape, settings: Recipe) -> list[Shape]:
    """Return the shape of a volume along the axes of a patch, for each orientation of the patches."""
    if settings.dims == 3:
        return [spatial]
    return [tuple(n for axis, n in zip("zyx", spatial, strict=True) if axis != name) for name in settings.data.planes]
