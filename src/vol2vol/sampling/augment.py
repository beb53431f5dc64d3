"""What a person may decide about the random changes of patches: how they lie, how they look, what they show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, exp
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need

STEEPEST = 0.4
"""Largest amplitude of an elastic deformation, in units of its length, at which nothing can fold over.

The bound is 1 / 2.479 for cubic B-splines in 3D (Choi and Lee 2000, Graphical Models 62).
"""
INTENSITIES = ("contrast", "brightness", "gamma", "blur", "shot_noise", "noise", "texture", "shade")
"""Settings that change how an image looks and not what it shows."""
OF_MASKS = ("paste", "texture", "shade")
"""Settings that need a mask."""


class Elastic(BaseModel):
    """A smooth random deformation: cubic B-splines over control points that are moved at random."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    amplitude: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Largest displacement along each axis; 0 for none. The root mean square is 0.28 of it in 2D and 0.19 in 3D."""
    length: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    """Distance between control points: what is nearer moves together."""
    unit: Literal["voxels", "volume"] = "voxels"
    """What both are measured in: `voxels` along the finest axis of a patch, or the unit of each `volume`, such as
    nanometres. Along other axes both are the same distance in space, so fewer voxels."""

    @model_validator(mode="after")
    def _does_not_fold(self) -> Elastic:
        if self.amplitude > STEEPEST * self.length:
            least = self.amplitude / STEEPEST
            raise ValueError(f"amplitude {self.amplitude:g} would fold things over: use a length of {least:g} or more")
        return self

    def voxels(self, sizes: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return amplitude and length in voxels along axes whose voxels have these sizes, in the volume's unit."""
        step = min(sizes) if self.unit == "voxels" else 1.0
        return [self.amplitude * step / size for size in sizes], [self.length * step / size for size in sizes]

    def margin(self, sizes: Sequence[float]) -> Shape:
        """Return how many voxels beyond its border a deformed patch may show, along axes of these voxel sizes."""
        return tuple(ceil(n) + 1 if n else 0 for n in self.voxels(sizes)[0])


class Augment(BaseModel):
    """How far patches are changed at random.

    What is drawn at one place (an image, its mask, a second exposure) is flipped, turned, zoomed, deformed and pasted
    alike: images are interpolated linearly, masks have a voxel where they fill at least half of it, label images take
    the nearest one. The region that is read is as much larger as the change needs, and is mirrored only beyond the
    volume. Intensities change in the domains that are named, in units of the network's range and in the order texture,
    shade, gamma, contrast, brightness, blur, shot noise, noise, and are clipped to that range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    flips: tuple[Literal["z", "y", "x"], ...] = ("z", "y", "x")
    """Axes along which every second patch is flipped."""
    turns: Literal["none", "isotropic", "all"] = "isotropic"
    """Turns by right angles: `none`, in planes whose voxels are `isotropic`, or in `all` planes."""
    zoom: float = Field(default=0.0, ge=0, le=1)
    """Things look larger or smaller by a factor between e^-this and e^this, along all axes alike."""
    elastic: Elastic = Elastic()
    """A smooth deformation."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """Contrast is multiplied by a factor within 1 +- this, around the middle of the range."""
    brightness: float = Field(default=0.0, ge=0)
    """Brightness moves by up to this."""
    gamma: float = Field(default=0.0, ge=0)
    """Values are raised to a power between e^-this and e^this."""
    blur: float = Field(default=0.0, ge=0)
    """A Gaussian of a standard deviation up to this many voxels goes over the patch."""
    shot_noise: float = Field(default=0.0, ge=0, le=1)
    """Poisson noise: its standard deviation is up to this at the upper end of the range and falls towards the lower
    end, where there is none, as the square root of the value."""
    noise: float = Field(default=0.0, ge=0)
    """Normal noise of a standard deviation up to this is added."""
    domains: tuple[str, ...] | None = None
    """Image domains whose intensities change. By default those that networks read and none makes: the inputs of
    regression, pix2pix and segmentation, never their targets. Of unpaired images both domains are made, so that a
    critic would take their changes for the look to be learnt, and a denoiser would learn from noise that is added:
    there, domains are changed only where they are named."""
    paste: float = Field(default=0.0, ge=0, le=1)
    """Share of patches that what the mask shows in another patch is pasted into (Ghiasi et al. 2021, copy-paste),
    reduced to 0.35 to 0.9 of its size, anywhere: things become smaller while all around them keeps its scale."""
    texture: float = Field(default=0.0, ge=0)
    """Inside the mask, contrast finer than some voxels is multiplied by a factor between e^-this and e^this."""
    shade: float = Field(default=0.0, ge=0)
    """Inside the mask, brightness moves by up to this."""

    @property
    def intensities(self) -> tuple[str, ...]:
        """Return which settings that change intensities are not 0."""
        return tuple(name for name in INTENSITIES if getattr(self, name))

    def changed(self, needs: Iterable[Need], inputs: Iterable[str]) -> tuple[str, ...]:
        """Return the image domains whose intensities change; `inputs` are those that are read and not made.

        Raises `BadInput`, naming the setting, where there is none or one is not an image of the task.
        """
        needs = list(needs)
        if not any(need.kind == "mask" for need in needs):
            self.check_masks(masks=0, domains=len(needs))
        images = [need.name for need in needs if need.kind == "image"]
        if self.domains is not None:
            if strange := [name for name in self.domains if name not in images]:
                raise BadInput(f"data.augment.domains: {strange[0]} is not an image domain here: use {_list(images)}")
            return self.domains
        names = tuple(name for name in images if name in set(inputs))
        if self.intensities and not names:
            raise BadInput(
                f"data.augment.{self.intensities[0]} changes images that are read and not made, and this task has "
                f"none: name in data.augment.domains which of {_list(images)} to change anyway"
            )
        return names

    def check_masks(self, masks: int, domains: int) -> None:
        """Raise `BadInput`, naming the setting, where the domains that are drawn together do not allow a change."""
        for name in OF_MASKS:
            if getattr(self, name) and not masks:
                raise BadInput(f"data.augment.{name} needs a mask, which the task has not: leave it out")
        if self.paste and domains > masks + 1:
            raise BadInput("data.augment.paste changes an image and its masks alone: leave it out of this task")

    def room(self, patch: Shape) -> Shape:
        """Return the voxels of which the smallest things make a patch."""
        return tuple(ceil(n * exp(self.zoom)) for n in patch)

    def shown(self, patch: Shape) -> Shape:
        """Return the voxels that a patch shows where things are largest."""
        return tuple(max(1, int(n * exp(-self.zoom))) for n in patch)


STILL = Augment(flips=(), turns="none")
"""Patches as they lie."""


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
