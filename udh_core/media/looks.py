"""What the picture looks like in the course of a file, size and colour, found without decoding it all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .dolby import has_own_colours
from .turn import Turn, display_matrix, upright

Size = tuple[int, int]  # upright (width, height) px
PARAMETER_BYTES = 4096  # of a packet, in which its parameter sets lie
SPS = {"h264": (0x1F, 7), "hevc": (0x7E, 33 << 1)}  # mask and value of a NAL unit's first byte
SAMPLES_S = 1.0  # where there are no parameter sets, key frames this far apart are decoded
MOST_SAMPLES = 200


@dataclass(frozen=True)
class Look:
    """All that may change in mid-file, as a frame has it."""

    size: Size
    turn: Turn
    pixels: str  # libav's name of the format, "yuv420p"
    trc: int  # transfer function, primaries, matrix and range of the colours, by libav's numbers
    primaries: int
    matrix: int
    range: int
    interlaced: bool
    pixel_aspect: Fraction  # width by height of a pixel, as the codec says; 1 where it says nothing

    @classmethod
    def of(cls, frame: VideoFrame, pixel_aspect: Fraction | None) -> Look:
        """Of a decoded frame; what its decoder says of the pixels' shape is not in the frame."""
        colours = frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range
        stored = upright(frame), display_matrix(frame), frame.format.name
        return cls(*stored, *colours, frame.interlaced_frame, pixel_aspect or Fraction(1))


class LookLog:
    """The looks of one picture stream, from its packets as they come. Decodes key frames at which they may change.

    An H.264 or HEVC picture can only change where parameter sets do; of others, key frames are sampled.
    """

    def __init__(self, stream: VideoStream, expected_s: float) -> None:
        self.found: list[tuple[int, Look]] = []  # from which packet on
        self.own_colours = False  # Dolby Vision's, by the first packet
        self._packets = 0
        self._stream = stream
        self._tick_s = float(stream.time_base or 0)
        self._apart_s = max(SAMPLES_S, expected_s / MOST_SAMPLES)
        self._signature: bytes | None = None
        self._sampled_s = float("-inf")

    def add(self, packet: Packet) -> None:
        """Look at the next packet of the stream."""
        self._packets += 1
        if self._packets == 1 and self._stream.codec_context.name == "hevc":
            self.own_colours = has_own_colours(packet)
        if not packet.is_keyframe or not self._may_differ(packet):
            return
        decoder = self._stream.codec_context
        try:
            frames = [*decoder.decode(packet), *decoder.decode(None)]
        except FFmpegError:
            frames = []
        decoder.flush_buffers()
        for frame in frames[-1:]:
            self.found.append((self._packets - 1, Look.of(frame, decoder.sample_aspect_ratio)))

    def _time_s(self, packet: Packet) -> float:
        stamp = packet.pts if packet.pts is not None else packet.dts
        return 0.0 if stamp is None else stamp * self._tick_s

    def _may_differ(self, packet: Packet) -> bool:
        name = self._stream.codec_context.name
        if name in SPS:
            signature = b"".join(_parameter_sets(packet, name, self._stream.codec_context.extradata or b""))
            differs = signature != self._signature if signature or self._signature is None else False
            self._signature = signature if differs else self._signature
            return differs
        if abs(self._time_s(packet) - self._sampled_s) < self._apart_s:
            return False
        self._sampled_s = self._time_s(packet)
        return True


def longest_first(found: Sequence[tuple[int, Look]], times_s: np.ndarray, end_s: float) -> tuple[Size, ...]:
    """All sizes, that one first which is on show for the longest time; times_s (n,) of the packets, and their end."""
    begins = [float(times_s[packet]) for packet, _ in found]
    lasts: dict[Size, float] = {}
    for (_, look), begin, end in zip(found, begins, [*begins[1:], end_s], strict=False):
        lasts[look.size] = lasts.get(look.size, 0.0) + max(end - begin, 0.0)
    return tuple(sorted(lasts, key=lambda size: -lasts[size]))


def _parameter_sets(packet: Packet, codec: str, extradata: bytes) -> Iterator[bytes]:
    """The sequence parameter sets that a packet brings along, in its data or beside them."""
    if packet.has_sidedata("new_extradata"):
        yield bytes(packet.get_sidedata("new_extradata"))
    mask, value = SPS[codec]
    data = bytes(memoryview(packet)[:PARAMETER_BYTES])
    units = _prefixed(data, codec, extradata) if extradata[:1] == b"\x01" else data.split(b"\x00\x00\x01")[1:]
    for unit in units:
        if unit and unit[0] & mask == value:
            yield unit.rstrip(b"\x00")


def _prefixed(data: bytes, codec: str, extradata: bytes) -> Iterator[bytes]:
    """The NAL units of a packet in which each is preceded by its length, as in mp4 and Matroska."""
    at = 4 if codec == "h264" else 21
    prefix = (extradata[at] & 3) + 1 if len(extradata) > at else 4
    place = 0
    while place + prefix < len(data):
        length = int.from_bytes(data[place : place + prefix], "big")
        yield data[place + prefix : place + prefix + length]
        place += prefix + length
