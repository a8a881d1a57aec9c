"""The streams of a file: what its header says about each, and the packets of each, read once from end to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from .container import another_follows, opened, read_packets
from .looks import Look, LookLog
from .riff import surplus_s
from .timeline import MICROSECONDS, REORDERED, Joint, Packets, Row, find_joints, first_shown_s, row_of, shift_s, table

MP4, MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"  # libav's names of formats whose durations are exact
COVERS = Disposition.attached_pic | Disposition.timed_thumbnails


@dataclass(frozen=True)
class StreamInfo:
    """A picture or sound stream as it is stored, on the clock on which the container's zero is 0."""

    index: int  # in the file, from 0
    kind: Literal["video", "audio"]
    codec: str  # libav's name, "h264"; "" where it has no decoder
    start_s: float  # when its first packet is shown or sounds
    duration_s: float  # from there to the end of its last packet; 0 for a stream without packets
    width: int = 0  # px, of a picture
    height: int = 0
    rate: Fraction = Fraction(0)  # frames/s or samples/s; 0 where the file does not say
    channels: int = 0  # of a sound
    is_cover: bool = False  # a picture that belongs to the file's label
    is_default: bool = False  # the file's own choice among its kind
    language: str = ""  # as the file says, "eng"
    joints: tuple[Joint, ...] = ()  # for `timeline.on_one_clock`

    @property
    def end_s(self) -> float:
        """When its last packet ends."""
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class PictureHeader:
    """What else is known about a picture stream before it is decoded."""

    packets: Packets
    stated_rates: tuple[Fraction, ...]
    pixel_aspect: Fraction
    alpha_tagged: bool  # an alpha plane lies beside the picture, which only some decoders read
    looks: tuple[tuple[int, Look], ...]  # from which packet on
    delay_s: Fraction  # by which all time stamps are late
    codec_tag: str  # of HEVC, the four characters that the file calls it by, "hvc1"
    own_colours: bool  # Dolby Vision's metadata say that the picture is stored as IPT


@dataclass(frozen=True)
class Contents:
    """All picture and sound streams of a file."""

    zero_s: Fraction  # the container's zero on the file's own clock
    streams: tuple[StreamInfo, ...]
    pictures: dict[int, PictureHeader]  # by the stream's index
    another_follows: bool  # another recording lies behind this one, out of the reach of all its streams
    missing_s: float  # by how much its streams are shorter than its header says, negative: the file goes on behind
    # them; 0 where that is not to be relied on


def read_contents(path: Path) -> Contents:
    """Read all packets of a file without decoding them; MediaError when it is no media file."""
    with opened(path) as container:
        streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
        expected_s = (container.duration or 0) / MICROSECONDS
        logs = {
            stream.index: LookLog(stream, expected_s)
            for stream in streams
            if isinstance(stream, VideoStream) and stream.codec_context is not None
        }
        packets, end = _all_packets(container, streams, logs)
        delayed = container.format.name == "avi"
        joints = find_joints({index: one for index, one in packets.items() if len(one.order) > 1})
        zero_s = _zero_s(container, packets.values())
        infos = tuple(_info(stream, packets[stream.index], joints.get(stream.index, ()), zero_s) for stream in streams)
        pictures = {
            stream.index: _header(stream, packets[stream.index], logs[stream.index], delayed)
            for stream in streams
            if isinstance(stream, VideoStream) and stream.index in logs
        }
        missing_s = _missing_s(container, streams, packets.values()) or -surplus_s(path)
        return Contents(zero_s, infos, pictures, another_follows(path, end), missing_s)


def _all_packets(
    container: InputContainer, streams: Sequence[Stream], logs: dict[int, LookLog]
) -> tuple[dict[int, Packets], int]:
    """The packets of all streams, and the place in the file, in bytes, where the last of them ends."""
    end = 0
    rows: dict[int, list[Row]] = {stream.index: [] for stream in streams}
    for order, packet in enumerate(read_packets(container, *streams)):
        rows[packet.stream_index].append(row_of(order, packet))
        end = max(end, (packet.pos or 0) + packet.size)
        if packet.stream_index in logs:
            logs[packet.stream_index].add(packet)
    return {stream.index: table(rows[stream.index], stream.time_base or Fraction(1)) for stream in streams}, end


def _missing_s(container: InputContainer, streams: Sequence[Stream], packets: Iterable[Packets]) -> float:
    name = container.format.name
    said = [float(one.duration * one.time_base) for one in streams if one.duration and one.time_base]
    if name == MATROSKA and len(streams) == len(container.streams):  # its header knows the whole only, with subtitles
        said = [(container.duration or 0) / MICROSECONDS]
    if name not in (MP4, MATROSKA) or not said:
        return 0.0
    lasts_s = [float((ends := one.ends_s()).max() - (ends - one.lasts_s).min()) for one in packets if len(one.order)]
    return max(0.0, max(said) - max(lasts_s, default=0.0))


def _zero_s(container: InputContainer, packets: Iterable[Packets]) -> Fraction:
    """When the earliest stream begins: MPEG-TS starts at 1.4 s, late sound at 0; the header does not know frames whose
    time stamps are missing."""
    starts = [Fraction(container.start_time, MICROSECONDS)] if container.start_time is not None else []
    for one in packets:
        missing = len(one.order) > 0 and bool(np.isnan(one.shown_s[0]))
        if np.isfinite(one.shown_s).any() and (missing or not starts):
            starts.append(_exact_s(first_shown_s(one)))
    return min(starts, default=Fraction(0))


def _delay_s(packets: Packets) -> Fraction:
    """By how much the time stamps of AVI are late, which count the frames as they are decoded."""
    shown, decoded = packets.shown_s[:REORDERED], packets.decoded_s[:REORDERED]
    if not (np.isfinite(shown).any() and np.isfinite(decoded).any()):
        return Fraction(0)
    before_s = float(np.median(packets.lasts_s)) if np.isnan(shown[0]) else 0.0  # then it is the second one's
    return _exact_s(float(np.nanmin(shown) - np.nanmin(decoded)) - before_s)


def _exact_s(seconds: float) -> Fraction:
    return Fraction(round(seconds * MICROSECONDS), MICROSECONDS)


def _info(stream: Stream, packets: Packets, joints: tuple[Joint, ...], zero_s: Fraction) -> StreamInfo:
    start_s, end_s = _extent_s(packets, joints)
    info = StreamInfo(
        index=stream.index,
        kind="audio" if isinstance(stream, AudioStream) else "video",
        codec="" if stream.codec_context is None else stream.codec_context.name,
        start_s=start_s - float(zero_s),
        duration_s=end_s - start_s,
        is_cover=bool(stream.disposition & COVERS),
        is_default=bool(stream.disposition & Disposition.default),
        language=stream.metadata.get("language", ""),
        joints=joints,
    )
    if stream.codec_context is None:
        return info
    if isinstance(stream, AudioStream):
        return replace(info, rate=Fraction(stream.rate or 0), channels=stream.channels)
    if isinstance(stream, VideoStream):
        return replace(info, width=stream.width, height=stream.height, rate=Fraction(stream.average_rate or 0))
    return info


def _extent_s(packets: Packets, joints: tuple[Joint, ...]) -> tuple[float, float]:
    """From when to when a stream lasts, on the file's own clock with the joints closed; (0, 0) without packets."""
    if not len(packets.order):
        return 0.0, 0.0
    ends = packets.ends_s() + shift_s(len(packets.order), joints)
    starts = ends - packets.lasts_s
    seen = packets.visible if packets.visible.any() else ~packets.visible
    return float(starts[seen].min()), float(ends[seen].max())


def _header(stream: VideoStream, packets: Packets, log: LookLog, delayed: bool) -> PictureHeader:
    rates = (stream.average_rate, stream.base_rate, stream.guessed_rate)
    aspect = stream.sample_aspect_ratio
    return PictureHeader(
        packets=packets,
        stated_rates=tuple(rate for rate in rates if rate),
        pixel_aspect=aspect if aspect else Fraction(1),
        alpha_tagged=stream.metadata.get("alpha_mode") == "1",
        looks=tuple(log.found),
        delay_s=_delay_s(packets) if delayed else Fraction(0),
        codec_tag=stream.codec_context.codec_tag if stream.codec_context.name == "hevc" else "",
        own_colours=log.own_colours,
    )
