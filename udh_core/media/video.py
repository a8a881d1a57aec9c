"""Frames of a video: reading them from any file, writing them with sound."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from ..errors import MediaError
from ..files import atomic_write
from .canvas import SCALER, Canvas, Painter
from .colours import BT709, LUMA_WEIGHTS, Colours
from .decode import PictureSource, check_usable, on_grid, shown_frames
from .ffmpeg import FED, QUIET, Child, process, url
from .hdr_metadata import StaticHdr
from .planes import DEEP_PIXELS, PIXELS
from .probe import MediaInfo, check_audio, inspect
from .provenance import COMMENT, append_xmp

TO_BT709 = f"scale=out_color_matrix=bt709:out_range=tv:flags={SCALER},format=yuv420p"
# 48 kHz, because an AAC block of 1024 samples is then shorter than any frame; a late start is padded with silence.
AAC = ["-c:a", "aac", "-b:a", "192k", "-ar", "48000", "-af", "aresample=async=1:first_pts=0"]
AS_STORED = ["-c:a", "copy"]
WAVE = ["-c:a", "pcm_s16le", "-ar", "48000", "-af", "aresample=async=1:first_pts=0"]
PRORES_4444 = [
    *("-vf", f"scale=out_color_matrix=bt709:out_range=tv:flags={SCALER},format=yuva444p10le"),
    *("-c:v", "prores_ks", "-profile:v", "4444", "-alpha_bits", "16", "-vendor", "apl0"),
]
MP4 = ["-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart"]
COMMENTED = ["-metadata", f"comment={COMMENT}"]
DEEP_CODECS = ("h264", "hevc")  # in which an mp4 holds 10 bits in 4:2:0


def read_frames(
    path: Path, *, start: int = 0, count: int | None = None, fps: Fraction | None = None, threads: int = 0
) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames, upright, on the grid of `fps` (None: the file's own) from the container's zero.

    `start` counts on that grid and is exact: the frames equal the tail of a full read. One frame is held at a time, and
    the file is closed when the iterator is. Fewer than `count` come when the file ends. MediaError: no video, damaged,
    or one frame stands for longer than `decode.LONGEST_STILL_S`.
    """
    info, source = inspect(path)
    return _read(path, info, source, "rgb24", start, count, fps, threads)


def plane_colours(path: Path) -> Colours | None:
    """The colours of a picture whose planes `read_planes` can read; None where it has to be converted to be read.

    MediaError: no media file.
    """
    info, source = inspect(path)
    return source.colours if source is not None and has_planes(info, source) else None


def deep_colours(path: Path) -> Colours | None:
    """`plane_colours` for `read_deep_planes`."""
    info, source = inspect(path)
    return source.colours if source is not None and has_deep_planes(info, source) else None


def has_planes(info: MediaInfo, source: PictureSource) -> bool:
    """Whether its frames are shown as they are stored, in H.264 and 4:2:0 of 8 bits and an even size."""
    stored = info.video_codec == "h264" and source.pixels in PIXELS
    return stored and source.is_plain and _is_straight(info, source)


def has_deep_planes(info: MediaInfo, source: PictureSource) -> bool:
    """Whether its frames are stored in 4:2:0 of 10 bits and an even size, whatever their colours, one after another."""
    stored = info.video_codec in DEEP_CODECS and source.pixels == DEEP_PIXELS
    whole = source.is_one_piece and not source.interlaced and source.pixel_aspect == 1
    return stored and whole and _is_straight(info, source)


def _is_straight(info: MediaInfo, source: PictureSource) -> bool:
    even = info.video is not None and info.video.width % 2 == 0 and info.video.height % 2 == 0
    return even and source.colours.matrix in LUMA_WEIGHTS and not info.rotated


def read_planes(path: Path, *, start: int = 0, count: int | None = None, threads: int = 0) -> Iterator[np.ndarray]:
    """`read_frames` without conversion: (H * 3 / 2, W) uint8 with the planes Y, U and V, bit for bit as decoded.

    ValueError where `plane_colours` gives none.
    """
    info, source = inspect(path)
    if source is None or not has_planes(info, source):
        raise ValueError(f"{path} does not hold planes of 4:2:0")
    return _read(path, info, source, "yuv420p", start, count, None, threads)


def read_deep_planes(path: Path, *, start: int = 0, count: int | None = None, threads: int = 0) -> Iterator[np.ndarray]:
    """`read_planes` of 10 bits: (H * 3 / 2, W) uint16. ValueError where `deep_colours` gives none."""
    info, source = inspect(path)
    if source is None or not has_deep_planes(info, source):
        raise ValueError(f"{path} does not hold planes of 4:2:0 and 10 bits")
    return _read(path, info, source, DEEP_PIXELS, start, count, None, threads)


def _read(
    path: Path,
    info: MediaInfo,
    source: PictureSource | None,
    pixels: Literal["rgb24", "yuv420p", "yuv420p10le"],
    start: int,
    count: int | None,
    fps: Fraction | None,
    threads: int,
) -> Iterator[np.ndarray]:
    if info.video is None or source is None:
        raise MediaError(f"{path} has sound but no picture; give a video file")
    if start < 0 or (count is not None and count < 0):
        raise ValueError(f"start {start} and count {count} must not be negative")
    rate = fps or info.video.fps
    left = max(0, math.ceil(info.video.duration_s * rate) + 1 - start)
    wanted = left if count is None else min(count, left)
    check_usable(path, source, float(start / rate), float((start + wanted) / rate))
    size = (info.video.width, info.video.height)
    canvas = Canvas(size, size, pixels, colours=source.colours)
    return _frames(path, canvas, source, rate, start, wanted, threads)


def _frames(
    path: Path, canvas: Canvas, source: PictureSource, fps: Fraction, start: int, count: int, threads: int
) -> Iterator[np.ndarray]:
    painter = Painter(canvas, threads)
    painted = False
    with closing(shown_frames(path, source, start / fps, threads)) as frames:
        for frame in on_grid(frames, fps, start / fps, count):
            yield painter.paint(frame)
            painted = True
    if count and start == 0 and not painted:
        raise MediaError(f"{path}: frame 0 cannot be decoded; the file is damaged")


class VideoWriter:
    """Encode frames to an mp4, one at a time; a context manager. The file appears when the block ends well, or never.

    `audio` is encoded to AAC beside them at its full length, both starting at zero; `audio_as_stored`: it is a file of
    `stored_sound.sound_for_mp4` that is taken over without encoding. Odd sizes are padded by repeating
    the edge. With `colours`, frames are planes, of even sizes only, that are encoded as they are and tagged so, those
    of 10 bits by x265 unless x264 is asked for; else they are RGB and become BT.709. `gop`: a seek decodes at most this
    many frames in vain. `generated`: the file says so, see `provenance`. At once FileError if the file cannot be
    written; MediaError if the audio is none, or NVENC is asked for and missing. `overlay`: frames are RGBA, and the
    file is a .mov of ProRes 4444 with straight alpha of 16 bits, and of uncompressed sound.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: Fraction,
        audio: Path | None = None,
        audio_as_stored: bool = False,
        crf: int = 16,
        preset: str = "veryfast",
        encoder: Literal["auto", "x264", "nvenc"] = "auto",
        colours: Colours | None = None,
        gop: int | None = None,
        generated: bool = False,
        overlay: bool = False,
    ) -> None:
        self.path = Path(path)
        self.shape = (height, width, 4 if overlay else 3) if colours is None else (height * 3 // 2, width)
        self._dtype = np.uint8 if colours is None or colours.bits == 8 else np.uint16
        self.frame_count = 0
        self._padding = ((0, height % 2), (0, width % 2), (0, 0))
        if audio is not None:
            check_audio(audio)
        size = f"{width + width % 2}x{height + height % 2}"
        codec = AS_STORED if audio_as_stored else WAVE if overlay else AAC
        sound = [] if audio is None else ["-i", url(audio), "-map", "0:v:0", "-map", "1:a:0", *codec]
        pixels = ("rgba" if overlay else "rgb24") if colours is None else colours.pixels
        arguments = [*FED, "-f", "rawvideo", "-pix_fmt", pixels, "-s", size, "-r", str(fps), "-i", "pipe:0", *sound]
        if overlay:
            arguments += PRORES_4444
        else:
            arguments += ["-vf", TO_BT709 if colours is None else colours.filter()]
            deep = colours if self._dtype == np.uint16 else None
            arguments += _encoder(encoder, crf, preset, deep)
        arguments += [] if gop is None else ["-g", str(gop)]
        arguments += [*(colours or BT709).arguments(), *MP4, *(COMMENTED if generated else [])]
        arguments += ["-f", "mov" if overlay else "mp4", "-y"]
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_write(self.path))
            self._to_mark = temporary if generated and not overlay else None
            self._child: Child = stack.enter_context(process([*arguments, url(temporary)], "stdin"))
            self._stack = stack.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (H, W, 3) RGB uint8, or planes (H * 3 / 2, W) uint8, of 10 bits uint16.

        MediaError: encoding stopped. ValueError: another size or type.
        """
        if frame.shape != self.shape or frame.dtype != self._dtype:
            due = f"{np.dtype(self._dtype)} {self.shape}"
            raise ValueError(f"frame {self.frame_count}: {frame.dtype} {frame.shape} where {due} is due")
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
        if self._to_mark is not None:
            append_xmp(self._to_mark)


def _encoder(wanted: Literal["auto", "x264", "nvenc"], crf: int, preset: str, deep: Colours | None) -> list[str]:
    """ffmpeg's options; deep: the colours of a picture in 10 bits, None of one in 8."""
    quality = ["-crf", str(crf), "-preset", preset]
    if deep is not None:
        return [*_deep_encoder("libx264" if wanted == "x264" else "libx265", deep.hdr or StaticHdr()), *quality]
    if wanted == "nvenc" and not nvenc_works():
        raise MediaError("NVENC does not work on this machine (no such GPU or driver); use encoder x264 or auto")
    if wanted == "x264" or not nvenc_works():
        return ["-c:v", "libx264", *quality]
    return ["-c:v", "h264_nvenc", "-rc", "vbr", "-cq", str(crf), "-b:v", "0", "-preset", "p4"]


def _deep_encoder(name: Literal["libx264", "libx265"], hdr: StaticHdr) -> list[str]:
    said = hdr.parameters(name)
    if name == "libx264":
        return ["-c:v", name, *(["-x264-params", said] if said else [])]
    return ["-c:v", name, "-tag:v", "hvc1", "-x265-params", ":".join(filter(None, ["log-level=error", said]))]


@functools.cache
def nvenc_works() -> bool:
    """Whether a real encode on the GPU succeeds here; being compiled in says nothing. Tried once."""
    source = ["-f", "lavfi", "-i", "color=size=256x256:rate=25:duration=0.2"]
    with process([*QUIET, *source, "-pix_fmt", "yuv420p", "-c:v", "h264_nvenc", "-f", "null", "-"]) as child:
        return child.process.wait() == 0
