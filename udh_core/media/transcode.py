"""Whole files: import a clip at a constant frame rate; mux picture and sound."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Mapping
from fractions import Fraction
from pathlib import Path

from ..errors import MediaError
from ..files import atomic_write
from ..progress import Progress, job
from .ffmpeg import run_iter, url
from .probe import MediaInfo, PictureFormat, VideoInfo, check_audio, inspect, picture_info, probe
from .video import AAC, BT709, MP4, SCALER, input_from, matrix_in, on_grid

MAX_FPS = 60  # of an imported video; mouths gain nothing from more
IMPORT_CRF = 12  # x264: no visible loss
PLAYABLE = {"h264", "hevc", "av1", "vp9", "mpeg4"}  # codecs that players expect in an mp4
IMPORT_GOP = 25  # a seek decodes at most this many frames in vain


@job
def import_video(
    source: Path,
    target: Path,
    *,
    fps: Fraction | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Generator[Progress, None, VideoInfo]:
    """Make `target`: H.264, constant rate, upright, square pixels, even size, no sound, seekable to any frame.

    `fps` None keeps the source's nominal rate (halved until it is at most MAX_FPS). A source that already is all that
    is copied without loss, any other encoded almost without. MediaError: bad source, nothing left. FileError: the
    target cannot be written. The result is the target's picture; progress counts frames, and closing the job leaves
    nothing behind.
    """
    info, stored = inspect(source)
    if info.video is None or stored is None:
        raise MediaError(f"{source} has sound but no picture; give a video file")
    if start_s >= info.video.duration_s:
        raise MediaError(f"{source} ends at {info.video.duration_s:.2f} s; start before that, not at {start_s:g} s")
    rate = fps or _capped(info.video.fps)
    whole = start_s <= 0 and duration_s is None
    left_s = info.video.duration_s - start_s
    lasts_s = left_s if duration_s is None else min(left_s, duration_s)
    with atomic_write(target) as temporary:
        if whole and rate == info.video.fps and _is_ready(info, info.video, stored):
            arguments = ["-i", url(source), "-map", "0:V:0", "-c", "copy"]
        else:
            arguments = input_from(source, start_s)
            arguments += _encode_h264(info.video, stored, rate, start_s, duration_s)
        arguments += [*MP4, "-f", "mp4", "-y", url(temporary)]
        yield from run_iter(arguments, f"{source} cannot be imported", stage="video", total=round(lasts_s * rate))
        made = probe(temporary).video
        if made is None:
            raise MediaError(f"{source} cannot be imported: no frame could be decoded")
    return made


def _is_ready(info: MediaInfo, video: VideoInfo, stored: PictureFormat) -> bool:
    return (
        info.video_codec == "h264"
        and info.constant_rate
        and not info.rotated
        and stored.pixels in ("yuv420p", "yuvj420p")
        and stored.pixel_aspect == 1
        and stored.clean_start
        and not stored.interlaced
        and video.width % 2 == 0
        and video.height % 2 == 0
    )


def _encode_h264(
    video: VideoInfo, stored: PictureFormat, fps: Fraction, start_s: float, duration_s: float | None
) -> list[str]:
    # Rotation comes first (ffmpeg applies it by itself) and swaps the pixel's sides too; `iw*sar` follows that.
    filters = ["bwdif=deint=interlaced"] if stored.interlaced else []
    filters += [on_grid(fps, stored, start_s), *_even(video, stored.pixel_aspect != 1)]
    filters += [f"scale={matrix_in(video, stored)}out_color_matrix=bt709:out_range=tv:{SCALER}", "format=yuv420p"]
    limit = [] if duration_s is None else ["-frames:v", str(max(1, round(duration_s * fps)))]
    codec = ["-c:v", "libx264", "-crf", str(IMPORT_CRF), "-preset", "veryfast", "-g", str(IMPORT_GOP)]
    return ["-vf", ",".join(filters), "-r", str(fps), *limit, *codec, *BT709]


def _even(video: VideoInfo, stretch: bool) -> list[str]:
    """Square pixels and an even size: 4:2:0 has one chroma sample per 2×2. An odd edge is repeated once."""
    if stretch:
        return ["scale='2*round(iw*sar/2)':'2*round(ih/2)'", "setsar=1"]
    odd_w, odd_h = video.width % 2, video.height % 2
    if not odd_w and not odd_h:
        return []
    # Without full chroma ffmpeg can neither pad nor fill a single pixel.
    return ["format=yuv444p", f"pad=iw+{odd_w}:ih+{odd_h}", f"fillborders=right={odd_w}:bottom={odd_h}:mode=smear"]


def _capped(fps: Fraction) -> Fraction:
    while fps > MAX_FPS:
        fps /= 2
    return fps


@job
def mux(
    video: Path, audio: Path, out: Path, metadata: Mapping[str, str] | None = None
) -> Generator[Progress, None, Path]:
    """Put the picture of `video` and the sound of `audio`, as AAC, into `out`, which is the result.

    The picture is copied where an mp4 of its codec can be played, else encoded almost without loss. `metadata` are
    texts that the file keeps by their names. MediaError: no picture in the one or no sound in the other. FileError:
    `out` cannot be written. Progress counts frames; closing the job leaves nothing behind.
    """
    total = picture_info(video).frame_count
    check_audio(audio)
    with atomic_write(out) as temporary, tempfile.TemporaryDirectory() as scratch:
        notes = Path(scratch) / "metadata.txt"
        notes.write_text(_ffmetadata(metadata or {}), encoding="utf-8")  # a command line would not hold a large one
        clock, codec = _picture_codec(video)
        inputs = [*clock, "-i", url(video), "-i", url(audio), "-f", "ffmetadata", "-i", url(notes)]
        streams = ["-map", "0:V:0", "-map", "1:a:0", *codec, *AAC]
        container = [*MP4, "-map_metadata", "2", "-movflags", "+faststart+use_metadata_tags", "-f", "mp4"]
        failure = f"{out} cannot be made of {video} and {audio}"
        arguments = [*inputs, *streams, *container, "-y", url(temporary)]
        yield from run_iter(arguments, failure, stage="mux", total=total)
    return out


def _picture_codec(video: Path) -> tuple[list[str], list[str]]:
    """Arguments before the input and after it."""
    info, stored = inspect(video)
    if info.video is None or stored is None or info.video_codec in PLAYABLE:
        return [], ["-c:v", "copy"]
    return ["-copyts"], _encode_h264(info.video, stored, info.video.fps, 0.0, None)


def _ffmetadata(values: Mapping[str, str]) -> str:
    """In ffmpeg's format for metadata: a line for each, with its special characters escaped."""
    lines = [name + "=" + re.sub(r"([=;#\\\n])", r"\\\1", value) + "\n" for name, value in values.items()]
    return "".join([";FFMETADATA1\n", *lines])
