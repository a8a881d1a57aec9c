"""What reading a video costs: `python -m benchmarks.reading CLIP … [--frames 150] [--rounds 5] [--threads 0]`.

RGB frames as rendering reads them, from libav in this process, against an ffmpeg process that does the same and hands
the frames over in a pipe. All ways take turns, and each is compared with the pipe of its own round, so that other load
on the machine falls on all of them. The table goes to benchmarks/results/reading.md.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.media.canvas import SCALER
from udh_core.media.ffmpeg import QUIET, process, url
from udh_core.media.probe import picture_info
from udh_core.media.video import read_frames

PIPE, OURS = "ffmpeg process and pipe", "`read_frames`: libav, frame threads"
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
Way = Callable[[Path, int], Iterator[np.ndarray]]  # path, threads → (H, W, 3) uint8 RGB
console = Console(stderr=True)


def piped(path: Path, threads: int) -> Iterator[np.ndarray]:
    info = picture_info(path)
    frame = np.empty((info.height, info.width, 3), np.uint8)
    arguments = [*QUIET, "-threads", str(threads), "-i", url(path), "-map", "0:V:0"]
    arguments += ["-vf", f"scale=flags={SCALER}", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    with process(arguments, "stdout") as child:
        while child.stdout.readinto(frame.data) == frame.nbytes:  # type: ignore[attr-defined]
            yield frame
            frame = np.empty_like(frame)


def ours(path: Path, threads: int) -> Iterator[np.ndarray]:
    return read_frames(path, threads=threads)


def decoded(path: Path, threads: int, kind: str = "AUTO") -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = kind
        yield from container.decode(stream)


def in_slices(path: Path, threads: int) -> Iterator[np.ndarray]:
    for frame in decoded(path, threads, "SLICE"):
        yield frame.to_ndarray(format="rgb24", interpolation=ACCURATE)


def reformatted(path: Path, threads: int) -> Iterator[np.ndarray]:
    for frame in decoded(path, threads):
        yield frame.to_ndarray(format="rgb24", interpolation=ACCURATE, threads=threads)


def bilinear(path: Path, threads: int) -> Iterator[np.ndarray]:
    for frame in decoded(path, threads):
        yield frame.to_ndarray(format="rgb24")


def by_opencv(path: Path, threads: int) -> Iterator[np.ndarray]:
    for frame in decoded(path, threads):
        yield cv2.cvtColor(frame.to_ndarray(format="yuv420p"), cv2.COLOR_YUV2RGB_I420)


WAYS: dict[str, Way] = {
    PIPE: piped,
    OURS: ours,
    "libav, `reformat` instead of a filter graph": reformatted,
    "libav, slice threads": in_slices,
    "libav, its default colour conversion": bilinear,
    "libav, OpenCV's colour conversion": by_opencv,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    chosen = parser.parse_args()
    lines = ["| clip | way | frames/s, as a ratio to the pipe | off by, grey levels |", "|---|---|---|---|"]
    for clip in chosen.clips:
        lines += rows_of(clip, chosen.frames, chosen.rounds, chosen.threads)
    about = f"{chosen.frames} frames, {chosen.rounds} rounds in which the ways take turns; median, least and most."
    command = f"python -m benchmarks.reading … --frames {chosen.frames} --rounds {chosen.rounds}"
    path = write_table("reading", "What reading a video costs", about, lines, f"{command} --threads {chosen.threads}")
    console.print(path.read_text(encoding="utf-8"))


def rows_of(clip: Path, frames: int, rounds: int, threads: int) -> list[str]:
    """The table's rows for one clip."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        spent_s = {name: seconds_for(way(clip, threads), frames) for name, way in WAYS.items()}
        for name, seconds in spent_s.items():
            ratios[name].append(spent_s[PIPE] / seconds)
    info = picture_info(clip)
    what = f"{clip.stem}, {info.width}×{info.height}"
    true = [frame.astype(int) for frame in islice(ours(clip, threads), 10)]
    rows = []
    for name, way in WAYS.items():
        off = [np.abs(frame - one).mean() for frame, one in zip(islice(way(clip, threads), 10), true, strict=True)]
        found = ratios[name]
        span = f"{np.median(found):.2f} ({min(found):.2f}–{max(found):.2f})"
        rows.append(f"| {what} | {name} | {span} | {np.mean(off):.2f} |")
    return rows


def seconds_for(frames: Iterator[np.ndarray], count: int) -> float:
    begin = time.perf_counter()
    for _ in islice(frames, count):
        pass
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
