"""Draws docs/gallery/ from what the program makes of its built-in person: `python docs/draw_gallery.py WORK`.

In WORK it makes a clip of the built-in person, runs the commands of the README's quick start on it, and keeps what they
print, how long each took, and the previews of the training; then it draws. Nobody else is shown.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
sys.path.insert(0, str(ROOT))

from udh_core.audit.contact_sheet import face_sheet  # noqa: E402
from udh_core.avatar.folder import Avatar, open_avatar  # noqa: E402
from udh_core.demo.clip import make_clip  # noqa: E402
from udh_core.demo.sentences import NEW_SPEECH  # noqa: E402
from udh_core.evaluation.evaluate import evaluate  # noqa: E402
from udh_core.evaluation.side_by_side import side_by_side  # noqa: E402
from udh_core.files import atomic_write  # noqa: E402
from udh_core.media.audio import load_waveform, write_wave  # noqa: E402
from udh_core.media.video import read_frames  # noqa: E402
from udh_core.rendering.options import RenderOptions  # noqa: E402
from udh_core.rendering.places import Places, places_of  # noqa: E402
from udh_core.rendering.render import render  # noqa: E402
from udh_core.speech.tts import speak  # noqa: E402

COMMANDS = (  # of the quick start; what is shown of each is in `shown_of`
    "udh audit me.mp4 --picture audit.png",
    "udh prepare me.mp4 --avatar me --crop-px 128",
    "udh train --avatar me --out me.safetensors --model-size small --steps {steps} --motion-steps {motion_steps} "
    "--no-report",
    "udh render --avatar me --generator me.safetensors --audio speech.wav --out talking.mp4",
    "udh evaluate --avatar me --generator me.safetensors --html report.html",
)
WIDTH = 1280  # px of a picture
GAP = 6
PANEL = 300  # px, height of a step in the strip
BACK, INK, DIM = (24, 26, 30), (222, 226, 230), (120, 200, 140)
FONT_PX, LINE_PX, COLUMNS = 12, 15, 84  # of the terminal
POLL_S = 0.3


@dataclass(frozen=True)
class Step:
    """A command that was run."""

    command: str
    printed: list[str]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path, help="An empty folder, or a new one.")
    parser.add_argument("--steps", type=int, default=200, help="Updates of the warp network.")
    parser.add_argument("--motion-steps", type=int, default=80, help="Updates of each motion network.")
    parser.add_argument("--seconds", type=float, default=40.0, help="Length of the clip.")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    make_inputs(chosen.work, chosen.seconds)
    previews: list[np.ndarray] = []
    steps = [run_step(command.format(**vars(chosen)), chosen.work, previews) for command in COMMANDS]
    for name, picture in pictures(chosen.work, steps, previews):
        save(GALLERY / name, picture)


def make_inputs(work: Path, seconds: float) -> None:
    """me.mp4 and speech.wav."""
    make_clip(work / "made", seconds=seconds, seed=3).run()
    (work / "made" / "person.mp4").rename(work / "me.mp4")
    write_wave(work / "speech.wav", speak(" ".join(NEW_SPEECH[:3])))


def run_step(command: str, work: Path, previews: list[np.ndarray]) -> Step:
    """Run a command in `work`; each new preview of a training is added to `previews`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(COLUMNS)}
    words = [sys.executable, "-m", "udh_core", *shlex.split(command)[1:]]
    preview, seen, begun_s = work / "me.preview.png", 0, time.monotonic()
    with (work / "printed.txt").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(words, cwd=work, stdout=printed, stderr=subprocess.STDOUT, env=environment)  # noqa: S603 (fixed words)
        while process.poll() is None:
            time.sleep(POLL_S)
            if preview.is_file() and preview.stat().st_mtime_ns != seen:
                seen = preview.stat().st_mtime_ns
                previews.append(read_picture(preview))
        seconds = time.monotonic() - begun_s
        printed.seek(0)
        lines = printed.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{command}: {lines[-1] if lines else process.returncode}")
    return Step(command, lines, seconds)


def pictures(work: Path, steps: Sequence[Step], previews: Sequence[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, picture) of the whole gallery."""
    avatar, generator, speech = open_avatar(work / "me"), work / "me.safetensors", work / "speech.wav"
    held_out = held_out_frames(avatar, generator, work)
    shown = [read_picture(work / "audit.png"), prepared(avatar, 3), previews[-1]]
    shown += [beside(avatar, work / "talking.mp4", 3), held_out]
    yield "quick_start.jpg", strip(steps, shown)
    yield "audit.jpg", fitted(read_picture(work / "audit.png"), WIDTH)
    yield "prepare.jpg", prepared(avatar, 6)
    yield "training.jpg", column([fitted(one, WIDTH) for one in spread(previews, 4)])
    yield "render.jpg", beside(avatar, work / "talking.mp4", 5)
    yield "mask.jpg", masks(avatar, work / "talking.mp4")
    yield "mouths.jpg", mouths(avatar, work / "talking.mp4", 12)
    yield "side_by_side.jpg", held_out
    yield "mark.jpg", marked(avatar, generator, speech, work)


# One picture each


def prepared(avatar: Avatar, count: int) -> np.ndarray:
    """Frames with the landmarks above, the crops of the same frames below."""
    side = tile_width(count)
    sheet = face_sheet(avatar, count, side)
    crops = spread(avatar.crops(), count)
    return column([row(sheet), row([fitted(crop, side) for crop in crops])])


def beside(avatar: Avatar, video: Path, count: int) -> np.ndarray:
    """Frames of the clip above, the same frames of the render below."""
    drawn, places = frames_of(video), placed(avatar, video)
    numbers = spread(range(len(drawn)), count)
    clip = list(read_frames(avatar.video))
    rows = [[clip[places.numbers[k]] for k in numbers], [drawn[k] for k in numbers]]
    return column([row([fitted(frame, tile_width(count)) for frame in one]) for one in rows])


def masks(avatar: Avatar, video: Path) -> np.ndarray:
    """One frame: as it was, what of it is redrawn, as it is, and the difference, four times as strong."""
    drawn, places = frames_of(video), placed(avatar, video)
    k = len(drawn) // 2
    source = next(iter(read_frames(avatar.video, start=int(places.numbers[k]), count=1)))
    weight = places.mask(k)[..., None]
    tinted = np.rint(source * (1 - 0.5 * weight) + np.array([255, 40, 40]) * 0.5 * weight).astype(np.uint8)
    apart = np.clip(128 + 4 * (drawn[k].astype(int) - source), 0, 255).astype(np.uint8)
    return row([fitted(one, tile_width(4)) for one in (source, tinted, drawn[k], apart)])


def mouths(avatar: Avatar, video: Path, count: int) -> np.ndarray:
    """Crops of the mouth in the render, in two rows."""
    from udh_core.face.crop import crop, mouth_window

    drawn, places = frames_of(video), placed(avatar, video)
    window, side = mouth_window(avatar.crop), tile_width(count // 2)
    chosen = spread(range(len(drawn)), count)
    tiles = [fitted(crop(drawn[k], places.transform(k), avatar.crop)[window], side) for k in chosen]
    return column([row(tiles[: count // 2]), row(tiles[count // 2 :])])


def marked(avatar: Avatar, generator: Path, speech: Path, work: Path) -> np.ndarray:
    """Frames of a render with a visible mark."""
    write_wave(work / "short.wav", load_waveform(speech, duration_s=2.0))
    out = render(avatar, generator, work / "short.wav", work / "marked.mp4", RenderOptions(mark="AI-generated")).run()
    return row([fitted(frame, tile_width(3)) for frame in spread(frames_of(out), 3)])


def held_out_frames(avatar: Avatar, generator: Path, work: Path) -> np.ndarray:
    """Frames of the video of the report: original beside generated, of frames that were not trained on."""
    (work / "side_by_side.mp4").write_bytes(side_by_side(evaluate(avatar, generator).run(), None))
    tiles = [fitted(frame, tile_width(3)) for frame in spread(frames_of(work / "side_by_side.mp4"), 6)]
    return column([row(tiles[:3]), row(tiles[3:])])


def strip(steps: Sequence[Step], shown: Sequence[np.ndarray]) -> np.ndarray:
    """A row for each step: what the terminal showed, and a picture of what came of it."""
    width = (WIDTH - GAP) // 2
    return column(
        [
            row([terminal(step, (width, PANEL)), boxed(picture, (width, PANEL))])
            for step, picture in zip(steps, shown, strict=True)
        ]
    )


def terminal(step: Step, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) of `size` (w, h): the command, the last lines that it printed, and how long it took."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")), FONT_PX)
    picture = Image.new("RGB", size, BACK)
    pen, room = ImageDraw.Draw(picture), (size[1] - 2 * GAP) // LINE_PX
    command = [step.command[k : k + COLUMNS - 2] for k in range(0, len(step.command), COLUMNS - 2)]
    printed = step.printed[-(room - len(command) - 2) :]
    lines = [("$ " if k == 0 else "  ") + part for k, part in enumerate(command)] + printed
    for k, line in enumerate(lines):
        pen.text((2 * GAP, GAP + k * LINE_PX), line[:COLUMNS], DIM if k < len(command) else INK, font)
    pen.text((2 * GAP, size[1] - GAP - LINE_PX), f"{step.seconds:.1f} s", DIM, font)
    return np.asarray(picture)


# Tiles


def placed(avatar: Avatar, video: Path) -> Places:
    """Where the mouth lies in each frame of a render with the usual options."""
    return places_of(avatar, len(frames_of(video)), RenderOptions())


def frames_of(video: Path) -> list[np.ndarray]:
    return list(islice(read_frames(video), 2000))


def spread(things: Sequence | np.ndarray, count: int) -> list:
    """Up to `count` of them, evenly, the first and the last among them."""
    return [things[int(k)] for k in np.unique(np.linspace(0, len(things) - 1, count).round())]


def tile_width(count: int) -> int:
    """Of one of `count` beside each other."""
    return (WIDTH - GAP * (count - 1)) // count


def fitted(picture: np.ndarray, width: int) -> np.ndarray:
    """A picture (h, w, 3) in another width."""
    height = round(picture.shape[0] * width / picture.shape[1])
    way = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, (width, height), interpolation=way)


def boxed(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture as large as it fits into (w, h), in the middle of a dark box."""
    scale = min(size[0] / picture.shape[1], size[1] / picture.shape[0])
    inner = fitted(picture, int(picture.shape[1] * scale))[: size[1]]
    box = np.full((size[1], size[0], 3), BACK, np.uint8)
    top, left = (size[1] - inner.shape[0]) // 2, (size[0] - inner.shape[1]) // 2
    box[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return box


def row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one height beside each other."""
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=1)


def column(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures below each other, the narrower ones widened with white."""
    width = max(tile.shape[1] for tile in tiles)
    wide = [
        cv2.copyMakeBorder(t, 0, GAP, 0, width - t.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)) for t in tiles
    ]
    return np.concatenate(wide)[:-GAP]


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.asarray(Image.open(path).convert("RGB"))


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary, "JPEG", quality=82, optimize=True)


if __name__ == "__main__":
    main()
