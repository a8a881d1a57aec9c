"""What an evaluation finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..inference.sync_scorer import AudioSegment, SyncReport

# Rows, in the order of the table
GENERATED, TRUE_SHAPE, PASTED, REAL = "generated", "true shape", "another frame pasted", "real"
OTHER, OTHER_PASTED, UNCHANGED = "other passage", "other passage: its mouth pasted", "other passage: source unchanged"
VOICE, SILENCE = "other voice", "silence"


class Progress(NamedTuple):
    """How far an evaluation is."""

    row: str
    done: int
    total: int


@dataclass(frozen=True)
class Row:
    """One way to make the mouths of the held-out frames, and what is heard with them."""

    crops: np.ndarray  # (m, S, S, 3) uint8
    follows: np.ndarray | None  # (m,) numbers of the frames that show the true mouth to what is heard, where there are
    heard: AudioSegment | None


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `rows` maps a row's name to its figures (those that make sense for it)."""

    rows: dict[str, dict[str, float]]
    sync: dict[str, SyncReport]  # by row, where a SyncNet listened
    clip: dict[str, float]  # what belongs to the clip and its track
    frames: np.ndarray  # (m,) int64 numbers of the held-out frames
    fps: float
    openings: dict[str, np.ndarray]  # by row: (m,) mouth opening
    real: np.ndarray = field(repr=False)  # (m, S, S, 3) uint8
    generated: np.ndarray = field(repr=False)  # likewise, driven by the clip's own sound

    def to_dict(self) -> dict[str, object]:
        sync = {name: report.to_dict() for name, report in self.sync.items()}
        return {"frames": len(self.frames), "clip": self.clip, "rows": self.rows, "sync": sync}

    def pictures(self, count: int = 8) -> np.ndarray:
        """(k, 2, S, S, 3) uint8: real and generated crops of frames spread over the part, half of them wide open."""
        opening = self.openings[REAL]
        widest = np.argsort(opening)[-max(1, len(opening) // 3) :]
        spread = np.linspace(0, len(opening) - 1, count // 2).astype(int)
        chosen = np.unique([*spread, *np.sort(widest)[np.linspace(0, len(widest) - 1, count // 2).astype(int)]])
        return np.stack([self.real[chosen], self.generated[chosen]], 1)
