"""How many sessions a machine draws at the clip's rate."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from ..inference.live_driving import HOP
from ..media.audio import SAMPLE_RATE_HZ
from ..rendering.live_person import LivePerson
from ..rendering.stream import SpeechStream
from .session import packed

FRAMES = 9  # drawn for it
HEADROOM = 0.8  # of the time; the rest is left to decoding, speech synthesis and whatever else runs; chosen


def measured_capacity(person: LivePerson) -> int:
    """Sessions that all speak at once, at least 1: as many as fit into a frame's time one after the other.

    Measured in about half a second. MediaError when the clip cannot be read.
    """
    return max(1, int(HEADROOM * person.frame_s / spoken_frame_s(person)))


def spoken_frame_s(person: LivePerson) -> float:
    """What a frame of speech takes: its share of a hop's prediction, drawing, compressing; medians."""
    driving, hop_s = person.driving(), HOP / SAMPLE_RATE_HZ
    with SpeechStream.of(person) as stream:
        drawing_s = statistics.median(_seconds(lambda: packed(stream.next_frame(), True)) for _ in range(FRAMES))
    predicting_s = statistics.median(_seconds(driving.warm_up) for _ in range(FRAMES // 2))
    return drawing_s + predicting_s * person.frame_s / hop_s


def _seconds(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s
