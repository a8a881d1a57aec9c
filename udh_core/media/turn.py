"""How a stored picture has to be turned before it is shown: the display matrix of the container or the codec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame

Turn = tuple[int, int, int, int]  # (a, b, c, d) of {-1, 0, 1}: x' = a x + c y and y' = b x + d y
AS_IT_IS: Turn = (1, 0, 0, 1)


def display_matrix(frame: VideoFrame) -> Turn:
    """How a frame has to be turned: as it says itself, or as `with_turns` has noted."""
    return _stored(frame) or cast("Turn | None", frame.opaque) or AS_IT_IS


def upright(frame: VideoFrame) -> tuple[int, int]:
    """(width, height) px of a frame after it has been turned."""
    return (frame.height, frame.width) if display_matrix(frame)[0] == 0 else (frame.width, frame.height)


def with_turns(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames; those without a turn note that of the last key frame: H.264 and HEVC say it there alone."""
    turn: Turn | None = None
    for frame in frames:
        if frame.key_frame:
            turn = _stored(frame)
        if turn is not None and _stored(frame) is None:
            frame.opaque = tuple([*turn])  # one of its own: PyAV forgets an object with the first of its frames
        yield frame


def _stored(frame: VideoFrame) -> Turn | None:
    """What comes with the frame; None when nothing does."""
    try:
        # Not `frame.side_data`: that and the frame hold each other, 12 MB of 4K until the garbage collector comes.
        matrix = bytes(SideDataContainer(frame)["DISPLAYMATRIX"])  # type: ignore[call-arg] - the stub lacks it
        stored = np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]] / 65536
    except KeyError:
        return None
    except ValueError:  # the frame carries side data that PyAV has no name for
        turn = round(frame.rotation / 90) % 4
        return (AS_IT_IS, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turn] if turn else None
    flat = abs(stored[0]) + abs(stored[3]) >= abs(stored[1]) + abs(stored[2])
    a, b, c, d = (int(np.sign(value)) for value in stored)
    return (a or 1, 0, 0, d or 1) if flat else (0, b or 1, c or 1, 0)
