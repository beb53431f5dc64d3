"""Settings of augmentation: random changes of a patch in geometry, appearance and content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, exp
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.protocol import Need

STEEPEST = 0.4
"""Maximum amplitude of an elastic deformation, relative to its length, at which the image cannot fold over.

The bound is 1 / 2.479 for cubic B-splines in 3D (Choi and Lee 2000, Graphical Models 62).
"""
INTENSITIES = ("contrast", "brightness", "gamma", "blur", "shot_noise", "noise", "texture", "shade")
"""Settings that change the intensities of an image and not its geometry."""
OF_MASKS = ("paste", "texture", "shade")
"""Settings that need a mask."""


class Elastic(BaseModel):
    """A smooth random deformation: cubic B-splines between control points with random displacements."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    amplitude: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Maximum displacement along each axis; 0 for no deformation. The root mean square is 0.28 of it in 2D, 0.19 in
    3D."""
    length: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    """Distance between control points; structures that are closer together move together."""
    unit: Literal["voxels", "volume"] = "voxels"
    """Unit of amplitude and length: `voxels` along the finest axis of a patch, or the length unit of each `volume`,
    such as nanometres. Both are the same physical distance along all axes, and so fewer voxels along coarser ones."""

    @model_validator(mode="after")
    def _does_not_fold(self) -> Elastic:
        if self.amplitude > STEEPEST * self.length:
            least = self.amplitude / STEEPEST
            raise ValueError(f"amplitude {self.amplitude:g} could fold the image: use a length of {least:g} or more")
        return self

    def voxels(self, sizes: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return amplitude and length in voxels along axes with these voxel sizes, which are in the volume's unit."""
        step = min(sizes) if self.unit == "voxels" else 1.0
        return [self.amplitude * step / size for size in sizes], [self.length * step / size for size in sizes]

    def margin(self, sizes: Sequence[float]) -> Shape:
        """Return how many voxels beyond its border a deformed patch may reach, along axes with these voxel sizes."""
        return tuple(ceil(n) + 1 if n else 0 for n in self.voxels(sizes)[0])


class Augment(BaseModel):
    """Bounds of the random changes of patches.

    Patches of aligned domains (an image, its mask, a second exposure) are flipped, turned, zoomed, deformed and pasted
    alike. Images are interpolated linearly; a mask keeps a voxel if it covers at least half of it; label images take
    the nearest voxel. A larger region is read where a change needs it, and is mirrored only outside the volume.
    Intensities change in the named domains, in units of the network's range and in the order texture, shade, gamma,
    contrast, brightness, blur, shot noise, noise; they are clipped to that range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    flips: tuple[Literal["z", "y", "x"], ...] = ("z", "y", "x")
    """Axes along which patches are flipped, each with a probability of one half."""
    turns: Literal["none", "isotropic", "all"] = "isotropic"
    """Rotations by right angles: `none`, in planes whose voxels are `isotropic`, or in `all` planes."""
    zoom: float = Field(default=0.0, ge=0, le=1)
    """Patches are enlarged or reduced by a factor between e^-zoom and e^zoom, the same along all axes."""
    elastic: Elastic = Elastic()
    """Smooth deformation."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """Contrast around the middle of the range is multiplied by a factor between 1 - contrast and 1 + contrast."""
    brightness: float = Field(default=0.0, ge=0)
    """Maximum shift of the brightness, up or down."""
    gamma: float = Field(default=0.0, ge=0)
    """Values are raised to a power between e^-gamma and e^gamma."""
    blur: float = Field(default=0.0, ge=0)
    """Maximum standard deviation, in voxels, of a Gaussian blur."""
    shot_noise: float = Field(default=0.0, ge=0, le=1)
    """Maximum standard deviation of Poisson noise at the upper end of the range. It falls with the square root of the
    value, to zero at the lower end."""
    noise: float = Field(default=0.0, ge=0)
    """Maximum standard deviation of Gaussian noise that is added."""
    domains: tuple[str, ...] | None = None
    """Image domains whose intensities change. The default is the domains that networks read and that no network
    outputs: the inputs of regression, pix2pix and segmentation, never their targets. In unpaired translation, networks
    output both domains, and a critic would learn the changed appearance; a denoiser would learn from the noise that is
    added. These tasks change intensities only in domains that are named here."""
    paste: float = Field(default=0.0, ge=0, le=1)
    """Fraction of patches into which the foreground of another patch is pasted (copy-paste, Ghiasi et al. 2021), at a
    random place and reduced to 0.35 to 0.9 of its size: objects become smaller while their surroundings keep their
    scale."""
    texture: float = Field(default=0.0, ge=0)
    """Inside the mask, fine contrast (of a few voxels) is multiplied by a factor between e^-texture and e^texture."""
    shade: float = Field(default=0.0, ge=0)
    """Maximum shift of the brightness inside the mask, up or down."""

    @property
    def intensities(self) -> tuple[str, ...]:
        """Return the names of the settings that change intensities and are not 0."""
        return tuple(name for name in INTENSITIES if getattr(self, name))

    def changed(self, needs: Iterable[Need], inputs: Iterable[str]) -> tuple[str, ...]:
        """Return the image domains whose intensities change; `inputs` are the domains that no network outputs.

        Raises `BadInput`, naming the setting, if there is none, or if a named domain is not an image of the task.
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
                f"data.augment.{self.intensities[0]} changes images that no network outputs, and this task has none: "
                f"name in data.augment.domains which of {_list(images)} to change anyway"
            )
        return names

    def check_masks(self, masks: int, domains: int) -> None:
        """Raise `BadInput`, naming the setting, if a change does not suit the domains that are drawn together."""
        for name in OF_MASKS:
            if getattr(self, name) and not masks:
                raise BadInput(f"data.augment.{name} needs a mask, which this task does not have: leave it out")
        if self.paste and domains > masks + 1:
            raise BadInput("data.augment.paste works for one image and its masks only: leave it out of this task")

    def room(self, patch: Shape) -> Shape:
        """Return the shape of the region that a patch at the strongest reduction shows."""
        return tuple(ceil(n * exp(self.zoom)) for n in patch)

    def shown(self, patch: Shape) -> Shape:
        """Return the shape of the region that a patch at the strongest enlargement shows."""
        return tuple(max(1, int(n * exp(-self.zoom))) for n in patch)


STILL = Augment(flips=(), turns="none")
"""No augmentation."""


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
