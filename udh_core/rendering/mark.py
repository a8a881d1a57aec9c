"""A visible mark: a short text on a dark plate in a corner of every frame, where nothing is redrawn."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np

from ..avatar.folder import Avatar
from ..errors import OptionError
from ..face.crop import CropSpec, changes
from ..media.colours import Colours
from ..media.lettering import lettering
from ..media.planes import halved, split
from ..media.tone_map import dynamic_range
from .options import RenderOptions
from .places import drawn_places

SAFE = 0.05  # of the frame's width and height on each side; beyond it screens may cut (EBU R 95, SMPTE ST 2046-1)
LETTERS = 0.04  # size of the font, of the frame's shorter side
LEAST_PX = 10  # of the font
PLATE = 0.5  # how much of the frame the plate hides
HDR_WHITE = {"PQ": 0.58, "HLG": 0.75}  # signal of white paper (ITU-R BT.2408), of full scale
Part = tuple[slice, slice]  # rows and columns of a frame


@dataclass(frozen=True)
class Mark:
    """Where it lies, and what becomes of the frame there."""

    part: Part  # begins and ends at even numbers
    keep: np.ndarray  # (h, w) float32 0..1: how much of the frame is left
    white: np.ndarray  # (h, w) float32 0..1: how much of white is added; what both leave of 1 is black

    def on(self, frame: np.ndarray, colours: Colours | None) -> np.ndarray:
        """A copy with the mark of a frame (H, W, 3) uint8 RGB, or with `colours` of planes (H * 3 / 2, W)."""
        marked = frame.copy()
        if colours is None:
            _mix(marked[self.part], self.keep[..., None], 255 * self.white[..., None])
            return marked
        level = 255 * HDR_WHITE.get(dynamic_range(colours.transfer), 1.0)
        black, white = (colours.from_rgb() @ (value, value, value, 1) for value in (0, level))  # Y, U, V of each
        y, u, v = split(marked)
        _mix(y[self.part], self.keep, white[0] * self.white + black[0] * (1 - self.keep - self.white))
        keep = cv2.resize(self.keep, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        rows, columns = self.part
        for plane, grey in ((u, black[1]), (v, black[2])):
            _mix(plane[halved(rows), halved(columns)], keep, grey * (1 - keep))
        return marked

    def on_all(
        self, frames: Generator[np.ndarray, None, None], colours: Colours | None
    ) -> Generator[np.ndarray, None, None]:
        """The same frames with it."""
        with closing(frames):
            for frame in frames:
                yield self.on(frame, colours)


def mark_of(avatar: Avatar, options: RenderOptions, others: Sequence[Avatar] = ()) -> Mark | None:
    """The mark of a render; None where none is wanted. OptionError where it does not fit, or cannot be written.

    others: who speaks beside the avatar.
    """
    text = options.mark.strip()
    if not text:
        return None
    shape = avatar.info.height, avatar.info.width
    size = max(round(LETTERS * min(shape)), LEAST_PX)
    letters = _on_plate(lettering(text, size), size // 2)
    part = free_corner(letters.shape, shape, [place for one in (avatar, *others) for place in _drawn(one)])
    return Mark(part, (1 - PLATE) * (1 - letters), letters)


def _on_plate(letters: np.ndarray, beside: int) -> np.ndarray:
    """The letters (h, w) float32 with `beside` px on each side, and one more where that makes the size even."""
    height, width = (length + length % 2 for length in letters.shape)
    below, right = height - letters.shape[0], width - letters.shape[1]
    return np.pad(letters, ((beside, beside + below), (beside, beside + right)))


def _drawn(avatar: Avatar) -> Iterator[tuple[np.ndarray, CropSpec]]:
    """(2, 3) px of the frame → crop px, and the crop, of every frame in which something is drawn."""
    places = drawn_places(avatar)
    for place in places[np.isfinite(places[:, 0, 0])]:
        yield place, avatar.crop


def free_corner(size: tuple[int, int], shape: tuple[int, int], places: Sequence[tuple[np.ndarray, CropSpec]]) -> Part:
    """Where a plate (h, w) px lies in frames of shape (H, W): the first corner in which no mouth is redrawn.

    places: (2, 3) px of the frame → crop px, and the crop, of all that is drawn. OptionError where there is none.
    """
    low = [-(-round(SAFE * length) // 2) * 2 for length in shape]
    high = [length // 2 * 2 - margin - extent for length, margin, extent in zip(shape, low, size, strict=True)]
    if high[0] < low[0] or high[1] < low[1]:
        room = shape[1] - 2 * low[1]
        raise OptionError(f"`mark` takes {size[1]} px of the {room} px across that are safe; give a shorter text")
    for top, left in ((high[0], high[1]), (high[0], low[1]), (low[0], high[1]), (low[0], low[1])):
        part = slice(top, top + size[0]), slice(left, left + size[1])
        if not any(changes(part, place, spec) for place, spec in places):
            return part
    raise OptionError("`mark` would lie on the mouth in every corner; give a shorter text")


def _mix(part: np.ndarray, keep: np.ndarray, added: np.ndarray) -> None:
    """Scale a part of a picture by `keep` and add to it, in place."""
    part[:] = np.rint(part * keep + added)
