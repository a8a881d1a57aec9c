"""Pictures in and out: frames as an iterator of RGB arrays, a writer fed one frame at a time, import, mux."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from .errors import MediaError
from .ffmpeg import FED, QUIET, Child, running, started, url
from .files import replacing
from .media import MediaInfo, PictureFormat, VideoInfo, inspect, probe

MAX_FPS = 60  # of an imported video; mouths gain nothing from more
IMPORT_CRF = 12  # x264: no visible loss
IMPORT_GOP = 25  # a seek decodes at most this many frames in vain
SEEK_MARGIN_S = 1.0  # open this much early: containers seek by decoding time, and the frame on show may be older
HD_HEIGHT = 720  # an untagged picture from this size on is BT.709, as players take it; a smaller one BT.601
SCALER = "flags=bicubic+accurate_rnd+full_chroma_int"  # YUV → RGB → YUV at 65 dB; ffmpeg's default 49 dB, 3 × faster
BT709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
# 48 kHz, because an AAC block of 1024 samples is then shorter than any frame; a late start is padded with silence.
AAC = ["-c:a", "aac", "-b:a", "192k", "-ar", "48000", "-af", "aresample=async=1:first_pts=0"]
MP4 = ["-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart"]


def read_frames(
    path: Path, *, start: int = 0, count: int | None = None, fps: Fraction | None = None, threads: int = 0
) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames, upright, on the grid of `fps` (None: the file's own) from the container's zero.

    `start` counts on that grid and is exact: the frames equal the tail of a full read. One frame is held at a time, and
    ffmpeg ends when the iterator is closed. Fewer than `count` come when the file ends. MediaError: no video, damaged.
    """
    info, stored = inspect(path)
    if info.video is None or stored is None:
        raise MediaError(f"{path} has sound but no picture; give a video file")
    if start < 0 or (count is not None and count < 0):
        raise ValueError(f"start {start} and count {count} must not be negative")
    rate = fps or info.video.fps
    size = f"scale={info.video.width}:{info.video.height}:{_matrix_in(info.video, stored)}{SCALER}"
    limit = [] if count is None else ["-frames:v", str(max(count, 1))]
    arguments = [*QUIET, "-threads", str(threads), *_input_from(path, float(start / rate))]
    arguments += ["-vf", f"{_on_grid(rate, stored, float(start / rate))},{size}", "-r", str(rate), *limit]
    arguments += ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    return _frames(path, arguments, (info.video.height, info.video.width, 3), start, count)


def _frames(
    path: Path, arguments: list[str], shape: tuple[int, int, int], start: int, count: int | None
) -> Iterator[np.ndarray]:
    index = start
    with started(arguments, "stdout") as child:
        while count is None or index < start + count:
            frame = np.empty(shape, np.uint8)
            got = child.stdout.readinto(frame.data)  # type: ignore[attr-defined]
            if got < frame.nbytes:
                child.finish(f"{path}: frame {index} cannot be decoded")
                if index == 0 or got:
                    raise MediaError(f"{path}: frame {index} cannot be decoded: {child.last_words()}")
                return
            yield frame
            index += 1


def _input_from(path: Path, start_s: float) -> list[str]:
    """Open at the keyframe before `start_s`, on the file's own clock, so that the fps filter can cut exactly."""
    seek_s = start_s - SEEK_MARGIN_S
    seek = ["-noaccurate_seek", "-ss", f"{seek_s:.6f}"] if seek_s > 0 else []
    return ["-copyts", *seek, "-i", url(path), "-map", "0:V:0"]


def _on_grid(fps: Fraction, stored: PictureFormat, start_s: float) -> str:
    return f"fps={fps}:start_time={stored.zero_s + start_s:.6f},setpts=PTS-STARTPTS"


def _matrix_in(video: VideoInfo, stored: PictureFormat) -> str:
    is_hd = min(video.width, video.height) >= HD_HEIGHT
    return "in_color_matrix=bt709:" if is_hd and not stored.matrix_tagged and stored.pixels.startswith("yuv") else ""


def importing(
    source: Path,
    target: Path,
    *,
    fps: Fraction | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[int]:
    """Make `target`: H.264, constant rate, upright, square pixels, even size, no sound, seekable to any frame.

    `fps` None keeps the source's nominal rate (halved until it is at most MAX_FPS). A source that already is all that
    is copied without loss, any other encoded almost without. MediaError: bad source, nothing left. FileError: the
    target cannot be written. Yields the number of frames written about twice a second; closing it leaves nothing
    behind.
    """
    info, stored = inspect(source)
    if info.video is None or stored is None:
        raise MediaError(f"{source} has sound but no picture; give a video file")
    if start_s >= info.video.duration_s:
        raise MediaError(f"{source} ends at {info.video.duration_s:.2f} s; start before that, not at {start_s:g} s")
    rate = fps or _capped(info.video.fps)
    whole = start_s <= 0 and duration_s is None
    with replacing(target) as temporary:
        if whole and rate == info.video.fps and _is_ready(info, info.video, stored):
            arguments = ["-i", url(source), "-map", "0:V:0", "-c", "copy"]
        else:
            arguments = _input_from(source, start_s)
            arguments += _encode_import(info.video, stored, rate, start_s, duration_s)
        yield from running([*arguments, *MP4, "-f", "mp4", "-y", url(temporary)], f"{source} cannot be imported")
        if probe(temporary).video is None:
            raise MediaError(f"{source} cannot be imported: no frame could be decoded")


def picture_info(path: Path) -> VideoInfo:
    """What is on show in a video file; MediaError when it has no picture."""
    video = probe(path).video
    if video is None:
        raise MediaError(f"{path} has no picture; give a video file")
    return video


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


def _encode_import(
    video: VideoInfo, stored: PictureFormat, fps: Fraction, start_s: float, duration_s: float | None
) -> list[str]:
    # Rotation comes first (ffmpeg applies it by itself) and swaps the pixel's sides too; `iw*sar` follows that.
    filters = ["bwdif=deint=interlaced"] if stored.interlaced else []
    filters += [_on_grid(fps, stored, start_s), *_even(video, stored.pixel_aspect != 1)]
    filters += [f"scale={_matrix_in(video, stored)}out_color_matrix=bt709:out_range=tv:{SCALER}", "format=yuv420p"]
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


class VideoWriter:
    """Encode frames to an mp4, one at a time; a context manager. The file appears when the block ends well, or never.

    `audio` is encoded to AAC beside them at its full length, both starting at zero. Odd sizes are padded by repeating
    the edge. At once FileError if the file cannot be written; MediaError if the audio is none, or NVENC is asked for
    and missing.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: Fraction,
        audio: Path | None = None,
        crf: int = 16,
        preset: str = "veryfast",
        encoder: Literal["auto", "x264", "nvenc"] = "auto",
    ) -> None:
        self.path = Path(path)
        self.shape = (height, width, 3)
        self.frame_count = 0
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        if audio is not None:
            _check_audio(audio)
        size = f"{width + width % 2}x{height + height % 2}"
        sound = [] if audio is None else ["-i", url(audio), "-map", "0:v:0", "-map", "1:a:0", *AAC]
        arguments = [*FED, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "pipe:0", *sound]
        arguments += ["-vf", f"scale=out_color_matrix=bt709:out_range=tv:{SCALER},format=yuv420p"]
        arguments += [*_encoder(encoder, crf, preset), *BT709, *MP4, "-f", "mp4", "-y"]
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._child: Child = stack.enter_context(started([*arguments, url(temporary)], "stdin"))
            self._stack = stack.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame."""
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"frame {self.frame_count}: {frame.dtype} {frame.shape} where uint8 {self.shape} is due")
        if any(after for _, after in self._padding):
            frame = np.pad(frame, self._padding, mode="edge")
        try:
            self._child.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as e:
            self._child.process.wait()
            why = self._child.last_words()
            raise MediaError(f"{self.path}: encoding stopped at frame {self.frame_count}: {why}") from e
        self.frame_count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()

    def _finish(self) -> None:
        if self.frame_count == 0:
            raise MediaError(f"{self.path}: no frame was written")
        try:
            self._child.stdin.close()
        except OSError as e:
            self._child.process.wait()
            raise MediaError(f"{self.path} cannot be encoded: {self._child.last_words()}") from e
        self._child.finish(f"{self.path} cannot be encoded")


def _check_audio(path: Path) -> None:
    if not probe(path).has_audio:
        raise MediaError(f"{path} has no sound; give a separate audio file")


def _encoder(wanted: Literal["auto", "x264", "nvenc"], crf: int, preset: str) -> list[str]:
    if wanted == "nvenc" and not nvenc_works():
        raise MediaError("NVENC does not work on this machine (no such GPU or driver); use encoder x264 or auto")
    if wanted == "x264" or not nvenc_works():
        return ["-c:v", "libx264", "-crf", str(crf), "-preset", preset]
    return ["-c:v", "h264_nvenc", "-rc", "vbr", "-cq", str(crf), "-b:v", "0", "-preset", "p4"]


@functools.cache
def nvenc_works() -> bool:
    """Whether a real encode on the GPU succeeds here; being compiled in says nothing. Tried once."""
    source = ["-f", "lavfi", "-i", "color=size=256x256:rate=25:duration=0.2"]
    with started([*QUIET, *source, "-pix_fmt", "yuv420p", "-c:v", "h264_nvenc", "-f", "null", "-"]) as child:
        return child.process.wait() == 0


def muxing(video: Path, audio: Path, out: Path) -> Iterator[int]:
    """Put the picture of `video`, copied, and the sound of `audio`, as AAC, into `out`.

    Yields the number of frames written about twice a second.
    """
    picture_info(video)
    _check_audio(audio)
    with replacing(out) as temporary:
        streams = ["-i", url(video), "-i", url(audio), "-map", "0:V:0", "-map", "1:a:0", "-c:v", "copy"]
        arguments = [*streams, *AAC, *MP4, "-f", "mp4", "-y", url(temporary)]
        yield from running(arguments, f"{out} cannot be made of {video} and {audio}")
