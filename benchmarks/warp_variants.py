"""What the warp network could be built of instead, and what else be minimised: measured by `benchmarks.ablations`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udh_core.avatar.dataset import TrainingData
from udh_core.models.blocks import ResidualBlock
from udh_core.models.generator import Generator
from udh_core.models.guided_warp import GuidedWarpNet
from udh_core.models.tensors import to_input
from udh_core.models.warping import Sample, WarpConfig, WarpNet
from udh_core.prefetch import prefetch
from udh_core.training.generator import GeneratorRun
from udh_core.training.loop import Averaged, Schedule
from udh_core.training.options import GeneratorOptions
from udh_core.training.sampling import sample_runs
from udh_core.training.warp import WarpTraining, warp_state

ADVERSARIAL_FROM = 0.5  # of the run


@dataclass(frozen=True)
class Variant:
    """One thing changed."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)  # of GeneratorOptions
    sizes: dict[str, Any] = field(default_factory=dict)  # of WarpConfig
    enlarged: int | None = None
    network: type[WarpNet] | None = None  # None: as its sizes say
    change: Callable[[WarpNet], object] | None = None  # of the untrained network, in place
    terms: dict[str, float] = field(default_factory=dict)  # more losses and their weights
    pairs: bool = False  # batches of two consecutive frames
    augment: Callable[[Tensor, np.random.Generator], Tensor] | None = None
    even: bool = False  # references evenly over the clip
    decay: float | None = None  # of the averaged weights


class Experiment(WarpTraining):
    """A training run of the warp network, conditioned on the true shapes, with one thing changed."""

    def __init__(self, variant: Variant, data: TrainingData, options: GeneratorOptions, encoder: str) -> None:
        self.variant, options = variant, replace(options, **variant.options)
        run = VariantRun(variant, data, Path("unused"), options, encoder)
        for _ in run.fit():
            pass
        decay = Averaged.DECAY if variant.decay is None else variant.decay
        state = warp_state(run.state.out, run.generator, options.learning_rate, decay)
        super().__init__(run.generator, run.data, options, state)
        self.loss_weights.update(variant.terms)
        if variant.even:
            count = len(self.warp.references)
            chosen = data.train_frames[np.linspace(0, len(data.train_frames) - 1, count).astype(int)]
            self.warp.references.copy_(torch.from_numpy(data.crops[chosen]).permute(0, 3, 1, 2))
        self.judge = Discriminator()
        self.judge_optimiser = torch.optim.Adam(self.judge.parameters(), lr=2e-4, betas=(0.5, 0.9))
        self.schedule = Schedule(self.options.steps, None)

    def train(self) -> None:
        """To the end; the averaged weights are those that stay."""
        done = self.schedule.done
        for frames, targets in prefetch(self.draw_batch(step, done(step)) for step in range(self.options.steps)):
            self.step(frames, targets, self.schedule)
        self.state.average.swap(self.warp)
        self.warp.eval()

    def draw_batch(self, step: int, done: float) -> tuple[np.ndarray, Tensor]:
        """As the variant has it."""
        frames, targets = super().draw_batch(step, done)
        if self.variant.pairs:
            trained, shots = self.data.train_frames, self.data.shots.numpy()
            frames = sample_runs(trained, shots, 2, self.options.batch // 2, self.options.seed, step).reshape(-1)
            targets = to_input(self.data.crops[frames])
        if self.variant.augment is not None:
            targets = self.variant.augment(targets, np.random.default_rng((self.options.seed, step)))
        return frames, targets

    def losses(self, inside: Tensor, true: Tensor) -> dict[str, Tensor]:
        """With those of the variant."""
        losses, inside = super().losses(inside, true), inside.float()
        seen = self.region.weight > 0
        for name in self.variant.terms:
            if name == "adversarial":
                if self.schedule.done(self.state.step) >= ADVERSARIAL_FROM:
                    losses[name] = self._fooled(inside * seen, true * seen)
            else:
                losses[name] = TERMS[name](inside * seen, true * seen)
        return losses

    def _fooled(self, inside: Tensor, wanted: Tensor) -> Tensor:
        """One step of the discriminator, then what the generator pays: hinge loss and feature matching."""
        judge = self.judge.requires_grad_(True)
        with torch.autocast("cpu", enabled=False):
            real, drawn = judge(wanted)[-1], judge(inside.detach())[-1]
            self.judge_optimiser.zero_grad()
            (F.relu(1 - real).mean() + F.relu(1 + drawn).mean()).backward()
            self.judge_optimiser.step()
            judge.requires_grad_(False)
            *features, drawn = judge(inside)
            pairs = zip(features, judge(wanted), strict=False)
            return torch.stack([F.l1_loss(a, b) for a, b in pairs]).sum() - 0.2 * drawn.mean()


class VariantRun(GeneratorRun):
    """Its generator is built as the variant has it."""

    def __init__(
        self, variant: Variant, data: TrainingData, out: Path, options: GeneratorOptions, encoder: str
    ) -> None:
        self.variant = variant
        super().__init__(data, out, options, encoder)

    def build(self) -> Generator:
        """With the network of the variant, untrained."""
        plain = super().build().config
        of_all = {name: value for name, value in plain.warp.to_dict().items() if name != "per_frame"}
        sizes = WarpConfig(**{**of_all, **self.variant.sizes})
        if self.variant.enlarged:
            sizes = Enlarged(**sizes.to_dict(), factor=self.variant.enlarged)
        spec = self.data.avatar.crop
        generator = Generator(replace(plain, warp=sizes), spec)
        if self.variant.network is not None:
            generator.warp = self.variant.network(sizes, spec)
        if self.variant.change is not None:
            self.variant.change(generator.warp)
        return generator


class Discriminator(nn.Module):
    """Three strided convolutions that tell drawn mouths from real ones, patch by patch."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96)
        pairs = itertools.pairwise(widths)
        self.convs = nn.ModuleList(nn.utils.spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairs)
        self.leave = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, h, w) → three feature maps and the verdict."""
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
            maps.append(x)
        return [*maps, self.leave(x)]


# More losses, of images (B, 3, h, w), 0 outside the mask


def gradient(images: Tensor, targets: Tensor) -> Tensor:
    difference = images - targets
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def structure(images: Tensor, targets: Tensor) -> Tensor:
    """1 - SSIM over 7 x 7 px."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, 1)

    a, b = mean(images), mean(targets)
    va, vb, both = mean(images**2) - a * a, mean(targets**2) - b * b, mean(images * targets) - a * b
    return 1 - ((2 * a * b + 1e-4) * (2 * both + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4))).mean()


def temporal(images: Tensor, targets: Tensor) -> Tensor:
    """Of what changes from one frame of a pair to the other."""
    return ((images[1::2] - images[::2]) - (targets[1::2] - targets[::2])).abs().mean()


TERMS = {"gradient": gradient, "structure": structure, "temporal": temporal}


# Augmentation of crops (B, 3, S, S), input and target alike


def other_colours(crops: Tensor, rng: np.random.Generator) -> Tensor:
    return (crops * torch.from_numpy(rng.uniform(0.93, 1.07, (len(crops), 3, 1, 1)).astype(np.float32))).clamp(0, 1)


def other_places(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Turned by half a degree, enlarged by a hundredth, moved by half a hundredth of the crop (standard deviations)."""
    count = len(crops)
    angle, scale, move = rng.normal(0, 0.01, count), 1 + rng.normal(0, 0.01, count), rng.normal(0, 0.01, (count, 2))
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], 1), np.stack([np.sin(angle), np.cos(angle)], 1)], 1)
    matrix = np.concatenate([scale[:, None, None] * turn, move[:, :, None]], 2).astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(matrix), list(crops.shape), align_corners=False)
    return F.grid_sample(crops, grid, padding_mode="border", align_corners=False)


# Other warp networks


@dataclass(frozen=True)
class Enlarged(WarpConfig):
    """References sampled from a copy `factor` times larger."""

    factor: int = 1

    @property
    def enlarged(self) -> int:
        return self.factor


class Painted(GuidedWarpNet):
    """No real pixels: everything is painted."""

    def _warp(self, flows: Tensor, logits: Tensor, references: Tensor, sample: Sample) -> Tensor:
        return torch.full_like(super()._warp(flows, logits, references, sample), 0.5)


class NoResidual(GuidedWarpNet):
    """Real pixels alone."""

    def _residual(self, features: Tensor) -> Tensor:
        return torch.zeros_like(super()._residual(features))


class FineResidual(GuidedWarpNet):
    """The residual cannot change what is coarser than 5 px."""

    def _residual(self, features: Tensor) -> Tensor:
        residual = super()._residual(features)
        return residual - F.avg_pool2d(residual, 5, 1, 2, count_include_pad=False)


class InnerMouth(GuidedWarpNet):
    """A painted layer for the inner mouth in front of the warped one, where a predicted mask says so."""

    def __init__(self, config: WarpConfig, spec: Any) -> None:  # noqa: ANN401 (as the network's)
        super().__init__(config, spec)
        self.layer_head = nn.Conv2d(config.widths[0], config.stride**2, 3, padding=1)
        nn.init.zeros_(self.layer_head.weight)
        nn.init.constant_(self.layer_head.bias, -3.0)
        self._behind = torch.zeros(())

    def _warp(self, flows: Tensor, logits: Tensor, references: Tensor, sample: Sample) -> Tensor:
        self._behind = super()._warp(flows, logits, references, sample)
        return self._behind

    def _residual(self, features: Tensor) -> Tensor:
        painted = 0.5 + super()._residual(features)
        layer = F.pixel_shuffle(self.layer_head(self._in_box(features)), self.config.stride).float().sigmoid()
        return layer * (painted - self._behind)


class TwoFrames(GuidedWarpNet):
    """Two consecutive frames, next to each other in the batch, in one pass of the body."""

    def __init__(self, config: WarpConfig, spec: Any) -> None:  # noqa: ANN401 (as the network's)
        super().__init__(config, spec)
        told, widths, width = self.condition_mlp[0], config.widths, config.condition
        assert isinstance(told, nn.Linear)  # noqa: S101
        self.condition_mlp[0] = Joined(nn.Linear(2 * told.in_features, width))
        self.input_conv = nn.Conv2d(8 * config.stride**2, widths[0], 3, padding=1)
        self.flow_head = Parted(nn.Conv2d(widths[0], 2 * 3 * config.references, 3, padding=1))
        self.residual_head = Parted(nn.Conv2d(widths[0], 2 * 3 * config.stride**2, 3, padding=1))
        self.blend_head = Parted(nn.Linear(width, 2 * config.references))
        for head in (self.flow_head, self.residual_head, self.blend_head):
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def _body(self, x: Tensor, condition: Tensor) -> Tensor:
        return super()._body(x.reshape(len(x) // 2, -1, *x.shape[2:]), condition)


class Joined(nn.Sequential):
    """Two rows as one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(len(x) // 2, -1))


class Parted(nn.Sequential):
    """One result as two rows."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.reshape(2 * len(y), -1, *y.shape[2:])


class BestOnly(nn.Linear):
    """Blends the four references that suit a frame best; the others cannot be seen."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits.masked_fill(logits < logits.topk(4, dim=1).values[:, -1:], -1e4)


class Attending(nn.Module):
    """A residual block, then self-attention over all places of its map."""

    def __init__(self, block: ResidualBlock, channels: int, side: int) -> None:
        super().__init__()
        self.block, self.norm = block, nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 4, batch_first=True)
        self.place = nn.Parameter(torch.randn(1, side * side, channels) * 0.02)
        nn.init.zeros_(self.attention.out_proj.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.block(x, condition)
        rows = x.flatten(2).transpose(1, 2)
        told = self.norm(rows + self.place)
        return x + self.attention(told, told, told, need_weights=False)[0].transpose(1, 2).unflatten(2, x.shape[2:])


class Reparameterised(nn.Module):
    """3 x 3 + 1 x 1 + identity while training; the sum is a single 3 x 3 convolution afterwards."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.plain, self.point = plain, nn.Conv2d(plain.in_channels, plain.out_channels, 1, bias=False)
        self.same = plain.in_channels == plain.out_channels
        nn.init.zeros_(self.point.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(x) + self.point(x)
        return x + y if self.same else y


def reparameterise(warp: WarpNet) -> None:
    for module in warp.modules():
        if isinstance(module, ResidualBlock):
            for name in ("conv1", "conv2"):
                setattr(module, name, Reparameterised(getattr(module, name)))


def attend(warp: WarpNet) -> None:
    side = warp.config.size // warp.config.stride // 2 ** (len(warp.config.widths) - 1)
    warp.middle = Attending(warp.middle, warp.config.widths[-1], side)  # pyright: ignore[reportAttributeAccessIssue]


def keep_the_best(warp: WarpNet) -> None:
    warp.blend_head = BestOnly(warp.config.condition, warp.config.references)
    nn.init.normal_(warp.blend_head.weight, std=0.01)


class PoseUnknown(GuidedWarpNet):
    """Not told how the head is turned."""

    def pose(self, covered: Tensor) -> Tensor:
        return torch.zeros_like(super().pose(covered))


def warp_variants() -> Iterator[Variant]:
    """Each against the first."""
    yield Variant("as it is")
    yield from (Variant(f"as it is, seed {seed}", {"seed": seed}) for seed in (1, 2))
    yield Variant("L1 alone", {"lpips_weight": 0.0})
    yield from (Variant(f"LPIPS weight {weight}", {"lpips_weight": weight}) for weight in (0.1, 0.4, 0.8))
    yield from (Variant(f"weight of the mouth {weight}", {"mouth_weight": weight}) for weight in (1.0, 6.0))
    yield Variant("gradient loss", terms={"gradient": 0.5})
    yield Variant("SSIM loss", terms={"structure": 0.1})
    for weight in (0.05, 0.5):
        yield Variant(f"late discriminator, feature matching, weight {weight}", terms={"adversarial": weight})
    yield Variant("batches of consecutive pairs", pairs=True)
    yield Variant("… with temporal difference", pairs=True, terms={"temporal": 1.0})
    yield Variant("… two frames in one pass", pairs=True, network=TwoFrames)
    yield Variant("colour augmentation", augment=other_colours)
    yield Variant("small affine augmentation", augment=other_places)
    yield from (Variant(f"shape noise {noise}", {"shape_noise": noise}) for noise in (0.0, 0.3))
    yield Variant("weights not averaged", decay=0.0)
    yield from (Variant(f"learning rate {rate:g}", {"learning_rate": rate}) for rate in (5e-4, 2e-3))
    yield from (Variant(f"{count} references", sizes={"references": count}) for count in (8, 12, 16))
    yield Variant("8 references, seed 1", {"seed": 1}, {"references": 8})
    yield Variant("references evenly over the clip", even=True)
    yield Variant("the four best of eight references", sizes={"references": 8}, change=keep_the_best)
    yield from (Variant(f"references enlarged {factor} times", enlarged=factor) for factor in (1, 2))
    yield from (Variant(f"shapes of {count} frame(s)", sizes={"frames": count}) for count in (1, 5))
    yield Variant("head's pose not told", network=PoseUnknown)
    yield Variant("flows begin at no movement", sizes={"flows": 1})
    yield Variant("flows begin where the mesh alone says", sizes={"flows": 2})
    yield Variant("flows at 1/8, a level less", sizes={"stride": 8, "widths": (64, 128, 192)})
    yield Variant("painted, no real pixels", network=Painted)
    yield Variant("no residual", network=NoResidual)
    yield Variant("residual of fine detail alone", network=FineResidual)
    yield Variant("painted layer for the inner mouth", network=InnerMouth)
    yield Variant("re-parameterised blocks", change=reparameterise)
    yield Variant("attention in the middle", change=attend)
    yield Variant("half the channels", sizes={"widths": (32, 48, 64, 96)})
    yield Variant("flows at 1/2", sizes={"stride": 2})
