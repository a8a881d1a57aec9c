"""Pictures of docs/benchmarks.md: `python -m benchmarks.pictures --clear DIR WORK --hard DIR WORK --shown DIR WORK`.

Three avatars, each with the folder in which `benchmarks.generator` left what it trained for it: one that speaks
clearly, a hard one, and one whose face may be shown (the built-in person of `udh demo`). Of the first two only curves
are drawn. The pictures go to docs/measured/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from benchmarks.generator import OURS, PublishedRows, published_rows
from benchmarks.reference_baseline import baseline_data
from benchmarks.tables import RESULTS
from udh_core.avatar.folder import open_avatar
from udh_core.evaluation.bench import baselines
from udh_core.evaluation.evaluate import evaluate
from udh_core.evaluation.plots import LIGHT
from udh_core.evaluation.result import GENERATED, OTHER, PASTED, REAL, Evaluation
from udh_core.face import crop as crop_module
from udh_core.files import atomic_write
from udh_core.models.checkpoint import held_out_share, open_generator

PICTURES = RESULTS.parent.parent / "docs" / "measured"
SHOWN_S = 8.0
OURS_INK, PUBLISHED_INK, REAL_INK, SOURCE_INK = LIGHT.lines[1], LIGHT.lines[0], LIGHT.text, LIGHT.lines[3]
SPEEDS = ("GMAC per frame", "frames/s of the network alone", "training images/s")  # beginnings of the table's lines
console = Console(stderr=True)


class Trained(NamedTuple):
    """Both networks on the held-out frames of one avatar."""

    ours: Evaluation
    published: PublishedRows

    @property
    def seconds(self) -> np.ndarray:
        return (self.ours.frames - self.ours.frames[0]) / self.ours.fps

    @property
    def real(self) -> np.ndarray:
        """(m,) mouth opening."""
        return self.ours.openings[REAL]

    @property
    def other(self) -> np.ndarray:
        """(m,) the true opening to another passage's sound."""
        return self.real[self.published.bench.held_out.other_rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("clear", "hard", "shown"):
        parser.add_argument(f"--{name}", type=Path, nargs=2, required=True, metavar=("AVATAR", "WORK"))
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    PICTURES.mkdir(parents=True, exist_ok=True)
    clear, hard, shown = (trained(*pair) for pair in (chosen.clear, chosen.hard, chosen.shown))
    speed(RESULTS / f"generator_{chosen.clear[0].name}.md")
    curves("own_sound", clear, clear.real, GENERATED)
    curves("other_sound", clear, clear.other, OTHER)
    curves("hard", hard, hard.real, GENERATED)
    amplitude(clear)
    likeness(shown)
    sharpness(shown)
    seam(shown)


def trained(root: Path, work: Path) -> Trained:
    avatar, info = open_avatar(root), open_generator(work / OURS)[0]
    ours = evaluate(avatar, work / OURS).run()
    data = baseline_data(avatar, info.encoder, work, held_out_share(work / OURS, info))
    return Trained(ours, published_rows(data, info.encoder, work))


# Drawings


def save(name: str, figure: Figure) -> None:
    path = PICTURES / f"{name}.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi="figure")
    console.print(path)


def speed(table: Path) -> None:
    """Work and speed, from the table of `benchmarks.generator`."""
    lines = [line.strip("| \n").split(" | ") for line in table.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(7, 1.5), layout="constrained", dpi=100)
    for k, beginning in enumerate(SPEEDS):
        name, published, ours, _ = next(line for line in lines if line[0].startswith(beginning))
        axes, values = figure.add_subplot(1, 3, k + 1), [float(ours), float(published)]
        bars = axes.barh(["ours", "published"], values, color=[OURS_INK, PUBLISHED_INK])
        axes.bar_label(bars, labels=[f" {value:g}" for value in values], fontsize=8)
        axes.set_xlim(0, 1.25 * max(values))
        axes.set_title(name.partition(",")[0], fontsize=8)
        axes.tick_params(labelsize=8, labelleft=k == 0)
        axes.set_xticks([])
    save("speed", figure)


def curves(name: str, side: Trained, true: np.ndarray, row: str) -> None:
    """Mouth openings over time; (m,) `true` is what belongs to the sound."""
    shown = side.seconds < SHOWN_S
    figure = Figure(figsize=(7, 2.1), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    lines = [("true mouth to this sound", true, REAL_INK, 2.4)]
    lines += [("ours", side.ours.openings[row], OURS_INK, 1.4)]
    lines += [("published", side.published.mouths[row].opening, PUBLISHED_INK, 1.2)]
    lines += [("mouth of the edited frames", side.real, SOURCE_INK, 0.9)] if row == OTHER else []
    for label, values, ink, width in lines:
        axes.plot(side.seconds[shown], values[shown], color=ink, lw=width, label=label)
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel("mouth opening", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_xlim(0, SHOWN_S)
    axes.margins(y=0.15)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    save(name, figure)


def amplitude(side: Trained) -> None:
    """Drawn openings over the real ones; on the dashed line they are equal."""
    figure = Figure(figsize=(7, 2.6), layout="constrained", dpi=100)
    top = 1.15 * side.real.max()
    rows = (
        ("ours", side.ours.openings[GENERATED], OURS_INK),
        ("published", side.published.mouths[GENERATED].opening, None),
    )
    for k, (label, values, ink) in enumerate(rows):
        axes = figure.add_subplot(1, 2, k + 1)
        axes.scatter(side.real, values, s=5, color=ink or PUBLISHED_INK)
        axes.plot([0, top], [0, top], "--", color=REAL_INK, lw=0.8)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        axes.set_title(f"{label}: {values.std() / side.real.std():.2f} of the real movement", fontsize=8)
        axes.set_xlabel("real opening", fontsize=8)
        axes.set_ylabel("drawn opening", fontsize=8)
        axes.tick_params(labelsize=8)
    save("amplitude", figure)


# Faces


def sheet(name: str, rows: dict[str, list[np.ndarray]]) -> None:
    """A JPEG of pictures (h, w, 3) uint8 RGB, a labelled row each."""
    tall, wide = next(iter(rows.values()))[0].shape[:2]
    lines = []
    for label, pictures in rows.items():
        margin = np.full((tall, 90, 3), 255, np.uint8)
        cv2.putText(margin, label, (4, tall // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (29, 35, 43), 1, cv2.LINE_AA)
        lines.append(
            np.concatenate([margin, *[np.pad(p, ((1, 1), (1, 1), (0, 0)))[:tall, :wide] for p in pictures]], 1)
        )
    path = PICTURES / f"{name}.jpg"
    with atomic_write(path) as temporary:
        Image.fromarray(np.concatenate(lines)).save(temporary, format="JPEG", quality=88)
    console.print(path)


def versions(side: Trained) -> dict[str, np.ndarray]:
    """By label: (m, S, S, 3) uint8."""
    return {
        "real": side.ours.real,
        "ours": side.ours.generated,
        "published": side.published.mouths[GENERATED].crops,
        "pasted": baselines(side.published.bench)[PASTED].mouths.crops,
    }


def moments(side: Trained) -> list[int]:
    """From shut to wide open."""
    order = np.argsort(side.real)
    return [int(order[round(share * (len(order) - 1))]) for share in (0.05, 0.55, 0.85, 0.98)]


def likeness(side: Trained) -> None:
    def each(crop: np.ndarray) -> np.ndarray:
        return cv2.resize(crop, (160, 160), interpolation=cv2.INTER_AREA)

    sheet("likeness", {name: [each(crops[k]) for k in moments(side)] for name, crops in versions(side).items()})


def sharpness(side: Trained) -> None:
    """The inner half of the mask's box."""
    rows, columns = crop_module.mask_box(side.published.bench.held_out.spec)
    high, wide = (rows.stop - rows.start) // 4, (columns.stop - columns.start) // 4
    inner = slice(rows.start + high // 2, rows.stop - 3 * high // 2), slice(columns.start + wide, columns.stop - wide)

    def each(crop: np.ndarray) -> np.ndarray:
        return cv2.resize(crop[inner], None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC)

    chosen = [moments(side)[k] for k in (1, 3)]
    rows_of = {name: [each(crops[k]) for k in chosen] for name, crops in versions(side).items() if name != "pasted"}
    sheet("sharpness", rows_of)


def seam(side: Trained) -> None:
    """What is unlike the real frame, eight times as strong: a seam would be seen as a line."""
    found = versions(side)
    real = found.pop("real").astype(np.int16)

    def each(crop: np.ndarray, k: int) -> np.ndarray:
        grey = np.abs(crop.astype(np.int16) - real[k]).mean(2)
        return np.repeat(255 - np.clip(8 * grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)[::2, ::2]

    sheet("seam", {name: [each(crops[k], k) for k in moments(side)] for name, crops in found.items()})


if __name__ == "__main__":
    main()
