"""The schema of a study's domains: files or phantoms, their parts, and what is done to them first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from vol2vol.metrics.measures.settings import Settings
from vol2vol.phantoms import DOMAINS, Circles
from vol2vol.preparation import Step

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""A name that becomes part of file names."""
PartName = Literal["train", "translator_train", "validate", "test"]


class Phantom(Settings):
    """Synthetic tissue, whose true image with every appearance is known."""

    look: str = "rat"
    """Appearance of the image: rat or human."""
    seed: int = 0
    """Which tissue; different seeds give independent tissue."""
    shape: tuple[int, int, int] = (64, 192, 192)
    """Shape `(Z, Y, X)` in voxels."""

    @model_validator(mode="after")
    def _known(self) -> Phantom:
        if self.look not in DOMAINS:
            raise ValueError(f"look {self.look!r} is unknown: use one of {', '.join(DOMAINS)}")
        return self


class CirclesPhantom(Settings):
    """Circles or spheres that may have any of three colours (see `vol2vol phantom circles`): one input, many right
    outputs. Images are the planes of a volume; of spheres there is one volume."""

    circles: Circles
    """What is drawn."""
    coloured: bool = False
    """In colour, as the target; otherwise white, as the source."""
    images: int = Field(default=1, ge=1)
    """Images to train on."""
    tests: int = Field(default=1, ge=1)
    """Images to test on, none of which is trained on."""

    @model_validator(mode="after")
    def _volumes_stand_alone(self) -> CirclesPhantom:
        if self.circles.dims == 3 and (self.images, self.tests) != (1, 1):
            raise ValueError("spheres are drawn in one volume: leave out images and tests")
        return self

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 3 if self.coloured else 1

    @property
    def planar(self) -> bool:
        """Whether each plane of the volume is an image."""
        return self.circles.dims == 2


class Degraded(Settings):
    """Degrade an image, so that restoring it has a known answer: grey = offset + gain * blurred + noise."""

    blur: float = Field(default=0.0, ge=0)
    """Standard deviation of a Gaussian, in voxels."""
    gain: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation, in grey levels."""


class Part(Settings):
    """A part of a domain: a region of the domain's files, or files of its own."""

    box: str = ""
    """Region z0:z1,y0:y1,x0:x1 in voxels; bounds and trailing axes may be left out."""
    image: str = ""
    mask: str = ""
    """Paths of the image and the mask, if they are not the domain's."""


class Domain(Settings):
    """Volumes with one appearance; paths are relative to the folder `data` of the study."""

    image: str = ""
    """Path or address (s3://, http://) of the image; give either this or `phantom`."""
    mask: str = ""
    """Path of its mask (0 is background); without one, the domain cannot have segmenters."""
    phantom: Phantom | CirclesPhantom | None = None
    """Generated tissue, with its mask and its truth with the appearance of every other phantom; or circles, with their
    labels."""
    steps: tuple[Step, ...] = ()
    """Steps of `vol2vol prepare` that are applied first; masks are binarised, cropped and resampled."""
    degraded: Degraded | None = None
    """Degradation that is then applied to the image."""
    truths: Mapping[Name, str] = {}
    """Paths of volumes that show the same tissue with the appearance of another domain, by that domain's name."""
    more: tuple[str, ...] = ()
    """Paths of further images without masks, on which translators are trained too."""
    parts: Mapping[PartName, Part] = {}
    """Networks are trained on `train` (translators on `translator_train`, where it is given), thresholds are chosen on
    `validate`, everything is judged on `test`. A bare `z0:z1,y0:y1,x0:x1` is a box; a missing part is the whole."""
    axes: str | None = None
    """Axes of the files, if their metadata lack them."""
    voxel_size: tuple[float, float, float] | None = None
    """Voxel size `(Z, Y, X)` in `unit`, if the files' metadata lack it."""
    unit: str | None = None
    time: int | None = None
    """Index of the time point, from 0, in files with several."""

    @field_validator("parts", mode="before")
    @classmethod
    def _bare_boxes(cls, parts: Any) -> Any:
        if not isinstance(parts, dict):
            return parts
        return {name: {"box": part} if isinstance(part, str) else part for name, part in parts.items()}

    def part(self, name: PartName | None) -> Part:
        """Return a part with its files; for None, the whole domain."""
        own = self.parts.get(name, Part()) if name else Part()
        return Part(box=own.box, image=own.image or self.image, mask=own.mask or ("" if own.image else self.mask))

    @model_validator(mode="after")
    def _one_origin(self) -> Domain:
        if bool(self.image) == (self.phantom is not None):
            raise ValueError("a domain is either an image or a phantom: give one of them")
        return self
