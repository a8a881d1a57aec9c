"""What a media file holds: size, rate, exact frame count, sound; as ffmpeg prints it (there is no ffprobe)."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import MediaError
from .ffmpeg import check_readable, container_zero_s, input_description, process, url

USUAL_RATES = [Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)]
USUAL_RATES += [rate * 1000 / 1001 for rate in USUAL_RATES if rate % 24 == 0 or rate % 30 == 0]
JITTER_FRAMES = 0.1  # a constant rate may wander by this much
NO_TIME = -(1 << 62)  # below it ffmpeg means "unknown"


@dataclass(frozen=True)
class VideoInfo:
    """A picture stream as `read_frames` yields it: upright, constant rate, from the container's zero."""

    width: int
    height: int
    fps: Fraction
    frame_count: int

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's beginning to the last one's end."""
        return float(self.frame_count / self.fps)


@dataclass(frozen=True)
class MediaInfo:
    """A file's streams. `constant_rate`: every frame is stored once, on the grid of `video.fps`."""

    video: VideoInfo | None
    has_audio: bool
    duration_s: float
    video_codec: str  # ffmpeg's name, "h264"; "" without a picture
    constant_rate: bool
    rotated: bool


@dataclass(frozen=True)
class PictureFormat:
    """How the picture is stored, before anything is applied to it."""

    pixels: str  # ffmpeg's name, "yuv420p"
    matrix_tagged: bool  # the file names the matrix that made YUV of RGB
    pixel_aspect: Fraction
    interlaced: bool
    clean_start: bool  # the first packet is shown, at the container's zero
    zero_s: float  # the container's zero on the file's own clock


@dataclass(frozen=True)
class _Times:
    shown_s: np.ndarray  # (n,) float64, ascending: when each frame appears, from the container's zero
    last_s: float  # how long the last one stays
    tick_s: float
    hidden: bool  # packets before zero are decoded but never shown


def probe(path: Path) -> MediaInfo:
    """Look into a file; MediaError when it is missing or is no media file."""
    return inspect(path)[0]


def inspect(path: Path) -> tuple[MediaInfo, PictureFormat | None]:
    """`probe`, and how the picture is stored. Remembered until the file changes."""
    status = check_readable(path).stat()
    return _inspect(Path(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _inspect(path: Path, _modified_ns: int, _size: int) -> tuple[MediaInfo, PictureFormat | None]:
    header, packets = _dump(path)
    has_audio = re.search(r"Stream #\S+ Audio: ", header) is not None
    line = _video_line(header)
    zero_s = container_zero_s(header)
    times = _parse_times(packets, zero_s)
    if line is None or times is None:
        if not has_audio:
            raise MediaError(f"{path} is not an audio or video file, or it is empty or damaged")
        return MediaInfo(None, has_audio, _header_duration_s(header), "", False, False), None
    degrees = _rotation(header)
    width, height = _size_px(path, packets)
    if round(degrees / 90) % 2:
        width, height = height, width
    constant, fps = _rate(times, line)
    info = VideoInfo(width, height, fps, _frame_count(times, fps))
    duration_s = max(_header_duration_s(header), info.duration_s)
    codec = _first(r"Video: (\w+)", line)
    stored = _picture_format(line, packets, times, fps, zero_s)
    return MediaInfo(info, has_audio, duration_s, codec, constant, degrees != 0), stored


def _dump(path: Path) -> tuple[str, str]:
    """ffmpeg's description of the input, and one line per picture packet (copied, not decoded: fast)."""
    arguments = ["-hide_banner", "-nostdin", "-nostats", "-copyts", "-i", url(path)]
    arguments += ["-map", "0:V:0?", "-c", "copy", "-f", "framecrc", "pipe:1"]
    with process(arguments, "stdout") as child:
        packets = child.stdout.read().decode("ascii", "replace")
        return input_description(child, path), packets  # an error where there is no picture: the text decides


def _first(pattern: str, text: str, default: str = "") -> str:
    found = re.search(pattern, text)
    return found[1] if found else default


def _video_line(header: str) -> str | None:
    lines = re.findall(r"Stream #\S+ Video: [^\n]*", header)
    return next((line for line in lines if "(attached pic)" not in line), None)


def _header_duration_s(header: str) -> float:
    found = re.search(r"Duration: (\d+):(\d+):(\d+\.?\d*)", header)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _rotation(header: str) -> float:
    """Degrees; the display matrix, or the tag that older files carry."""
    return float(_first(r"rotation of (-?[\d.]+) degrees", header) or _first(r"\n\s+rotate\s*: (-?\d+)", header, "0"))


def _size_px(path: Path, packets: str) -> tuple[int, int]:
    found = re.search(r"#dimensions 0: (\d+)x(\d+)", packets)
    if not found or int(found[1]) * int(found[2]) == 0:
        raise MediaError(f"{path}: the size of the picture cannot be read; the file is damaged")
    return int(found[1]), int(found[2])


def _parse_times(packets: str, zero_s: float) -> _Times | None:
    rows = re.findall(r"^0, +(-?\d+), +(-?\d+), +(-?\d+),", packets, re.MULTILINE)
    if not rows:
        return None
    table = np.array(rows, dtype=np.int64)  # (n, 3): decoding time, showing time, duration, in ticks
    ticks = np.where(table[:, 1] > NO_TIME, table[:, 1], table[:, 0])
    tick_s = float(Fraction(_first(r"#tb 0: (\d+/\d+)", packets, "1/1000")))
    last = int(np.argmax(ticks))
    seconds = np.sort(ticks) * tick_s - zero_s
    shown = seconds[seconds > -tick_s]
    if len(shown) == 0:
        return None
    return _Times(shown, float(table[last, 2]) * tick_s, tick_s, len(shown) < len(seconds))


def _rate(times: _Times, line: str) -> tuple[bool, Fraction]:
    """Is the rate constant, and which: the stated one if the frames keep to it, else a usual one near the median."""
    stated = [_first(rf"([\d.]+) {unit}\b", line) for unit in ("fps", "tbr")]
    candidates = [_exact(float(text)) for text in stated if text and float(text) > 0]
    for fps in candidates:
        if _keeps(times, fps):
            return True, fps
    if len(times.shown_s) < 2:
        return False, candidates[0] if candidates else Fraction(25)
    median = 1 / max(float(np.median(np.diff(times.shown_s))), times.tick_s)
    return False, min(USUAL_RATES, key=lambda rate: abs(np.log(float(rate) / median)))


def _exact(stated: float) -> Fraction:
    """The rate that ffmpeg rounded to two decimals: 29.97 → 30000/1001."""
    usual = Fraction(round(stated)), Fraction(round(stated * 1.001) * 1000, 1001)
    nearest = min(usual, key=lambda rate: abs(rate - stated))
    return nearest if abs(nearest - stated) <= 0.006 and nearest > 0 else Fraction(stated).limit_denominator(100)


def _keeps(times: _Times, fps: Fraction) -> bool:
    grid = np.arange(len(times.shown_s)) / float(fps)
    wander = np.abs(times.shown_s - times.shown_s[0] - grid).max()
    return bool(wander <= max(JITTER_FRAMES / float(fps), 1.01 * times.tick_s))


def _frame_count(times: _Times, fps: Fraction) -> int:
    """Frames on the grid of `fps` from zero to the end of the last one."""
    last = float(times.shown_s[-1]) * float(fps)
    stay = times.last_s * float(fps) or 1.0
    return max(math.floor(last + 0.5) + 1, math.floor(last + stay + 0.5))  # halves go up, as in ffmpeg's fps filter


def _picture_format(line: str, packets: str, times: _Times, fps: Fraction, zero_s: float) -> PictureFormat:
    pixels, notes = "", ""
    found = re.search(r", (\w+)(?:\(([^)]*)\))?, \d+x\d+", line)
    if found:
        pixels, notes = found[1], found[2] or ""
    aspect = _first(r"#sar 0: (\d+/[1-9]\d*)", packets, "0/1")
    return PictureFormat(
        pixels=pixels,
        matrix_tagged=re.search(r"bt|smpte|gbr|fcc|ycgco", notes) is not None,
        pixel_aspect=Fraction(aspect) or Fraction(1),
        interlaced=re.search(r"(top|bottom) (coded )?first", notes) is not None,
        clean_start=not times.hidden and float(times.shown_s[0]) * float(fps) < 0.5,
        zero_s=zero_s,
    )


def picture_info(path: Path) -> VideoInfo:
    """What is on show in a video file; MediaError when it has no picture."""
    video = probe(path).video
    if video is None:
        raise MediaError(f"{path} has no picture; give a video file")
    return video


def check_audio(path: Path) -> None:
    """MediaError unless the file has sound."""
    if not probe(path).has_audio:
        raise MediaError(f"{path} has no sound; give a separate audio file")
