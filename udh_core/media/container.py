"""A media file opened by libav: nothing but that file is read, and what libav says against it becomes one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from ..errors import MediaError
from .ffmpeg import check_readable, no_media, url

# Formats that name other files, addresses or programs: not for us to follow.
LISTS = {
    *("applehttp", "avisynth", "concat", "dash", "hls", "image2", "imf", "lavfi"),
    *("rtsp", "sap", "sdp", "vapoursynth", "vobsub", "webm_dash_manifest"),
}
PYAV = int(av.__version__.split(".")[0])
READABLE = ",".join(sorted(av.formats_available - LISTS))
GENERATED_STAMPS = Flags.gen_pts.value
BEGINNINGS = (b"ftyp", b"FLV\x01", b"RIFF", b"\x1a\x45\xdf\xa3")  # mp4, FLV, AVI and wav, Matroska
CHUNK_BYTES = 1 << 20
TEXT = "tty"  # any text file, as a picture of a terminal


def open_container(
    path: Path, *, options: dict[str, str] | None = None, container_options: dict[str, str] | None = None
) -> InputContainer:
    """As `av.open`. Texts in the file that are no UTF-8 are no error; before PyAV 19 that has to be said."""
    if PYAV >= 19:
        return av.open(url(path), options=options, container_options=container_options)
    return av.open(url(path), options=options, container_options=container_options, metadata_errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file, open for reading. MediaError: no such file, a list of other files, no media file."""
    path = check_readable(path)
    options = {"protocol_whitelist": "file", "format_whitelist": READABLE}
    try:
        container = open_container(path, container_options=options)
    except FFmpegError as error:
        if error.errno == errno.EINVAL:  # so libav refuses what is not on the whitelist
            raise MediaError(
                f"{path} is a photo, a list of other files, or damaged; give the video or audio file itself"
            ) from error
        raise no_media(path) from error
    container.flags &= ~GENERATED_STAMPS  # where a stamp is missing, we count frames ourselves
    with container:
        if container.format.name == TEXT:
            raise no_media(path)
        yield container


def another_follows(path: Path, end: int) -> bool:
    """Whether the file's own beginning, of a format that libav reads one recording of, comes again after byte `end`."""
    with path.open("rb") as file:
        head = file.read(12)
        magic = next((one for one in BEGINNINGS if one in head), None)
        file.seek(end)
        rest = b""
        while magic is not None and (data := file.read(CHUNK_BYTES)):
            rest = rest[-len(magic) :] + data
            if magic in rest:
                return True
    return False


def read_packets(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of these streams as they lie in the file, to its end or to where it cannot be read any further."""
    if not streams:  # libav would give those of all
        return
    demuxed = container.demux(*streams)
    while True:
        try:
            packet = next(demuxed, None)
        except FFmpegError:  # cut off or damaged from here on
            return
        if packet is None:
            return
        if packet.size:  # libav ends every stream with an empty one
            yield packet
