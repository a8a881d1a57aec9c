"""Frames of a video: reading them from any file, writing them with sound."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from ..errors import MediaError
from ..files import atomic_write
from .ffmpeg import FED, QUIET, Child, process, url
from .probe import PictureFormat, VideoInfo, check_audio, inspect

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
    size = f"scale={info.video.width}:{info.video.height}:{matrix_in(info.video, stored)}{SCALER}"
    limit = [] if count is None else ["-frames:v", str(max(count, 1))]
    arguments = [*QUIET, "-threads", str(threads), *input_from(path, float(start / rate))]
    arguments += ["-vf", f"{on_grid(rate, stored, float(start / rate))},{size}", "-r", str(rate), *limit]
    arguments += ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    return _frames(path, arguments, (info.video.height, info.video.width, 3), start, count)


def _frames(
    path: Path, arguments: list[str], shape: tuple[int, int, int], start: int, count: int | None
) -> Iterator[np.ndarray]:
    index = start
    with process(arguments, "stdout") as child:
        while count is None or index < start + count:
            frame = np.empty(shape, np.uint8)
            got = child.stdout.readinto(frame.data)  # type: ignore[attr-defined]
            if got < frame.nbytes:
                child.finish(f"{path}: frame {index} cannot be decoded")
                if index == 0 or got:
                    raise MediaError(f"{path}: frame {index} cannot be decoded: {child.error_summary()}")
                return
            yield frame
            index += 1


def input_from(path: Path, start_s: float) -> list[str]:
    """Open at the keyframe before `start_s`, on the file's own clock, so that the fps filter can cut exactly."""
    seek_s = start_s - SEEK_MARGIN_S
    seek = ["-noaccurate_seek", "-ss", f"{seek_s:.6f}"] if seek_s > 0 else []
    return ["-copyts", *seek, "-i", url(path), "-map", "0:V:0"]


def on_grid(fps: Fraction, stored: PictureFormat, start_s: float) -> str:
    """The filter that repeats and drops frames until they lie `1 / fps` apart, the first at `start_s`."""
    return f"fps={fps}:start_time={stored.zero_s + start_s:.6f},setpts=PTS-STARTPTS"


def matrix_in(video: VideoInfo, stored: PictureFormat) -> str:
    """The option of the scale filter that a large picture needs whose file does not name its matrix; "" otherwise."""
    is_hd = min(video.width, video.height) >= HD_HEIGHT
    return "in_color_matrix=bt709:" if is_hd and not stored.matrix_tagged and stored.pixels.startswith("yuv") else ""


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
            check_audio(audio)
        size = f"{width + width % 2}x{height + height % 2}"
        sound = [] if audio is None else ["-i", url(audio), "-map", "0:v:0", "-map", "1:a:0", *AAC]
        arguments = [*FED, "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "pipe:0", *sound]
        arguments += ["-vf", f"scale=out_color_matrix=bt709:out_range=tv:{SCALER},format=yuv420p"]
        arguments += [*_encoder(encoder, crf, preset), *BT709, *MP4, "-f", "mp4", "-y"]
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._child: Child = stack.enter_context(process([*arguments, url(temporary)], "stdin"))
            self._stack = stack.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame. MediaError: encoding stopped. ValueError: another size or type."""
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"frame {self.frame_count}: {frame.dtype} {frame.shape} where uint8 {self.shape} is due")
        if any(after for _, after in self._padding):
            frame = np.pad(frame, self._padding, mode="edge")
        try:
            self._child.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as e:
            self._child.process.wait()
            why = self._child.error_summary()
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
            raise MediaError(f"{self.path} cannot be encoded: {self._child.error_summary()}") from e
        self._child.finish(f"{self.path} cannot be encoded")


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
    with process([*QUIET, *source, "-pix_fmt", "yuv420p", "-c:v", "h264_nvenc", "-f", "null", "-"]) as child:
        return child.process.wait() == 0
