"""Rendering: any speech onto the avatar's frames, of any length in constant memory; decode, redraw, encode overlap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import MismatchError, NoFaceError, OptionError
from ..files import output_lock, scratch_folder
from ..inference.compositor import Compositor, Cut, check_compilable
from ..inference.driving import eased, mouth_shapes
from ..inference.pixels import pixels_for
from ..inference.tint import Tint
from ..intervals import describe_ranges, runs
from ..media.audio import SAMPLE_RATE_HZ
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
from .output import check_output, write_video
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
    """Make the avatar say `audio`; `out`, which is the result, appears when it is complete, and not before.

    It is an mp4; with `options.overlay` a .mov, or where its name has no ending a folder of PNG files.

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
    check_output(out, (generator, audio), avatar.root, options.overlay)
    total = frame_count(avatar, duration_s, options)
    if options.lost == "fail":
        refuse_lost(avatar, places_of(avatar, total, options).numbers)
    kept = _kept(avatar, total, space, mouths, options)
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


def _kept(avatar: Avatar, total: int, space: Space | None, mouths: Space | None, options: RenderOptions) -> Kept:
    """Where `render` keeps what it is asked to; OptionError of an overlay."""
    if options.overlay and (space is not None or mouths is not None):
        raise OptionError("an overlay is given on as a file alone; render it without keeping frames or mouths")
    return Kept(
        None if space is None else space((total, avatar.info.height, avatar.info.width, 3)),
        None if mouths is None else mouths((total, avatar.crop.size, avatar.crop.size, 3)),
    )


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
    colours = None  # frames that are kept are RGB, and so are overlays
    if kept.frames is None and not options.overlay:
        colours = colours_of_clip(avatar, options.codec != "h264")
    elif avatar.is_deep:
        _log.warning("frames that are given on, and overlays, have 8 bits, and so has this video; the clip has more")
    pixels = pixels_for(avatar.crop, options.feather, colours, overlay=options.overlay)
    compositor = Compositor(generator.warp, avatar.crop, places.transforms, pixels, places.occlusion, tint)
    if options.compiled:
        yield Progress("compile", 0)
        with _workers(compositor.limit.device):
            compositor.compile(options.batch)
    held = places.lost if options.lost == "hold" else np.zeros_like(places.lost)
    frames = drawn_frames(
        compositor, play(avatar, plan(avatar, total, options), colours), conditions, options.batch, held
    )
    if options.overlay:
        frames = _transparent(frames)
    if kept.mouths is not None:
        frames = _cut_into(kept.mouths, frames, places, compositor)
    if mark is not None:
        frames = mark.on_all(frames, colours)
    if kept.frames is not None:
        frames = _kept_in(kept.frames, frames)
    plain = options.codec == "h264"
    yield from write_video(out, avatar.info, frames, total, *sound, options.crf, colours, options.overlay, plain)


def _kept_in(kept: np.ndarray, drawn: Generator[np.ndarray, None, None]) -> Generator[np.ndarray, None, None]:
    """The same frames (H, W, 3) uint8, each also in `kept` (N, H, W, 3) float32 0..1."""
    with closing(drawn):
        for k, frame in enumerate(drawn):
            np.divide(frame, 255.0, out=kept[k], dtype=np.float32)
            yield frame


def _transparent(drawn: Generator[np.ndarray, None, None]) -> Generator[np.ndarray, None, None]:
    """Overlays (H, W, 4) uint8 RGBA; those of frames in which nothing was drawn are empty."""
    with closing(drawn):
        for frame in drawn:
            yield frame if frame.shape[2] == 4 else np.zeros((*frame.shape[:2], 4), np.uint8)


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
