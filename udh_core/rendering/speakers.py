"""Several people of one clip who speak in one video: who they are, and whether they go together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..avatar.folder import Avatar
from ..errors import MismatchError
from .places import Places


class Speaker(NamedTuple):
    """A person in the clip, and what they say."""

    avatar: Avatar
    generator: str | Path
    audio: str | Path


def check_same_clip(avatars: Sequence[Avatar]) -> None:
    """MismatchError unless all of them are made of the same frames."""
    first = avatars[0]
    for other in avatars[1:]:
        if (other.clip, other.info) != (first.clip, first.info):
            raise MismatchError(
                f"{other.root} is not made of the same frames as {first.root}, but of another clip, another part of it "
                "or at another rate; make both of one clip, with the same settings but for the face"
            )


def check_apart(avatars: Sequence[Avatar], places: Sequence[Places]) -> None:
    """MismatchError where two of them would be drawn over each other; places: of these avatars, in the same video."""
    for (one, of_one), (other, of_other) in combinations(zip(avatars, places, strict=True), 2):
        number = overlap(of_one, of_other)
        if number is not None:
            at_s = number / float(of_one.info.fps)
            raise MismatchError(
                f"the mouths of {one.root} and {other.root} lie over each other in frame {number} ({at_s:.1f} s) of "
                "the clip: it is the same face, or one is before the other; choose another face for one of them"
            )


def overlap(one: Places, other: Places) -> int | None:
    """The first frame of the clip in which both would draw the same pixel; None where there is none."""
    numbers, first = np.unique(one.numbers, return_index=True)
    for number, k in zip(numbers, first, strict=True):
        parts = one.redrawn(k), other.redrawn(k)
        if parts[0] is None or parts[1] is None or not _touch(parts[0], parts[1]):
            continue
        if bool((np.minimum(one.mask(k), other.mask(k)) > 0).any()):
            return int(number)
    return None


def _touch(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether two boxes x0, y0, x1, y1 have a pixel in common."""
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])
