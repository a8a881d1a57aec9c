"""Our generator beside the published U-Net, in one run: `python -m benchmarks.generator --avatar DIR [--minutes 15]`.

Both learn from the same avatar for the same time on the same machine and are judged on the same held-out frames.
Without --avatar only work and speed are measured. Trained networks are kept in --work and taken from there in the next
run. The published network gets stand-ins for HuBERT and VGG19, see
`benchmarks.reference_baseline`. The table goes to benchmarks/results/generator.md, or generator_<avatar>.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference_baseline import (
    BaselineData,
    BaselineOptions,
    baseline_data,
    drawn_crops,
    frames_per_s,
    gmac_per_frame,
    images_per_s,
    train_reference,
    typical_s,
)
from benchmarks.tables import write_table
from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.evaluation.bench import Bench, Measured, open_bench
from udh_core.evaluation.drivers import other_passage, own_audio
from udh_core.evaluation.evaluate import evaluate as evaluated
from udh_core.evaluation.held_out import hold_out
from udh_core.evaluation.picture_metrics import PICTURES
from udh_core.evaluation.result import GENERATED, OTHER, OTHER_PASTED, PASTED, TRUE_SHAPE, UNCHANGED, Mouths, Row
from udh_core.face.crop import CropSpec
from udh_core.models.checkpoint import held_out_share, read_info
from udh_core.models.lpips import Lpips
from udh_core.models.tensors import to_input
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.published.unet import PublishedUNet
from udh_core.training.generator import train_generator
from udh_core.training.loop import StepReport
from udh_core.training.losses import weighted_l1
from udh_core.training.options import GeneratorOptions

WHOLE = "lpips_crop"
OURS, PUBLISHED = "ours.safetensors", "published.safetensors"  # in --work
FIGURES = {
    "opening_correlation": "mouth-opening correlation",
    "opening_std_ratio": "amplitude (1 = real)",
    "lmd": "LMD, eye distances",
    "lpips": "LPIPS in the mask's box",
    WHOLE: "LPIPS of the whole crop",
    "psnr_db": "PSNR in the mask, dB",
    "sharpness_ratio": "sharpness in the mask (1 = real)",
    "seam_ratio": "gradient at the mask's border (1 = real)",
    "source_correlation": "correlation with the edited frames",
    "source_correlation_posed": "… but for what the head's pose does to the opening",
}
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path)
    parser.add_argument("--encoder", default="whisper-tiny")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each")
    parser.add_argument("--held-out", type=float, default=GeneratorOptions.held_out, help="share of the clip")
    parser.add_argument("--work", type=Path, default=Path("generator_work"), help="what is trained stays here")
    parser.add_argument("--ours-only", action="store_true", help="do not train the published network")
    parser.add_argument("--size", type=int, default=256, help="of our network where no avatar is given")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each speed is measured")
    parser.add_argument("--device", default="cpu", help="cuda …: a table of its own; both networks in bfloat16 there")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    avatar = open_avatar(chosen.avatar) if chosen.avatar else None
    size = avatar.crop.size if avatar else chosen.size
    lines = ["| | published 160 | ours " + str(size) + " | |", "|---|---|---|---|"]
    for line in [*speed(size, chosen.seconds, chosen.device), *(quality(avatar, chosen) if avatar else ())]:
        console.print(line)
        lines.append(line)
    write(lines, chosen)


def speed(size: int, seconds: float, device: str) -> Iterator[str]:
    """Work and speed of the bare networks."""
    spec = CropSpec(size)
    ours, published = WarpNet(WarpConfig(size), spec), PublishedUNet()
    ours.references.random_(0, 256)
    ours.eval().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ours(*noise(ours, 1, device))
    yield row("GMAC per frame", gmac_per_frame(published), counter.get_total_flops() / 2e9, 2)
    ours.render_in(torch.bfloat16)
    references = ours.enlarge(ours.references)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    for batch in (1, 16):
        inputs, given = noise(ours, batch, device), {"batch": batch, "device": device, "dtype": dtype}
        with torch.inference_mode():
            drawn_s = typical_s(lambda inputs=inputs: ours.draw(*inputs, references), seconds)
        rate = max(frames_per_s(published, seconds, channels_last=last, **given) for last in (False, True))
        yield row(f"frames/s of the network alone, batch {batch}", rate, batch / drawn_s, 1)
    rates = images_per_s(seconds, device=device), our_images_per_s(size, seconds, device)
    yield row("training images/s, batch 16, full loss", *rates, 2)


def noise(network: WarpNet, batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Crops (B, 3, S, S) and shapes (B, frames, shape_width)."""
    size, config = network.config.size, network.config
    crops = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    return crops, torch.randn(batch, config.frames, config.shape_width, device=device)


def our_images_per_s(size: int, seconds: float, device: str) -> float:
    """Training steps on noise: L1 and LPIPS, bfloat16 where the machine has it, as in training."""
    network, lpips = WarpNet(WarpConfig(size), CropSpec(size)).train(), Lpips().to(device)
    network.references.random_(0, 256)
    network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    targets, shapes = noise(network, 16, device)
    rows, columns = network.box
    weight = network.mask[:, :, rows, columns]

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            drawn = network(targets, shapes)
            pair = drawn[:, :, rows, columns], targets[:, :, rows, columns]
            loss = 0.2 * lpips(*pair).mean()
        (loss + weighted_l1(pair[0].float(), pair[1], weight)).backward()
        optimiser.step()

    return 16 / typical_s(step, seconds)


def row(what: str, published: float, ours: float, digits: int) -> str:
    return f"| {what} | {published:.{digits}f} | {ours:.{digits}f} | {ours / published:.2f}× |"


def quality(avatar: Avatar, chosen: argparse.Namespace) -> Iterator[str]:
    """Both trained for the same minutes."""
    chosen.work.mkdir(parents=True, exist_ok=True)
    ours = trained(avatar, chosen.work / OURS, chosen)
    minutes = read_info(chosen.work / OURS, "generator").config["options"]["minutes"]
    yield f"| **after {minutes:g} minutes of training, held-out frames** | | | floor |"
    theirs = {} if chosen.ours_only else published_figures(avatar, chosen.work, chosen)
    for kind, floor, title in ((GENERATED, PASTED, ""), (OTHER, UNCHANGED, "another passage: ")):
        for name, words in FIGURES.items():
            if name in ours[kind] and not (kind == GENERATED and name.startswith("source")):
                cells = [cell(figures.get(kind, {}), name) for figures in (theirs, ours, {kind: ours[floor]})]
                yield f"| {title}{words} | {' | '.join(cells)} |"
    for name, source in (("opening_correlation", TRUE_SHAPE), ("opening_correlation", OTHER_PASTED)):
        yield f"| *{source}: {FIGURES[name]} (ceiling)* | | {ours[source][name]:.3f} | |"
    chance = ours[OTHER_PASTED]["source_correlation"]
    yield f"| *{OTHER_PASTED}: {FIGURES['source_correlation']} (chance)* | | {chance:.3f} | |"


def cell(figures: dict[str, float], name: str) -> str:
    return f"{figures[name]:.3f}" if name in figures else "–"


def trained(avatar: Avatar, out: Path, chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Our figures."""
    if not out.is_file():
        options = GeneratorOptions(minutes=chosen.minutes, held_out=chosen.held_out)
        for report in train_generator(avatar, out, options, encoder=chosen.encoder, start="auto", device=chosen.device):
            if isinstance(report, StepReport) and report.metrics:
                console.print("ours", report.stage, report.detail, report.metrics, soft_wrap=True)
    result = evaluated(avatar, out, device=chosen.device).run()
    result.rows[GENERATED][WHOLE] = whole_lpips(result.generated, result.real)
    return result.rows


def published_figures(avatar: Avatar, folder: Path, chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The baseline's figures, on the same bench."""
    data = baseline_data(avatar, chosen.encoder, folder, chosen.held_out)
    network, out = PublishedUNet(), folder / PUBLISHED
    if not out.is_file():
        for report in train_reference(network, data, BaselineOptions(minutes=chosen.minutes), device=chosen.device):
            if report.step % 10 == 0:
                console.print("published", report.step, f"{report.samples_per_s:.2f}/s", report.losses, soft_wrap=True)
        save_file(network.cpu().state_dict(), out)
    rows = published_rows(data, chosen.encoder, folder)
    figures = {name: one.figures for name, one in rows.measured.items()}
    figures[GENERATED][WHOLE] = whole_lpips(rows.mouths[GENERATED].crops, rows.bench.held_out.crops)
    return figures


class PublishedRows(NamedTuple):
    """The published network on our bench: driven by the clip's own audio, and by another passage of it."""

    bench: Bench
    mouths: dict[str, Mouths]
    measured: dict[str, Measured]


def published_rows(data: BaselineData, encoder: str, folder: Path) -> PublishedRows:
    """folder: where both trained networks lie."""
    network = PublishedUNet()
    network.load_state_dict(load_file(folder / PUBLISHED))
    network.eval()
    info = read_info(folder / OURS, "generator")
    held_out = hold_out(load_training_data(data.avatar, encoder, held_out_share(folder / OURS, info)))
    bench, mouths, measured = open_bench(held_out), {}, {}
    for name, driver in ((GENERATED, own_audio(held_out)), (OTHER, other_passage(held_out))):
        moments = held_out.frames[driver.truth]
        mouths[name] = bench.lips.detect(drawn_crops(data, network, held_out.frames, moments))
        measured[name] = bench.measure(Row(mouths[name], driver), mouths[GENERATED])
    return PublishedRows(bench, mouths, measured)


@torch.no_grad()
def whole_lpips(drawn: np.ndarray, real: np.ndarray) -> float:
    """Mean over crops (m, S, S, 3) uint8; as if the network redrew everything, which is how others count."""
    lpips, spread = Lpips(), np.unique(np.linspace(0, len(real) - 1, PICTURES).astype(int))
    return float(np.mean([float(lpips(to_input(drawn[[k]]), to_input(real[[k]]))) for k in spread]))


def write(lines: list[str], chosen: argparse.Namespace) -> None:
    command, name = "python -m benchmarks.generator", "generator"
    if chosen.avatar:
        command += f" --avatar {chosen.avatar.name} --minutes {chosen.minutes:g} --held-out {chosen.held_out:g}"
        command += " --ours-only" if chosen.ours_only else ""
        name += f"_{chosen.avatar.name}"
    if chosen.device != "cpu":
        command, name = f"{command} --device {chosen.device}", f"{name}_{chosen.device.replace(':', '')}"
    about = "Same machine; work and speed of one run, trained networks as kept in --work. "
    about += "GMAC counts convolutions and matrix products."
    console.print(write_table(name, "Our generator beside the published U-Net", about, lines, command, chosen.device))


if __name__ == "__main__":
    main()
