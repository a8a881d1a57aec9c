"""Whole files: import a clip at a constant frame rate; mux picture and sound."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from av.video.format import VideoFormat

from ..errors import MediaError
from ..files import atomic_write, scratch_folder
from ..progress import Progress, job
from .canvas import Canvas, Painter, deinterlaced
from .colours import LUMA_WEIGHTS, WIDE_PRIMARIES, Colours
from .decode import PictureSource, check_usable, on_grid, shown_frames
from .ffmpeg import run_iter, url
from .planes import DEEP_PIXELS
from .probe import VideoInfo, check_audio, inspect, picture_info
from .provenance import COMMENT, append_xmp, is_generated
from .stored_sound import sound_for_mp4
from .timeline import MICROSECONDS
from .video import AAC, AS_STORED, MP4, VideoWriter, has_deep_planes, has_planes

MAX_FPS = 60  # of an imported video; mouths gain nothing from more
IMPORT_CRF = 12  # x264: no visible loss
PLAYABLE = {"h264", "hevc", "libdav1d", "av1", "vp9", "mpeg4"}  # codecs that players expect in an mp4
IMPORT_GOP = 25  # a seek decodes at most this many frames in vain


@job
def import_video(
    source: Path,
    target: Path,
    *,
    fps: Fraction | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    video_track: int = 0,
) -> Generator[Progress, None, VideoInfo]:
    """Make `target`: H.264, constant rate, upright, square pixels, even size, no sound, seekable to any frame.

    `fps` None keeps the source's nominal rate (halved until it is at most MAX_FPS); `video_track` as in `probe`. A
    source that already is all that is copied without loss, any other encoded almost without. MediaError: bad source,
    nothing left, a frame that stands for longer than `decode.LONGEST_STILL_S`. FileError: the target cannot be written.
    The result is the target's picture; progress counts frames, and closing the job leaves nothing behind.
    """
    info, picture = inspect(source, video_track)
    if info.video is None or picture is None:
        raise MediaError(f"{source} has sound but no picture; give a video file")
    if start_s >= info.video.duration_s:
        raise MediaError(f"{source} ends at {info.video.duration_s:.2f} s; start before that, not at {start_s:g} s")
    rate = fps or _capped(info.video.fps)
    end_s = info.video.duration_s if duration_s is None else start_s + duration_s
    check_usable(source, picture, start_s, end_s)
    whole = start_s <= 0 and duration_s is None and rate == info.video.fps
    ready = whole and info.constant_rate and has_planes(info, picture)
    if ready and _can_be_decoded_to_its_end(source, info.video, picture):
        yield from _copy(source, picture, target, info.video.frame_count)
    else:
        yield from _encode(source, info.video, picture, target, rate, start_s, duration_s)
    return picture_info(target)


@job
def import_deep(
    source: Path,
    target: Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    video_track: int = 0,
) -> Generator[Progress, None, VideoInfo]:
    """Make `target` of a picture of more than 8 bits: as `import_video`, but in 10 bits and its own colours.

    HDR stays HDR. ValueError where the picture has 8 bits; errors, result and progress as there.
    """
    info, picture = inspect(source, video_track)
    if info.video is None or picture is None or not picture.is_deep:
        raise ValueError(f"{source} has 8 bits")
    rate = _capped(info.video.fps)
    whole = start_s <= 0 and duration_s is None and rate == info.video.fps and info.constant_rate
    if whole and has_deep_planes(info, picture) and _can_be_decoded_to_its_end(source, info.video, picture):
        yield from _copy(source, picture, target, info.video.frame_count)
    else:
        plain = import_canvas(info.video, picture)
        canvas = replace(plain, pixels=DEEP_PIXELS, colours=_deep_colours(picture))
        yield from _encode(source, info.video, picture, target, rate, start_s, duration_s, canvas)
    return picture_info(target)


def _deep_colours(picture: PictureSource) -> Colours:
    """Of a picture in 10 bits of YUV: its own; a matrix that is not linear, or RGB, becomes that of its primaries."""
    own = picture.colours
    linear = own.matrix in LUMA_WEIGHTS and not VideoFormat(picture.pixels).is_rgb
    matrix = own.matrix if linear else 9 if own.primaries == WIDE_PRIMARIES else 1
    return replace(own, matrix=matrix, bits=10, full_range=own.full_range and linear)


def _can_be_decoded_to_its_end(source: Path, video: VideoInfo, picture: PictureSource) -> bool:
    """False of a file that was cut off: its last packets are there, but no frames come of them."""
    last_s = (video.frame_count - 1) / video.fps
    with closing(shown_frames(source, picture, last_s, threads=1)) as frames:
        return next(on_grid(frames, video.fps, last_s, 1), None) is not None


def _copy(source: Path, picture: PictureSource, target: Path, total: int) -> Generator[Progress, None, None]:
    with atomic_write(target) as temporary:
        arguments = ["-i", url(source), "-map", f"0:{picture.index}", "-c", "copy", *MP4, "-f", "mp4", "-y"]
        failure = f"{source} cannot be imported"
        yield from run_iter([*arguments, url(temporary)], failure, stage="video", total=total)


def _encode(
    source: Path,
    video: VideoInfo,
    picture: PictureSource,
    target: Path,
    fps: Fraction,
    start_s: float,
    duration_s: float | None,
    canvas: Canvas | None = None,
) -> Generator[Progress, None, None]:
    """The frames on show at `start_s` and every 1 / fps after it; canvas None: that of `import_canvas`."""
    begin_s = Fraction(start_s).limit_denominator(MICROSECONDS)
    count = None if duration_s is None else max(1, round(duration_s * fps))
    left = max(1, round((video.duration_s - start_s) * fps))
    total = left if count is None else min(left, count)
    canvas = canvas or import_canvas(video, picture)
    painter = Painter(canvas)
    with (
        _import_writer(target, canvas, fps) as writer,
        closing(shown_frames(source, picture, begin_s, threads=0)) as frames,
    ):
        for frame in on_grid(deinterlaced(frames, threads=0), fps, begin_s, count):
            writer.write(painter.paint(frame))
            yield Progress("video", writer.frame_count, max(total, writer.frame_count))
        if writer.frame_count == 0:
            raise MediaError(f"{source} cannot be imported: no frame could be decoded")


def _import_writer(target: Path, canvas: Canvas, fps: Fraction) -> VideoWriter:
    width, height = canvas.size
    return VideoWriter(
        target,
        width=width,
        height=height,
        fps=fps,
        crf=IMPORT_CRF,
        gop=IMPORT_GOP,
        encoder="x264",
        colours=canvas.colours,
    )


def import_canvas(video: VideoInfo, picture: PictureSource) -> Canvas:
    """Square pixels and an even size: 4:2:0 has one chroma sample per 2×2."""
    width, height = video.width, video.height
    if picture.pixel_aspect != 1:
        aspect = 1 / picture.pixel_aspect if picture.sideways else picture.pixel_aspect
        size = 2 * round(width * aspect / 2), 2 * round(height / 2)
        return Canvas(size, size, "yuv420p", picture.pixel_aspect)
    return Canvas((width + width % 2, height + height % 2), (width, height), "yuv420p")


def _capped(fps: Fraction) -> Fraction:
    while fps > MAX_FPS:
        fps /= 2
    return fps


@job
def mux(
    video: Path, audio: Path, out: Path, metadata: Mapping[str, str] | None = None
) -> Generator[Progress, None, Path]:
    """Put the picture of `video` and the sound of `audio` into `out`, which is the result.

    The picture is copied where an mp4 of its codec can be played, else encoded almost without loss; the sound is taken
    over where `stored_sound.sound_for_mp4` does so, else encoded to AAC. `metadata` are texts that the file keeps by
    their names. A picture that says it is generated goes on saying so. MediaError: no picture in the one or no sound in
    the other. FileError: `out` cannot be written. Progress counts frames; closing the job leaves nothing behind.
    """
    info, picture = inspect(video)
    if info.video is None or picture is None:
        raise MediaError(f"{video} has no picture; give a video file")
    check_audio(audio)
    with atomic_write(out) as temporary, scratch_folder() as scratch, sound_for_mp4(audio) as sound:
        notes, playable, place = Path(scratch) / "metadata.txt", video, picture.index
        marked = is_generated(video)
        texts = {**({"comment": COMMENT} if marked else {}), **(metadata or {})}
        notes.write_text(_ffmetadata(texts), encoding="utf-8")  # a command line would not hold a large one
        if info.video_codec not in PLAYABLE:
            playable, place = Path(scratch) / "picture.mp4", 0
            yield from _encode(video, info.video, picture, playable, info.video.fps, 0.0, None)
        inputs = ["-i", url(playable), "-i", url(sound.path), "-f", "ffmetadata", "-i", url(notes)]
        streams = ["-map", f"0:{place}", "-map", "1:a:0", "-c:v", "copy", *(AS_STORED if sound.as_stored else AAC)]
        container = [*MP4, "-map_metadata", "2", "-movflags", "+faststart+use_metadata_tags", "-f", "mp4"]
        failure = f"{out} cannot be made of {video} and {audio}"
        arguments = [*inputs, *streams, *container, "-y", url(temporary)]
        yield from run_iter(arguments, failure, stage="mux", total=info.video.frame_count)
        if marked:
            append_xmp(temporary)
    return out


def _ffmetadata(values: Mapping[str, str]) -> str:
    """In ffmpeg's format for metadata: a line for each, with its special characters escaped."""
    lines = [name + "=" + re.sub(r"([=;#\\\n])", r"\\\1", value) + "\n" for name, value in values.items()]
    return "".join([";FFMETADATA1\n", *lines])
