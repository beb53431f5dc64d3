"""Settings of the task cyclegan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from vol2vol.errors import BadInput
from vol2vol.protocol import PAIR, Need
from vol2vol.tasks.base import NetworkSettings, TaskSettings
from vol2vol.tasks.stitching import StitchingSettings, check_channels


class CycleGANSettings(TaskSettings):
    """The settings of a cycleGAN: networks, losses and their weights."""

    name: Literal["cyclegan"] = "cyclegan"
    """The task."""
    generator: NetworkSettings = NetworkSettings(name="unet")
    """Both generators."""
    critic: NetworkSettings = NetworkSettings(name="patchgan")
    """Both critics."""
    gan: Literal["lsgan", "vanilla", "hinge"] = "lsgan"
    """The adversarial loss; the paper's is lsgan."""
    difference: Literal["l1", "l2"] = "l1"
    """How cycle and identity terms compare voxels: mean absolute, or mean squared difference."""
    lambda_cycle: float = Field(default=10.0, ge=0)
    """Weight of the cycle terms."""
    lambda_identity: float = Field(default=0.5, ge=0)
    """Weight of the identity terms, in units of lambda_cycle; 0 saves their two passes."""
    ssim_cycle: float = Field(default=1.0, ge=0)
    """Weight of 1 - SSIM in the cycle terms, inside lambda_cycle; 0 leaves the difference alone."""
    ssim_forward: float = Field(default=0.01, ge=0)
    """Weight of 1 - SSIM between a patch and its translation."""
    segmenters: Mapping[Literal["source", "target"], str] = {}
    """Trained segmenters, models or runs, by the domain they were trained on: they shall see the same in a patch and in
    what comes back of it from the other domain. Only the generator of the way back learns from this."""
    lambda_segmentation: float = Field(default=2.0, ge=0)
    """Weight of each segmenter's term, binary cross-entropy."""
    noise: int = Field(default=0, ge=0)
    """Channels of noise that both generators read beside the image, drawn anew for every patch. They can decide
    what the input leaves open; in prediction they are one field over the volume."""
    loss_region: Literal["certain", "full"] = "full"
    """Where losses and critics look: `full` output as the paper's code does, or only its `certain` centre, which
    depends on no border; it shrinks twice over a cycle and asks for larger patches."""
    pool: int = Field(default=50, ge=0)
    """How many past translations per domain the critics are reminded of; 0 for none. They lie on the device and in
    every full state: twice 1.4 GB for 50 patches of 190 voxels in 3D."""
    stitching: StitchingSettings | None = None
    """Stitching-aware training (SATI), which prepares the generators for predictions by the strategy march."""

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.generator

    def needs(self) -> tuple[Need, ...]:
        """Return the two domains, which are drawn apart."""
        return Need(name="source"), Need(name="target")

    def models(self) -> Mapping[str, str]:
        """Return the segmenters."""
        return {str(domain): path for domain, path in self.segmenters.items()}

    @property
    def stitched(self) -> tuple[str, ...]:
        """The directions whose generators learn to continue their own output."""
        if self.stitching is None:
            return ()
        return ("forward", "backward") if self.stitching.both else ("forward",)

    def reads(self, channels: Mapping[str, int]) -> dict[str, int]:
        """Return how many channels the generator of each direction reads, those of noise included.

        Where a domain is grey and the other is not, both read as many as the wider one has, if they are shown both
        domains (identity terms, stitching). Raises `BadInput` where domains cannot be shown or compared like that.
        """
        source, target = channels["source"], channels["target"]
        if self.stitching is not None:
            check_channels(source, target)
        wrong = {"lambda_identity": 1 not in (source, target), "ssim_forward": True}
        named = [name for name, is_wrong in wrong.items() if getattr(self, name) > 0 and is_wrong]
        if source != target and named:
            cure = " ".join(f"task.{name}=0" for name in named)
            raise BadInput(f"{source} source and {target} target channels cannot be compared: set {cure}")
        both = self.lambda_identity > 0 or self.stitching is not None
        wide = max(source, target)
        return {d: (wide if both else channels[start]) + self.noise for d, (start, _) in PAIR.items()}
