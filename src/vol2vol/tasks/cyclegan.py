"""CycleGAN (Zhu et al. 2017) with the stitching paper's terms: structural similarity, and losses that know the border.

In the code `x` is a patch of the source and `y` one of the target, `g` translates forward and `f` backward.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from vol2vol import losses, nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape
from vol2vol.nets.norm import Shown, showing
from vol2vol.protocol import PAIR, Translation, between
from vol2vol.tasks.base import Batch, NetworkSettings, Turn, alone, detached
from vol2vol.tasks.cyclegan_settings import CycleGANSettings
from vol2vol.tasks.pool import ImagePool
from vol2vol.tasks.regions import Image, Region, refuse_patch
from vol2vol.tasks.stitching import ENCODED, Stitching, StitchingSettings


class CycleGAN(nn.Module):
    """Two generators against two critics.

    `dims` is 2 for images or 3 for volumes; `channels` counts those of `source` and `target` (one each by default);
    `models` are frozen segmenters, from a domain's range to probabilities; `seed` decides initial weights and pools,
    and the global random state is left as it was. Raises `BadInput` where the domains differ in channels and a term
    compares them.
    """

    Settings = CycleGANSettings
    criterion = "cycle"

    def __init__(
        self,
        settings: CycleGANSettings,
        *,
        dims: int = 2,
        channels: Mapping[str, int] | None = None,
        models: Mapping[str, nn.Module] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.settings, self._channels = settings, {"source": 1, "target": 1, **(channels or {})}
        settings.generator.check()
        settings.critic.check()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._generators, self._critics = (
                _generators(settings, dims, self._channels),
                _critics(settings.critic, dims, self._channels),
            )
        self._footprints = {direction: nets.footprint(net) for direction, net in self._generators.items()}
        stitching = settings.stitching
        self._stitching = {d: self._stitched(stitching, d) for d in settings.stitched} if stitching else {}
        pooled = [*self._critics, *(f"{PAIR[direction][1]}_stitched" for direction in self._stitching)]
        self.pools = nn.ModuleDict({name: ImagePool(settings.pool, seed + i) for i, name in enumerate(pooled)})
        self.generators = nn.ModuleList(self._generators.values())
        self.critics = nn.ModuleList(self._critics.values())
        self.players: Mapping[str, nn.Module] = {"generators": self.generators, "critics": self.critics}
        self.segmenters = nn.ModuleDict(models or {}).requires_grad_(False)
        self._seen = {domain: nets.footprint(net) for domain, net in self.segmenters.items()}

    def turns(self, batch: Batch) -> Iterator[Turn]:
        """Yield the generators' turn, then the critics', on the same translations."""
        s = self.settings
        x, y = Image.of(batch["source"]), Image.of(batch["target"])
        with alone(self.players, "generators"):
            gx = self._translate("forward", x)
            fgx = self._translate("backward", gx, "cycle")
            fy = self._translate("backward", y)
            gfy = self._translate("forward", fy, "cycle")
            terms = {
                "gan_forward": self._fool("target", gx),
                "gan_backward": self._fool("source", fy),
                "cycle_source": self._cycle(x, fgx),
                "cycle_target": self._cycle(y, gfy),
            }
            if s.lambda_identity > 0:
                terms["identity_forward"] = self._identity("forward", y)
                terms["identity_backward"] = self._identity("backward", x)
            if s.ssim_forward > 0:
                terms["ssim_forward"] = self._dissimilarity(x, gx)
                terms["ssim_backward"] = self._dissimilarity(y, fy)
            for domain, patch, away in (("target", y, fy), ("source", x, gx)):
                if domain in self.segmenters:
                    terms[f"segmentation_{domain}"] = self._seen_again(domain, patch, away)
            again, more = self._continued({"forward": (x, gx), "backward": (y, fy)})
            terms |= more
            loss = torch.stack([self._weight(name) * term for name, term in terms.items()]).sum()
            terms["cycle"] = terms["cycle_source"] + terms["cycle_target"]
            yield Turn("generators", loss, {"generators": loss.detach(), **detached(terms)})
        with alone(self.players, "critics"):
            terms = {
                "critic_target": self._judge("target", y, gx, *again.get("forward", ())),
                "critic_source": self._judge("source", x, fy, *again.get("backward", ())),
            }
            loss = terms["critic_target"] + terms["critic_source"]
            yield Turn("critics", loss, {"critics": loss.detach(), **detached(terms)})

    def _weight(self, term: str) -> float:
        s = self.settings
        kind = term.partition("_")[0]
        identity = s.lambda_cycle * s.lambda_identity
        weights = {"gan": 1.0, "cycle": s.lambda_cycle, "identity": identity, "ssim": s.ssim_forward}
        if kind == "stitch":
            return self._stitching["forward"].weight
        return {**weights, "segmentation": s.lambda_segmentation}[kind]

    def _translate(self, direction: str, image: Image, what: Shown = "own") -> Image:
        network, footprint = self._generators[direction], self._footprints[direction]
        with showing(what):  # statistics of what a network will not see in prediction are kept apart
            return image.through(network, footprint, noise=self.settings.noise)

    def _pair(self, a: Image, b: Image) -> tuple[Tensor, Tensor]:
        """Return the voxels of the later image `b` that count, and those of `a` at the same place."""
        box = b.region.part(self.settings.loss_region == "certain")
        return a.within(box), b.within(box)

    def _difference(self, a: Image, b: Image) -> Tensor:
        compare = losses.l1 if self.settings.difference == "l1" else losses.mse
        return compare(*self._pair(a, b))

    def _identity(self, direction: str, image: Image) -> Tensor:
        """Return how far a generator changes an image of the domain that it makes, which it sees as tiles show it."""
        stitching = self.settings.stitching
        offset = {"forward": ENCODED, "backward": -ENCODED}[direction] if stitching and stitching.encoded else 0.0
        return self._difference(image, self._translate(direction, image.shifted(offset), "identity"))

    def _continued(
        self, outputs: Mapping[str, tuple[Image, Image]]
    ) -> tuple[dict[str, list[Image]], dict[str, Tensor]]:
        """Return what generators make of tiles that show their output, where critics judge it, and its terms."""
        terms: dict[str, Tensor] = {}
        judged: dict[str, list[Image]] = {}
        for direction, stitching in self._stitching.items():
            again = stitching.continued(*outputs[direction])
            terms[f"stitch_{direction}"] = again.loss
            if stitching.settings.adversarial:
                terms[f"gan_stitched_{direction}"] = self._fool(PAIR[direction][1], again.image)
                judged[direction] = [again.image]
        return judged, terms

    def _dissimilarity(self, a: Image, b: Image) -> Tensor:
        return losses.ssim_distance(*self._pair(a, b))

    def _cycle(self, patch: Image, returned: Image) -> Tensor:
        loss = self._difference(patch, returned)
        weight = self.settings.ssim_cycle
        return loss + weight * self._dissimilarity(patch, returned) if weight > 0 else loss

    def _seen_again(self, domain: str, patch: Image, away: Image) -> Tensor:
        """Return how far a segmenter's view of a patch is lost on its way to the other domain and back.

        The way there is taken as it is: it could otherwise hide the answer in what no eye sees.
        """
        segmenter, footprint = self.segmenters[domain], self._seen[domain]
        returned = self._translate({"target": "forward", "source": "backward"}[domain], away.detach(), "cycle")
        with torch.no_grad():
            wanted = Image(patch.within(returned.region.box), returned.region).through(segmenter, footprint)
        return losses.bce(returned.through(segmenter, footprint).voxels, wanted.voxels)

    def _fool(self, domain: str, fake: Image) -> Tensor:
        score = self._critics[domain](self._pair(fake, fake)[1])
        return losses.adversarial(score, real=True, kind=self.settings.gan, for_generator=True)

    def _judge(self, domain: str, real: Image, fake: Image, *stitched: Image) -> Tensor:
        """Return the critic's mean loss on real patches and on translations, past ones among them.

        Translations of tiles that show earlier output count, together with the others, as much as real patches.
        """
        shown, seen = self._pair(real, fake.detach())
        critic, gan = self._critics[domain], self.settings.gan
        for_real = losses.adversarial(critic(shown), real=True, kind=gan)
        pooled = [self.pools[domain](seen)]
        pooled += [self.pools[f"{domain}_stitched"](self._pair(again, again.detach())[1]) for again in stitched]
        for_fake = torch.stack([losses.adversarial(critic(seen), real=False, kind=gan) for seen in pooled]).mean()
        return (for_real + for_fake) / 2

    def set_progress(self, share: float) -> None:
        """Note which share of training is done: the weight of the stitching loss may grow with it."""
        for stitching in self._stitching.values():
            stitching.progress = share

    def translations(self) -> dict[str, Translation]:
        """Return the generators, the part that predicts; those that learn to continue their output say so."""
        translations = between(self._generators, self.settings.noise)
        return {
            **translations,
            **{name: replace(translations[name], applied=s.applied) for name, s in self._stitching.items()},
        }

    def _stitched(self, settings: StitchingSettings, direction: str) -> Stitching:
        about = {"certain": self.settings.loss_region == "certain", "backward": direction == "backward"}
        network, noise = self._generators[direction], self.settings.noise
        return Stitching(settings, network, self._footprints[direction], **about, noise=noise)

    def context(self) -> tuple[Shape, Shape]:
        """Return nothing: no patch is compared with one of the other domain."""
        dims = self._footprints["forward"].dims
        return (0,) * dims, (0,) * dims

    def channels(self) -> dict[str, int]:
        """Return the number of channels of `source` and `target`."""
        return dict(self._channels)

    def check(self, patch: Shape) -> None:
        """Raise `BadInput`, naming the smallest patch that works, unless all losses have voxels to look at."""
        for stitching in self._stitching.values():
            stitching.check(patch)
        why = f"leaves the losses too few voxels (loss_region {self.settings.loss_region})"
        refuse_patch(patch, self._footprints["forward"], self._leaves_enough, why)

    def _leaves_enough(self, patch: Shape) -> bool:
        """Say whether a cycle leaves a window of structural similarity, and a translation what critics need."""
        try:
            once = Region.of(patch).fitted(self._footprints["forward"]).through(self._footprints["forward"])
            twice = once.fitted(self._footprints["backward"]).through(self._footprints["backward"])
        except BadInput:
            return False
        certain, s = self.settings.loss_region == "certain", self.settings
        if not all(self._fits(twice, footprint) for footprint in self._seen.values()):
            return False
        needs = losses.WINDOW if s.ssim_cycle > 0 or s.ssim_forward > 0 else 1
        for stitching in self._stitching.values():
            again = stitching.seen(once)
            if again is None or not self._critics_accept(again.shape):
                return False
        return min(twice.part(certain).shape) >= needs and self._critics_accept(once.part(certain).shape)

    @staticmethod
    def _fits(region: Region, footprint: Footprint) -> bool:
        try:
            region.fitted(footprint)
        except BadInput:
            return False
        return True

    def _critics_accept(self, shape: Shape) -> bool:
        """Try the critics on an image of this shape without computing anything."""
        for domain, channels in self.channels().items():
            try:
                critic = copy.deepcopy(self._critics[domain]).to("meta")
                critic(torch.empty(1, channels, *shape, device="meta"))
            except (RuntimeError, ValueError):
                return False
        return True


def _generators(s: CycleGANSettings, dims: int, channels: Mapping[str, int]) -> dict[str, nn.Module]:
    about, outputs = s.generator, {direction: channels[end] for direction, (_, end) in PAIR.items()}
    return {
        d: nets.build(about.name, dims=dims, in_channels=read, out_channels=outputs[d], **about.arguments)
        for d, read in s.reads(channels).items()
    }


def _critics(critic: NetworkSettings, dims: int, channels: Mapping[str, int]) -> dict[str, nn.Module]:
    return {
        domain: nets.build(critic.name, dims=dims, in_channels=channels[domain], **critic.arguments)
        for domain in ("target", "source")
    }
