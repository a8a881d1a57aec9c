"""Where an avatar's face cannot be seen whole: something lies before it, or it leaves the picture."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from ..face.crop import in_crop
from ..face.occluder_finder import OccluderFinder
from ..face.occlusion import SIDE, Occluder, Occlusion, steady
from ..face.topology import JAW, LIPS
from ..face.tracking import FaceTrack
from ..files import atomic_write
from ..intervals import describe_ranges, runs
from ..progress import Progress
from .folder import FILES, Avatar, read_state

MIN_SAMPLES = 60  # pictures of the face that differ: fewer say nothing about what is usual
MAX_SAMPLES = 300  # frames that the usual appearance is fitted to
_BATCH = 32  # frames looked at at a time
_SAME = 1.0  # grey levels, the mean difference of two small crops of one picture, coded twice; chosen


def write_occlusion(path: Path, occlusion: Occlusion) -> None:
    """Write occlusion.npz."""
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **vars(occlusion))


def outside_picture(avatar: Avatar, track: FaceTrack) -> np.ndarray:
    """(N,) bool: lips, chin or jaw lie outside the picture, where the mesh can only guess."""
    points = track.landmarks[:, LIPS + JAW]
    beyond = (points < 0) | (points > np.array([avatar.info.width - 1, avatar.info.height - 1]))
    return np.asarray(beyond.any((1, 2)))


def not_whole(avatar: Avatar, track: FaceTrack) -> np.ndarray:
    """(N,) bool: frames that show a face, but not all of it; they are not trained on."""
    covered = avatar.occlusion().around(len(track.valid), float(avatar.info.fps))
    return track.present & (covered | outside_picture(avatar, track))


def describe(avatar: Avatar, track: FaceTrack) -> str:
    """What `not_whole` found, in words with times; empty where it found nothing."""
    fps, count = float(avatar.info.fps), len(track.valid)
    covered, outside = runs(np.isin(np.arange(count), avatar.occlusion().frames)), runs(outside_picture(avatar, track))
    words = [f"something is before the mouth at {describe_ranges(covered, fps)}"] if covered else []
    words += [f"the chin is outside the picture at {describe_ranges(outside, fps)}"] if outside else []
    return "; ".join(words)


def of(avatar: Avatar) -> Generator[Progress, None, Occlusion]:
    """As `prepare` found it; an avatar of before that is looked at here. FormatError when the file is damaged."""
    if "occlusion" in read_state(avatar.root)["stages"]:
        return avatar.occlusion()
    return (yield from find_occluders(avatar))


def look_for_occluders(avatar: Avatar) -> Generator[Progress, None, None]:
    """`find_occluders`, written into the avatar's folder."""
    write_occlusion(avatar.root / FILES["occlusion"], (yield from find_occluders(avatar)))


def find_occluders(avatar: Avatar) -> Generator[Progress, None, Occlusion]:
    """Look at every crop of an avatar; nothing is found in fewer than MIN_SAMPLES different ones of the whole face.

    Holds MAX_SAMPLES small crops, and the masks that it finds.
    """
    track, total, crops = avatar.track(), avatar.info.frame_count, avatar.crops()
    inside = track.present & ~outside_picture(avatar, track)
    seen, known = np.flatnonzero(inside), np.flatnonzero(inside & track.valid)
    if len(known) < MIN_SAMPLES:
        return Occlusion.nothing()
    yield Progress("occlusion", 0, total)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), MAX_SAMPLES)).astype(int))]
    small, points = _small(crops, track, chosen)
    differ = _different(small)
    if len(differ) < MIN_SAMPLES:
        return Occlusion.nothing()
    finder = OccluderFinder(small[differ], points[differ], avatar.crop)
    found: dict[int, Occluder] = {}
    for numbers in np.array_split(seen, -(-len(seen) // _BATCH)):
        occluders = finder.find(*_small(crops, track, numbers))
        found |= {int(i): one for i, one in zip(numbers, occluders, strict=True) if one is not None}
        yield Progress("occlusion", int(numbers[-1]) + 1, total)
    return steady(found, np.cumsum(track.shot_starts))


def _different(small: np.ndarray) -> np.ndarray:
    """(m,) rows of small crops (n, SIDE, SIDE, 3) uint8 that differ from the one before that counts.

    A picture that stands still would count as often as it is shown, and everything else as strange.
    """
    rows = [0]
    for row in range(1, len(small)):
        if np.abs(small[row].astype(np.float32) - small[rows[-1]]).mean() > _SAME:
            rows.append(row)
    return np.array(rows)


def _small(crops: np.ndarray, track: FaceTrack, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crops (n, SIDE, SIDE, 3) uint8 of these frames (n,), and their landmarks (n, 468, 2) in px of those."""
    small = [cv2.resize(crops[i], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for i in frames]
    points = in_crop(track.landmarks[frames], track.transforms[frames])
    return np.stack(small), points * (SIDE / crops.shape[1])
