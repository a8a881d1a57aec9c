"""Preparation: a clip becomes an avatar folder, stage by stage. What is finished and still holds is skipped."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ..errors import FileError, MediaError, NoFaceError
from ..face import crop, tracking
from ..face.choice import LEAST_EYES_PX, SMALL_EYES_PX, too_small
from ..face.crop import CropSpec
from ..face.identity import OTHER, spread
from ..files import atomic_folder, atomic_write, check_apart, exclusive_lock
from ..intervals import describe_ranges, runs
from ..media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from ..media.note import Note
from ..media.probe import VideoInfo, inspect, probe
from ..media.remarks import STILLS, shortfall, still_remarks
from ..media.transcode import MAX_FPS, import_deep, import_video
from ..media.video import read_frames
from ..progress import Progress, job
from ..speech import features
from ..speech.activity import speech_share
from ..speech.encoders import canonical_name
from ..speech.features import AudioFeatures
from ..speech.voice import Voice, load_voice
from . import av_offset, identity
from .crops import check_crops_fit, write_crops
from .folder import (
    CLIP,
    FACE_CHOICE,
    FEATURES,
    FILES,
    STATE,
    Avatar,
    open_avatar,
    read_state,
)
from .occlusion import look_for_occluders
from .options import PrepareOptions
from .reuse import check_no_strangers
from .source import face_choice, fingerprint, former_fingerprint, sound_part, stage_key, track_key, video_stage_keys
from .state import State

MIN_DURATION_S = 5.0
LONGER = 1.5  # as long as the picture: such a sound may be that of another clip; chosen
_log = logging.getLogger(__name__)


@job
def prepare(
    source: Path,
    root: Path,
    options: PrepareOptions = PrepareOptions(),
    *,
    audio: Path | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, Avatar]:
    """Make or complete the avatar folder `root` from a clip; `audio` replaces the clip's own sound.

    Finished stages are skipped as long as their input is the same; a source whose `fingerprint` changed is done anew.
    Raises MediaError, FileError, NoFaceError or WeightsError; the folder keeps what was finished.
    """
    canonical_name(options.encoder)  # a wrong name is known before the work, not after it
    yield from import_clip(source, root, options, audio=audio, audio_start_s=options.start_s, models=models).steps()
    yield from track_face(root, options, models=models).steps()
    yield from add_features(root, options.encoder, models=models, device=device).steps()
    return open_avatar(root)


@job
def import_clip(
    source: Path,
    root: Path,
    options: PrepareOptions = PrepareOptions(),
    *,
    audio: Path | None = None,
    audio_start_s: float = 0.0,
    models: Path | None = None,
) -> Generator[Progress, None, Avatar]:
    """First part of `prepare`: the folder gets the picture at a constant frame rate and the sound.

    audio_start_s: where in `audio` the part begins that belongs to the first frame that is taken.
    The avatar it makes has neither landmarks nor crops yet. Raises MediaError, OptionError (no such sound track),
    FileError, or WeightsError without the network that finds speech.
    """
    source, root = Path(source), Path(root)
    check_apart([root / name for name in FILES.values()], [source] if audio is None else [source, audio])
    _check_source(source, audio, options)
    check_no_strangers(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {root}: {error.strerror}; choose another place") from error
    with exclusive_lock(root):
        yield from _import(source, root, options, audio, audio_start_s, models)
    return open_avatar(root, ("video", "audio"))


def _import(
    source: Path,
    root: Path,
    options: PrepareOptions,
    audio: Path | None,
    audio_start_s: float,
    models: Path | None,
) -> Generator[Progress, None, None]:
    state, sound = State(root), audio or source
    start, duration = options.start_s, options.duration_s
    state.set_crop(CropSpec(options.crop_px))
    chosen, target = options.video_track, root / FILES["video"]
    video_key, former_key = video_stage_keys(source, options)
    if state.begin("video", video_key, former_key):
        yield _check_room(source, root, options)
        work = import_video(source, target, start_s=start, duration_s=duration, video_track=chosen)
        info = yield from work.steps()
        if info.duration_s < MIN_DURATION_S:
            raise MediaError(f"{source}: only {info.duration_s:.1f} s of it can be read; give a longer or a whole file")
        noted = [asdict(note) for note in _notes(source, options, info.duration_s)]
        facts = {CLIP: fingerprint(source), "video": {**asdict(info), "fps": str(info.fps)}, "video_notes": noted}
        state.finish("video", video_key, source=source.name, **facts)
        yield Progress("video", info.frame_count, info.frame_count)
    yield from _import_deep(source, state, options, stage_key("deep", video_key))
    own_start = start if audio is None else audio_start_s
    part = sound_part(options, 0.0 if audio is None else audio_start_s)
    audio_key = stage_key("audio", fingerprint(sound), *part)
    former_audio_key = stage_key("audio", former_fingerprint(sound), *part)
    if state.begin("audio", audio_key, former_audio_key):
        yield Progress("audio", 0, 1)
        track = options.audio_track
        voice = load_voice(sound, start_s=own_start, duration_s=duration, track=track, models=models)
        lasts_s, picture_s = len(voice.waveform) / SAMPLE_RATE_HZ, open_avatar(root, ("video",)).info.duration_s
        if lasts_s < 0.9 * picture_s:
            raise MediaError(f"{sound}: its sound lasts {lasts_s:.1f} s, the picture {picture_s:.1f} s; trim the clip")
        write_wave(root / FILES["audio"], voice.waveform)
        shutil.rmtree(root / FEATURES, ignore_errors=True)  # they belong to the sound that was here before
        noted = [asdict(note) for note in _sound_notes(sound, voice, picture_s, models)]
        state.finish("audio", audio_key, audio_notes=noted, audio_track=voice.track)
        yield Progress("audio", 1, 1)
    chosen_track = f"track {options.audio_track}" if options.audio_track else None
    state.note(identity.SOUND, chosen_track if audio is None else audio.name)
    state.settle()


def _import_deep(source: Path, state: State, options: PrepareOptions, key: str) -> Generator[Progress, None, None]:
    """The clip in more than 8 bits, where it has them; renders are made of it."""
    chosen = options.video_track
    picture = inspect(source, chosen)[1]
    if picture is None or not picture.is_deep or not state.begin("deep", key):
        return
    target, start_s = state.root / FILES["deep"], options.start_s
    work = import_deep(source, target, start_s=start_s, duration_s=options.duration_s, video_track=chosen)
    info = yield from work.steps()
    if info == open_avatar(state.root, ("video",)).info:
        state.finish("deep", key)
    else:
        target.unlink()
        _log.warning("%s: its frames of more than 8 bits are not those of 8; renders will have 8 bits", source)


def _sound_notes(sound: Path, voice: Voice, picture_s: float, models: Path | None) -> Iterator[Note]:
    """What is remarkable about a sound, above all what cannot be trained on, or belongs to another clip."""
    yield from voice.notes
    if not speech_share(voice.waveform, models=models):
        remedy = "training will refuse it: give the speech of the person that is seen, or another sound track"
        yield Note("no speech", f"there is no speech in {sound}; {remedy}")
    lasts_s = len(voice.waveform) / SAMPLE_RATE_HZ
    if lasts_s > LONGER * picture_s:
        words = f"the sound lasts {lasts_s:.1f} s, the picture {picture_s:.1f} s; see whether they belong together"
        yield Note("sound length", words)


@job
def track_face(
    root: Path, options: PrepareOptions = PrepareOptions(), *, models: Path | None = None
) -> Generator[Progress, None, Avatar]:
    """Second part: landmarks of every frame and the aligned crops, in the crop size chosen at the import.

    Raises FormatError without an imported clip, NoFaceError without a face (or with a gap that is too long), FileError
    while another run works in the folder, WeightsError without the networks.
    """
    with exclusive_lock(root):
        yield from _track(Path(root), options, models)
    return open_avatar(root)


def _track(root: Path, options: PrepareOptions, models: Path | None) -> Generator[Progress, None, None]:
    state = State(root)
    face_key = track_key(open_avatar(root, ("video",)).clip, options)
    if state.begin("track", face_key):
        rank = yield from _find_landmarks(root, options, models)
        state.finish("track", face_key, **{FACE_CHOICE: face_choice(options), identity.RANK: rank})
    state.settle()
    crops_key = stage_key("crops", face_key, state.values["crop"])
    crops_are_due, occlusion_key = state.begin("crops", crops_key), stage_key("occlusion", crops_key)
    if crops_are_due:
        yield from _cut_crops(root)
    if state.begin("occlusion", occlusion_key):
        yield from look_for_occluders(open_avatar(root, ("video", "track")))
        state.finish("occlusion", occlusion_key)
    if crops_are_due:  # only now: an avatar of an earlier version is whole without the other
        state.finish("crops", crops_key)
    if av_offset.KEY not in state.values:
        yield Progress("offset", 0)
        state.note(av_offset.KEY, asdict(av_offset.measure(open_avatar(root))))
        yield Progress("offset", 1)


@job
def add_features(
    root: Path, encoder: str, *, models: Path | None = None, device: str = "cpu"
) -> Generator[Progress, None, AudioFeatures]:
    """Third part: audio features of the avatar's own sound; skipped when they are there already.

    Raises MediaError without sound, FileError while another run works in the folder, WeightsError without the encoder.
    """
    folder = Path(root) / FEATURES
    with exclusive_lock(root):
        folder.mkdir(exist_ok=True)
        waveform = load_waveform(Path(root) / FILES["audio"])
        work = features.extract_to(folder, waveform, encoder, device=device, models=models)
        return (yield from work.steps())


def _check_room(source: Path, root: Path, options: PrepareOptions) -> Progress:
    """How much room the crops will take, as the detail of the first step; FileError when the disk has less."""
    video = _picture(source, options)
    frames = round(_lasts_s(video.duration_s, options) * min(float(video.fps), MAX_FPS))
    return Progress("video", 0, frames, check_crops_fit(root, frames, CropSpec(options.crop_px)))


def copy_import(root: Path, out: Path) -> None:
    """Make `out` a folder with the picture and the sound of `root`, in which no face is followed yet.

    FormatError when `root` is no avatar, FileError when `out` is there already.
    """
    state = read_state(root)
    with atomic_folder(out) as temporary:
        for stage in ("video", "audio", "deep"):
            if stage in state["stages"]:
                _link_or_copy(root / FILES[stage], temporary / FILES[stage])
        (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        State(temporary).begin("track", "")


def _link_or_copy(source: Path, out: Path) -> None:
    """One file in two folders, where the file system can; an avatar's files are only ever replaced as a whole."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)


def _check_source(source: Path, audio: Path | None, options: PrepareOptions) -> None:
    _picture(source, options)
    media = probe(source, options.video_track)
    if audio is None and not media.has_audio:
        raise MediaError(f"{source} has no sound; give the speech that belongs to it as `audio`")
    if audio is not None and not probe(audio).has_audio:
        raise MediaError(f"{audio} has no sound; give the speech that belongs to {source.name}")
    if options.start_s >= media.duration_s:
        raise MediaError(
            f"{source} ends at {media.duration_s:.1f} s, before `start_s` = {options.start_s:g}; give an earlier start"
        )
    duration_s = _lasts_s(media.duration_s, options)
    if duration_s < MIN_DURATION_S:
        raise MediaError(
            f"{source}: {duration_s:.1f} s to learn from is too short; give at least {MIN_DURATION_S:.0f} s"
        )


def _picture(source: Path, options: PrepareOptions) -> VideoInfo:
    """The picture that is taken; MediaError when there is none."""
    video = probe(source, options.video_track).video
    if video is None:
        raise MediaError(f"{source} has no picture that can be decoded; give a video of a person talking")
    return video


def _lasts_s(whole_s: float, options: PrepareOptions) -> float:
    """Of so many seconds, how many are taken."""
    return min(max(0.0, whole_s - options.start_s), options.duration_s or math.inf)


def _notes(source: Path, options: PrepareOptions, found_s: float) -> Iterator[Note]:
    """What is remarkable about the picture of a source of which `found_s` have been imported."""
    info, picture = inspect(source, options.video_track)
    lasts_s = _lasts_s(_picture(source, options).duration_s, options)
    yield from (note for note in info.notes if note.name != STILLS)
    if picture is not None:
        yield from still_remarks(picture, options.start_s, options.start_s + lasts_s)
    yield from shortfall(lasts_s, found_s)


def _find_landmarks(root: Path, options: PrepareOptions, models: Path | None) -> Generator[Progress, None, int]:
    """Write the track; returns the rank of the face (`Follower.rank`)."""
    avatar, found = open_avatar(root, ("video",)), []
    fps, total = float(avatar.info.fps), avatar.info.frame_count
    follower = tracking.Follower(models, face_index=options.face_index, point=options.face_point)
    for face in follower.follow(read_frames(avatar.video)):
        found.append(face)
        yield Progress("landmarks", len(found), total)
    follower.check_found()
    starts = tracking.find_cuts(np.array([face.change for face in found]), fps)
    distance = spread(np.array([face.distance for face in found]), starts)
    points, valid = tracking.fill_gaps(found, starts, round(options.max_gap_s * fps), distance > OTHER)
    transforms = crop.smooth(crop.align(points, avatar.crop), starts, avatar.crop, fps)
    track = tracking.FaceTrack(points, transforms, valid, starts, distance=distance.astype(np.float32))
    if not options.skip_lost:
        _refuse_lost(track, fps, options.max_gap_s)
    if track.others.any():
        _log.warning("%s: another person is shown at %s", root.name, describe_ranges(runs(track.others), fps))
    _write_track(root, track)
    return follower.rank


def _write_track(root: Path, track: tracking.FaceTrack) -> None:
    with atomic_write(root / FILES["track"]) as temporary:
        np.savez(temporary, **track.arrays())


def _cut_crops(root: Path) -> Generator[Progress, None, None]:
    avatar = open_avatar(root, ("video", "track"))
    track, spec, total = avatar.track(), avatar.crop, avatar.info.frame_count
    transforms = crop.smooth(crop.align(track.landmarks, spec), track.shot_starts, spec, float(avatar.info.fps))
    if not np.array_equal(transforms, track.transforms, equal_nan=True):  # another crop size; the landmarks stay
        track = replace(track, transforms=transforms)
        _write_track(root, track)
    said = check_crops_fit(root, total, spec)
    for step in write_crops(root / FILES["crops"], read_frames(avatar.video), transforms, spec):
        yield replace(step, detail=said)


def _refuse_lost(track: tracking.FaceTrack, fps: float, max_gap_s: float) -> None:
    """NoFaceError naming the stretches in which nobody is seen for too long; another person's shots are none."""
    ranges = [(a, b) for a, b in runs(~track.present & ~track.others) if b - a > round(max_gap_s * fps)]
    if ranges:
        first = ranges[0][0]
        lost = (
            f"frame {first} ({first / fps:.1f} s): no face found for longer than `max_gap_s` = {max_gap_s} s; lost at "
            f"{describe_ranges(ranges, fps)}"
        )
        eyes_px = float(np.median(crop.eye_distance(track.landmarks[track.valid])))
        if eyes_px < LEAST_EYES_PX:
            raise NoFaceError(f"{lost}; {too_small('of the face', eyes_px)}")
        small = f", or use a closer shot: there are only {eyes_px:.0f} px between the eyes"
        closer = small if eyes_px < SMALL_EYES_PX else ""
        raise NoFaceError(f"{lost}; trim the clip, raise `max_gap_s`, or skip lost stretches (`skip_lost`){closer}")
