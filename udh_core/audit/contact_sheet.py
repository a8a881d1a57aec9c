"""The face in a few frames with its landmarks, and the track in words: for a person to look at."""

from __future__ import annotations

import cv2
import numpy as np

from ..avatar.folder import Avatar
from ..media.video import read_frames

MIN_SCALE = 0.6  # what track_report warns below


def face_sheet(avatar: Avatar, count: int = 8, width: int = 512) -> list[np.ndarray]:
    """Up to `count` frames (h, width, 3) uint8, spread over the clip, with the landmarks drawn on."""
    points = avatar.track().landmarks
    present = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    chosen = present[np.unique(np.linspace(0, len(present) - 1, min(count, len(present))).astype(int))]
    return [_with_landmarks(avatar, int(number), points[number], width) for number in chosen]


def _with_landmarks(avatar: Avatar, number: int, points: np.ndarray, width: int) -> np.ndarray:
    """points: (468, 2) in frame px."""
    frame = next(iter(read_frames(avatar.video, start=number, count=1)))
    scale = width / frame.shape[1]
    size = (width, round(frame.shape[0] * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for x, y in points * scale:
        cv2.circle(small, (round(float(x)), round(float(y))), 1, (0, 255, 120), -1, cv2.LINE_AA)
    return small


def track_report(avatar: Avatar) -> str:
    """A few lines: what clip and face are like, and whether the crop takes all of the face's detail."""
    track, info = avatar.track(), avatar.info
    points = track.landmarks[track.valid]
    face_px = float(np.median(np.ptp(points[..., 0], axis=1)))
    scale = float(np.median(np.hypot(track.transforms[track.valid, 0, 0], track.transforms[track.valid, 0, 1])))
    lines = [
        f"{info.frame_count} frames, {info.width}×{info.height} px, {float(info.fps):g} fps, {info.duration_s:.1f} s",
        f"face found in {int(track.valid.sum())} frames, {face_px:.0f} px wide",
    ]
    if scale < MIN_SCALE:
        lines.append(f"warning: the face is shrunk to {scale:.0%} in its crop; a larger crop size keeps more detail")
    return "\n".join(lines)
