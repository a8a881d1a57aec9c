"""Sound tracks of a file: which there are, and decoding one of them on the clock that it shares with the picture."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.packet import Packet

from ..errors import MediaError
from .container import open_container
from .ffmpeg import LISTS, check_readable, no_media

TOLERANCE_S = 0.05  # time stamps may wander by this much; what wanders further is padded or cut
BEGINS_ANEW_S = 1.0  # a clock that goes back further than this is that of another recording, joined to the first
STEADY_S = 0.002  # what whole milliseconds, as in Matroska, make of two time stamps
MAX_GAP_S = 600.0  # a longer silence between two time stamps is a fault of theirs
SHORTER_S = 1.0  # than the file says: its end is missing
# Formats of bare frames: their time stamps are counted by libav, which takes the first rate for that of all.
UNTIMED = {"aac", "ac3", "amr", "dts", "eac3", "flac", "loas", "mp3", "truehd"}
UNNAMED = "NONE"  # libav's name of a channel of which the file says nothing
USUAL = {1: ("FC",), 2: ("FL", "FR")}
PCM = re.compile(r"pcm_(?:(?:[su]|f(?=32|64))(?P<bits>\d+)|alaw|mulaw)")  # codecs; where no bits are named it is 8
PADDED_SAMPLES = 1 << 18  # of silence at a time: 1 MB a channel

_log = logging.getLogger(__name__)


class SoundTrack(NamedTuple):
    """What a file says about one of its sound tracks."""

    number: int  # counted from 1 among all sound tracks of the file
    rate_hz: int
    name: str  # title and language, for people; "" where the file says nothing
    codec: str  # libav's name, "aac", "mp3"
    channels: int


class Block(NamedTuple):
    """A piece of sound. It follows directly on the one before; the first one begins at the container's zero."""

    samples: np.ndarray  # (n, channels) float32, [-1, 1] but for what a codec overshoots
    rate_hz: int
    channels: tuple[str, ...]  # "FL", "FR", "FC", "LFE" …


def sound_tracks(path: Path) -> list[SoundTrack]:
    """The sound tracks that have a decoder, at least one. MediaError: no such file, no sound, no media file."""
    with _opened(path) as container:
        sounds = _sounds(container, path)
        return [
            SoundTrack(number, stream.rate, _name(stream), stream.codec_context.codec.canonical_name, stream.channels)
            for number, stream in sounds.items()
        ]


def decode(path: Path, *, track: int = 1, until_s: float | None = None) -> Iterator[Block]:
    """A sound track from the container's zero to its end, or until `until_s` is covered.

    Time stamps decide where a frame belongs: a late start and gaps are filled with silence, what is there twice is
    left out, and where the clock begins anew in mid-file, as in recordings that were joined, the sound goes on.
    Packets that cannot be decoded are silence, and a warning says so. MediaError: no such file or track, no sound, a
    gap longer than MAX_GAP_S, samples that are not finite numbers, nothing that can be decoded.
    """
    with _opened(path) as container:
        sounds = _sounds(container, path)
        if track not in sounds:
            raise MediaError(f"{path} has no sound track {track}; choose {one_of(sounds)}")
        reader = _Reader(path, container, sounds[track])
        clock = _Clock(path, (container.start_time or 0) / av.time_base)
        for frame, following in pairwise(chain(reader.frames(), [None])):
            if frame is not None:
                yield from clock.place(frame, following, until_s)
            if until_s is not None and clock.end_s >= until_s:
                return
        reader.report(clock.end_s)


def steady_ends_s(path: Path, track: int = 1) -> Iterator[float]:
    """When each decoded frame of a sound track ends, by the samples before it, from the container's zero.

    MediaError where anything is out of the ordinary: damage, another rate or layout in mid-file, a time stamp that
    differs from the sum of the samples by more than STEADY_S, and whatever `decode` raises.
    """
    with _opened(path) as container:
        reader = _Reader(path, container, _sounds(container, path)[track])
        zero_s, end_s, first = (container.start_time or 0) / av.time_base, None, None
        for frame in reader.frames():
            time_s = end_s if frame.time_s is None else frame.time_s - zero_s
            first = first or frame.block
            end_s = time_s if end_s is None else end_s
            if time_s is None or end_s is None or abs(time_s - end_s) > STEADY_S or frame.block[1:] != first[1:]:
                raise MediaError(f"{path}: its sound has gaps or changes in mid-file")
            end_s += frame.lasts_s
            yield end_s
        if reader.lost or reader.cut_off:
            raise MediaError(f"{path}: its sound is damaged")


def _opened(path: Path) -> InputContainer:
    """A container on a local file alone: what names other files is not followed."""
    path = check_readable(path)
    options = {"format_whitelist": _formats(), "protocol_whitelist": "file"}
    try:
        return open_container(path, options=options)
    except ArgumentError as e:
        raise MediaError(f"{path} is a list of other files, or no media; give the video or audio file itself") from e
    except FFmpegError as e:
        raise no_media(path) from e


@functools.cache
def _formats() -> str:
    """Names of all formats but those that name other files or addresses."""
    lists = {*LISTS.split("|"), "tty"}  # tty: any text file, as a picture of a terminal
    return ",".join(sorted(name for name in av.formats_available if not lists & set(name.split(","))))


def one_of(numbers: Iterable[int]) -> str:
    """In words: "1, 2 or 4"."""
    words = [str(number) for number in numbers]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _sounds(container: InputContainer, path: Path) -> dict[int, AudioStream]:
    """Its sound tracks by number, those that can be decoded, at least one."""
    numbered = enumerate(container.streams.audio, 1)
    found = {k: stream for k, stream in numbered if stream.codec_context is not None and stream.rate}
    if found:
        return found
    if container.streams.video:
        raise MediaError(f"{path} has no sound; give a separate audio file")
    raise no_media(path)


def _name(stream: AudioStream) -> str:
    words = (stream.metadata.get("title", ""), stream.metadata.get("language", ""))
    return ", ".join(word for word in words if word and word != "und")


class _Frame(NamedTuple):
    """A decoded frame and when it sounds, on the file's own clock."""

    block: Block
    time_s: float | None  # None: the file does not say
    lost_s: float  # what could not be decoded right before it

    @property
    def lasts_s(self) -> float:
        return len(self.block.samples) / self.block.rate_hz


class _Reader:
    """Frames of one stream; what cannot be decoded is counted and left out."""

    def __init__(self, path: Path, container: InputContainer, stream: AudioStream) -> None:
        self.path, self.container, self.stream = path, container, stream
        self.timed = container.format.name not in UNTIMED
        self.sample_bytes = _sample_bytes(stream)
        self.lost, self.lost_s = 0, 0.0  # packets, and what they last that follow on the last good frame
        self.cut_off = False

    def frames(self) -> Iterator[_Frame]:
        """All that can be decoded; MediaError when that is nothing."""
        count = 0
        for packet in self._packets():
            for frame in self._decoded(packet):
                time_s = frame.time if self.timed or count == 0 else None
                yield _Frame(_block(frame, self.path), time_s, self.lost_s)
                self.lost_s = 0.0
                count += 1
        if count == 0:
            raise MediaError(f"{self.path}: the sound cannot be decoded; it is empty, damaged, or of an unknown kind")

    def report(self, end_s: float) -> None:
        """Say what was left out of a sound that ends so many seconds after its beginning."""
        says = self.stream.duration
        if self.timed and says is not None and self.stream.time_base is not None:
            self.cut_off = self.cut_off or end_s < float(says * self.stream.time_base) - SHORTER_S
        if self.lost:
            _log.warning("%s: parts of its sound are damaged, and silent now (%d packets)", self.path, self.lost)
        if self.cut_off:
            words = "the file is damaged; its sound is read as far as it goes, to"
            _log.warning("%s: %s %.1f s", self.path, words, end_s)

    def _packets(self) -> Iterator[Packet[AudioStream] | None]:
        try:
            yield from self.container.demux(self.stream)
        except FFmpegError:
            self.cut_off = True
            yield None  # what the decoder still holds

    def _decoded(self, packet: Packet[AudioStream] | None) -> list[AudioFrame]:
        try:
            return self.stream.decode(None if packet is None else _whole_samples(packet, self.sample_bytes))
        except FFmpegError:
            self.lost += 1
            if packet is not None and packet.duration is not None:
                self.lost_s += float(packet.duration * packet.time_base)
            return []


def _sample_bytes(stream: AudioStream) -> int:
    """How many bytes a sample of all channels takes in the file; 1 where they are compressed."""
    found = PCM.match(stream.codec_context.name)
    return int(found["bits"] or 8) // 8 * max(1, stream.layout.nb_channels) if found else 1


def _whole_samples(packet: Packet[AudioStream], sample_bytes: int) -> Packet:
    """Without a part of a sample at its end, for which PyAV before 18 drops the rest of the packet, too."""
    surplus = packet.size % sample_bytes
    if not surplus:
        return packet
    whole = Packet(bytes(packet)[:-surplus])
    whole.stream, whole.time_base, whole.pts, whole.dts = packet.stream, packet.time_base, packet.pts, packet.dts
    return whole


class _Clock:
    """Where in time the sound is that was placed so far."""

    def __init__(self, path: Path, zero_s: float) -> None:
        self.path = path
        self.end_s = 0.0  # from the container's zero
        self._shift_s = -zero_s
        self._begun = False

    def place(self, frame: _Frame, following: _Frame | None, until_s: float | None) -> Iterator[Block]:
        """The silence before a frame, as far as `until_s`, and what of the frame is not there already."""
        samples, rate_hz, channels = frame.block
        missing = round(self._missing_s(frame, following) * rate_hz)
        padded = missing if until_s is None else min(missing, math.ceil((until_s - self.end_s) * rate_hz))
        while padded > 0:
            count = min(padded, PADDED_SAMPLES)
            yield self._next(Block(np.zeros((count, len(channels)), np.float32), rate_hz, channels))
            padded -= count
        yield self._next(Block(samples[max(0, -missing) :], rate_hz, channels))

    def _next(self, block: Block) -> Block:
        self.end_s += len(block.samples) / block.rate_hz
        return block

    def _missing_s(self, frame: _Frame, following: _Frame | None) -> float:
        """How much later than the end of what is placed a frame sounds; negative: earlier."""
        begun, self._begun = self._begun, True
        if frame.time_s is None:
            return frame.lost_s
        missing_s = frame.time_s + self._shift_s - self.end_s
        if not begun or (frame.lost_s and abs(missing_s) <= BEGINS_ANEW_S):
            return self._checked(missing_s)
        if abs(missing_s) <= TOLERANCE_S or self._goes_on(frame, following):
            return 0.0
        if missing_s < -BEGINS_ANEW_S:
            self._shift_s -= missing_s
            return 0.0
        return self._checked(missing_s)

    def _goes_on(self, frame: _Frame, following: _Frame | None) -> bool:
        """Whether the next frame's time says that this one's is wrong: it belongs where it stands."""
        if following is None or following.time_s is None:
            return False
        expected_s = self.end_s + frame.lasts_s
        return abs(following.time_s + self._shift_s - expected_s) <= TOLERANCE_S

    def _checked(self, missing_s: float) -> float:
        if missing_s > MAX_GAP_S:
            raise MediaError(
                f"{self.path}: by its time stamps the sound pauses from {self.end_s:.1f} s to "
                f"{self.end_s + missing_s:.1f} s; trim the file, or convert its sound to wav"
            )
        return missing_s


def _channel_names(frame: AudioFrame) -> tuple[str, ...]:
    """As the file says; where it says nothing, one channel is the centre, two are left and right."""
    said = tuple(channel.name for channel in frame.layout.channels)
    if UNNAMED not in said:
        return said
    return USUAL.get(len(said), tuple(str(k) for k in range(1, len(said) + 1)))


def _block(frame: AudioFrame, path: Path) -> Block:
    """(n, channels) float32 of a frame in any sample format."""
    channels = _channel_names(frame)
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, len(channels))
    if values.dtype.kind == "f":
        samples = values.astype(np.float32)
        if not np.isfinite(samples).all():
            raise MediaError(f"{path}: samples that are not numbers (NaN or infinite) near {frame.time or 0:.2f} s")
    elif values.dtype == np.uint8:
        samples = (values.astype(np.float32) - 128) / 128
    else:
        samples = values.astype(np.float32) / np.float32(2 ** (8 * values.itemsize - 1))
    return Block(np.ascontiguousarray(samples), frame.sample_rate, channels)
