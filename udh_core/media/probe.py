"""What a media file holds: its streams, and of the picture that is taken the size, rate and exact frame count."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame

from ..errors import MediaError
from .canvas import has_alpha
from .colours import MATRICES, UNSPECIFIED, colours_of
from .decode import PictureSource, first_frame
from .ffmpeg import check_readable, no_media
from .looks import Look, longest_first
from .note import Note
from .remarks import length_remarks, remarks
from .streams import Contents, StreamInfo, read_contents
from .timeline import Times, constant_rate, find_stills, frame_count, picture_times, shift_s
from .tone_map import dynamic_range, is_wide
from .turn import AS_IT_IS, display_matrix, upright

ABOUT_AS_LONG = 0.9  # of the longest picture's duration: from there on the larger one is preferred
SLIDES_FPS = 3.0  # with fewer frames a second a picture is a cover or a slide show, if there is another one
MIN_SOUND_S = 0.01  # of a sound to be muxed: of one under 1 ms an mp4 has nothing
DOLBY_TAGS = ("dvh1", "dvhe")


@dataclass(frozen=True)
class VideoInfo:
    """A picture stream as `read_frames` yields it: upright, constant rate, one size, from the container's zero."""

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

    video: VideoInfo | None  # of the picture that is taken
    has_audio: bool
    duration_s: float
    video_codec: str  # libav's name, "h264"; "" without a picture
    constant_rate: bool
    rotated: bool
    zero_s: Fraction  # the container's zero on the file's own clock
    streams: tuple[StreamInfo, ...]  # pictures and sounds
    notes: tuple[Note, ...] = ()  # about the picture; without one, about the length of the file


def probe(path: Path, video_track: int = 0) -> MediaInfo:
    """Look into a file; MediaError when it is missing or is no media file, or has no such picture.

    `video_track` counts the pictures of the file from 1; 0 takes the longest, then the largest that can be decoded.
    """
    return inspect(path, video_track)[0]


def inspect(path: Path, video_track: int = 0) -> tuple[MediaInfo, PictureSource | None]:
    """`probe`, and how the picture is stored. Remembered until the file changes."""
    status = check_readable(path).stat()
    return _inspect(Path(path), video_track, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _inspect(path: Path, track: int, _modified_ns: int, _size: int) -> tuple[MediaInfo, PictureSource | None]:
    contents = read_contents(path)
    streams = contents.streams
    has_audio = any(one.kind == "audio" and one.codec and one.duration_s > 0 for one in streams)
    end_s = max((one.end_s for one in streams if not one.is_cover), default=0.0)
    pictures = [one for one in streams if one.kind == "video" and not one.is_cover and one.index in contents.pictures]
    chosen = _choose(path, contents, pictures, track)
    if chosen is None:
        if not has_audio:
            raise no_media(path)
        notes = tuple(length_remarks(contents.another_follows, contents.missing_s))
        return MediaInfo(None, has_audio, end_s, "", False, False, contents.zero_s, streams, notes), None
    stream, frame = chosen
    times = _times(contents, stream)
    if times is None:
        raise MediaError(f"{path}: no frame of its picture is shown; the file is damaged")
    constant, fps = constant_rate(times, contents.pictures[stream.index].stated_rates)
    source = _source(contents, stream, frame, times, fps)
    video = VideoInfo(*source.sizes[0], fps, frame_count(times, fps))
    turned = display_matrix(frame) != AS_IT_IS
    notes = tuple(remarks(source, frame, pictures, chosen=stream, another_follows=contents.another_follows))
    duration_s = max(end_s, video.duration_s)
    info = MediaInfo(video, has_audio, duration_s, stream.codec, constant, turned, contents.zero_s, streams, notes)
    return info, source


def _choose(
    path: Path, contents: Contents, pictures: Sequence[StreamInfo], track: int
) -> tuple[StreamInfo, VideoFrame] | None:
    """The picture that is taken, and its first frame; None when there is none that can be decoded."""
    if track > len(pictures) > 0:
        has = f"the file has {len(pictures)}: choose another `video_track`"
        raise MediaError(f"{path}: there is no video track {track}; {has}")
    moving = [one for one in pictures if _moves(contents, one)] or pictures
    longest_s = max((one.duration_s for one in moving), default=0.0)

    def rank(one: StreamInfo) -> tuple[bool, bool, int, bool]:
        as_long = one.duration_s >= ABOUT_AS_LONG * longest_s
        return one in moving, as_long, one.width * one.height, one.is_default

    ranked = sorted(pictures, key=rank, reverse=True) if track == 0 else [pictures[track - 1]]
    for one in ranked:
        frame = first_frame(path, one.index, contents.pictures[one.index].alpha_tagged)
        if frame is not None:
            return one, frame
    has_sound = any(one.kind == "audio" for one in contents.streams)
    if pictures and (track or not has_sound):
        raise MediaError(f"{path}: frame 0 of its picture cannot be decoded; the file is damaged, or its codec unknown")
    return None


def _moves(contents: Contents, stream: StreamInfo) -> bool:
    return len(contents.pictures[stream.index].packets.order) > SLIDES_FPS * stream.duration_s


def _times(contents: Contents, stream: StreamInfo) -> Times | None:
    header = contents.pictures[stream.index]
    step_s = float(1 / header.stated_rates[0]) if header.stated_rates else 0.04
    return picture_times(header.packets, stream.joints, float(contents.zero_s + header.delay_s), step_s)


def _source(contents: Contents, stream: StreamInfo, frame: VideoFrame, times: Times, fps: Fraction) -> PictureSource:
    header = contents.pictures[stream.index]
    packets = header.packets
    ends_s = packets.ends_s() + shift_s(len(packets.order), stream.joints)
    sizes = longest_first(header.looks, ends_s - packets.lasts_s, float(ends_s.max()))
    looks = {look for _, look in header.looks} or {Look.of(frame, header.pixel_aspect)}
    ranges = {dynamic_range(look.trc) for look in looks}
    clean_start = not times.hidden and float(times.shown_s[0]) * float(fps) < 0.5
    known = np.isfinite(packets.shown_s)
    return PictureSource(
        index=stream.index,
        pixels=frame.format.name,
        matrix_tagged=frame.format.is_rgb or frame.colorspace in MATRICES,
        colours=colours_of(frame),
        pixel_aspect=header.pixel_aspect,
        sideways=display_matrix(frame)[0] == 0,
        interlaced=any(look.interlaced for look in looks),
        clean_start=clean_start,
        zero_s=contents.zero_s + header.delay_s,
        step_s=1 / fps,
        timed=bool(known.all()),
        any_time=bool(known.any()),
        alpha=header.alpha_tagged or has_alpha(frame.format),
        joints=stream.joints,
        stills=find_stills(times),
        sizes=sizes or (upright(frame),),
        uniform=len(looks) == 1,
        reshaped=len({look.pixel_aspect for look in looks}) > 1,
        dynamic_range=max(ranges),
        partly_hdr=len(ranges) > 1,
        wide_gamut=any(is_wide(look.primaries) for look in looks),
        transfer_tagged=frame.color_trc != UNSPECIFIED,
        missing_s=contents.missing_s,
        own_colours=header.own_colours or (header.codec_tag in DOLBY_TAGS and frame.color_trc == UNSPECIFIED),
    )


def picture_info(path: Path) -> VideoInfo:
    """What is on show in a video file; MediaError when it has no picture."""
    video = probe(path).video
    if video is None:
        raise MediaError(f"{path} has no picture; give a video file")
    return video


def check_audio(path: Path) -> None:
    """MediaError unless the file has sound that is long enough for a sound track."""
    found = probe(path)
    if not found.has_audio:
        raise MediaError(f"{path} has no sound; give a separate audio file")
    lasts_s = max(one.duration_s for one in found.streams if one.kind == "audio")
    if lasts_s < MIN_SOUND_S:
        raise MediaError(f"{path} has {lasts_s * 1000:.2g} ms of sound; give at least {MIN_SOUND_S * 1000:g} ms")
