"""An avatar on disk: one person's clip, prepared. Made by `prepare`, opened by `open_avatar`.

avatar.json · video.mp4 (constant frame rate) · audio.wav · track.npz · crops.npy (N, S, S, 3) uint8 · features/
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import features, geometry, landmarks
from .audio import load_waveform, write_wave
from .errors import FormatError, MediaError, MismatchError, NoFaceError
from .features import AudioFeatures
from .files import replacing
from .geometry import CropSpec
from .landmarks import FaceTrack
from .video import VideoInfo, import_video, probe, read_frames

FORMAT = 1
MIN_DURATION_S = 5.0
_STAGES = ("video", "audio", "track", "crops")


@dataclass(frozen=True)
class PrepareOptions:
    """What a user may choose when a clip is prepared."""

    crop_size: int = 256
    encoder: str = "whisper-tiny"
    start_s: float = 0.0
    duration_s: float | None = None
    face_index: int = 0
    face_point: tuple[float, float] | None = None
    max_gap_s: float = 1.0
    skip_lost: bool = False  # leave longer faceless stretches out instead of refusing the clip

    def __post_init__(self) -> None:
        CropSpec(self.crop_size)
        if self.start_s < 0 or (self.duration_s is not None and self.duration_s <= 0):
            raise MediaError("start_s must not be negative and duration_s must be positive")


class Progress(NamedTuple):
    """How far a stage of the preparation is."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Avatar:
    """A prepared clip; cheap to pass on. Everything is indexed by video frame."""

    root: Path
    info: VideoInfo
    crop: CropSpec
    identity: str  # of source, trim and frame rate; checkpoints remember it

    @property
    def video(self) -> Path:
        return self.root / "video.mp4"

    @property
    def audio(self) -> Path:
        return self.root / "audio.wav"

    def crops(self) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB memmap; zeros where the face is lost."""
        return np.load(self.root / "crops.npy", mmap_mode="r")

    def track(self) -> FaceTrack:
        with np.load(self.root / "track.npz", allow_pickle=False) as data:
            return FaceTrack(
                data["landmarks"], data["transforms"], data["valid"], data["shot_starts"], str(data["scheme"])
            )

    def features(self, encoder: str) -> AudioFeatures:
        """The features of the avatar's own sound."""
        return features.load(self.root / "features", encoder)

    def frame_times_s(self) -> np.ndarray:
        """(N,) float64: the middle of every frame."""
        return (np.arange(self.info.frame_count) + 0.5) / float(self.info.fps)


def open_avatar(root: Path) -> Avatar:
    """Open a prepared avatar folder; FormatError when it is none or its preparation was not finished."""
    state = _read_state(Path(root))
    missing = [stage for stage in _STAGES if stage not in state["stages"]]
    if missing:
        raise FormatError(f"{root}: its preparation stopped before {missing[0]}; run prepare again, it continues")
    return _avatar_from(Path(root), state)


def _avatar_from(root: Path, state: dict) -> Avatar:
    v = state["video"]
    info = VideoInfo(v["width"], v["height"], Fraction(v["fps"]), v["frame_count"])
    return Avatar(root, info, CropSpec.from_dict(state["crop"]), state["stages"]["video"])


def _read_state(root: Path) -> dict:
    path = root / "avatar.json"
    if not path.is_file():
        raise FormatError(f"{root} is not an avatar folder (it has no avatar.json); make one with prepare")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        known = state["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged; delete it and run prepare again") from error
    if known != FORMAT:
        raise FormatError(f"{path} has format {known}, this program reads {FORMAT}; prepare the clip again")
    return state


def fingerprint(path: Path) -> str:
    """Identity of a file's content: its size, first and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read())
    return digest.hexdigest()[:16]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def prepare(
    source: Path,
    root: Path,
    options: PrepareOptions = PrepareOptions(),
    *,
    audio: Path | None = None,
    models: Path | None = None,
    device: str = "cpu",
) -> Iterator[Progress]:
    """Make or complete the avatar folder `root` from a clip; `audio` replaces the clip's own sound.

    Finished stages are skipped as long as their input is the same; a source that changed is noticed and done anew.
    Raises MediaError, NoFaceError or WeightsError; the folder keeps what was finished.
    """
    source, root = Path(source), Path(root)
    _check_source(source, audio, options)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"cannot make the folder {root}: {error.strerror}; choose another place") from error
    preparation = _Preparation(source, root, options, audio, models, device)
    for stage in (preparation.video, preparation.audio, preparation.track, preparation.crops, preparation.features):
        yield from stage()


def _check_source(source: Path, audio: Path | None, options: PrepareOptions) -> None:
    media = probe(source)
    if media.video is None:
        raise MediaError(f"{source} has no picture; give a video of a person talking")
    if audio is None and not media.has_audio:
        raise MediaError(f"{source} has no sound; give the speech that belongs to it as --audio")
    duration = media.duration_s - options.start_s
    duration = min(duration, options.duration_s) if options.duration_s is not None else duration
    if duration < MIN_DURATION_S:
        raise MediaError(
            f"{source}: {max(duration, 0):.1f} s to learn from is too short; give at least {MIN_DURATION_S:.0f} s"
        )


class _Preparation:
    """The stages of `prepare`; each writes its file and its key, or skips when the key is the same."""

    def __init__(
        self, source: Path, root: Path, options: PrepareOptions, audio: Path | None, models: Path | None, device: str
    ) -> None:
        self.root, self.options, self.models, self.device = root, options, models, device
        self.source, self.sound = source, audio or source
        self.spec = CropSpec(options.crop_size)
        trim = (options.start_s, options.duration_s)
        video_key = _key("video", fingerprint(source), trim)
        track_key = _key(
            "track", video_key, options.face_index, options.face_point, options.max_gap_s, options.skip_lost
        )
        self.keys = {
            "video": video_key,
            "audio": _key("audio", fingerprint(self.sound), trim),
            "track": track_key,
            "crops": _key("crops", track_key, asdict(self.spec)),
        }
        self.state = self._old_state()

    def _old_state(self) -> dict:
        state = _read_state(self.root) if (self.root / "avatar.json").is_file() else {"format": FORMAT, "stages": {}}
        current = {}
        for stage, name in zip(_STAGES, ("video.mp4", "audio.wav", "track.npz", "crops.npy"), strict=True):
            if state["stages"].get(stage) == self.keys[stage] and (self.root / name).is_file():
                current[stage] = self.keys[stage]
        return {**state, "stages": current, "crop": self.spec.to_dict(), "source": self.source.name}

    def _finish(self, stage: str) -> None:
        self.state["stages"][stage] = self.keys[stage]
        with replacing(self.root / "avatar.json") as temporary:
            temporary.write_text(json.dumps(self.state, indent=1), encoding="utf-8")

    def _avatar(self) -> Avatar:
        return _avatar_from(self.root, self.state)

    def video(self) -> Iterator[Progress]:
        if "video" in self.state["stages"]:
            return
        yield Progress("video", 0, 1)
        start, duration = self.options.start_s, self.options.duration_s
        info = import_video(self.source, self.root / "video.mp4", start_s=start, duration_s=duration)
        self.state["video"] = {**asdict(info), "fps": str(info.fps)}
        self._finish("video")
        yield Progress("video", 1, 1)

    def audio(self) -> Iterator[Progress]:
        if "audio" in self.state["stages"]:
            return
        yield Progress("audio", 0, 1)
        own = self.sound == self.source  # sound given apart starts with the trimmed picture
        start, duration = (self.options.start_s if own else 0.0), self.options.duration_s
        waveform = load_waveform(self.sound, start_s=start, duration_s=duration)
        write_wave(self.root / "audio.wav", waveform)
        shutil.rmtree(self.root / "features", ignore_errors=True)  # they belong to the sound that was here before
        self._finish("audio")
        yield Progress("audio", 1, 1)

    def track(self) -> Iterator[Progress]:
        if "track" in self.state["stages"]:
            return
        avatar, total, found = self._avatar(), self._avatar().info.frame_count, []
        options = self.options
        frames = read_frames(avatar.video)
        for face in landmarks.detect(
            frames, models=self.models, face_index=options.face_index, point=options.face_point
        ):
            found.append(face)
            yield Progress("landmarks", len(found), total)
        starts = landmarks.find_cuts(np.stack([face.thumbnail for face in found]))
        max_gap = round(options.max_gap_s * float(avatar.info.fps))
        points, valid = landmarks.fill_gaps(found, starts, max_gap)
        if not options.skip_lost:
            _refuse_lost(points, float(avatar.info.fps), options.max_gap_s)
        with replacing(self.root / "track.npz") as temporary:
            transforms = geometry.smooth(geometry.align(points, self.spec), starts, self.spec)
            np.savez(
                temporary,
                landmarks=points,
                transforms=transforms,
                valid=valid,
                shot_starts=starts,
                scheme=landmarks.SCHEME,
            )
        self._finish("track")

    def crops(self) -> Iterator[Progress]:
        if "crops" in self.state["stages"]:
            return
        self._realign()
        avatar = self._avatar()
        track, total, size = avatar.track(), avatar.info.frame_count, self.spec.size
        with replacing(self.root / "crops.npy") as temporary:
            crops = np.lib.format.open_memmap(temporary, "w+", np.uint8, (total, size, size, 3))
            for i, frame in enumerate(read_frames(avatar.video)):
                if track.present[i]:
                    crops[i] = geometry.crop(frame, track.transforms[i], self.spec)
                yield Progress("crops", i + 1, total)
            crops.flush()
            del crops
        self._finish("crops")

    def _realign(self) -> None:
        """Bring the track's transforms to this crop size; the landmarks stay."""
        track = self._avatar().track()
        transforms = geometry.smooth(geometry.align(track.landmarks, self.spec), track.shot_starts, self.spec)
        if not np.array_equal(transforms, track.transforms, equal_nan=True):
            with replacing(self.root / "track.npz") as temporary:
                np.savez(temporary, **{**asdict(track), "transforms": transforms})

    def features(self) -> Iterator[Progress]:
        folder = self.root / "features"
        folder.mkdir(exist_ok=True)
        waveform = load_waveform(self.root / "audio.wav")
        steps = features.extract_to(folder, waveform, self.options.encoder, device=self.device, models=self.models)
        for fraction in steps:
            yield Progress("features", round(fraction * 100), 100)


def _refuse_lost(points: np.ndarray, fps: float, max_gap_s: float) -> None:
    ranges = [(a, b) for a, b in lost_ranges(points) if b - a > round(max_gap_s * fps)]
    if ranges:
        first = ranges[0][0]
        raise NoFaceError(
            f"frame {first} ({first / fps:.1f} s): no face found for longer than max_gap_s = {max_gap_s} s; lost at "
            f"{describe_ranges(ranges, fps)}; trim the clip, raise max_gap_s, or skip lost stretches (--skip-lost)"
        )


def lost_ranges(points: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every stretch of frames whose face is lost, from landmarks (N, 468, 2)."""
    return landmarks.runs(~np.isfinite(points[:, 0, 0]))


def describe_ranges(ranges: list[tuple[int, int]], fps: float) -> str:
    """Time ranges in words, the first five."""
    words = [f"{start / fps:.1f}–{stop / fps:.1f} s" for start, stop in ranges[:5]]
    return ", ".join(words) + (f" and {len(ranges) - 5} more" if len(ranges) > 5 else "")


def check_features(avatar: Avatar, encoder: str) -> AudioFeatures:
    """The avatar's features of this encoder; MismatchError when they do not last as long as the video."""
    own = avatar.features(encoder)
    if own.duration_s < 0.9 * avatar.info.duration_s:
        raise MismatchError(
            f"the {encoder} features last {own.duration_s:.1f} s, the video {avatar.info.duration_s:.1f} s; "
            "prepare the avatar again"
        )
    return own
