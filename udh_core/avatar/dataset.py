"""Training data of an avatar: which frames are trained on and which are held out, and the targets of both networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError, MismatchError, NoFaceError
from ..face import mouth
from ..face.head_pose import head_pose, stable_places, without_pose
from ..face.tracking import FaceTrack
from ..media.audio import load_waveform
from ..speech import features as audio_features
from ..speech.activity import is_enough, speech_mask
from . import av_offset
from .folder import FEATURES, Avatar, check_features
from .occlusion import describe, not_whole

GUARD_S = 1.0  # left out between the training and the held-out frames: audio windows extend over the border
MIN_FRAMES, MIN_HELD_OUT = 50, 5
LOST = -1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Everything a training run reads, indexed by video frame."""

    avatar: Avatar
    crops: np.ndarray  # (N, S, S, 3) uint8 memmap
    pose: Tensor  # (N, 4) float32 how the head is turned, in standard deviations; 0 where the face is lost
    points: Tensor  # (N, P, 2) float32 lips and jaw, face units, as in the mean pose of the head
    landmarks: np.ndarray  # (N, 468, 2) float32, source px; NaN where the face is lost
    transforms: np.ndarray  # (N, 2, 3) float32, source px → crop px; NaN likewise
    shots: Tensor  # (N,) int64 number of the shot; LOST where the face is not seen whole: no neighbour of others
    features: np.ndarray  # (T, D) float32 memmap
    rate_hz: float
    train_frames: np.ndarray  # (n,) int64 frames to train on
    held_out: np.ndarray  # (m,) int64 frames kept for validation
    spoken: np.ndarray  # (N,) bool: somebody speaks during the frame
    audio_offset: float  # frames by which the sound comes late: to frame i belongs the sound at i + audio_offset

    def audio_times_s(self, frames: np.ndarray) -> np.ndarray:
        """(n,) float64: the times of the sound that belongs to the middle of these frames."""
        return (frames + 0.5 + self.audio_offset) / float(self.avatar.info.fps)

    def rows_at(self, frames: np.ndarray) -> np.ndarray:
        """(n,) float64 position of the middle of these frames in feature rows."""
        return self.audio_times_s(frames) * self.rate_hz - 0.5


def load_training_data(
    avatar: Avatar, encoder: str, held_out: float = 0.1, *, models: Path | None = None
) -> TrainingData:
    """Open an avatar for training; the last `held_out` of the clip is kept apart behind a guard gap.

    Sound that is out of step with the picture is shifted (see `av_offset`).
    Raises NoFaceError when too few frames with a face are left, MismatchError when the features do not fit.
    """
    features, track = check_features(avatar, encoder), avatar.track()
    waveform = _own_waveform(avatar, encoder)
    count, fps = avatar.info.frame_count, float(avatar.info.fps)
    whole = track.present & ~not_whole(avatar, track)
    train_frames, kept = _split(avatar, track, whole, held_out)
    shots = torch.from_numpy(np.where(whole, np.cumsum(track.shot_starts), LOST).astype(np.int64))
    audio_offset = av_offset.of(avatar).corrected_frames(fps)
    audio_times_s = (np.arange(count) + 0.5 + audio_offset) / fps
    pose, points = _pose_and_mouth(avatar, track, features.at(audio_times_s), train_frames)
    return TrainingData(
        avatar=avatar,
        crops=avatar.crops(),
        pose=pose,
        points=points,
        landmarks=track.landmarks,
        transforms=track.transforms,
        shots=shots,
        features=features.values,
        rate_hz=features.rate_hz,
        train_frames=train_frames,
        held_out=kept,
        spoken=speech_mask(waveform, audio_times_s, models=models),
        audio_offset=audio_offset,
    )


def check_speech(data: TrainingData) -> None:
    """MediaError when nobody speaks in the avatar's sound: a mouth cannot be trained on it."""
    fps = float(data.avatar.info.fps)
    if not is_enough(float(data.spoken.sum()) / fps, len(data.spoken) / fps):
        raise MediaError(
            f"there is no speech in {data.avatar.audio}, and nothing can be trained on it; use a clip with its own "
            "speech, or give that as `audio` or with `audio_track`"
        )


def _own_waveform(avatar: Avatar, encoder: str) -> np.ndarray:
    """(n,) float32; MediaError when it cannot be read, MismatchError when the features are not of it."""
    try:
        waveform = load_waveform(avatar.audio)
    except MediaError as error:
        raise MediaError(f"{error}; prepare the avatar again") from error
    if not audio_features.are_of(avatar.root / FEATURES, encoder, waveform):
        raise MismatchError(
            f"{avatar.audio} is not the sound that the {encoder} features were made of; prepare the avatar again"
        )
    return waveform


def _split(avatar: Avatar, track: FaceTrack, whole: np.ndarray, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out frames of those that show the whole face (N,) bool, and where it was found.

    The last part is held out, GUARD_S before it is left out.
    """
    border = round(avatar.info.frame_count * (1 - held_out))
    guard = round(GUARD_S * float(avatar.info.fps))
    usable = np.flatnonzero(track.valid & whole)
    train_frames, kept = usable[usable < border - guard], usable[usable >= border]
    reason = describe(avatar, track)
    why = f" ({reason})" if reason else ""
    if len(train_frames) < MIN_FRAMES or len(kept) < MIN_HELD_OUT:
        raise NoFaceError(
            f"{avatar.root}: only {len(train_frames)} frames with a face to train on and {len(kept)} to validate on; "
            f"at least {MIN_FRAMES} and {MIN_HELD_OUT} are needed, use a longer clip{why}"
        )
    if reason:
        _log.warning("%s: frames are left out: %s", avatar.root.name, reason)
    return train_frames, kept


def _pose_and_mouth(
    avatar: Avatar, track: FaceTrack, features: np.ndarray, train_frames: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Pose of the head (N, 4), and lips and jaw (N, P, 2) without it; their means where the face is lost.

    features: (N, D) float32 audio features at the frames.
    """
    spec, fps = avatar.crop, float(avatar.info.fps)
    points = mouth.mouth_shape(track.landmarks, track.transforms, spec)
    stable = stable_places(track.landmarks, track.transforms, spec)
    pose = head_pose(stable, np.cumsum(track.shot_starts), train_frames, fps)
    return torch.from_numpy(pose), torch.from_numpy(without_pose(points, pose, features, train_frames, fps))
