"""Mouths apart from their frames: other pictures of what a render has drawn, restored or enlarged, pasted instead."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from ..avatar.folder import Avatar
from ..errors import MismatchError
from ..files import output_lock
from ..inference.pixels import Pixels, pixels_for
from ..progress import Progress, job
from .mark import mark_of
from .options import RenderOptions
from .output import check_output, write_video
from .places import Places, places_of
from .playback import colours_of_clip, plan, play


@job
def paste_mouths(
    avatar: Avatar,
    mouths: Iterable[np.ndarray],
    total: int,
    audio: str | Path,
    out: str | Path,
    options: RenderOptions = RenderOptions(),
) -> Generator[Progress, None, Path]:
    """The video `out` of a render with these options, of `total` frames, with other mouths than it has drawn.

    avatar: `redrawn_in` the crop of the generator, so that its mask is pasted, or as it is: then the widest one is.
    mouths: of each frame the face crop, (S, S, 3) uint8 RGB of any one size; asked for one by one. They go into the
    clip's own frames, so nothing is compressed twice. Raises FileError, FormatError, MediaError, OptionError as a
    render does, and MismatchError where mouths are no such pictures.
    """
    audio, out = Path(audio), Path(out)
    check_output(out, (audio,), avatar.root)
    colours, spec = colours_of_clip(avatar, options.codec != "h264"), avatar.crop
    pixels = pixels_for(spec, options.feather, colours)
    played = play(avatar, plan(avatar, total, options), colours)
    pasted, mark = _pasted(played, mouths, places_of(avatar, total, options), pixels), mark_of(avatar, options)
    with output_lock(out), closing(pasted if mark is None else mark.on_all(pasted, colours)) as frames:
        plain = options.codec == "h264"
        yield from write_video(
            out, avatar.info, frames, total, audio, crf=options.crf, colours=colours, plays_everywhere=plain
        )
    return out


def _pasted(
    played: Iterator[tuple[int, np.ndarray]], mouths: Iterable[np.ndarray], places: Places, pixels: Pixels
) -> Generator[np.ndarray, None, None]:
    last: np.ndarray | None = None
    for k, ((number, frame), mouth) in enumerate(zip(played, mouths, strict=True)):
        check_mouth(mouth)
        if number == places.numbers[k]:  # no other one is held
            last = pixels.paste(frame, mouth, places.transform(k), places.occluder(k)) if places.is_drawn(k) else frame
        yield frame if last is None else last


def check_mouth(mouth: np.ndarray) -> None:
    """MismatchError unless it is a square picture in colour."""
    if mouth.ndim != 3 or mouth.shape[0] != mouth.shape[1] or mouth.shape[2] != 3:
        shape = "×".join(map(str, mouth.shape))
        raise MismatchError(f"a mouth of the shape {shape} is no square in colour; give the face crops, whole")
