"""What keeps a face from being seen whole: something before it, the picture's edge, a head tilted to the shoulder."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..avatar import occlusion
from ..avatar.folder import Avatar
from ..face.tracking import FaceTrack
from ..progress import Progress
from .finding import Finding, by_share

TILT_DEG = 25.0  # beyond it light and skin fall as they do not in an upright head [clips ≤ 14]


def visibility_findings(avatar: Avatar, track: FaceTrack) -> Generator[Progress, None, list[Finding]]:
    """Occlusion, framing and tilt of a clip."""
    found = yield from occlusion.of(avatar)
    edges_s = np.arange(avatar.info.frame_count + 1) / float(avatar.info.fps)
    return [
        _occlusion(found, edges_s),
        _framing(occlusion.outside_picture(avatar, track), edges_s),
        _tilt(tilt_deg(track), edges_s),
    ]


def tilt_deg(track: FaceTrack) -> np.ndarray:
    """(N,) float64 how far the head is tilted to a shoulder, degrees; 0 where the face is lost."""
    turn = -np.degrees(np.arctan2(track.transforms[:, 1, 0], track.transforms[:, 0, 0]))
    return np.nan_to_num(turn.astype(np.float64))


def _occlusion(found: occlusion.Occlusion, edges_s: np.ndarray) -> Finding:
    covered = np.isin(np.arange(len(edges_s) - 1), found.frames)
    most = float(found.covered.max(initial=0.0))
    figure = f"a hand, a cup, a microphone or the like covers up to {most:.0%} of the lips" if covered.any() else "none"
    remedy = "these frames are not trained on, and what is before the face stays there; record with the face free"
    worst = int(found.frames[found.covered.argmax()]) if covered.any() else None
    return by_share("occlusion", figure, covered, edges_s, remedy, worst)


def _framing(outside: np.ndarray, edges_s: np.ndarray) -> Finding:
    figure = "the chin or a side of the jaw leaves the picture" if outside.any() else "the whole face is in the picture"
    remedy = "these frames are not trained on; frame the face with room below the chin"
    return by_share("framing", figure, outside, edges_s, remedy, int(outside.argmax()))


def _tilt(degrees: np.ndarray, edges_s: np.ndarray) -> Finding:
    figure = f"the head tilts up to {np.abs(degrees).max():.0f}° to the shoulder"
    remedy = "let the person hold the head upright"
    return by_share("tilt", figure, np.abs(degrees) > TILT_DEG, edges_s, remedy, int(np.abs(degrees).argmax()))
