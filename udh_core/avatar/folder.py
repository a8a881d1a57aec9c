"""An avatar on disk: one person's clip, prepared (see `prepare`), opened by `open_avatar`.

avatar.json · video.mp4 (constant frame rate) · audio.wav · track.npz · crops.npy (N, S, S, 3) uint8 · occlusion.npz ·
features/
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, MismatchError, OptionError
from ..face.crop import CropSpec
from ..face.occlusion import Occlusion
from ..face.topology import LANDMARK_COUNT
from ..face.tracking import FaceTrack
from ..media.note import Note
from ..media.probe import VideoInfo
from ..speech import features
from ..speech.features import AudioFeatures
from . import identity

FORMAT = 1
FILES = {  # by stage
    **{"video": "video.mp4", "audio": "audio.wav", "track": "track.npz", "crops": "crops.npy"},
    "occlusion": "occlusion.npz",  # not in avatars of earlier versions
    "deep": "video_10bit.mp4",  # only of clips with more than 8 bits, and not in avatars of earlier versions
}
NEEDED = ("video", "audio", "track", "crops")  # stages without which an avatar is unfinished
STATE = "avatar.json"
CLIP = "clip"  # in avatar.json: the fingerprint of the file that the avatar was made from
FACE_CHOICE = "face_choice"  # in avatar.json: index or place of the face that was to be followed
SEEN = "seen"  # in avatar.json: today's keys of sources whose stages have an earlier version's key
MARKS = "marks"  # in avatar.json: of each stage's file, to notice damage
FEATURES = "features"  # folder of the audio features
NOTES = ("video_notes", "audio_notes")  # of avatar.json
AUDIO_TRACK = "audio_track"  # of avatar.json


@dataclass(frozen=True)
class Avatar:
    """A prepared clip; cheap to pass on. Everything is indexed by video frame."""

    root: Path
    info: VideoInfo
    crop: CropSpec
    identity: str  # of the clip, the face chosen in it, and the sound given apart; checkpoints remember it
    clip: str = ""  # identity of the picture alone: source, trim and frame rate
    person: str = ""  # who that is, in words

    def redrawn_in(self, crop: CropSpec) -> Avatar:
        """This avatar for a generator with a mask of its own; `crop` is of the same view."""
        return replace(self, crop=crop)

    @property
    def video(self) -> Path:
        """The clip's picture, H.264 at a constant frame rate, without sound."""
        return self.root / FILES["video"]

    @property
    def deep(self) -> Path:
        """The same frames in 10 bits and the clip's own colours, where it has them, see `is_deep`."""
        return self.root / FILES["deep"]

    @property
    def is_deep(self) -> bool:
        """Whether the clip has more than 8 bits, and they were kept; FormatError when avatar.json is damaged."""
        return "deep" in read_state(self.root)["stages"] and self.deep.is_file()

    @property
    def audio(self) -> Path:
        """The clip's sound, 16 kHz mono."""
        return self.root / FILES["audio"]

    def crops(self) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB memmap; zeros where the face is lost."""
        with _undamaged(self.root / FILES["crops"]) as path:
            crops = np.load(path, mmap_mode="r", allow_pickle=False)
            if crops.dtype != np.uint8 or crops.shape != (self.info.frame_count, self.crop.size, self.crop.size, 3):
                raise ValueError(f"{crops.dtype} {crops.shape}")
            return crops

    def track(self) -> FaceTrack:
        """Landmarks, transforms and shots of every frame, read from disk; FormatError when damaged."""
        with _undamaged(self.root / FILES["track"]) as path, np.load(path, allow_pickle=False) as data:
            track = FaceTrack(
                data["landmarks"],
                data["transforms"],
                data["valid"],
                data["shot_starts"],
                str(data["scheme"]),
                data.get("distance"),  # earlier versions did not measure it
            )
            _check_shapes(track, self.info.frame_count)
            return track

    def occlusion(self) -> Occlusion:
        """What lies before the face, read from disk; nothing where nobody looked. FormatError when damaged."""
        if "occlusion" not in read_state(self.root)["stages"]:
            return Occlusion.nothing()
        with _undamaged(self.root / FILES["occlusion"]) as path, np.load(path, allow_pickle=False) as data:
            return Occlusion(data["frames"], data["masks"], data["covered"])

    def features(self, encoder: str) -> AudioFeatures:
        """The features of the avatar's own sound."""
        return features.load(self.root / FEATURES, encoder)

    def notes(self) -> tuple[Note, ...]:
        """What was remarkable about the source's picture and sound when they were imported."""
        state = read_state(self.root)
        with _undamaged(self.root / STATE):
            return tuple(Note(**facts) for name in NOTES for facts in state.get(name, []))

    def audio_track(self) -> int:
        """Which of the source's sound tracks was imported, counted from 1."""
        return int(read_state(self.root).get(AUDIO_TRACK, 1))

    def frame_times_s(self) -> np.ndarray:
        """(N,) float64: the middle of every frame."""
        return (np.arange(self.info.frame_count) + 0.5) / float(self.info.fps)


@contextmanager
def _undamaged(path: Path) -> Iterator[Path]:
    """FormatError with the remedy when what is done with the file shows that it is damaged."""
    try:
        yield path
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, OptionError) as error:
        raise FormatError(f"{path} is damaged or missing; delete it and prepare the avatar again") from error


def _check_shapes(track: FaceTrack, frames: int) -> None:
    """ValueError unless a track has one row per frame."""
    wanted = {"landmarks": (LANDMARK_COUNT, 2), "transforms": (2, 3), "valid": (), "shot_starts": ()}
    if track.distance is not None:
        wanted["distance"] = ()
    wrong = [name for name, shape in wanted.items() if getattr(track, name).shape != (frames, *shape)]
    if wrong:
        raise ValueError(*wrong)


def open_avatar(root: Path, stages: Iterable[str] = NEEDED) -> Avatar:
    """Open an avatar folder; FormatError when it is none, or when one of these stages of it is not finished."""
    root = Path(root)
    state = read_state(root)
    missing = [stage for stage in stages if stage not in state["stages"] or not (root / FILES[stage]).is_file()]
    if missing and is_bundle(state):
        raise FormatError(
            f"{root} is an opened bundle, which holds what rendering needs and nothing to train on or evaluate with; "
            "use the avatar it was made of"
        )
    if missing:
        raise FormatError(
            f"{root}: its preparation stopped before {missing[0]}; prepare the avatar again, it continues"
        )
    with _undamaged(root / STATE):
        info, spec, clip = video_info(state["video"]), CropSpec.from_dict(state["crop"]), state["stages"]["video"]
        return Avatar(root, info, spec, identity.of(state), clip, identity.in_words(root.name, state))


def is_bundle(state: Mapping[str, Any]) -> bool:
    """True if the folder of this state is an opened bundle; "to_go" is how an earlier version called it."""
    return bool(state.get("bundle") or state.get("to_go"))


def video_info(facts: Mapping[str, Any]) -> VideoInfo:
    """From JSON; KeyError, TypeError or ValueError when it holds something else."""
    counts = [facts[name] for name in ("width", "height", "frame_count")]
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("sizes and counts are whole numbers")
    if not re.fullmatch(r"[1-9]\d*(/[1-9]\d*)?", facts["fps"]):
        raise ValueError("a frame rate is a fraction")
    return VideoInfo(counts[0], counts[1], Fraction(facts["fps"]), counts[2])


def read_state(root: Path) -> dict[str, Any]:
    """What avatar.json says; FormatError when it is missing, damaged or of another version."""
    path = root / STATE
    if not path.is_file():
        raise FormatError(f"{root} is not an avatar folder (it has no avatar.json); prepare the avatar again")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        known = state["format"]
        parts = {SEEN: {}, MARKS: {}, **state}
        if known == FORMAT and not all(isinstance(parts[name], dict) for name in ("stages", SEEN, MARKS)):
            raise ValueError("stages")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is damaged; delete it and prepare the avatar again") from error
    if known != FORMAT:
        raise FormatError(f"{path} has format {known}, this program reads {FORMAT}; prepare the avatar again")
    return state


def check_features(avatar: Avatar, encoder: str) -> AudioFeatures:
    """The avatar's features of this encoder; MismatchError when they do not last as long as the video, FormatError when
    they are not finite."""
    own = avatar.features(encoder)
    if own.duration_s < 0.9 * avatar.info.duration_s:
        raise MismatchError(
            f"the {encoder} features last {own.duration_s:.1f} s, the video {avatar.info.duration_s:.1f} s; "
            "prepare the avatar again"
        )
    if not np.isfinite(own.values).all():
        raise FormatError(
            f"the {encoder} features in {avatar.root / FEATURES} are damaged; delete that folder and "
            "prepare the avatar again"
        )
    return own
