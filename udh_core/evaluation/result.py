"""What an evaluation finds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..inference.sync_scorer import AudioSegment, SyncReport

GENERATED, TRUE_SHAPE, PASTED, REAL = "generated", "true shape", "another frame pasted", "real"
OTHER, OTHER_PASTED, UNCHANGED = "other passage", "other passage: its mouth pasted", "other passage: source unchanged"
VOICE, SILENCE_PREDICTED, SILENCE = "other voice", "silence, rest rule off", "silence"
DRAWN = (GENERATED, TRUE_SHAPE, OTHER, VOICE, SILENCE_PREDICTED, SILENCE)  # by the generator, in this order
ROWS = (  # in the order of the tables
    GENERATED,
    TRUE_SHAPE,
    PASTED,
    REAL,
    OTHER,
    OTHER_PASTED,
    UNCHANGED,
    VOICE,
    SILENCE_PREDICTED,
    SILENCE,
)


@dataclass(frozen=True)
class Driver:
    """What the mouths of a row belong to."""

    audio: AudioSegment  # at each of the m frames
    truth: np.ndarray | None = None  # (m,) int64: held-out row that shows the true mouth to it; None = nobody knows
    same_frames: bool = False  # the true mouth is that of the very frame: pictures can be compared, too
    silent: bool = False  # digital silence: no SyncNet could compare a mouth with it


@dataclass(frozen=True)
class Mouths:
    """The held-out frames with the mouths of a row, and the lips found in them."""

    crops: np.ndarray = field(repr=False)  # (m, S, S, 3) uint8
    opening: np.ndarray  # (m,) gap of the inner lips, in distances of the outer eye corners
    lips: np.ndarray  # (m, 40, 2) face units


@dataclass(frozen=True)
class Row:
    """One way to make the mouths of the held-out frames."""

    mouths: Mouths
    driver: Driver


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `rows` maps a row's name to its figures (those that make sense for it)."""

    rows: dict[str, dict[str, float]]
    sync: dict[str, SyncReport]  # by row, where a SyncNet was given and there is speech
    clip: dict[str, float]  # what belongs to the clip and its track
    frames: np.ndarray  # (m,) int64 numbers of the held-out frames
    fps: float
    openings: dict[str, np.ndarray]  # by row: (m,) mouth opening
    real: np.ndarray = field(repr=False)  # (m, S, S, 3) uint8
    generated: np.ndarray = field(repr=False)  # likewise, driven by the clip's own sound

    def to_dict(self) -> dict[str, object]:
        """All figures, for JSON; no pictures."""
        sync = {name: report.to_dict() for name, report in self.sync.items()}
        return {"frames": len(self.frames), "clip": self.clip, "rows": self.rows, "sync": sync}

    def pictures(self, count: int = 8) -> np.ndarray:
        """(k, 2, S, S, 3) uint8: real and generated crops of frames spread over the part, half of them wide open."""
        opening = self.openings[REAL]
        widest = np.argsort(opening)[-max(1, len(opening) // 3) :]
        spread = np.linspace(0, len(opening) - 1, count // 2).astype(int)
        chosen = np.unique([*spread, *np.sort(widest)[np.linspace(0, len(widest) - 1, count // 2).astype(int)]])
        return np.stack([self.real[chosen], self.generated[chosen]], 1)
