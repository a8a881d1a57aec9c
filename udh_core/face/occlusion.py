"""Where something lies before the face, frame by frame: as it is stored, and as rendering and training ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ..intervals import runs

SIDE = 64  # px of the masks
MAX_COVERED = 0.5  # of the lips: where more is covered, nothing is drawn
AROUND_S = 0.08  # on either side of a covered stretch: an edge that is still too faint to be found
MIN_RUN = 2  # frames: what is seen in one alone is a fault of decoding


@dataclass(frozen=True)
class Occluder:
    """What lies before the face in one frame."""

    mask: np.ndarray  # (SIDE, SIDE) bool, of the aligned crop
    covered: float  # 0..1 of the lips


@dataclass(frozen=True)
class Occlusion:
    """What lies before the face, in the frames where something does."""

    frames: np.ndarray  # (k,) int32 ascending
    masks: np.ndarray  # (k, SIDE² / 8) uint8, packed bits of (SIDE, SIDE) of the aligned crop; 1 = before the face
    covered: np.ndarray  # (k,) float32 0..1 of the lips

    def __post_init__(self) -> None:
        """ValueError when the arrays do not belong together."""
        kinds = {"frames": np.int32, "masks": np.uint8, "covered": np.float32}
        if any(getattr(self, name).dtype != kind for name, kind in kinds.items()):
            raise ValueError("arrays of an occlusion have other types")
        count = len(self.frames)
        if (self.frames < 0).any() or (np.diff(self.frames) <= 0).any():
            raise ValueError("frame numbers of an occlusion ascend")
        if self.masks.shape != (count, SIDE * SIDE // 8) or self.covered.shape != (count,):
            raise ValueError("arrays of an occlusion have other shapes")

    @staticmethod
    def nothing() -> Occlusion:
        """Of a clip whose face is never covered, or that was not looked at."""
        return Occlusion(np.zeros(0, np.int32), np.zeros((0, SIDE * SIDE // 8), np.uint8), np.zeros(0, np.float32))

    def opacity(self, frame: int, size: int) -> np.ndarray | None:
        """(size, size) float32 0..1 of the crop: 1 on the occluder, falling off around it; None where nothing is."""
        row = int(np.searchsorted(self.frames, frame))
        if row == len(self.frames) or self.frames[row] != frame:
            return None
        bits = np.unpackbits(self.masks[row]).reshape(SIDE, SIDE).astype(np.float32)
        return cv2.resize(bits, (size, size), interpolation=cv2.INTER_LINEAR)

    def hidden(self, count: int) -> np.ndarray:
        """(count,) bool of all frames: so much of the mouth is covered that nothing can be drawn."""
        return np.isin(np.arange(count), self.frames[self.covered > MAX_COVERED])

    def around(self, count: int, fps: float) -> np.ndarray:
        """(count,) bool of all frames: covered, or within AROUND_S of it."""
        result = np.zeros(count, bool)
        reach = round(AROUND_S * fps)
        for start, stop in runs(np.isin(np.arange(count), self.frames)):
            result[max(0, start - reach) : stop + reach] = True
        return result

    def part(self, frames: slice) -> Occlusion:
        """Of a part of the clip, whose first frame becomes number 0."""
        inside = (self.frames >= frames.start) & (self.frames < frames.stop)
        return Occlusion(self.frames[inside] - np.int32(frames.start), self.masks[inside], self.covered[inside])


def steady(found: Mapping[int, Occluder], shots: np.ndarray) -> Occlusion:
    """What was found, without what is seen in single frames; every mask holds those of its neighbours, too.

    shots: (N,) number of each frame's shot. A single frame in which nothing was found between two in which something
    was gets the masks of both.
    """
    seen = np.isin(np.arange(len(shots)), list(found))
    seen[1:-1] |= seen[:-2] & seen[2:] & (shots[:-2] == shots[2:])
    kept = [i for start, stop in runs(seen) if stop - start >= MIN_RUN for i in range(start, stop)]
    masks, covered = [], []
    for i in kept:
        near = [found[k] for k in (i - 1, i, i + 1) if k in found and shots[k] == shots[i]]
        masks.append(np.packbits(np.any([one.mask for one in near], axis=0)))
        covered.append(found[i].covered if i in found else max(one.covered for one in near))
    if not kept:
        return Occlusion.nothing()
    return Occlusion(np.array(kept, np.int32), np.stack(masks), np.array(covered, np.float32))
