"""The sound of a stream, and the mouth shapes of its frames: both on one time line that begins with frame 0."""

from __future__ import annotations

import math
from concurrent.futures import Future
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..inference.live_driving import HISTORY, HOP, LOOK_AHEAD, WINDOW, HopShapes, LiveDriving
from ..media.audio import SAMPLE_RATE_HZ
from ..models.threads import single_threads

JOIN_S = 0.1  # how long the mouth takes between the rest pose and speech, and to leave what is broken off


def sample_of(number: int, fps: Fraction) -> int:
    """The first sample of the sound of frame `number`, which begins at number / fps: exact, however late."""
    return number * SAMPLE_RATE_HZ * fps.denominator // fps.numerator


class SampleLine:
    """Samples, counted from the beginning; before the first and after the last there is silence."""

    def __init__(self) -> None:
        self.end = 0
        self._first = 0  # of those that are kept
        self._kept = np.zeros(0, np.float32)
        self._added: list[np.ndarray] = []

    def append(self, samples: np.ndarray) -> None:
        """samples (m,) float32."""
        self._added.append(samples)
        self.end += len(samples)

    def read(self, start: int, count: int) -> np.ndarray:
        """(count,) float32, a copy."""
        result, kept = np.zeros(count, np.float32), self._joined()
        first, last = max(start, self._first), min(start + count, self.end)
        if first < last:
            result[first - start : last - start] = kept[first - self._first : last - self._first]
        return result

    def cut(self, end: int) -> None:
        """Forget the samples from `end` on."""
        self._kept = self._joined()[: max(0, end - self._first)].copy()
        self.end = min(self.end, end)

    def insert(self, place: int, count: int) -> None:
        """Silence of so many samples at `place`; what comes after it comes later."""
        self._kept = np.insert(self._joined(), place - self._first, np.zeros(count, np.float32))
        self.end += count

    def forget(self, before: int) -> None:
        """Those before this sample are not read again."""
        passed = min(before, self.end) - self._first
        if passed > max(len(self._joined()) // 2, WINDOW):  # seldom: what is left is copied
            self._kept = self._kept[passed:].copy()
            self._first += passed

    def _joined(self) -> np.ndarray:
        if self._added:
            self._kept = np.concatenate([self._kept, *self._added])
            self._added = []
        return self._kept


class _Mouth(NamedTuple):
    shape: Tensor  # (shape_width,) float32, standard deviations
    rest: float  # 0..1, how much of it is the rest pose


class LiveSpeech:
    """Sound is appended at the end of the line; `next` is the frame that is shown next, up to where sound is spent."""

    def __init__(self, driving: LiveDriving, fps: Fraction, neighbours: int) -> None:
        """neighbours: shapes to either side of its own that a frame is drawn from. To be closed."""
        self.next = 0
        self.finished = False  # after the end there is silence
        self._fps, self._driving, self._neighbours = fps, driving, neighbours
        self._line = SampleLine()
        self._hops: dict[int, Future[HopShapes]] = {}
        self._predicting = single_threads(1, "live speech")  # a hop after the other: they tell what the voice is like
        self._settled = 0  # hops before this one are final
        self._mouths: dict[int, _Mouth] = {}
        self._left = (0, _Mouth(driving.rest_pose, 1.0))  # frame from which on the mouth leaves a shape behind

    @property
    def waiting(self) -> int:
        """How many samples there are that were not shown."""
        return max(0, self._line.end - self._start(self.next))

    def is_ready(self, more: int = 0) -> bool:
        """Whether the sound that decides about the next frame is there, and so many samples more."""
        needed = self._hop_of(self._rows(self.next + self._neighbours)[1])
        return self.waiting > 0 and self._is_decided(needed, more)

    def push(self, samples: np.ndarray) -> None:
        """samples (m,) float32 -1..1 at 16 kHz that follow on those before."""
        self._line.append(np.zeros(max(0, self._start(self.next) - self._line.end), np.float32))
        self._revise(self._line.end)
        self.finished = False
        self._line.append(samples)

    def hold(self) -> None:
        """What waits begins a frame later."""
        place = self._start(self.next)
        self._line.insert(place, self._start(self.next + 1) - place)
        self._revise(place)

    def flush(self) -> None:
        """Forget what waits; the mouth goes from where it is to rest."""
        place = self._start(self.next)
        self._line.cut(place)
        self._revise(place)
        self._left = (self.next, self._mouths.get(self.next - 1, self._left[1]))

    def take(self) -> tuple[Tensor, np.ndarray, float]:
        """The next frame, in silence where there is no sound: shapes, samples, and how much of it is rest, 0..1.

        Shapes are (2 * neighbours + 1, shape_width) float32.
        """
        number = self.next
        around = range(number - self._neighbours, number + self._neighbours + 1)
        shapes = torch.stack([self._mouth(max(k, 0)).shape for k in around])
        start, stop = self._start(number), self._start(number + 1)
        sound, rest = self._line.read(start, stop - start), self._mouth(number).rest
        self.next += 1
        self._forget()
        return shapes, sound, rest

    def predict_ahead(self) -> None:
        """Begin to predict the hop that is needed next, where its sound is there; nobody waits for it.

        Only once sound is shown: while it is held, its place on the line is not known yet.
        """
        first = self.next + self._neighbours
        for number in range(first, first + math.ceil(HOP / SAMPLE_RATE_HZ * self._fps)):
            for hop in map(self._hop_of, self._rows(number)[:2]):
                if hop not in self._hops:
                    if self._is_decided(hop):
                        self._begin(hop)
                    return

    def close(self) -> None:
        """End the thread that predicts."""
        self._predicting.shutdown(cancel_futures=True)

    def _start(self, number: int) -> int:
        return sample_of(number, self._fps)

    def _rows(self, number: int) -> tuple[int, int, float]:
        """Both rows around the middle of a frame, and the weight of the second."""
        place = (number + 0.5) / float(self._fps) * self._driving.rate_hz - 0.5
        low = int(np.floor(place))
        return max(low, 0), low + 1, place - low

    def _hop_of(self, row: int) -> int:
        return row // self._driving.rows_per_hop

    def _row(self, row: int) -> tuple[Tensor, float]:
        """(shape_width,) and the weight of the rest pose."""
        hop, place = divmod(row, self._driving.rows_per_hop)
        if hop not in self._hops:
            self._begin(hop)
        found = self._hops[hop].result()
        return found.shapes[place], float(found.rest[place])

    def _is_decided(self, hop: int, more: int = 0) -> bool:
        """Whether all of its window is there, and so many samples more."""
        return self.finished or self._line.end >= _end(hop) + more

    def _begin(self, hop: int) -> None:
        final = hop >= self._settled and self._is_decided(hop)
        window = self._line.read(hop * HOP - HISTORY, WINDOW)
        self._hops[hop] = self._predicting.submit(self._driving.predict, window, final=final)
        self._settled = max(self._settled, hop + final)

    def _mouth(self, number: int) -> _Mouth:
        if number not in self._mouths:
            self._mouths[number] = self._moved(number)
        return self._mouths[number]

    def _moved(self, number: int) -> _Mouth:
        """What is predicted, reached from the mouth of the frame before without a jump."""
        first, second, weight = self._rows(number)
        (one, one_rest), (other, other_rest) = self._row(first), self._row(second)
        before = self._mouths.get(number - 1, self._left[1])
        step = 1 / (JOIN_S * float(self._fps))
        goal = one_rest + weight * (other_rest - one_rest)
        rest = float(np.clip(goal, before.rest - step, before.rest + step))
        shape = torch.lerp(torch.lerp(one, other, weight), self._driving.rest_pose, rest)
        since, left = self._left
        return _Mouth(torch.lerp(left.shape, shape, min(1.0, (number - since + 1) * step)), rest)

    def _revise(self, sample: int) -> None:
        """What was predicted from the sound from this sample on is not shown, and not valid any more."""
        stale = [hop for hop in self._hops if _end(hop) > sample]
        for hop in stale:
            del self._hops[hop]
        if stale:
            self._mouths = {number: mouth for number, mouth in self._mouths.items() if number < self.next}

    def _forget(self) -> None:
        """What the next frame does not need."""
        hop = self._hop_of(self._rows(self.next)[0])
        self._hops = {k: found for k, found in self._hops.items() if k >= hop}
        oldest = self.next - 1 - self._neighbours
        self._mouths = {number: mouth for number, mouth in self._mouths.items() if number >= oldest}
        self._line.forget(hop * HOP - HISTORY)


def _end(hop: int) -> int:
    """The sample at which the window of this hop ends."""
    return (hop + 1) * HOP + LOOK_AHEAD
