"""Rendering: any speech onto the avatar's frames, of any length in constant memory; decode, redraw, encode overlap."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import FileError, MismatchError, NoFaceError
from ..files import check_writable, output_lock, scratch_folder, without_links
from ..inference.compositor import Compositor, Cut, check_compilable
from ..inference.driving import eased, mouth_shapes
from ..inference.tint import Tint
from ..intervals import describe_ranges, runs
from ..media.audio import SAMPLE_RATE_HZ, plain_sound
from ..media.colours import Colours
from ..media.probe import VideoInfo
from ..media.video import VideoWriter
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
from .another_clip import check_clip
from .mark import Mark, mark_of
from .options import RenderOptions
from .places import Places, lost_frames, places_of
from .playback import colours_of_clip, first_frame, plan, play

_log = logging.getLogger(__name__)
MOST_WORKERS = 4  # threads that draw, each with a batch in memory
Part = tuple[tuple[int, ...], tuple[np.ndarray, ...], Cut]  # numbers of frames of the clip, frames, what is redrawn
Space = Callable[[tuple[int, int, int, int]], np.ndarray | None]  # (N, H, W, 3) → an array of that shape, float32


class Kept(NamedTuple):
    """What of a render is kept beside its video, float32 0..1 RGB, where it is wanted."""

    frames: np.ndarray | None  # (N, H, W, 3)
    mouths: np.ndarray | None  # (N, S, S, 3)


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
    mouths: Space | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, Path]:
    """Make the avatar say `audio`; `out` (mp4), which is the result, appears when it is complete, and not before.

    `driving` are features of that audio, where they are known already. `space` is called before the work with the
    shape of all frames, and gives the array that they are kept in, 0..1, as they are before they are encoded; or None.
    So is `mouths` with that of the face crops of these frames, black where nothing was drawn; see `paste_mouths`.
    Audio without speech gives a mouth at rest, and a warning. Raises MediaError, FileError, FormatError, MismatchError,
    OptionError when there is no such sound track, the generator cannot be compiled or the mark cannot be drawn, or
    NoFaceError where `options` say so.
    """
    generator, audio, out = Path(generator), Path(audio), Path(out)
    info, network = open_generator(generator, device)
    tint = check_clip(avatar, info, network, options, models)
    mark = mark_of(avatar, options)
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
        refuse_lost(avatar, places_of(avatar, total, options).numbers)
    kept = Kept(
        None if space is None else space((total, avatar.info.height, avatar.info.width, 3)),
        None if mouths is None else mouths((total, avatar.crop.size, avatar.crop.size, 3)),
    )
    with output_lock(out):
        with scratch_folder() as scratch:
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
        yield from _render_frames(avatar, network, conditions, (audio, track), out, options, kept, tint, mark)
    return out


def frame_count(avatar: Avatar, duration_s: float, options: RenderOptions) -> int:
    """How many frames the video for so many seconds of audio has."""
    total = max(1, round(duration_s * float(avatar.info.fps)))
    left = avatar.info.frame_count - first_frame(avatar, options)
    return max(total, left) if options.when_audio_shorter == "keep" else total


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


def refuse_lost(avatar: Avatar, numbers: np.ndarray) -> None:
    """NoFaceError when one of these frames (n,) of the clip shows no face, or a mouth that is mostly covered."""
    lost = lost_frames(avatar)
    shown = np.zeros_like(lost)
    shown[numbers] = True
    ranges, fps = runs(lost & shown), float(avatar.info.fps)
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
    if options.ends_at_rest:
        shapes = eased(shapes, generator.rest_pose.cpu(), float(avatar.info.fps))
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
    kept: Kept,
    tint: Tint | None,
    mark: Mark | None,
) -> Iterator[Progress]:
    total = len(conditions)
    places = places_of(avatar, total, options)
    colours = None  # frames that are kept are RGB
    if kept.frames is None:
        colours = colours_of_clip(avatar, options.codec != "h264")
    elif avatar.is_deep:
        _log.warning("frames that are given on have 8 bits, and so has this video; the clip has more")
    compositor = Compositor(
        generator.warp, avatar.crop, places.transforms, options.feather, places.occlusion, colours, tint
    )
    if options.compiled:
        yield Progress("compile", 0)
        with _workers(compositor.limit.device):
            compositor.compile(options.batch)
    held = places.lost if options.lost == "hold" else np.zeros_like(places.lost)
    frames = drawn_frames(
        compositor, play(avatar, plan(avatar, total, options), colours), conditions, options.batch, held
    )
    if kept.mouths is not None:
        frames = _cut_into(kept.mouths, frames, places, compositor)
    if mark is not None:
        frames = mark.on_all(frames, colours)
    if kept.frames is not None:
        frames = _kept_in(kept.frames, frames)
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

    Frames are (H, W, 3) uint8 RGB, or with `colours` planes (H * 3 / 2, W) uint8. The file says that it is generated.
    """
    width, height = info.width, info.height
    with (
        plain_sound(audio, track) as sound,
        VideoWriter(
            out, width=width, height=height, fps=info.fps, audio=sound, crf=crf, colours=colours, generated=True
        ) as writer,
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


def _cut_into(
    mouths: np.ndarray, frames: Generator[np.ndarray, None, None], places: Places, compositor: Compositor
) -> Generator[np.ndarray, None, None]:
    """The same frames, the face crop of each in `mouths` (N, S, S, 3) float32 0..1; black where nothing was drawn."""
    with closing(frames):
        for k, frame in enumerate(frames):
            mouths[k] = 0.0
            if places.is_drawn(k):
                np.divide(compositor.crop(frame, places.transform(k)), 255.0, out=mouths[k], dtype=np.float32)
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
