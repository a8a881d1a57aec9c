"""Training data of an avatar: which frames are trained on and which are held out, and the targets of both networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import NoFaceError
from ..face import crop, mouth
from ..face.head_pose import head_pose, without_pose
from ..face.tracking import FaceTrack
from ..media.audio import load_waveform
from ..speech.activity import speech_mask
from . import av_offset
from .folder import Avatar, check_features

GUARD_S = 1.0  # cut away between what is learnt and what is held out: the audio windows reach over the border
MIN_FRAMES = 50
LOST = -1


@dataclass(frozen=True)
class TrainingData:
    """Everything a training run reads, indexed by video frame."""

    avatar: Avatar
    crops: np.ndarray  # (N, S, S, 3) uint8 memmap
    pose: Tensor  # (N, 4) float32 how the head is turned, in standard deviations; 0 where the face is lost
    points: Tensor  # (N, P, 2) float32 lips and jaw, face units, as in the mean pose of the head
    landmarks: np.ndarray  # (N, 468, 2) float32
    shots: Tensor  # (N,) int64 number of the shot; LOST where the face is lost: no neighbour of any other frame
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

    Sound that is out of step with the picture is set right here, and the user told.
    Raises NoFaceError when too few frames with a face are left, MismatchError when the features do not fit.
    """
    features, track = check_features(avatar, encoder), avatar.track()
    count = avatar.info.frame_count
    border = round(count * (1 - held_out))
    guard = round(GUARD_S * float(avatar.info.fps))
    valid = np.flatnonzero(track.valid & track.present)
    learnt, kept = valid[valid < border - guard], valid[valid >= border]
    if len(learnt) < MIN_FRAMES or len(kept) < 5:
        raise NoFaceError(
            f"{avatar.root}: only {len(learnt)} frames with a face to learn from and {len(kept)} to judge by; "
            f"at least {MIN_FRAMES} and 5 are needed, use a longer clip"
        )
    shots = torch.from_numpy(np.where(track.present, np.cumsum(track.shot_starts), LOST).astype(np.int64))
    shift = av_offset.check(avatar)
    heard_s = (np.arange(count) + 0.5 + shift) / float(avatar.info.fps)
    pose, points = _pose_and_mouth(avatar, track, features.at(heard_s), learnt)
    return TrainingData(
        avatar,
        avatar.crops(),
        pose,
        points,
        track.landmarks,
        shots,
        features.values,
        features.rate_hz,
        learnt,
        kept,
        speech_mask(load_waveform(avatar.audio), heard_s, models=models),
        shift,
    )


def _pose_and_mouth(avatar: Avatar, track: FaceTrack, heard: np.ndarray, learnt: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pose of the head (N, 4), and lips and jaw (N, P, 2) without it; their means where the face is lost."""
    where, fps = (track.landmarks, track.transforms, avatar.crop), float(avatar.info.fps)
    points, stable = mouth.mouth_shape(*where), crop.stable_places(*where)
    pose = head_pose(stable, np.cumsum(track.shot_starts), learnt, fps)
    return torch.from_numpy(pose), torch.from_numpy(without_pose(points, pose, heard, learnt, fps))
