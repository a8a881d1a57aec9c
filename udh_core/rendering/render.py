"""Rendering: any speech onto the avatar's frames, of any length in constant memory; decode, redraw, encode overlap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
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
from ..inference.memory import give_back_freed
from ..inference.pixels import pixels_for
from ..inference.tint import Tint
from ..intervals import describe_ranges, runs
from ..media.colours import Colours
from ..media.mixing import mixed_sound
from ..models.checkpoint import open_generator
from ..models.generator import Generator as GeneratorNet
from ..models.generator import with_neighbours
from ..models.threads import one_thread_each
from ..prefetch import mapped, prefetch
from ..progress import Progress, job
from ..speech import features
from ..speech.activity import speech_share
from ..speech.features import AudioFeatures
from ..speech.voice import Voice, load_voice, log_notes
from .another_clip import check_clip
from .mark import Mark, mark_of
from .options import RenderOptions
from .output import check_output, write_video
from .places import Places, lost_frames, places_of
from .playback import colours_of_clip, first_frame, plan, play
from .speakers import Speaker, check_apart, check_same_clip

_log = logging.getLogger(__name__)
MOST_WORKERS = 4  # threads that draw, each with a batch in memory
# Numbers of frames of the clip, frames, and what is redrawn of each of the people
Part = tuple[tuple[int, ...], Sequence[np.ndarray], Sequence[Cut]]
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
    others: Sequence[Speaker] = (),
    driving: AudioFeatures | None = None,
    space: Space | None = None,
    mouths: Space | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, Path]:
    """Make the avatar say `audio`; `out`, which is the result, appears when it is complete, and not before.

    It is an mp4; with `options.overlay` a .mov, or where its name has no ending a folder of PNG files.

    `others` are people in the same frames of the same clip, who speak at the same time: all mouths go into each frame
    before it is encoded, and the sounds become one. The video lasts as long as the longest of them.

    `driving` are features of `audio`, where they are known already. `space` is called before the work with the
    shape of all frames, and gives the array that they are kept in, 0..1, as they are before they are encoded; or None.
    So is `mouths` with that of the face crops of these frames, black where nothing was drawn; see `paste_mouths`.
    Audio without speech gives a mouth at rest, and a warning. Raises MediaError, FileError, FormatError, MismatchError,
    OptionError when there is no such sound track, the generator cannot be compiled or the mark cannot be drawn, or
    NoFaceError where `options` say so.
    """
    out = Path(out)
    speakers = [Speaker(avatar, Path(generator), Path(audio)), *others]
    check_same_clip([one.avatar for one in speakers])
    roles = [_opened(one, options, models, device) for one in speakers]
    people = [role.speaker.avatar for role in roles]
    mark = mark_of(avatar, options, [one.avatar for one in others])
    if driving is not None:
        features.check_match(driving, roles[0].encoder)
    voices = [_voice(one.audio, options.audio_track if k == 0 else 0, models) for k, one in enumerate(speakers)]
    for one in speakers:
        check_output(out, (Path(one.generator), Path(one.audio)), one.avatar.root, options.overlay)
    total = frame_count(avatar, max(voice.duration_s for voice in voices), options)
    places = _places(people, total, options)
    kept = _kept(avatar, total, space, mouths, options, alone=not others)
    tracks = [(Path(one.audio), voice.track) for one, voice in zip(speakers, voices, strict=True)]
    with output_lock(out):
        conditions: list[Tensor] = []
        while voices:  # nothing that grows with the sound is held while frames are drawn
            role = roles[len(conditions)]
            conditions.append((yield from _spoken(role, voices.pop(0), driving, total, options, models, device)))
            driving = None
        with _one_sound(tracks) as sound:
            yield from _render_frames(roles, conditions, places, sound, out, options, kept, mark)
    return out


class _Role(NamedTuple):
    """A speaker, whose avatar has the generator's mask, with what was opened of them."""

    speaker: Speaker
    encoder: str
    network: GeneratorNet
    tint: Tint | None


def _opened(speaker: Speaker, options: RenderOptions, models: Path | None, device: str) -> _Role:
    info, network = open_generator(Path(speaker.generator), device)
    tint = check_clip(speaker.avatar, info, network, options, models)
    if options.compiled:
        check_compilable(network.warp)
    redrawn = speaker._replace(avatar=speaker.avatar.redrawn_in(info.crop))
    return _Role(redrawn, info.encoder, network, tint)


def _voice(audio: str | Path, track: int, models: Path | None) -> Voice:
    voice = load_voice(Path(audio), track=track, models=models)
    log_notes(Path(audio), voice)
    give_back_freed()
    return voice


def _places(people: Sequence[Avatar], total: int, options: RenderOptions) -> list[Places]:
    """Of each of them; NoFaceError where `options` say so, MismatchError where two lie over each other."""
    found = [places_of(one, total, options, [other for other in people if other is not one]) for one in people]
    if options.lost == "fail":
        for one, places in zip(people, found, strict=True):
            refuse_lost(one, places.numbers)
    check_apart(people, found)
    return found


def _spoken(
    role: _Role,
    voice: Voice,
    driving: AudioFeatures | None,
    total: int,
    options: RenderOptions,
    models: Path | None,
    device: str,
) -> Generator[Progress, None, Tensor]:
    """(total, frames, shape_width): what the network is conditioned on in each of the frames of the output."""
    waveform, audio = voice.waveform, Path(role.speaker.audio)
    with scratch_folder() as scratch:
        if driving is None:
            work = features.extract_to(Path(scratch), waveform, role.encoder, device=device, models=models)
            driving = yield from work.steps()
        elif abs(driving.duration_s - voice.duration_s) > 0.5:
            raise MismatchError(
                f"the features last {driving.duration_s:.1f} s, {audio} {voice.duration_s:.1f} s; extract them again"
            )
        conditions = _conditions(role.speaker.avatar, role.network, driving, waveform, total, options, models)
        if not speech_share(waveform, models=models):
            conditions = _without_speech(audio, role.network, conditions, options)
        return conditions


@contextmanager
def _one_sound(tracks: Sequence[tuple[Path, int]]) -> Iterator[tuple[Path, int]]:
    """(file, number of its track) with all of these sounds; while the block lasts."""
    if len(tracks) == 1:
        yield tracks[0]
        return
    with mixed_sound(tracks) as mixed:
        yield mixed, 1


def frame_count(avatar: Avatar, duration_s: float, options: RenderOptions) -> int:
    """How many frames the video for so many seconds of audio has."""
    total = max(1, round(duration_s * float(avatar.info.fps)))
    left = avatar.info.frame_count - first_frame(avatar, options)
    return max(total, left) if options.when_audio_shorter == "keep" else total


def _kept(
    avatar: Avatar, total: int, space: Space | None, mouths: Space | None, options: RenderOptions, *, alone: bool
) -> Kept:
    """Where `render` keeps what it is asked to; OptionError of an overlay, or of the mouths of several people."""
    if not alone and (options.overlay or mouths is not None):
        raise OptionError(
            "an overlay, and mouths that are kept, are those of one person; render the others by themselves"
        )
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
    give_back_freed()  # what extracting the features took
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
    roles: Sequence[_Role],
    conditions: Sequence[Tensor],
    places: Sequence[Places],
    sound: tuple[Path, int],
    out: Path,
    options: RenderOptions,
    kept: Kept,
    mark: Mark | None,
) -> Iterator[Progress]:
    give_back_freed()
    avatar, total = roles[0].speaker.avatar, len(conditions[0])
    colours = None  # frames that are kept are RGB, and so are overlays
    if kept.frames is None and not options.overlay:
        colours = colours_of_clip(avatar, options.codec != "h264")
    elif avatar.is_deep:
        _log.warning("frames that are given on, and overlays, have 8 bits, and so has this video; the clip has more")
    compositors = [_compositor(role, place, options, colours) for role, place in zip(roles, places, strict=True)]
    if options.compiled:
        yield Progress("compile", 0)
        with _workers(compositors[0].limit.device):
            for compositor in compositors:
                compositor.compile(options.batch)
    held = np.any([place.lost for place in places], axis=0) & (options.lost == "hold")
    frames = drawn_frames(
        compositors, play(avatar, plan(avatar, total, options), colours), conditions, options.batch, held
    )
    if options.overlay:
        frames = _transparent(frames)
    if kept.mouths is not None:
        frames = _cut_into(kept.mouths, frames, places[0], compositors[0])
    if mark is not None:
        frames = mark.on_all(frames, colours)
    if kept.frames is not None:
        frames = _kept_in(kept.frames, frames)
    plain = options.codec == "h264"
    yield from write_video(out, avatar.info, frames, total, *sound, options.crf, colours, options.overlay, plain)


def _compositor(role: _Role, places: Places, options: RenderOptions, colours: Colours | None) -> Compositor:
    spec = role.speaker.avatar.crop
    pixels = pixels_for(spec, options.feather, colours, overlay=options.overlay)
    return Compositor(role.network.warp, spec, places.transforms, pixels, places.occlusion, role.tint)


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
    compositors: Sequence[Compositor],
    played: Iterator[tuple[int, np.ndarray]],
    conditions: Sequence[Tensor],
    batch: int,
    held: np.ndarray,
) -> Generator[np.ndarray, None, None]:
    """The frames with other mouths; however it ends, nothing is read ahead any more.

    compositors, and what their networks are conditioned on: of each of the people who are drawn. held: (N,) bool of
    the clip's frames: in their places stands the last one drawn before, where there is one.
    """
    last = None

    def draw(part: Part) -> tuple[tuple[int, ...], Sequence[np.ndarray]]:
        numbers, pictures, cuts = part
        for compositor, cut in zip(compositors, cuts, strict=True):
            pictures = compositor.paste(pictures, numbers, cut)
        return numbers, pictures

    with (
        _workers(compositors[0].limit.device) as workers,
        closing(prefetch(played, 8)) as frames,
        closing(mapped(draw, _parts(compositors, frames, conditions, batch), workers)) as drawn,
    ):
        for numbers, pictures in drawn:
            for number, picture in zip(numbers, pictures, strict=True):
                last = last if held[number] else picture
                yield picture if last is None else last


def _parts(
    compositors: Sequence[Compositor],
    frames: Iterator[tuple[int, np.ndarray]],
    conditions: Sequence[Tensor],
    batch: int,
) -> Iterator[Part]:
    """All cut from the clip's own frames."""
    done = 0
    while part := list(islice(frames, batch)):
        numbers, pictures = zip(*part, strict=True)
        rows = slice(done, done + len(part))
        cuts = [one.cut(pictures, numbers, own[rows]) for one, own in zip(compositors, conditions, strict=True)]
        yield numbers, pictures, cuts
        done += len(part)


@contextmanager
def _workers(device: torch.device) -> Iterator[int]:
    """How many threads draw; on a CPU each of them computes alone."""
    if device.type != "cpu":
        yield 1
        return
    with one_thread_each() as threads:
        yield min(threads, MOST_WORKERS)
