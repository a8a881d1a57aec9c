"""Rendering: any speech onto the avatar's frames, of any length in constant memory; decode, redraw, encode overlap."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import FileError, MismatchError, OptionError
from ..face.crop import FEATHER
from ..files import check_writable
from ..inference.compositor import Compositor
from ..inference.driving import GAINS, mouth_shapes
from ..media.audio import load_waveform
from ..media.video import VideoWriter
from ..models import checkpoint
from ..models.checkpoint import open_generator
from ..models.generator import Generator, with_neighbours
from ..prefetch import prefetch
from ..speech import features
from ..speech.features import AudioFeatures
from .playback import WhenLonger, WhenShorter, play, stretches


@dataclass(frozen=True)
class RenderOptions:
    """What a user may choose when rendering."""

    when_audio_longer: WhenLonger = "bounce"
    when_audio_shorter: WhenShorter = "cut"
    crf: int = 16
    batch: int = 4
    feather: float = FEATHER  # width of the blend between redrawn and real, 1 = distance of the outer eye corners
    compiled: bool = False  # by torch.compile, which takes about a minute before the first frame
    rest: bool = True  # the mouth rests where the audio is silent
    gain: float = 1.0  # of the mouth's movement away from its rest

    def __post_init__(self) -> None:
        if not 0.01 <= self.feather <= 0.4:
            raise OptionError(f"feather = {self.feather}: choose a width from 0.01 to 0.4")
        if not GAINS[0] <= self.gain <= GAINS[1]:
            raise OptionError(f"gain = {self.gain}: choose from {GAINS[0]} to {GAINS[1]}")
        if self.when_audio_longer not in get_args(WhenLonger):
            raise OptionError(f"when_audio_longer = {self.when_audio_longer}: choose {', '.join(get_args(WhenLonger))}")
        if self.when_audio_shorter not in get_args(WhenShorter):
            raise OptionError(
                f"when_audio_shorter = {self.when_audio_shorter}: choose {', '.join(get_args(WhenShorter))}"
            )


class Progress(NamedTuple):
    """How far a render is."""

    stage: Literal["features", "compiling", "frames"]
    done: int
    total: int
    rate: float  # frames per second since the first one was begun; 0 before


def render(
    avatar: Avatar,
    generator: Path,
    audio: Path,
    out: Path,
    options: RenderOptions = RenderOptions(),
    *,
    driving: AudioFeatures | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Iterator[Progress]:
    """Make the avatar say `audio`; `out` (mp4) appears when it is complete, and not before.

    `driving` are features of that audio, where they are known already. Raises MediaError, FileError, FormatError or
    MismatchError.
    """
    info, network = open_generator(generator, device)
    checkpoint.check_match(info, avatar=avatar.identity, crop=avatar.crop)
    if driving is not None:
        features.check_match(driving, info.encoder)
    waveform = load_waveform(audio)
    duration_s = len(waveform) / 16000
    _check_output(out, avatar, generator, audio)
    with tempfile.TemporaryDirectory() as scratch:
        if driving is None:
            for part in features.extract_to(Path(scratch), waveform, info.encoder, device=device, models=models):
                yield Progress("features", round(part * 100), 100, 0.0)
            driving = features.load(Path(scratch), info.encoder)
        elif abs(driving.duration_s - duration_s) > 0.5:
            raise MismatchError(
                f"the features last {driving.duration_s:.1f} s, {audio} {duration_s:.1f} s; extract them again"
            )
        steered = _steering(avatar, network, driving, waveform, options, models)
        del driving, waveform  # nothing that grows with the sound is held while frames are drawn
    yield from _render_frames(avatar, network, steered, audio, out, options)


def _check_output(out: Path, avatar: Avatar, generator: Path, audio: Path) -> None:
    """FileError before the work when the output is no mp4, cannot be written, or would replace what it is made of."""
    if out.suffix.lower() != ".mp4":
        raise FileError(f"{out}: the output is an mp4; give a name that ends in .mp4")
    place = out.resolve()
    if place in (generator.resolve(), audio.resolve()) or place.is_relative_to(avatar.root.resolve()):
        raise FileError(f"{out} is what the video is made of, or lies in the avatar's folder; give another name")
    check_writable(out)


def _steering(
    avatar: Avatar,
    generator: Generator,
    driving: AudioFeatures,
    waveform: np.ndarray,
    options: RenderOptions,
    models: Path | None,
) -> Tensor:
    """(n, frames, shape_width): what steers each of the n frames of the output."""
    fps = float(avatar.info.fps)
    total = max(1, round(len(waveform) / 16000 * fps))
    if options.when_audio_shorter == "keep":
        total = max(total, avatar.info.frame_count)
    times_s = (np.arange(total) + 0.5) / fps
    shapes = mouth_shapes(generator, driving, times_s, waveform, gain=options.gain, rest=options.rest, models=models)
    return with_neighbours(shapes, generator.config.pixels.frames)


def _render_frames(
    avatar: Avatar,
    generator: Generator,
    steered: Tensor,
    audio: Path,
    out: Path,
    options: RenderOptions,
) -> Iterator[Progress]:
    total = len(steered)
    plan = stretches(avatar.info.frame_count, total, options.when_audio_longer)
    compositor = Compositor(generator.pixels, avatar.crop, avatar.track().transforms, options.feather)
    if options.compiled:
        yield Progress("compiling", 0, 1, 0.0)
        compositor.compile(options.batch)
    size = (avatar.info.width, avatar.info.height)
    with VideoWriter(out, width=size[0], height=size[1], fps=avatar.info.fps, audio=audio, crf=options.crf) as writer:
        begun, drawn = time.monotonic(), _drawn(compositor, play(avatar, plan), steered, options.batch)
        with closing(prefetch(drawn, 8)) as frames:
            for done, frame in enumerate(frames, 1):
                writer.write(frame)
                yield Progress("frames", done, total, done / (time.monotonic() - begun))


def _drawn(
    compositor: Compositor, played: Iterator[tuple[int, np.ndarray]], steered: Tensor, batch: int
) -> Iterator[np.ndarray]:
    """The frames with other mouths; however it ends, nothing is read ahead any more."""
    done = 0
    with closing(prefetch(played, 8)) as frames:
        while part := list(islice(frames, batch)):
            numbers, pictures = zip(*part, strict=True)
            yield from compositor.composite(pictures, numbers, steered[done : done + len(part)])
            done += len(part)
