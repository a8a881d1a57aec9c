"""Rendering: any speech onto the avatar's frames, of any length in constant memory; decode, redraw, encode overlap."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import FileError, MismatchError, NoFaceError
from ..face.occlusion import Occlusion
from ..face.tracking import FaceTrack
from ..files import check_writable, output_lock, without_links
from ..inference.compositor import Compositor, Cut, check_compilable
from ..inference.driving import mouth_shapes
from ..intervals import describe_ranges, runs
from ..media.audio import SAMPLE_RATE_HZ, plain_sound
from ..media.colours import Colours
from ..media.probe import VideoInfo
from ..media.video import VideoWriter
from ..models import checkpoint
from ..models.checkpoint import open_generator
from ..models.generator import Generator as GeneratorNet
from ..models.generator import with_neighbours
from ..models.threads import one_thread_each
from ..prefetch import mapped, prefetch
from ..progress import Progress, job
from ..speech import features
from ..speech.activity import speech_share
from ..speech.features import AudioFeatures
from ..speech.voice import load_voice, log_notes
from .options import RenderOptions
from .playback import colours_of_clip, play, stretches

_log = logging.getLogger(__name__)
MOST_WORKERS = 4  # threads that draw, each with a batch in memory
Part = tuple[tuple[int, ...], tuple[np.ndarray, ...], Cut]  # numbers of frames of the clip, frames, what is redrawn
Space = Callable[[tuple[int, int, int, int]], np.ndarray | None]  # (N, H, W, 3) → an array of that shape, float32


@job
def render(
    avatar: Avatar,
    generator: str | Path,
    audio: str | Path,
    out: str | Path,
    options: RenderOptions = RenderOptions(),
    *,
    driving: AudioFeatures | None = None,
    space: Space | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, Path]:
    """Make the avatar say `audio`; `out` (mp4), which is the result, appears when it is complete, and not before.

    `driving` are features of that audio, where they are known already. `space` is called before the work with the
    shape of all frames, and gives the array that they are kept in, 0..1, as they are before they are encoded; or None.
    Audio without speech gives a mouth at rest, and a warning. Raises MediaError, FileError, FormatError, MismatchError,
    OptionError when there is no such sound track or the generator cannot be compiled, or NoFaceError where `options`
    say so.
    """
    generator, audio, out = Path(generator), Path(audio), Path(out)
    info, network = open_generator(generator, device)
    checkpoint.check_match(info, avatar=avatar.identity, person=avatar.person, crop=avatar.crop)
    if options.compiled:
        check_compilable(network.warp)
    if driving is not None:
        features.check_match(driving, info.encoder)
    voice = load_voice(audio, track=options.audio_track, models=models)
    log_notes(audio, voice)
    waveform = voice.waveform
    duration_s = len(waveform) / SAMPLE_RATE_HZ
    check_output(out, (generator, audio), avatar.root)
    total = frame_count(avatar, duration_s, options)
    if options.lost == "fail":
        refuse_lost(avatar, total)
    kept = None if space is None else space((total, avatar.info.height, avatar.info.width, 3))
    with output_lock(out):
        with tempfile.TemporaryDirectory() as scratch:
            if driving is None:
                work = features.extract_to(Path(scratch), waveform, info.encoder, device=device, models=models)
                driving = yield from work.steps()
            elif abs(driving.duration_s - duration_s) > 0.5:
                raise MismatchError(
                    f"the features last {driving.duration_s:.1f} s, {audio} {duration_s:.1f} s; extract them again"
                )
            conditions = _conditions(avatar, network, driving, waveform, total, options, models)
            if not speech_share(waveform, models=models):
                conditions = _without_speech(audio, network, conditions, options)
            track = voice.track
            del driving, voice, waveform  # nothing that grows with the sound is held while frames are drawn
        yield from _render_frames(avatar, network, conditions, (audio, track), out, options, kept)
    return out


def frame_count(avatar: Avatar, duration_s: float, options: RenderOptions) -> int:
    """How many frames the video for so many seconds of audio has."""
    total = max(1, round(duration_s * float(avatar.info.fps)))
    return max(total, avatar.info.frame_count) if options.when_audio_shorter == "keep" else total


def check_output(out: Path, made_from: Sequence[Path], folder: Path) -> None:
    """FileError before the work when `out` is no mp4, cannot be written, or would replace what it is made of.

    folder: of the person's clip; nothing is written into it.
    """
    if not out.name.lower().endswith(".mp4"):
        raise FileError(f"{out}: the output is an mp4; give a name that ends in .mp4")
    place = without_links(out)
    if place in [without_links(path) for path in made_from] or place.is_relative_to(without_links(folder)):
        raise FileError(f"{out} is what the video is made of, or lies in {folder}; give another name")
    check_writable(out)


def lost_frames(track: FaceTrack, occlusion: Occlusion) -> np.ndarray:
    """(N,) bool: frames of the clip in which nothing can be drawn."""
    return ~track.present | occlusion.hidden(len(track.valid))


def refuse_lost(avatar: Avatar, total: int) -> None:
    """NoFaceError when one of the frames that are played shows no face, or a mouth that is mostly covered."""
    ranges, fps = runs(lost_frames(avatar.track(), avatar.occlusion())[:total]), float(avatar.info.fps)
    if ranges:
        first = ranges[0][0]
        raise NoFaceError(
            f"frame {first} ({first / fps:.1f} s) of {avatar.root}: the face is lost or its mouth covered at "
            f"{describe_ranges(ranges, fps)}; trim the clip, or choose pass or hold as `lost`"
        )


def _conditions(
    avatar: Avatar,
    generator: GeneratorNet,
    driving: AudioFeatures,
    waveform: np.ndarray,
    total: int,
    options: RenderOptions,
    models: Path | None,
) -> Tensor:
    """(total, frames, shape_width): what the network is conditioned on in each of the frames of the output."""
    times_s = (np.arange(total) + 0.5) / float(avatar.info.fps)
    shapes = mouth_shapes(
        generator, driving, times_s, waveform, gain=options.amplitude, rest=options.rest, models=models
    )
    return with_neighbours(shapes, generator.config.warp.frames)


def _without_speech(audio: Path, generator: GeneratorNet, conditions: Tensor, options: RenderOptions) -> Tensor:
    """Conditions like those given, (n, frames, shape_width): of a mouth at rest, where the options allow for that."""
    what = "keeps its rest pose" if options.rest else "follows what else sounds in it"
    _log.warning("there is no speech in %s: the mouth %s", audio, what)
    return generator.rest_pose.cpu().expand_as(conditions).clone() if options.rest else conditions


def _render_frames(
    avatar: Avatar,
    generator: GeneratorNet,
    conditions: Tensor,
    sound: tuple[Path, int],
    out: Path,
    options: RenderOptions,
    kept: np.ndarray | None,
) -> Iterator[Progress]:
    total = len(conditions)
    plan = stretches(avatar.info.frame_count, total, options.when_audio_longer)
    track, occlusion = avatar.track(), avatar.occlusion()
    lost = lost_frames(track, occlusion)
    places = np.where(lost[:, None, None], np.float32(np.nan), track.transforms)
    colours = colours_of_clip(avatar) if kept is None else None  # frames that are kept are RGB
    compositor = Compositor(generator.warp, avatar.crop, places, options.feather, occlusion, colours)
    if options.compiled:
        yield Progress("compile", 0)
        with _workers(compositor.limit.device):
            compositor.compile(options.batch)
    held = lost if options.lost == "hold" else np.zeros_like(lost)
    drawn = drawn_frames(compositor, play(avatar, plan, colours is not None), conditions, options.batch, held)
    frames = drawn if kept is None else _kept_in(kept, drawn)
    yield from write_video(out, avatar.info, frames, total, *sound, options.crf, colours)


def write_video(
    out: Path,
    info: VideoInfo,
    frames: Iterator[np.ndarray],
    total: int,
    audio: Path,
    track: int = 1,
    crf: int = 16,
    colours: Colours | None = None,
) -> Iterator[Progress]:
    """Encode `total` frames with a sound track, while the next ones are drawn in another thread.

    Frames are (H, W, 3) uint8 RGB, or with `colours` planes (H * 3 / 2, W) uint8.
    """
    width, height = info.width, info.height
    with (
        plain_sound(audio, track) as sound,
        VideoWriter(out, width=width, height=height, fps=info.fps, audio=sound, crf=crf, colours=colours) as writer,
        closing(prefetch(frames, 8)) as ready,
    ):
        begun_s = time.monotonic()
        for done, frame in enumerate(ready, 1):
            writer.write(frame)
            yield Progress("frames", done, total, f"{done / (time.monotonic() - begun_s):.1f} frames/s")


def _kept_in(kept: np.ndarray, drawn: Generator[np.ndarray, None, None]) -> Generator[np.ndarray, None, None]:
    """The same frames (H, W, 3) uint8, each also in `kept` (N, H, W, 3) float32 0..1."""
    with closing(drawn):
        for k, frame in enumerate(drawn):
            np.divide(frame, 255.0, out=kept[k], dtype=np.float32)
            yield frame


def drawn_frames(
    compositor: Compositor, played: Iterator[tuple[int, np.ndarray]], conditions: Tensor, batch: int, held: np.ndarray
) -> Generator[np.ndarray, None, None]:
    """The frames with other mouths; however it ends, nothing is read ahead any more.

    held: (N,) bool of the clip's frames: in their places stands the last one drawn before, where there is one.
    """
    last = None

    def draw(part: Part) -> tuple[tuple[int, ...], list[np.ndarray]]:
        numbers, pictures, cut = part
        return numbers, compositor.paste(pictures, numbers, cut)

    with (
        _workers(compositor.limit.device) as workers,
        closing(prefetch(played, 8)) as frames,
        closing(mapped(draw, _parts(compositor, frames, conditions, batch), workers)) as drawn,
    ):
        for numbers, pictures in drawn:
            for number, picture in zip(numbers, pictures, strict=True):
                last = last if held[number] else picture
                yield picture if last is None else last


def _parts(
    compositor: Compositor, frames: Iterator[tuple[int, np.ndarray]], conditions: Tensor, batch: int
) -> Iterator[Part]:
    done = 0
    while part := list(islice(frames, batch)):
        numbers, pictures = zip(*part, strict=True)
        yield numbers, pictures, compositor.cut(pictures, numbers, conditions[done : done + len(part)])
        done += len(part)


@contextmanager
def _workers(device: torch.device) -> Iterator[int]:
    """How many threads draw; on a CPU each of them computes alone."""
    if device.type != "cpu":
        yield 1
        return
    with one_thread_each() as threads:
        yield min(threads, MOST_WORKERS)
