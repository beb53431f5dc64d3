"""CUT (contrastive unpaired translation, Park et al. 2020): one generator, one critic, and no way back.

In place of cycleGAN's way back, what lies at a place of the output must resemble what lay there in the input, more than
what lies elsewhere, to the generator's own encoder (`contrast`). FastCUT: `identity: false` and `lambda_nce: 10`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.nets import repeated
from vol2vol.nets.norm import showing
from vol2vol.protocol import Need, Translation, between
from vol2vol.tasks.base import Batch, NetworkSettings, TaskSettings, Turn, alone, detached
from vol2vol.tasks.contrast import Encoder, Projections, draw_places, patch_nce
from vol2vol.tasks.critics import Critics, fooled, judged
from vol2vol.tasks.regions import Image, Region, refuse_patch
from vol2vol.tasks.stitching import ENCODED, Stitching, StitchingSettings, check_channels


class CUTSettings(TaskSettings):
    """The settings of a CUT: networks, losses and their weights."""

    name: Literal["cut"] = "cut"
    """The task."""
    generator: NetworkSettings = NetworkSettings(name="resnet")
    """The network that predicts, whose encoder compares input and output."""
    critic: NetworkSettings = NetworkSettings(name="patchgan")
    """The critic."""
    gan: Literal["lsgan", "vanilla", "hinge"] = "lsgan"
    """The adversarial loss."""
    lambda_nce: float = Field(default=1.0, gt=0)
    """Weight of the contrast between input and output; FastCUT's is 10."""
    identity: bool = True
    """Whether images of the target, which the generator should leave alone, are contrasted with its output, too; both
    contrasts are then averaged. FastCUT saves this."""
    layers: int = Field(default=4, ge=1)
    """Convolutions of the encoder, evenly spread, whose features are contrasted besides the voxels themselves."""
    places: int = Field(default=256, ge=2)
    """Places per image and layer."""
    features: int = Field(default=256, ge=1)
    """Length of the vectors that are contrasted."""
    temperature: float = Field(default=0.07, gt=0)
    """By what similarities are divided: the lower, the more the most similar places count."""
    loss_region: Literal["certain", "full"] = "full"
    """Where losses and critic look: all output, or only its `certain` centre, which depends on no border."""
    stitching: StitchingSettings | None = None
    """Stitching-aware training (SATI), which prepares the generator for predictions by the strategy march."""

    @model_validator(mode="after")
    def _has_one_direction(self) -> CUTSettings:
        if self.stitching is not None:
            self.stitching.check_direction(self.name)
        return self

    @property
    def predicts(self) -> NetworkSettings:
        """The network that predicts."""
        return self.generator

    def needs(self) -> tuple[Need, ...]:
        """Return the two domains, which are drawn apart."""
        return Need(name="source"), Need(name="target")


class CUT(nn.Module):
    """A generator against a critic.

    `dims` is 2 for images or 3 for volumes; `channels` counts those of `source` and `target`, one each by default;
    `seed` decides initial weights, and the global random state is left as it was.
    """

    Settings = CUTSettings
    criterion = "nce"

    def __init__(
        self, settings: CUTSettings, *, dims: int = 2, channels: Mapping[str, int] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.settings, self._channels = settings, {"source": 1, "target": 1, **(channels or {})}
        settings.generator.check()
        source, target = self._channels["source"], self._channels["target"]
        check_channels(source, target, "task cut")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            about = {"in_channels": max(source, target), "out_channels": target, **settings.generator.arguments}
            self.generator = nets.build(settings.generator.name, dims=dims, **about)
            self.critics = Critics(settings.critic, dims=dims, channels=target)
            self._encoder = Encoder(self.generator, settings.layers)
            self.projections = Projections(self._encoder.channels, settings.features)
        self._footprint, self._certain = nets.footprint(self.generator), settings.loss_region == "certain"
        both = nn.ModuleDict({"network": self.generator, "projections": self.projections})
        self.players: Mapping[str, nn.Module] = {"generator": both, "critics": self.critics}
        wanted = settings.stitching
        self._stitching = wanted and Stitching(wanted, self.generator, self._footprint, certain=self._certain)
        self._offset = ENCODED if wanted and wanted.encoded else 0.0

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the generator's turn, then the critic's, on the same translations."""
        s = self.settings
        x, y = Image.of(batch["source"]), Image.of(batch["target"])
        with alone(self.players, "generator"):
            gx = x.through(self.generator, self._footprint)
            outputs = [gx]
            terms = {"gan": self._fool(gx), "nce": self._contrast(x, gx)}
            if s.identity:
                shown = y.shifted(self._offset)
                with showing("identity"):
                    again = shown.through(self.generator, self._footprint)
                terms["nce_identity"] = self._contrast(shown, again)
            if self._stitching:
                continued = self._stitching.continued(x, gx)
                terms["stitch"] = continued.loss
                if self._stitching.settings.adversarial:
                    outputs.append(continued.image)
                    terms["gan_stitched"] = self._fool(continued.image)
            loss = torch.stack([self._weight(name) * term for name, term in terms.items()]).sum()
            yield Turn("generator", loss, {"generator": loss.detach(), **detached(terms)})
        with alone(self.players, "critics"):
            loss = torch.stack([self._judge(y, image) for image in outputs]).mean()
            yield Turn("critics", loss, {"critics": loss.detach()})

    def _weight(self, term: str) -> float:
        if term == "stitch":
            assert self._stitching
            return self._stitching.weight
        nce = self.settings.lambda_nce / (2 if self.settings.identity else 1)
        return nce if term.startswith("nce") else 1.0

    def _contrast(self, shown: Image, output: Image) -> Tensor:
        """Return how far places of the output are from resembling their own of the input, averaged over layers.

        The encoder sees output as tiles show it.
        """
        region = Region(*[output.region.part(self._certain)] * 2).fitted(self._footprint)
        channels = self._encoder.channels[0]
        images = (shown.within(region.box), output.shifted(self._offset).within(region.box))
        before, after = (repeated(image, channels) for image in images)
        with showing("identity"):  # what the network will not see in prediction alone
            with torch.no_grad():
                features = self._encoder.features(before)
                places = draw_places(features, self.settings.places)
                own = self.projections(features, places)
            vectors = zip(self.projections(self._encoder.features(after), places), own, strict=True)
        return torch.stack([patch_nce(q, k, self.settings.temperature) for q, k in vectors]).mean()

    def _fool(self, fake: Image) -> Tensor:
        return fooled(self.critics(fake.within(fake.region.part(self._certain))), self.settings.gan)

    def _judge(self, real: Image, fake: Image) -> Tensor:
        box = fake.region.part(self._certain)
        return judged(self.critics(real.within(box)), self.critics(fake.detach().within(box)), self.settings.gan)

    def set_progress(self, share: float) -> None:
        """Note which share of training is done: the weight of the stitching loss may grow with it."""
        if self._stitching:
            self._stitching.progress = share

    def translations(self) -> dict[str, Translation]:
        """Return the generator as `forward`."""
        translation = between({"forward": self.generator})["forward"]
        return {"forward": replace(translation, applied=self._stitching.applied) if self._stitching else translation}

    def context(self) -> tuple[Shape, Shape]:
        """Return nothing: no patch is compared with one of the other domain."""
        return (0,) * self._footprint.dims, (0,) * self._footprint.dims

    def channels(self) -> dict[str, int]:
        """Return the number of channels of `source` and `target`."""
        return dict(self._channels)

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the nearest patch that works, unless losses and critic have enough to look at."""
        if self._stitching:
            self._stitching.check(patch)

        def enough(shape: Shape) -> bool:
            try:
                once = Region.of(shape).fitted(self._footprint).through(self._footprint)
                boxes = [once.part(self._certain)]
                Region(*boxes * 2).fitted(self._footprint)
            except BadInput:
                return False
            if self._stitching:
                again = self._stitching.seen(once)
                if again is None:
                    return False
                boxes.append(again)
            return all(box.size > 0 and self.critics.accept(box.shape) for box in boxes)

        why = f"leaves the losses too few voxels (loss_region {self.settings.loss_region})"
        refuse_patch(patch, self._footprint, enough, why)
