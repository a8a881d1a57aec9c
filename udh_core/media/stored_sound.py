"""A sound track taken over as it is stored: where an mp4 holds its codec and nothing about the sound has to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MediaError
from ..files import scratch_folder
from .audio import plain_sound
from .ffmpeg import run, url
from .sound_track import sound_tracks, steady_ends_s

EVERYWHERE = ("aac", "mp3")  # by libav's names: what browsers and players all play in an mp4
HELD = (*EVERYWHERE, "alac", "ac3", "eac3")  # what an mp4 holds
MOST_CHANNELS = 2  # surround sound is mixed to stereo
TOLERANCE_S = 0.001  # that a sound may move by; the clock of Matroska has whole milliseconds
LONGER_S = 0.1  # that a copy may end later, by samples that its source said to leave out at the end


class Sound(NamedTuple):
    """What a video gets as its sound."""

    path: Path  # nothing but the sound is in it
    as_stored: bool  # it belongs into an mp4 as it is, without encoding


@contextmanager
def sound_for_mp4(path: Path, track: int = 1, codecs: tuple[str, ...] = HELD) -> Iterator[Sound]:
    """A sound track as it is stored, where that can be, else as in `audio.plain_sound`; while the block lasts.

    It is taken over in one of these codecs, of one or two channels that begin with the file, if all of it can be
    decoded, none of it is missing, and in an mp4 it sounds at the same times to TOLERANCE_S. Errors: `plain_sound`.
    """
    with scratch_folder() as folder:
        copy = Path(folder) / "sound.mp4"
        if _can_be_stored(path, track, codecs) and _copied(path, track, copy):
            yield Sound(copy, True)
            return
    with plain_sound(path, track) as plain:
        yield Sound(plain, False)


def _can_be_stored(path: Path, track: int, codecs: tuple[str, ...]) -> bool:
    found = next((one for one in sound_tracks(path) if one.number == track), None)
    return found is not None and found.codec in codecs and found.channels <= MOST_CHANNELS


def _copied(path: Path, track: int, target: Path) -> bool:
    """Whether `target` holds the same sound at the same times now."""
    copying = ["-map", f"0:a:{track - 1}", "-c", "copy", "-map_metadata", "-1", "-f", "mp4", "-y", url(target)]
    try:
        ends_s = _ends_s(path, track)
        run(["-i", url(path), *copying], f"the sound of {path} cannot be taken over")
        copied_s = _ends_s(target)
    except MediaError:
        return False  # it is decoded and encoded, which says what is wrong where something is
    if len(ends_s) != len(copied_s) or not len(ends_s):
        return False
    moved_s = copied_s - ends_s
    return bool((np.abs(moved_s[:-1]) <= TOLERANCE_S).all()) and -TOLERANCE_S <= moved_s[-1] <= LONGER_S


def _ends_s(path: Path, track: int = 1) -> np.ndarray:
    """(packets,) float64: when each of them has sounded, but for one that is left out up to a rounding error.

    MediaError as in `steady_ends_s`.
    """
    ends_s = np.fromiter(steady_ends_s(path, track), np.float64)
    return ends_s[ends_s > TOLERANCE_S]
