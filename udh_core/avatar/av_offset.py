"""Whether a clip's sound belongs to its picture, and how far the two are apart.

The mouth opening is regressed from the log-mel rows at every shift; where held-out frames are predicted best, the two
agree.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..face.mouth import mouth_opening
from ..media.audio import load_waveform
from ..metrics import correlation
from ..speech.mel import MEL_RATE_HZ, log_mel
from .folder import STATE, Avatar, read_state

SEARCH_S = 0.6  # the largest offset that is looked for
TOLERANCE_S = 0.06  # a smaller offset is left alone: mouths lead their sound by up to a frame anyway
MIN_FRAMES = 400  # with fewer, the figures below come about by chance
CERTAIN = 0.3  # correlation at the best shift (measured: 0.72 and 0.53 on real clips, 0.09 with foreign sound)
PEAK = 0.1  # by how much it stands out from the shifts further than APART_S away
APART_S = 0.2
FOREIGN = 0.2  # sound that explains less than this at every shift is not this mouth's
BANDS, PARTS, RIDGE = 40, 5, 0.02  # mel bands, parts of the cross-validation, weight of the penalty
KEY = "av_offset"  # in avatar.json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AvOffset:
    """What the mouth and the sound say about each other. Prepared avatars hold it in their avatar.json."""

    offset_frames: float  # positive: the sound comes late, it must be moved earlier by this many frames
    correlation: float  # of the mouth opening and its regression from the sound, held-out, at that offset
    certain: bool  # the offset may be relied on
    belongs: bool  # False: the sound does not explain the mouth at any offset

    def corrected_frames(self, fps: float) -> float:
        """By how many frames training has to shift the sound: 0 where the offset is small or doubtful."""
        return self.offset_frames if self.certain and abs(self.offset_frames) > TOLERANCE_S * fps else 0.0

    def describe(self, fps: float) -> str:
        """One sentence for the user; empty where nothing is to be said."""
        if not self.belongs:
            return (
                f"the sound does not seem to belong to the picture (it explains the mouth by {self.correlation:.2f}); "
                "training would learn nothing from it: give the clip's own sound"
            )
        shift = self.corrected_frames(fps)
        if not shift:
            return ""
        first = "sound comes later than the mouth" if shift > 0 else "sound comes earlier than the mouth"
        return f"the {first} by {abs(shift):.1f} frames ({abs(shift) / fps * 1000:.0f} ms); training corrects that"


def of(avatar: Avatar) -> AvOffset:
    """As `prepare` measured it; an avatar of before that is measured here. FormatError when avatar.json is damaged."""
    stored = read_state(avatar.root).get(KEY)
    return measure(avatar) if stored is None else _from_json(stored, avatar.root / STATE)


def measure(avatar: Avatar) -> AvOffset:
    """Measure an avatar's sound against its mouth, and warn where they do not fit: a second for five minutes."""
    found, fps = estimate(avatar), float(avatar.info.fps)
    if words := found.describe(fps):
        _log.warning("%s: %s", avatar.root.name, words)
    return found


def _from_json(stored: object, path: Path) -> AvOffset:
    try:
        facts = AvOffset(**stored) if isinstance(stored, dict) else None
    except TypeError as error:
        raise FormatError(f"{path} is damaged; delete it and prepare the avatar again") from error
    if facts is None or not (type(facts.certain) is type(facts.belongs) is bool):
        raise FormatError(f"{path} is damaged; delete it and prepare the avatar again")
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in (facts.offset_frames, facts.correlation)):
        raise FormatError(f"{path} is damaged; delete it and prepare the avatar again")
    return facts


def estimate(avatar: Avatar) -> AvOffset:
    """The figures alone."""
    track, fps = avatar.track(), float(avatar.info.fps)
    frames = np.flatnonzero(track.valid & track.present)
    if len(frames) < PARTS * 10:
        return AvOffset(0.0, 0.0, certain=False, belongs=True)
    rows = log_mel(load_waveform(avatar.audio), BANDS)
    return align_sound(mouth_opening(track.landmarks[frames]), frames, rows, fps)


def align_sound(opening: np.ndarray, frames: np.ndarray, rows: np.ndarray, fps: float) -> AvOffset:
    """Mouth opening (n,) of `frames` (n,) against log-mel rows (T, bands) at MEL_RATE_HZ."""
    search = round(SEARCH_S * fps)
    offsets = np.arange(-search, search + 1)
    found = np.array([_explained(opening, rows, (frames + offset + 0.5) / fps) for offset in offsets])
    best = int(found.argmax())
    apart = found[np.abs(offsets - offsets[best]) > APART_S * fps]
    enough = len(frames) >= MIN_FRAMES
    peak = float(found[best])
    certain = enough and peak >= CERTAIN and peak - float(apart.max()) >= PEAK and 0 < best < len(offsets) - 1
    belongs = not enough or peak >= FOREIGN
    return AvOffset(float(_peak(offsets, found, best)), peak, certain, belongs)


def _explained(opening: np.ndarray, rows: np.ndarray, times_s: np.ndarray) -> float:
    """Correlation of the opening (n,) and its ridge regression from 30 ms of sound at times_s (n,), cross-validated."""
    index = np.clip(np.rint(times_s * MEL_RATE_HZ).astype(int), 1, len(rows) - 2)
    x = (rows[index - 1] + rows[index] + rows[index + 1]) / 3
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    y = opening - opening.mean()
    part = np.arange(len(y)) * PARTS // len(y)
    grams = np.stack([x[part == k].T @ x[part == k] for k in range(PARTS)])
    moments = np.stack([x[part == k].T @ y[part == k] for k in range(PARTS)])
    predicted = np.empty(len(y))
    for k in range(PARTS):
        gram = grams.sum(0) - grams[k] + RIDGE * len(y) * np.eye(x.shape[1])
        predicted[part == k] = x[part == k] @ np.linalg.solve(gram, moments.sum(0) - moments[k])
    return correlation(predicted, y)


def _peak(offsets: np.ndarray, values: np.ndarray, best: int) -> float:
    """Where the parabola through the best value and its neighbours has its top."""
    if not 0 < best < len(offsets) - 1:
        return offsets[best]
    left, middle, right = values[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return offsets[best] + (0.5 * (left - right) / bend if bend < 0 else 0.0)
