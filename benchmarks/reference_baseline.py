"""The published U-Net as the baseline of benchmarks: `python -m benchmarks.reference_baseline [--seconds S]`.

Trained on an avatar of ours as published: L1 + 0.01 · MSE of VGG19 features, Adam 1e-3, batch 16, a random other frame
as reference, no augmentation, no averaging. Two stand-ins, because neither network may be downloaded here: any audio
encoder's features, brought to HuBERT's shape, and VGG19 with random weights (same work; another loss surface).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import Avatar
from udh_core.face import crop as crop_module
from udh_core.media.video import read_frames
from udh_core.published import rules
from udh_core.published.dataset import mesh_squares, reference_crops, reference_inputs
from udh_core.published.model import PublishedCompositor
from udh_core.published.rules import Square
from udh_core.published.unet import AUDIO_CHANNELS, SIDE, PublishedUNet, Variant
from udh_core.speech.features import AudioFeatures
from udh_core.training.loop import StepReport, check_finite

ROWS, WIDTH = 2, 1024  # HuBERT's features of one frame
VGG_PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256)  # widths, 0 = pooling: VGG19 up to its third conv of block 3
AUDIO_SHAPES: dict[Variant, tuple[int, int]] = {"hubert": (32, 32), "wenet": (16, 32)}


@dataclass(frozen=True)
class BaselineOptions:
    """As published, but for the length of the training (there 200 epochs)."""

    steps: int | None = None
    minutes: float | None = None  # instead of steps
    batch: int = 16
    rate: float = 1e-3
    perceptual: float = 0.01  # weight of the VGG19 features; 0 leaves VGG19 out
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")


class StandIn:
    """Any encoder's features as if they were HuBERT's: normalised, then turned into 1024 numbers by a fixed rotation.

    The rotation (seeded, orthonormal) keeps all distances of up to 1024 features and spreads them over the whole
    32×32 map, as HuBERT's are; beyond 1024 it is a random projection.
    """

    def __init__(self, learnt: AudioFeatures, seed: int = 0) -> None:
        values = np.asarray(learnt.values, np.float32)
        self.mean, self.std = values.mean(0), values.std(0).clip(1e-4)
        size = (max(learnt.width, WIDTH), min(learnt.width, WIDTH))
        basis = np.linalg.qr(np.random.default_rng(seed).normal(size=size))[0].astype(np.float32)
        self.basis = basis.T if len(basis) == WIDTH else basis  # (D, 1024)
        self.scale = np.float32(np.sqrt(WIDTH / min(learnt.width, WIDTH)))  # unit variance per number again

    def __call__(self, heard: AudioFeatures, times_s: np.ndarray, fps: float) -> np.ndarray:
        """(n, 2, 1024) float32 of frames whose middles are heard at `times_s` (n,)."""
        halves = np.asarray(times_s)[:, None] + np.array([-0.25, 0.25]) / fps
        rows = (heard.at(halves.ravel()) - self.mean) / self.std
        return (rows @ self.basis * self.scale).reshape(-1, ROWS, WIDTH).astype(np.float32)


@dataclass(frozen=True)
class BaselineData:
    """An avatar as the published training sees it; split as ours is."""

    avatar: Avatar
    crops: np.ndarray  # (N, 168, 168, 3) uint8 RGB memmap
    squares: list[Square]
    rows: np.ndarray  # (N, 2, 1024) float32: what is heard during each frame
    stand_in: StandIn
    train_frames: np.ndarray  # (n,) int64
    held_out: np.ndarray  # (m,) int64


def baseline_data(avatar: Avatar, encoder: str, scratch: Path, held_out: float = 0.1) -> BaselineData:
    """Cut the published crops into `scratch` and bring the features into shape; the clip's A/V offset is set right."""
    training = load_training_data(avatar, encoder, held_out)
    squares, heard, fps = mesh_squares(avatar), avatar.features(encoder), float(avatar.info.fps)
    shape = (avatar.info.frame_count, rules.CROP, rules.CROP, 3)
    crops = np.lib.format.open_memmap(scratch / "published_crops.npy", "w+", np.uint8, shape)
    for i, crop in enumerate(reference_crops(avatar)):
        crops[i] = crop
    has_square = np.array([place.side > 0 for place in squares])
    stand_in = StandIn(heard)
    rows = stand_in(heard, training.audio_times_s(np.arange(shape[0])), fps)
    learnt, held_out = (frames[has_square[frames]] for frames in (training.train_frames, training.held_out))
    return BaselineData(avatar, crops, squares, rows, stand_in, learnt, held_out)


class Vgg19Features(nn.Sequential):
    """The first 15 layers of VGG19, frozen. Random unless a state dict of torchvision's `features` is loaded."""

    def __init__(self, seed: int = 0) -> None:
        layers: list[nn.Module] = []
        width = 3
        for wanted in VGG_PLAN:
            if wanted:
                layers += [nn.Conv2d(width, wanted, 3, padding=1), nn.ReLU()]
                width = wanted
            else:
                layers.append(nn.MaxPool2d(2))
        super().__init__(*layers[:-1])  # published: up to and with a convolution, without its ReLU
        generator = torch.Generator().manual_seed(seed)
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        self.requires_grad_(False).eval()


def train_reference(
    network: PublishedUNet, data: BaselineData, options: BaselineOptions, *, device: str = "cpu"
) -> Iterator[StepReport]:
    """Train in place, as published; one report per step. Afterwards the network is in eval mode."""
    network.to(device).train()
    judge = Vgg19Features(options.seed).to(device) if options.perceptual else None
    optimiser = torch.optim.Adam(network.parameters(), lr=options.rate)
    begun = time.monotonic()
    for step, (frames, others) in enumerate(_batches(data.train_frames, options)):
        done = _done(options, step, time.monotonic() - begun)
        if done >= 1:
            break
        optimiser.zero_grad(set_to_none=True)
        losses = _losses(network, data, frames, others, judge, device)
        loss = losses["l1"] + options.perceptual * losses.get("vgg", torch.zeros(()).to(device))
        check_finite(loss, "baseline", step)
        loss.backward()
        optimiser.step()
        rate = (step + 1) * options.batch / (time.monotonic() - begun)
        values = {name: float(value.detach()) for name, value in losses.items()}
        yield StepReport.of("baseline", step + 1, done, values, rate)
    network.eval()


def _done(options: BaselineOptions, step: int, spent_s: float) -> float:
    if options.minutes is not None:
        return spent_s / (60 * options.minutes)
    return step / (options.steps or 1)


def _batches(learnt: np.ndarray, options: BaselineOptions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames of shuffled epochs without end, and as many random other frames."""
    rng = np.random.default_rng(options.seed)
    while True:
        order = rng.permutation(learnt)
        for start in range(0, max(len(order) - options.batch, 0) + 1, options.batch):
            frames = order[start : start + options.batch]
            yield frames, rng.choice(learnt, len(frames))


def _losses(
    network: PublishedUNet,
    data: BaselineData,
    frames: np.ndarray,
    others: np.ndarray,
    judge: Vgg19Features | None,
    device: str,
) -> dict[str, Tensor]:
    crops = np.asarray(data.crops[frames])
    images, audio = reference_inputs(crops, data.rows, frames, np.asarray(data.crops[others]))
    drawn = network(images.to(device), audio.to(device))
    target = torch.from_numpy(rules.network_target(crops)).to(device)
    losses = {"l1": F.l1_loss(drawn, target)}
    if judge is not None:
        with torch.no_grad():
            wanted = judge(target)
        losses["vgg"] = F.mse_loss(judge(drawn), wanted)
    return losses


def drawn_crops(
    data: BaselineData,
    network: PublishedUNet,
    frames: np.ndarray,
    moments: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """(m, S, S, 3) uint8: our own aligned crops of `frames` (m,), sorted, as the baseline redraws them.

    moments (m,): the row of `rows` (n, 2, 1024) that drives each frame; None = the frame's own moment, the clip's rows.
    """
    moments, rows = frames if moments is None else moments, data.rows if rows is None else rows
    compositor, spec = PublishedCompositor(network), data.avatar.crop
    transforms, first = data.avatar.track().transforms, int(frames[0])
    wanted = {int(number): k for k, number in enumerate(frames)}
    result = np.zeros((len(frames), spec.size, spec.size, 3), np.uint8)
    span = int(frames[-1]) - first + 1
    for number, frame in enumerate(read_frames(data.avatar.video, start=first, count=span), first):
        if number in wanted:
            k = wanted[number]
            painted = compositor.composite([frame], [data.squares[number]], rows, moments[k : k + 1])[0]
            result[k] = crop_module.crop(painted, transforms[number], spec)
    return result


# Figures of the bare network


def parameters_m(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def gmac_per_frame(network: PublishedUNet) -> float:
    """Multiply-accumulates of the convolutions for one frame, in 10⁹."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*_example(network.variant, 1))
    return counter.get_total_flops() / 2e9


def frames_per_s(
    network: PublishedUNet,
    seconds: float = 5.0,
    *,
    batch: int = 1,
    channels_last: bool = False,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """The lower quartile of the times counts, for others may work on the same machine."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images, audio = (x.to(device, dtype, memory_format=layout) for x in _example(network.variant, batch))
    network = network.eval().to(device, dtype, memory_format=layout)  # pyright: ignore[reportCallIssue]
    with torch.inference_mode():
        return batch / typical_s(lambda: network(images, audio), seconds)


def images_per_s(seconds: float = 20.0, *, batch: int = 16, vgg: bool = True, device: str = "cpu") -> float:
    """Training steps on noise, timed like `frames_per_s`."""
    network, judge = PublishedUNet().to(device).train(), Vgg19Features().to(device) if vgg else None
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    images, audio = (x.to(device) for x in _example("hubert", batch))
    target = torch.rand(batch, 3, SIDE, SIDE, device=device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        drawn = network(images, audio)
        loss = F.l1_loss(drawn, target)
        if judge is not None:
            with torch.no_grad():
                wanted = judge(target)
            loss = loss + 0.01 * F.mse_loss(judge(drawn), wanted)
        loss.backward()
        optimiser.step()

    return batch / typical_s(step, seconds)


def _example(variant: Variant, batch: int) -> tuple[Tensor, Tensor]:
    return torch.rand(batch, 6, SIDE, SIDE), torch.randn(batch, AUDIO_CHANNELS[variant], *AUDIO_SHAPES[variant])


def typical_s(work: Callable[[], object], seconds: float) -> float:
    """Seconds per call: the lower quartile of calls made for so long, after one to warm up."""
    finish = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    work()
    finish()
    begun, times = time.monotonic(), []
    while not times or time.monotonic() - begun < seconds:
        before = time.perf_counter()
        work()
        finish()
        times.append(time.perf_counter() - before)
    return float(np.quantile(times, 0.25))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each row is timed")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    table = Table(f"published U-Net, {arguments.threads} threads", "measured")
    for row in measure(arguments.seconds):
        table.add_row(*row)
        Console(stderr=True).print(*row)
    Console().print(table)


def measure(seconds: float) -> Iterator[tuple[str, str]]:
    for variant in AUDIO_CHANNELS:
        network = PublishedUNet(variant)
        yield f"{variant}: parameters", f"{parameters_m(network):.2f} M"
        yield f"{variant}: work per frame", f"{gmac_per_frame(network):.2f} GMAC"
    network = PublishedUNet()
    for layout, last in (("as published", False), ("channels last", True)):
        yield f"batch 1, {layout}", f"{frames_per_s(network, seconds, channels_last=last):.1f} frames/s"
    for name, vgg in (("L1 alone", False), ("L1 and VGG19", True)):
        yield f"training, batch 16, {name}", f"{images_per_s(seconds, vgg=vgg):.2f} images/s"


if __name__ == "__main__":
    main()
