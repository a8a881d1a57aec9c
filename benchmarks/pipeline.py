"""Speed and memory of the whole chain: `python -m benchmarks.pipeline [--video CLIP] [--quick]`.

Prints one table; ffmpeg merely transcoding the same clip is the physical limit it is compared with.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import prepare
from udh_core.demo.clip import make_clip
from udh_core.face.tracking import detect
from udh_core.media.audio import write_wave
from udh_core.media.video import VideoWriter, read_frames
from udh_core.rendering.render import render
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions

GRID = Path(__file__).resolve().parents[2] / "shared/data/video/grid_s1_train_5min.mp4"
TRAIN_STEPS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--video", type=Path, help="clip for the preparation row (default: the 5 min GRID clip if it is there)"
    )
    parser.add_argument("--quick", action="store_true", help="leave out the ten-minute render")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.child:
        return render_child(*map(Path, arguments.child))
    table = Table("what", "measured", "to reach")
    with tempfile.TemporaryDirectory() as scratch:
        for row in measure(Path(scratch), arguments.video, arguments.quick):
            table.add_row(*row)
            Console(stderr=True).print(*row)
    Console().print(table)
    return None


def measure(folder: Path, video: Path | None, quick: bool) -> list[tuple[str, str, str]]:
    (folder / "clip").mkdir()
    for _ in make_clip(folder / "clip", seconds=20):
        pass
    person, speech = folder / "clip/person.mp4", folder / "clip/speech.wav"
    rows = [preparation(video or (GRID if GRID.is_file() else person), folder / "speed"), landmark_speed(person)]
    avatar = prepared(person, folder / "avatar", 160)
    generator = folder / "generator.safetensors"
    rows.append(training(avatar, generator))
    rows += rendering(avatar, generator, speech, folder / "out.mp4", person)
    if not quick:
        rows.append(memory(person, folder))
    return rows


def prepared(video: Path, root: Path, size: int) -> Avatar:
    for _ in prepare(video, root, PrepareOptions(crop_px=size)):
        pass
    return open_avatar(root)


def preparation(video: Path, root: Path) -> tuple[str, str, str]:
    begun = time.monotonic()
    avatar = prepared(video, root, 160)
    spent = time.monotonic() - begun
    duration = avatar.info.duration_s
    return (
        f"preparation of {video.name}",
        f"{spent:.0f} s for {duration:.0f} s = {duration / spent:.1f}× real time",
        "≥ 4×",
    )


def landmark_speed(video: Path) -> tuple[str, str, str]:
    frames = list(read_frames(video, count=200))
    begun = time.monotonic()
    for _ in detect(frames):
        pass
    height, width = frames[0].shape[:2]
    return (
        f"landmarks at {width}×{height}",
        f"{1000 * (time.monotonic() - begun) / len(frames):.1f} ms per frame",
        "≤ 8 ms",
    )


def training(avatar: Avatar, out: Path) -> tuple[str, str, str]:
    options = GeneratorOptions(steps=TRAIN_STEPS, motion_steps=50, check_every=10**6, save_every=10**6)
    seen = []
    for report in train_generator(avatar, out, options, start="overwrite"):
        if report.stage == "warp":
            seen.append(time.monotonic())
    rate = (TRAIN_STEPS - 10) * options.batch / (seen[-2] - seen[8])  # without the first steps and the check at the end
    return ("generator training at 160 px, with LPIPS", f"{rate:.1f} images/s", "≥ 10")


def rendering(avatar: Avatar, generator: Path, speech: Path, out: Path, clip: Path) -> list[tuple[str, str, str]]:
    begun = time.monotonic()
    *_, last = render(avatar, generator, speech, out)
    rate = last.total / (time.monotonic() - begun)
    begun, count = time.monotonic(), 0
    info = avatar.info
    with VideoWriter(out, width=info.width, height=info.height, fps=info.fps, audio=speech) as writer:
        for frame in read_frames(clip):
            writer.write(frame)
            count += 1
    limit = count / (time.monotonic() - begun)
    size = f"{info.width}×{info.height}"
    return [
        (f"rendering at {size}, features to mp4", f"{rate:.1f} frames/s", "≥ 12"),
        ("  merely decoding and encoding it", f"{limit:.1f} frames/s ({limit / rate:.1f}× ours)", "the limit"),
    ]


def memory(person: Path, folder: Path) -> tuple[str, str, str]:
    """Peak resident memory of rendering 1 and 10 minutes at 1280×720, each in a process of its own."""
    wide = folder / "wide.mp4"
    with VideoWriter(wide, width=1280, height=720, fps=Fraction(25), audio=folder / "clip/speech.wav") as writer:
        for frame in read_frames(person):
            canvas = np.zeros((720, 1280, 3), np.uint8)
            canvas[:, 280:1000] = cv2.resize(frame, (720, 720), interpolation=cv2.INTER_CUBIC)
            writer.write(canvas)
    avatar = prepared(wide, folder / "wide", 160)
    generator = folder / "wide.safetensors"
    for _ in train_generator(avatar, generator, GeneratorOptions(steps=2, motion_steps=2), start="overwrite"):
        pass
    peaks = []
    for minutes in (1, 10):
        speech = folder / f"{minutes}.wav"
        noise = np.random.default_rng(0).normal(0, 0.05, minutes * 60 * 16000).astype(np.float32)
        write_wave(speech, noise)
        child = [
            sys.executable,
            "-m",
            "benchmarks.pipeline",
            "--child",
            avatar.root,
            generator,
            speech,
            folder / "o.mp4",
        ]
        done = subprocess.run(list(map(str, child)), capture_output=True, check=True)  # noqa: S603
        peaks.append(json.loads(done.stdout)["peak_mb"])
    text = f"{peaks[0]:.0f} MB for 1 min, {peaks[1]:.0f} MB for 10 min ({100 * (peaks[1] / peaks[0] - 1):+.1f} %)"
    return ("peak memory of a 720p render", text, "within 10 %")


def render_child(avatar: Path, generator: Path, speech: Path, out: Path) -> None:
    for _ in render(open_avatar(avatar), generator, speech, out):
        pass
    sys.stdout.write(json.dumps({"peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Peak resident memory of this process. Linux carries ru_maxrss over from the parent, VmHWM not."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
