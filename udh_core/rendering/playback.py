"""How the clip is played where the audio is longer or shorter than it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..errors import FormatError, MediaError
from ..media.video import read_frames
from .options import WhenLonger

_TURN_FRAMES = 24  # read at a time when playing backwards: what is held in memory, uncompressed


class Stretch(NamedTuple):
    """`frames` consecutive frames from `start`, played backwards where `backwards` is set."""

    start: int
    frames: int
    backwards: bool


def stretches(available: int, wanted: int, when_longer: WhenLonger) -> Iterator[Stretch]:
    """How a clip of `available` frames fills `wanted` frames."""
    first = min(available, wanted)
    yield Stretch(0, first, False)
    left, backwards = wanted - first, when_longer == "bounce"
    while left > 0:
        if when_longer == "hold" or available == 1:
            yield Stretch(available - 1, 1, False)
            left -= 1
            continue
        if when_longer == "loop":
            turn = Stretch(0, min(available, left), False)
        else:  # the frame at the turn is not shown twice
            count = min(available - 1, left)
            turn = Stretch(available - 1 - count if backwards else 1, count, backwards)
        yield turn
        left, backwards = left - turn.frames, not backwards


def play(avatar: Avatar, plan: Iterator[Stretch]) -> Iterator[tuple[int, np.ndarray]]:
    """(number, frame (H, W, 3) uint8 RGB) along a plan; MediaError when the avatar's video is cut off."""
    held: tuple[int, np.ndarray] | None = None
    for stretch in plan:
        if held is not None and stretch == Stretch(held[0], 1, False):
            yield held
        elif stretch.backwards:
            yield from _play_backwards(avatar, stretch)
        else:
            for k, frame in enumerate(_frames(avatar, stretch.start, stretch.frames)):
                held = (stretch.start + k, frame)
                yield held
            if held is None or held[0] != stretch.start + stretch.frames - 1:
                raise MediaError(f"{avatar.video} is cut off; delete it and prepare the avatar again")


def _frames(avatar: Avatar, start: int, count: int) -> Iterator[np.ndarray]:
    """Frames of the avatar's video; MediaError when it cannot be read, FormatError when it is another one."""
    shape = (avatar.info.height, avatar.info.width, 3)
    try:
        for frame in read_frames(avatar.video, start=start, count=count):
            if frame.shape != shape:
                raise FormatError(f"{avatar.video} is not as it was prepared; delete it and prepare the avatar again")
            yield frame
    except MediaError as error:
        raise MediaError(f"{error}; prepare the avatar again") from error


def _play_backwards(avatar: Avatar, stretch: Stretch) -> Iterator[tuple[int, np.ndarray]]:
    stop = stretch.start + stretch.frames
    while stop > stretch.start:
        start = max(stretch.start, stop - _TURN_FRAMES)
        part = list(_frames(avatar, start, stop - start))
        for k in reversed(range(len(part))):
            yield start + k, part[k]
        stop = start
