"""How the clip is played where the audio is longer or shorter than it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..errors import FormatError, MediaError, OptionError
from ..media.colours import Colours
from ..media.video import deep_colours, plane_colours, read_deep_planes, read_frames, read_planes
from .options import RenderOptions, WhenLonger, WhenShorter

_TURN_FRAMES = 24  # read at a time when playing backwards: what is held in memory, uncompressed


class Stretch(NamedTuple):
    """`frames` consecutive frames from `start`, played backwards where `backwards` is set."""

    start: int
    frames: int
    backwards: bool
    lasts: int | None = None  # frames of the video, if repeated or left out evenly (forwards only); None: as many

    def numbers(self) -> Iterator[int]:
        """Of the clip's frames, in the order in which they are shown."""
        lasts = self.frames if self.lasts is None else self.lasts
        for k in range(lasts):
            place = (2 * k + 1) * self.frames // (2 * lasts)  # under the middle of frame k
            yield self.start + (self.frames - 1 - place if self.backwards else place)


def stretches(
    available: int, wanted: int, when_longer: WhenLonger, when_shorter: WhenShorter = "cut", first: int = 0
) -> Iterator[Stretch]:
    """How a clip of `available` frames fills `wanted` frames, from its frame `first` on.

    What follows the end of the clip is all of it, not only what follows `first`. With "keep" `wanted` are known to be
    no fewer than there are.
    """
    rest = available - first
    if wanted != rest and (when_longer if wanted > rest else when_shorter) == "remap":
        yield Stretch(first, rest, False, wanted)
        return
    yield Stretch(first, min(rest, wanted), False)
    left, backwards = wanted - min(rest, wanted), when_longer == "bounce"
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


def first_frame(avatar: Avatar, options: RenderOptions) -> int:
    """Of the clip, where the picture begins; OptionError where the clip is over by then."""
    first = round(options.start_s * avatar.info.fps)
    if first >= avatar.info.frame_count:
        raise OptionError(
            f"`start_s` = {options.start_s:g}: the clip {avatar.root} ends at {avatar.info.duration_s:.1f} s; start "
            "before that"
        )
    return first


def plan(avatar: Avatar, total: int, options: RenderOptions) -> Iterator[Stretch]:
    """How the clip fills a video of `total` frames; errors as in `first_frame`."""
    longer, shorter = options.when_audio_longer, options.when_audio_shorter
    return stretches(avatar.info.frame_count, total, longer, shorter, first_frame(avatar, options))


def colours_of_clip(avatar: Avatar, deep: bool = True) -> Colours | None:
    """Of the avatar's clip, where its frames can be played in planes; MediaError when it cannot be read.

    Those of the clip in more than 8 bits, where it is there and `deep` is wanted.
    """
    with _remedy_named():
        own = deep_colours(avatar.deep) if deep and avatar.is_deep else None
        return own or plane_colours(avatar.video)


def play(avatar: Avatar, order: Iterator[Stretch], colours: Colours | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """(number, frame) in the order of a plan; MediaError when the avatar's video is cut off.

    Frames are (H, W, 3) uint8 RGB, or in `colours`, of `colours_of_clip`, planes (H * 3 / 2, W).
    """
    held: tuple[int, np.ndarray] | None = None
    for stretch in order:
        if held is not None and stretch == Stretch(held[0], 1, False):
            yield held
        elif stretch.backwards:
            yield from _play_backwards(avatar, stretch, colours)
        else:
            for held in _play_forwards(avatar, stretch, colours):
                yield held


def _play_forwards(avatar: Avatar, stretch: Stretch, colours: Colours | None) -> Iterator[tuple[int, np.ndarray]]:
    shown, number = Counter(stretch.numbers()), None
    for number, frame in enumerate(_frames(avatar, stretch.start, stretch.frames, colours), stretch.start):
        for _ in range(shown[number]):
            yield number, frame
    if number != stretch.start + stretch.frames - 1:
        raise MediaError(f"{avatar.video} is cut off; delete it and prepare the avatar again")


def _frames(avatar: Avatar, start: int, count: int, colours: Colours | None) -> Iterator[np.ndarray]:
    """Frames of the avatar's video; MediaError when it cannot be read, FormatError when it is another one."""
    height, width = avatar.info.height, avatar.info.width
    video, read, shape = avatar.video, read_frames, (height, width, 3)
    if colours is not None:
        shape = (height * 3 // 2, width)
        video, read = (avatar.video, read_planes) if colours.bits == 8 else (avatar.deep, read_deep_planes)
    with _remedy_named():
        for frame in read(video, start=start, count=count):
            if frame.shape != shape:
                raise FormatError(f"{video} is not as it was prepared; delete it and prepare the avatar again")
            yield frame


@contextmanager
def _remedy_named() -> Iterator[None]:
    try:
        yield
    except MediaError as error:
        raise MediaError(f"{error}; prepare the avatar again") from error


def _play_backwards(avatar: Avatar, stretch: Stretch, colours: Colours | None) -> Iterator[tuple[int, np.ndarray]]:
    stop = stretch.start + stretch.frames
    while stop > stretch.start:
        start = max(stretch.start, stop - _TURN_FRAMES)
        part = list(_frames(avatar, start, stop - start, colours))
        for k in reversed(range(len(part))):
            yield start + k, part[k]
        stop = start
