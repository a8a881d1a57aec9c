"""The frames of a picture as the decoder gives them, each with its own time, and on a constant-rate grid."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import MediaError
from .colours import Colours
from .container import opened, read_packets
from .timeline import MICROSECONDS, Joint, on_one_clock
from .turn import with_turns

LONGEST_STILL_S = 10  # one frame for longer is no picture of a person: something is wrong with the file
SEEK_MARGIN_S = 1  # open this much early: containers seek by decoding time, and the frame on show may be older
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own ones leave the alpha plane out
HALF = Fraction(1, 2)


@dataclass(frozen=True)
class PictureSource:
    """Where a picture lies in a file, and how it is stored, before anything is applied to it."""

    index: int  # of the stream
    pixels: str  # libav's name of the format, "yuv420p"
    matrix_tagged: bool  # the file names the matrix that made YUV of RGB
    colours: Colours  # of the first frame, where it is YUV
    pixel_aspect: Fraction  # width by height of a stored pixel
    sideways: bool  # it has to be turned by a quarter
    interlaced: bool
    clean_start: bool  # the first packet is shown, at the container's zero
    zero_s: Fraction  # the container's zero on the file's own clock
    step_s: Fraction  # between frames that have no time stamp
    timed: bool  # all packets have time stamps
    alpha: bool  # an alpha plane is stored beside the picture
    any_time: bool  # some have
    joints: tuple[Joint, ...]
    stills: tuple[tuple[float, float], ...]  # [from, to) s in which one frame stays conspicuously long
    sizes: tuple[tuple[int, int], ...]  # all that occur, upright, the one that lasts longest first
    uniform: bool  # size, format and colours are the same from beginning to end
    reshaped: bool  # the aspect of its pixels is not
    dynamic_range: str  # "HLG", "PQ"; "" for an ordinary picture
    partly_hdr: bool  # parts of it are ordinary, others not
    wide_gamut: bool  # other primaries than BT.709's
    transfer_tagged: bool  # the file names the transfer function
    missing_s: float  # by how much the file is shorter than its header says
    own_colours: bool  # Dolby Vision's colours, without a base layer that other decoders show

    @property
    def is_plain(self) -> bool:
        """Whether its packets can be copied as they are: one size throughout, one recording, ordinary colours."""
        ordinary = not (self.dynamic_range or self.wide_gamut or self.alpha or self.interlaced)
        return ordinary and self.is_one_piece and self.pixel_aspect == 1

    @property
    def is_one_piece(self) -> bool:
        """Whether it is one recording that looks the same throughout."""
        return self.timed and self.clean_start and not self.joints and self.uniform

    @property
    def is_deep(self) -> bool:
        """Whether a sample has more than 8 bits."""
        return max(component.bits for component in VideoFormat(self.pixels).components) > 8


@dataclass(frozen=True)
class Shown:
    """A decoded frame and when it is shown, from the container's zero."""

    time_s: Fraction
    lasts_s: Fraction
    frame: VideoFrame


def picture_stream(container: InputContainer, index: int) -> VideoStream:
    """The stream of this number in the file; ValueError when it is no picture."""
    stream = container.streams[index]
    if not isinstance(stream, VideoStream):
        raise ValueError(f"stream {index} is no picture")
    return stream


def decoder_of(stream: VideoStream, threads: int, alpha: bool = False) -> VideoCodecContext:
    """The stream's decoder, or the one that decodes its alpha plane as well. `threads` 0: as many as there are CPUs."""
    decoder = stream.codec_context
    if alpha and decoder.name in ALPHA_DECODERS:
        decoder = _alpha_decoder(decoder)
    decoder.thread_count = threads
    decoder.thread_type = "AUTO"
    return decoder


def _alpha_decoder(own: VideoCodecContext) -> VideoCodecContext:
    """The decoder that reads the alpha plane, for a stream of which libav would take its own decoder."""
    decoder = av.CodecContext.create(ALPHA_DECODERS[own.name], "r")
    if not isinstance(decoder, VideoCodecContext):
        raise ValueError(f"{decoder.name} decodes no picture")
    decoder.extradata = own.extradata
    return decoder


def decode(packets: Iterable[Packet], decoder: VideoCodecContext) -> Iterator[VideoFrame]:
    """The frames of these packets, with their turns; those that are damaged are left out."""
    return with_turns(_decoded(packets, decoder))


def _decoded(packets: Iterable[Packet], decoder: VideoCodecContext) -> Iterator[VideoFrame]:
    try:
        for packet in chain(packets, [None]):
            try:
                yield from decoder.decode(packet)
            except FFmpegError:
                continue
    finally:  # its threads come to rest: whoever frees it holds the interpreter, and one that logs would wait for that
        decoder.flush_buffers()


def first_frame(path: Path, index: int, alpha: bool) -> VideoFrame | None:
    """The first frame of a stream that can be decoded; None when none can."""
    with opened(path) as container:
        stream = picture_stream(container, index)
        return next(decode(read_packets(container, stream), decoder_of(stream, 1, alpha)), None)


def shown_frames(path: Path, source: PictureSource, start_s: Fraction, threads: int) -> Generator[Shown, None, None]:
    """The frames of the picture in the order they are shown in, from the one on show at `start_s` or earlier ones on.

    Closing the iterator closes the file.
    """
    seek_s = start_s - SEEK_MARGIN_S
    if seek_s > 0 and source.timed and not source.joints:
        with closing(_shown(path, source, start_s, threads, seek_s)) as frames:
            first = next(frames, None)
            if first is not None and first.time_s <= start_s:
                yield first
                yield from frames
                return
    yield from _shown(path, source, start_s, threads)  # from the beginning, also where seeking missed the place


def _shown(
    path: Path, source: PictureSource, start_s: Fraction, threads: int, seek_s: Fraction | None = None
) -> Generator[Shown, None, None]:
    """MediaError where none can be decoded for LONGEST_STILL_S, from `start_s` on."""
    with opened(path) as container:
        stream = picture_stream(container, source.index)
        unit = stream.time_base or Fraction(1, MICROSECONDS)
        if seek_s is not None:
            container.seek(math.floor((source.zero_s + seek_s) / unit), stream=stream)
        packets = on_one_clock(read_packets(container, stream), source.joints, unit)
        before_s = start_s
        for frame, now_s in _timed(decode(packets, decoder_of(stream, threads, source.alpha)), source, unit):
            if now_s - before_s > LONGEST_STILL_S:
                gone = f"from {float(before_s):.1f} s to {float(now_s):.1f} s"
                raise MediaError(f"{path}: no frame can be decoded {gone}; the file is damaged there: trim the clip")
            yield Shown(now_s, max((frame.duration or 0) * unit, source.step_s), frame)
            before_s = max(now_s, start_s)


def _timed(
    frames: Iterable[VideoFrame], source: PictureSource, unit: Fraction
) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Each frame and its time from the container's zero; one without a time stamp lies a step beside its neighbour."""
    waiting: list[VideoFrame] = []  # before the first time stamp
    now_s: Fraction | None = None
    for frame in frames:
        if frame.pts is not None:
            stamp_s = frame.pts * unit - source.zero_s
            for place, one in enumerate(waiting):
                yield one, stamp_s - (len(waiting) - place) * source.step_s
            waiting, now_s = [], stamp_s
        elif now_s is None and source.any_time:
            waiting.append(frame)
            continue
        else:
            now_s = Fraction(0) if now_s is None else now_s + source.step_s
        yield frame, now_s


def on_grid(frames: Iterable[Shown], fps: Fraction, start_s: Fraction, count: int | None) -> Iterator[VideoFrame]:
    """The frame on show at `start_s` and every 1 / fps after it, `count` times or until the last one's end.

    A frame is on show from the place nearest to its own time on (a half goes up) until the next one is.
    """
    done = 0
    for frame, stop in _stops(frames, fps, start_s):
        while done < stop:
            if count is not None and done >= count:
                return
            yield frame
            done += 1


def _stops(frames: Iterable[Shown], fps: Fraction, start_s: Fraction) -> Iterator[tuple[VideoFrame, int]]:
    """Each frame and the place on the grid where the next one takes over; one that goes back in time is left out."""

    def place(time_s: Fraction) -> int:
        return math.floor((time_s - start_s) * fps + HALF)

    shown, is_only = None, True
    for following in frames:
        if shown is not None and following.time_s < shown.time_s:
            continue
        if shown is not None:
            yield shown.frame, place(following.time_s)
            is_only = False
        shown = following
    if shown is not None:
        least = 1 if is_only and shown.time_s >= start_s else 0
        yield shown.frame, max(place(shown.time_s + shown.lasts_s), least)


def check_usable(path: Path, source: PictureSource, start_s: float, end_s: float) -> None:
    """MediaError where a part of the picture holds one frame for too long, or it is not known how it looks."""
    if source.reshaped:
        raise MediaError(
            f"{path}: the shape of its pixels changes on the way, which would stretch the face; give the parts as "
            "files of their own, or convert it to square pixels"
        )
    if source.own_colours:
        raise MediaError(
            f"{path}: its picture is Dolby Vision of profile 5, whose colours only its own decoder knows; convert it "
            "to HDR10, HLG or SDR first"
        )
    for begin_s, stop_s in source.stills:
        if min(stop_s, end_s) - max(begin_s, start_s) > LONGEST_STILL_S:
            raise MediaError(
                f"{path}: the picture stands still from {begin_s:.1f} s to {stop_s:.1f} s (a time stamp jumps, or the "
                "recorder stopped); trim the clip: take a part before or after that with start and duration"
            )
