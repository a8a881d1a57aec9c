"""What a render costs beside what it cannot do without: `python -m benchmarks.rendering CLIP … [--sizes 1280x720 …]`.

A part of each clip is prepared at each size, and drawn over with an untrained generator of 256 px, which is as fast as
a trained one. Four ways take turns, so that other load on the machine falls on all of them: ffmpeg transcoding the
part, the bare network, a render in planes, and one in RGB, as frames that are kept are drawn. The table goes to
benchmarks/results/rendering.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.tables import write_table
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import prepare
from udh_core.inference.compositor import Compositor
from udh_core.media.audio import SAMPLE_RATE_HZ, write_wave
from udh_core.media.colours import Colours
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import picture_info
from udh_core.media.video import AAC, plane_colours
from udh_core.models.warping import WarpConfig, WarpNet
from udh_core.rendering.playback import play, stretches
from udh_core.rendering.render import drawn_frames, write_video

TRANSCODE, NETWORK, PLANES, RGB = "transcoding", "the bare network", "render in planes", "render in RGB"
console = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--sizes", nargs="+", default=["1920x1080", "1280x720", "512x512"])
    parser.add_argument("--start", type=float, default=0.0, help="s")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--work", type=Path, help="what is prepared stays here")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.work:
        chosen.work.mkdir(parents=True, exist_ok=True)
    lines = ["| clip | way | frames/s | ms/frame | of transcoding + network |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        for clip in chosen.clips:
            for size in chosen.sizes:
                avatar = prepared(clip, size, chosen.work or Path(scratch), chosen.start, chosen.seconds)
                lines += rows_of(avatar, f"{clip.stem}, {size}", Path(scratch), chosen.rounds, chosen.batch)
    about = f"{chosen.seconds:g} s, batch {chosen.batch}, {chosen.rounds} rounds in which the ways take turns; medians."
    command = f"python -m benchmarks.rendering … --seconds {chosen.seconds:g} --rounds {chosen.rounds}"
    path = write_table("rendering", "What a render costs", about, lines, f"{command} --batch {chosen.batch}")
    console.print(path.read_text(encoding="utf-8"))


def prepared(clip: Path, size: str, folder: Path, start_s: float, seconds: float) -> Avatar:
    """The avatar of a part of the clip, scaled and cut to a size such as 1280x720."""
    root = folder / f"{clip.stem}-{size}"
    if not root.is_dir():
        width, height = size.split("x")
        scale = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height},format=yuv420p"
        part = folder / f"{clip.stem}-{size}.mp4"
        arguments = ["-ss", str(start_s), "-t", str(seconds), "-i", url(clip), "-vf", scale, "-crf", "12", "-y"]
        run([*arguments, url(part)], f"{clip} cannot be scaled")
        prepare(part, root, PrepareOptions(256, "mel80", skip_lost=True)).run()
    return open_avatar(root)


def rows_of(avatar: Avatar, what: str, scratch: Path, rounds: int, batch: int) -> list[str]:
    """The table's rows for one clip at one size."""
    frames, spent_s = avatar.info.frame_count, defaultdict(list)
    ways = ways_of(avatar, scratch, batch)
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            spent_s[name].append(1000 * (time.perf_counter() - begin) / frames)
            console.print(what, name, f"{spent_s[name][-1]:.1f} ms")
    least = np.array(spent_s[TRANSCODE]) + np.array(spent_s[NETWORK])
    rows = []
    for name, found in spent_s.items():
        ratios = np.array(found) / least
        share = f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})"
        rows.append(f"| {what} | {name} | {1000 / np.median(found):.1f} | {np.median(found):.1f} | {share} |")
    return rows


def ways_of(avatar: Avatar, scratch: Path, batch: int) -> dict[str, Callable[[], None]]:
    network = WarpNet(WarpConfig(avatar.crop.size), avatar.crop).eval()
    network.references.random_(0, 256)
    count = avatar.info.frame_count
    sound, out = scratch / "sound.wav", scratch / "out.mp4"
    write_wave(sound, np.zeros(round(count / avatar.info.fps * SAMPLE_RATE_HZ), np.float32))
    conditions = torch.zeros(count, network.config.frames, network.config.shape_width)
    compositors = {colours: composing(avatar, network, colours) for colours in (plane_colours(avatar.video), None)}
    ways = {
        TRANSCODE: lambda: transcode(avatar.video, sound, out),
        NETWORK: lambda: draw(compositors[None], conditions, batch),
    }
    for name, (colours, compositor) in zip((PLANES, RGB), compositors.items(), strict=True):
        ways[name] = lambda one=compositor, its=colours: render(avatar, one, its, conditions, sound, out, batch)
    return ways


def composing(avatar: Avatar, network: WarpNet, colours: Colours | None) -> Compositor:
    return Compositor(network, avatar.crop, avatar.track().transforms, colours=colours)


def transcode(clip: Path, sound: Path, out: Path) -> None:
    coding = ["-c:v", "libx264", "-crf", "16", "-preset", "veryfast", *AAC, "-movflags", "+faststart", "-y", url(out)]
    run(["-i", url(clip), "-i", url(sound), "-map", "0:v", "-map", "1:a", *coding], f"{clip} cannot be transcoded")


def draw(compositor: Compositor, conditions: Tensor, batch: int) -> None:
    size = compositor.spec.size
    crops = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    for start in range(0, len(conditions), batch):
        part = conditions[start : start + batch]
        compositor.draw(crops[: len(part)], part)


def render(
    avatar: Avatar,
    compositor: Compositor,
    colours: Colours | None,
    conditions: Tensor,
    sound: Path,
    out: Path,
    batch: int,
) -> None:
    plan = stretches(avatar.info.frame_count, len(conditions), "loop")
    held = np.zeros(avatar.info.frame_count, bool)
    drawn = drawn_frames([compositor], play(avatar, plan, colours is not None), [conditions], batch, held)
    for _ in write_video(out, avatar.info, drawn, len(conditions), sound, colours=colours):
        pass
    if picture_info(out).frame_count != len(conditions):
        raise ValueError(f"{out} lacks frames")


if __name__ == "__main__":
    main()
