"""Preparation: a clip becomes an avatar folder, stage by stage. What is finished and still holds is skipped."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError, FormatError, MediaError, NoFaceError
from ..face import crop, tracking
from ..face.crop import CropSpec
from ..face.identity import OTHER, spread
from ..files import atomic_folder, atomic_write, ends_hash, exclusive_lock
from ..intervals import describe_ranges, runs
from ..media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from ..media.note import Note
from ..media.probe import probe
from ..media.remarks import shortfall
from ..media.transcode import MAX_FPS, import_video
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
    FORMAT,
    MARKS,
    SEEN,
    STATE,
    Avatar,
    is_bundle,
    open_avatar,
    read_state,
)
from .occlusion import look_for_occluders
from .options import PrepareOptions
from .source import face_choice, fingerprint, former_fingerprint, sound_part, stage_key, track_key, video_stage_keys

MIN_DURATION_S = 5.0
_log = logging.getLogger(__name__)
_DEPENDENT = {
    "video": tuple(FILES),
    "audio": ("audio",),
    "track": ("track", "crops", "occlusion"),
    "crops": ("crops", "occlusion"),
    "occlusion": ("occlusion",),
}


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
    yield from import_clip(source, root, options, audio=audio, models=models).steps()
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
    models: Path | None = None,
) -> Generator[Progress, None, Avatar]:
    """First part of `prepare`: the folder gets the picture at a constant frame rate and the sound.

    The avatar it makes has neither landmarks nor crops yet. Raises MediaError, OptionError (no such sound track),
    FileError, or WeightsError without the network that finds speech.
    """
    source, root = Path(source), Path(root)
    _check_source(source, audio, options)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {root}: {error.strerror}; choose another place") from error
    with exclusive_lock(root):
        yield from _import(source, root, options, audio, models)
    return open_avatar(root, ("video", "audio"))


def _import(
    source: Path, root: Path, options: PrepareOptions, audio: Path | None, models: Path | None
) -> Generator[Progress, None, None]:
    state, sound = _State(root), audio or source
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
    part = sound_part(options)
    audio_key = stage_key("audio", fingerprint(sound), *part)
    former_audio_key = stage_key("audio", former_fingerprint(sound), *part)
    if state.begin("audio", audio_key, former_audio_key):
        yield Progress("audio", 0, 1)
        own_start = start if audio is None else 0.0  # sound given apart starts with the trimmed picture
        track = options.audio_track
        voice = load_voice(sound, start_s=own_start, duration_s=duration, track=track, models=models)
        lasts_s, picture_s = len(voice.waveform) / SAMPLE_RATE_HZ, open_avatar(root, ("video",)).info.duration_s
        if lasts_s < 0.9 * picture_s:
            raise MediaError(f"{sound}: its sound lasts {lasts_s:.1f} s, the picture {picture_s:.1f} s; trim the clip")
        write_wave(root / FILES["audio"], voice.waveform)
        shutil.rmtree(root / FEATURES, ignore_errors=True)  # they belong to the sound that was here before
        noted = [asdict(note) for note in (*voice.notes, *_no_speech(sound, voice, models))]
        state.finish("audio", audio_key, audio_notes=noted, audio_track=voice.track)
        yield Progress("audio", 1, 1)
    chosen_track = f"track {options.audio_track}" if options.audio_track else None
    state.note(identity.SOUND, chosen_track if audio is None else audio.name)
    state.settle()


def _no_speech(sound: Path, voice: Voice, models: Path | None) -> list[Note]:
    """The note on a sound that cannot be trained on."""
    if speech_share(voice.waveform, models=models):
        return []
    remedy = "training will refuse it: give the speech of the person that is seen, or another sound track"
    return [Note("no speech", f"there is no speech in {sound}; {remedy}")]


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
    state = _State(root)
    face_key = track_key(open_avatar(root, ("video",)).clip, options)
    if state.begin("track", face_key):
        rank = yield from _find_landmarks(root, options, models)
        state.finish("track", face_key, **{FACE_CHOICE: face_choice(options), identity.RANK: rank})
    state.settle()
    crops_key = stage_key("crops", face_key, state.values["crop"])
    if state.begin("crops", crops_key):
        yield from _cut_crops(root)
        state.finish("crops", crops_key)
    occlusion_key = stage_key("occlusion", crops_key)
    if state.begin("occlusion", occlusion_key):
        yield from look_for_occluders(open_avatar(root, ("video", "track", "crops")))
        state.finish("occlusion", occlusion_key)
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
    video = probe(source, options.video_track).video
    if video is None:
        raise MediaError(f"{source} has no picture that can be decoded; give a video of a person talking")
    left_s = max(0.0, video.duration_s - options.start_s)
    lasts_s = left_s if options.duration_s is None else min(left_s, options.duration_s)
    frames = round(lasts_s * min(float(video.fps), MAX_FPS))
    return Progress("video", 0, frames, check_crops_fit(root, frames, CropSpec(options.crop_px)))


def copy_import(root: Path, out: Path) -> None:
    """Make `out` a folder with the picture and the sound of `root`, in which no face is followed yet.

    FormatError when `root` is no avatar, FileError when `out` is there already.
    """
    state = read_state(root)
    with atomic_folder(out) as temporary:
        for stage in ("video", "audio"):
            _link_or_copy(root / FILES[stage], temporary / FILES[stage])
        (temporary / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        _State(temporary).begin("track", "")


def _link_or_copy(source: Path, out: Path) -> None:
    """One file in two folders, where the file system can; an avatar's files are only ever replaced as a whole."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)


def _check_source(source: Path, audio: Path | None, options: PrepareOptions) -> None:
    media = probe(source, options.video_track)
    if media.video is None:
        raise MediaError(f"{source} has no picture that can be decoded; give a video of a person talking")
    if audio is None and not media.has_audio:
        raise MediaError(f"{source} has no sound; give the speech that belongs to it as `audio`")
    if audio is not None and not probe(audio).has_audio:
        raise MediaError(f"{audio} has no sound; give the speech that belongs to {source.name}")
    if options.start_s >= media.duration_s:
        raise MediaError(
            f"{source} ends at {media.duration_s:.1f} s, before `start_s` = {options.start_s:g}; give an earlier start"
        )
    duration = media.duration_s - options.start_s
    duration = min(duration, options.duration_s) if options.duration_s is not None else duration
    if duration < MIN_DURATION_S:
        raise MediaError(
            f"{source}: {max(duration, 0):.1f} s to learn from is too short; give at least {MIN_DURATION_S:.0f} s"
        )


def _notes(source: Path, options: PrepareOptions, found_s: float) -> Iterator[Note]:
    """What is remarkable about the picture of a source of which `found_s` have been imported."""
    media = probe(source, options.video_track)
    yield from media.notes
    if media.video is not None:
        left_s = media.video.duration_s - options.start_s
        yield from shortfall(left_s if options.duration_s is None else min(left_s, options.duration_s), found_s)


class _State:
    """avatar.json: which stages are finished, and from what."""

    def __init__(self, root: Path) -> None:
        self.root = root
        fresh: dict[str, Any] = {"format": FORMAT, "stages": {}}
        self.values = read_state(root) if (root / STATE).is_file() else fresh
        if is_bundle(self.values):
            raise FormatError(f"{root} is an opened bundle, which cannot be prepared further; give another folder")

    def set_crop(self, spec: CropSpec) -> None:
        if self.values.get("crop") != spec.to_dict():
            self.values["crop"] = spec.to_dict()
            self._forget("crops")

    def begin(self, stage: str, key: str, former_key: str = "") -> bool:
        """Whether a stage must run. It and what depends on it are taken back first: a stop leaves no mixture.

        former_key: what an earlier version called the same source; a stage that has it is kept.
        """
        holds = self._holds(stage, key, former_key)
        if holds and self._is_whole(stage):
            return False
        if not holds and stage in identity.STAGES:
            self.values[identity.KEY] = None
        self._forget(stage)
        return True

    def _holds(self, stage: str, key: str, former_key: str) -> bool:
        """Whether a stage is finished and made of this source.

        A former key stays as it is, because checkpoints remember it as the avatar's identity; but it does not notice
        every change of the source. So the key of today is written down beside it, and from then on that must hold.
        """
        made_of = self.values["stages"].get(stage)
        if made_of != former_key:
            return made_of == key
        seen: dict[str, str] = self.values.setdefault(SEEN, {})
        if stage not in seen:
            seen[stage] = key
            self._save()
        return seen[stage] == key

    def _is_whole(self, stage: str) -> bool:
        """Whether a stage's file is as it was written; of an avatar of an earlier version, whether it is there."""
        path = self.root / FILES[stage]
        return path.is_file() and self.values.get(MARKS, {}).get(stage) in (None, ends_hash(path))

    def finish(self, stage: str, key: str, **facts: object) -> None:
        self.values["stages"][stage] = key
        self.values.update(facts)
        written = ("track", "crops") if stage == "crops" else (stage,)  # another crop size has other transforms
        self.values.setdefault(MARKS, {}).update({one: ends_hash(self.root / FILES[one]) for one in written})
        self._save()

    def note(self, name: str, facts: object) -> None:
        if self.values.get(name) != facts:
            self.values[name] = facts
            self._save()

    def settle(self) -> None:
        """Write down who the avatar is, as soon as all that this depends on is finished."""
        if self.values.get(identity.KEY, "") is None and self.values["stages"].keys() >= identity.STAGES:
            self.values |= identity.settle(self.values, open_avatar(self.root, ("video", "track")).track())
            self._save()

    def _forget(self, stage: str) -> None:
        for dependent in _DEPENDENT[stage]:
            self.values["stages"].pop(dependent, None)
            self.values.get(SEEN, {}).pop(dependent, None)
        if {"audio", "track"} & set(_DEPENDENT[stage]):
            self.values.pop(av_offset.KEY, None)
        self._save()

    def _save(self) -> None:
        with atomic_write(self.root / STATE) as temporary:
            temporary.write_text(json.dumps(self.values, indent=1), encoding="utf-8")


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
        raise NoFaceError(
            f"frame {first} ({first / fps:.1f} s): no face found for longer than max_gap_s = {max_gap_s} s; lost at "
            f"{describe_ranges(ranges, fps)}; trim the clip, raise `max_gap_s`, or skip lost stretches (`skip_lost`)"
        )
