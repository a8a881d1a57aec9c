"""How the mouths of a row move, against the real ones."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import metrics
from ..errors import FormatError
from ..face import mouth
from ..speech.activity import away_from_speech
from ..training.calibration import APART_S
from .held_out import HeldOut
from .result import Mouths, Row

BILABIALS = "pbm"  # the lips meet


@dataclass(frozen=True)
class MouthMetrics:
    """What mouths are measured against."""

    held_out: HeldOut
    real: Mouths
    bilabials_s: np.ndarray | None = None  # (k,) times in the clip's audio at which the lips must meet

    def measure(self, row: Row, generated: Mouths | None = None) -> dict[str, float]:
        """Figures by name; `generated`: the mouths that the own audio makes, to tell how far others are from them."""
        opening, real = row.mouths.opening, self.real.opening
        spread = max(float(real.std()), 1e-9)
        head = _opening_by_head_pose(self.held_out)
        found = {
            "opening_std_ratio": float(opening.std()) / spread,
            "source_correlation": metrics.correlation(opening, real),
            "source_correlation_posed": metrics.correlation(opening - head, real - head),
        }
        if generated is not None:
            found["lmd_to_generated"] = metrics.landmark_distance(row.mouths.lips, generated.lips)
        if row.driver.truth is not None:
            found |= self._against_truth(row.mouths, row.driver.truth)
        quiet = away_from_speech(row.driver.audio.spoken, round(APART_S * self.held_out.fps))
        if quiet.sum() >= self.held_out.fps:
            found["silence_motion"] = float(opening[quiet].std()) / spread
        return found

    def _against_truth(self, mouths: Mouths, truth: np.ndarray) -> dict[str, float]:
        """truth (m,): the row of the real mouths that shows the true one."""
        true_opening = self.real.opening[truth]
        found = {
            "opening_correlation": metrics.correlation(mouths.opening, true_opening),
            "lmd": metrics.landmark_distance(mouths.lips, self.real.lips[truth]),
        }
        moments = self._bilabial_rows(truth)
        if len(moments):
            gap = metrics.closure_gap(mouths.opening, true_opening, moments)
            found["closure_gap"] = gap / max(float(true_opening.std()), 1e-9)
        return found

    def _bilabial_rows(self, truth: np.ndarray) -> np.ndarray:
        """(j,) int64: where in the row the lips must meet."""
        if self.bilabials_s is None:
            return np.zeros(0, np.int64)
        frames = self.held_out.frames[truth]
        row_of = dict(zip(frames.tolist(), range(len(frames)), strict=True))
        numbers = np.floor(self.bilabials_s * self.held_out.fps - self.held_out.data.audio_offset).astype(int)
        return np.array([row_of[number] for number in numbers.tolist() if number in row_of], np.int64)


def _opening_by_head_pose(held_out: HeldOut) -> np.ndarray:
    """(m,) what turning and nodding add to the opening in the picture: with the frames it stays in every row."""
    transforms = held_out.transforms[held_out.frames]
    seen = mouth.mouth_shape(held_out.landmarks, transforms, held_out.spec)
    return mouth.lip_gap(seen) - mouth.lip_gap(held_out.data.points[held_out.frames].numpy())


def read_bilabials(words: Path) -> np.ndarray:
    """(k,) seconds at which words that begin with p, b or m begin; FormatError when it is no table of words."""
    try:
        with words.open(encoding="utf-8", newline="") as file:
            found = [(row["word"].lower(), float(row["start_s"])) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{words}: not a table of tab-separated columns start_s, end_s and word") from error
    return np.array([start for word, start in found if word[:1] in BILABIALS])
