"""What is said about a picture: the choice among several, and whatever was done to it on the way to plain frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame

from .canvas import has_alpha
from .decode import PictureSource
from .note import Note
from .streams import StreamInfo
from .timeline import STILL_S

STILLS = "stills"  # name of the remark that depends on the part that is taken
MOST_TILT_DEG = 5  # that a file may ask for beyond a quarter turn
LEAST_FPS, USUAL_FPS = 12.0, 25  # a vowel lasts about a tenth of a second


def remarks(
    source: PictureSource,
    frame: VideoFrame,
    pictures: Sequence[StreamInfo],
    *,
    chosen: StreamInfo,
    another_follows: bool,
) -> Iterator[Note]:
    """All of them; `frame` is the first one of the picture that was `chosen` among the `pictures` of the file."""
    yield from _choice(pictures, chosen)
    yield from _joints(source)
    yield from length_remarks(another_follows, source.missing_s)
    yield from _sizes(source)
    yield from _turn(frame)
    yield from _rate(source)
    yield from still_remarks(source)
    yield from _colour(source)
    yield from _alpha(source, frame)


def length_remarks(another_follows: bool, missing_s: float) -> Iterator[Note]:
    """About a file that holds more than can be read, or less than its header says."""
    if another_follows:
        yield Note(
            "joined recordings",
            "another recording lies behind the first one in this file and cannot be read; put them together with "
            "ffmpeg's concat instead of joining their bytes",
        )
    if missing_s > STILL_S:
        yield Note(
            "damage",
            f"the file holds {missing_s:.1f} s less than it should; it was cut off, so get the whole file if you can",
        )
    if missing_s < -STILL_S and not another_follows:
        yield Note(
            "damage",
            f"the file goes on for {-missing_s:.1f} s after what its header knows of, which are not read; its recorder "
            "did not finish it: save it anew with a sound editor that reads raw data",
        )


def shortfall(expected_s: float, found_s: float) -> Iterator[Note]:
    """About a picture of which less could be decoded than the file promises."""
    if expected_s - found_s > STILL_S:
        yield Note(
            "damage",
            f"only {found_s:.1f} s of the picture's {expected_s:.1f} s can be decoded; the file is cut off or damaged",
        )


def _choice(pictures: Sequence[StreamInfo], chosen: StreamInfo) -> Iterator[Note]:
    if len(pictures) < 2:
        return
    words = [f"{n}: {one.width}×{one.height}, {one.duration_s:.1f} s" for n, one in enumerate(pictures, 1)]
    number = pictures.index(chosen) + 1
    yield Note(
        "video tracks",
        f"the file has {len(pictures)} pictures ({'; '.join(words)}); number {number} is taken; "
        "`video_track` chooses another",
    )


def _joints(source: PictureSource) -> Iterator[Note]:
    if source.joints:
        count = len(source.joints) + 1
        yield Note(
            "joined recordings",
            f"the file consists of {count} recordings, each with a clock of its own; they follow one another without "
            "a gap",
            serious=False,
        )


def _sizes(source: PictureSource) -> Iterator[Note]:
    if len(source.sizes) > 1:
        sizes = ", ".join(f"{width}×{height}" for width, height in source.sizes)
        width, height = source.sizes[0]
        yield Note(
            "picture size",
            f"the size of the picture changes ({sizes}); all of it is scaled to {width}×{height}, the size that lasts "
            "longest; record in one size, or trim the clip, if the face is blurred there",
        )


def _turn(frame: VideoFrame) -> Iterator[Note]:
    beyond = (frame.rotation + 45) % 90 - 45  # a quarter turn
    if abs(beyond) > MOST_TILT_DEG:
        yield Note(
            "turn",
            f"the file wants its picture turned by {abs(frame.rotation)}°; it has been turned by quarters only, as "
            f"players do, and is {abs(beyond)}° off; turn it upright before it is imported, if the face is tilted",
        )


def _rate(source: PictureSource) -> Iterator[Note]:
    fps = float(1 / source.step_s)
    if fps < LEAST_FPS:
        yield Note(
            "frame rate",
            f"a rate of {fps:g} frames/s is too low to see a mouth speak; record with {USUAL_FPS} or more",
        )


def still_remarks(source: PictureSource, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[Note]:
    """About the part of a picture from one time to another in which a frame stays conspicuously long."""
    stills = [(begin, end) for begin, end in source.stills if min(end, end_s) - max(begin, begin_s) > STILL_S]
    if stills:
        times = ", ".join(f"{begin:.1f}–{end:.1f} s" for begin, end in stills[:3])
        more = f" and {len(stills) - 3} times more" if len(stills) > 3 else ""
        yield Note(
            STILLS,
            f"the picture stands still at {times}{more} of the source, where no frame is recorded; trim the clip there",
        )


def _colour(source: PictureSource) -> Iterator[Note]:
    if source.dynamic_range:
        parts = "in parts" if source.partly_hdr else ""
        said = " ".join(filter(None, ["the picture is", parts, f"HDR ({source.dynamic_range})"]))
        yield Note("HDR", f"{said}; it has been tone-mapped to BT.709", serious=False)
    elif source.wide_gamut and not source.transfer_tagged:
        yield Note(
            "wide gamut",
            "the picture has more colours than BT.709, and the file does not say whether it is HDR; it has been taken "
            "for an ordinary one; if it looks grey, give the camera's original file",
        )
    elif source.wide_gamut:
        yield Note(
            "wide gamut", "the picture has more colours than BT.709; it has been converted to that", serious=False
        )


def _alpha(source: PictureSource, frame: VideoFrame) -> Iterator[Note]:
    if source.alpha and _is_transparent(frame):
        yield Note(
            "alpha",
            "the picture is transparent in places; black has been laid behind it; lay it on a background of your own "
            "before it is imported, if black will not do",
        )


def _is_transparent(frame: VideoFrame) -> bool:
    if not has_alpha(frame.format):
        return False
    alpha = frame.to_ndarray(format="rgba")[..., 3]
    return bool(np.min(alpha) < 250)
