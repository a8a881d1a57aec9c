"""Does the sync loss help? `python -m benchmarks.sync_loss --avatar DIR [--avatar DIR] [--seeds 2 1] [--steps 500]`.

Per avatar two SyncNets of different seeds are trained: one the generator listens to, the other judges, so that nobody
marks their own work. Per seed a generator is trained with and without the loss, the same steps each. What is finished
is kept in --work and taken from there in the next run. The table goes to benchmarks/results/sync_loss.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.evaluation.evaluate import evaluate
from udh_core.evaluation.result import GENERATED, OTHER
from udh_core.files import atomic_write
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.training.generator import train_generator
from udh_core.training.loop import StepReport
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.syncnet import train_syncnet

FIGURES = {  # of which row, its name there, in the table
    "correlation": (GENERATED, "opening_correlation"),
    "amplitude": (GENERATED, "opening_std_ratio"),
    "LMD": (GENERATED, "lmd"),
    "LPIPS": (GENERATED, "lpips"),
    "PSNR, dB": (GENERATED, "psnr_db"),
    "sharpness": (GENERATED, "sharpness_ratio"),
    "LSE-C": (GENERATED, "lse_c"),
    "LSE-D": (GENERATED, "lse_d"),
    "other passage: correlation": (OTHER, "opening_correlation"),
    "other passage: LSE-C": (OTHER, "lse_c"),
}
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, action="append", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2], help="one number per avatar, or one for all")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--syncnet-steps", type=int, default=300)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.03])
    parser.add_argument("--work", type=Path, default=Path("sync_loss_work"))
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    chosen.work.mkdir(exist_ok=True)
    counts = chosen.seeds if len(chosen.seeds) == len(chosen.avatar) else chosen.seeds * len(chosen.avatar)
    lines = []
    for root, seeds in zip(chosen.avatar, counts, strict=True):
        lines += list(compare(open_avatar(root), seeds, chosen))
    write(lines, chosen)


def compare(avatar: Avatar, seeds: int, chosen: argparse.Namespace) -> Iterator[str]:
    """The table's lines of one avatar."""
    name = avatar.root.name
    teacher, judge = (syncnet(avatar, chosen, seed) for seed in (100, 101))
    for seed in range(seeds):
        for weight in (0.0, *chosen.weights):
            out = chosen.work / f"{name}-{seed}-{weight}.safetensors"
            figures = out.with_suffix(".json")
            if not figures.is_file():
                train(avatar, out, teacher if weight else None, weight, seed, chosen.steps)
                with atomic_write(figures) as temporary:
                    temporary.write_text(json.dumps(measured(avatar, out, judge)), encoding="utf-8")
            found = json.loads(figures.read_text(encoding="utf-8"))
            cells = [f"{found[row][figure]:.3f}" for row, figure in FIGURES.values()]
            line = " | ".join([name, str(seed), f"{weight:g}" if weight else "without", *cells])
            console.print(line)
            yield f"| {line} |"


def syncnet(avatar: Avatar, chosen: argparse.Namespace, seed: int) -> Path:
    out = chosen.work / f"{avatar.root.name}-syncnet-{seed}.safetensors"
    if not out.is_file():
        learning = out.with_name("learning.safetensors")
        for report in train_syncnet(
            avatar, learning, SyncNetOptions(steps=chosen.syncnet_steps, seed=seed), start="overwrite"
        ):
            if isinstance(report, StepReport) and report.metrics:
                console.print(
                    out.name, report.step, {k: round(v, 3) for k, v in report.metrics.items()}, soft_wrap=True
                )
        learning.replace(out)
    return out


def train(avatar: Avatar, out: Path, teacher: Path | None, weight: float, seed: int, steps: int) -> None:
    options = GeneratorOptions(steps=steps, seed=seed, sync_weight=weight)
    listening = open_syncnet(teacher) if teacher else None
    for report in train_generator(avatar, out, options, syncnet=listening, start="overwrite"):
        if isinstance(report, StepReport) and report.metrics and report.stage == "warp":
            console.print(
                out.name,
                report.step,
                {k: round(v, 4) for k, v in {**report.losses, **report.metrics}.items()},
                soft_wrap=True,
            )


def measured(avatar: Avatar, generator: Path, judge: Path) -> dict[str, dict[str, float]]:
    """Rows of figures on held-out frames."""
    return evaluate(avatar, generator, syncnet=open_syncnet(judge)).run().rows


def write(lines: list[str], chosen: argparse.Namespace) -> None:
    heads = ["clip", "seed", "sync loss", *FIGURES]
    avatars = " ".join(f"--avatar {root.name}" for root in chosen.avatar)
    command = (
        f"python -m benchmarks.sync_loss {avatars} --seeds {' '.join(map(str, chosen.seeds))} --steps {chosen.steps} "
        f"--syncnet-steps {chosen.syncnet_steps} --weights {' '.join(map(str, chosen.weights))}"
    )
    about = (
        "Held-out frames. Per avatar one SyncNet is listened to, another of a different seed judges (LSE-C: higher is\n"
        "better, LSE-D: lower, comparable within one clip only)."
    )
    table = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines]
    console.print(write_table("sync_loss", "The sync loss, with and without", about, table, command))


if __name__ == "__main__":
    main()
