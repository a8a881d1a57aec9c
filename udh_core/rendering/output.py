"""What a render becomes: a video with its sound, or an overlay of the mouth alone for an editor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import numpy as np

from ..errors import FileError
from ..files import check_writable, without_links
from ..media.colours import Colours
from ..media.pictures import PictureFolder
from ..media.probe import VideoInfo
from ..media.stored_sound import EVERYWHERE, HELD, Sound, sound_for_mp4
from ..media.video import VideoWriter
from ..prefetch import prefetch
from ..progress import Progress

MOVIE = ".mov"


def check_output(out: Path, made_from: Sequence[Path], folder: Path, overlay: bool = False) -> None:
    """FileError before the work when `out` is of another kind, cannot be written, or would replace what it is made of.

    It is an mp4; an overlay is a .mov, or a new folder. folder: of the person's clip; nothing is written into it.
    """
    if overlay and out.suffix.lower() not in (MOVIE, ""):
        raise FileError(f"{out}: give a name that ends in .mov (ProRes 4444), or that of a new folder, for an overlay")
    if overlay and not out.suffix and out.exists():
        raise FileError(f"{out} is there already; give the name of a new folder for the pictures")
    if not overlay and not out.name.lower().endswith(".mp4"):
        raise FileError(f"{out}: the output is an mp4; give a name that ends in .mp4")
    place = without_links(out)
    if place in [without_links(path) for path in made_from] or place.is_relative_to(without_links(folder)):
        raise FileError(f"{out} is what the video is made of, or lies in {folder}; give another name")
    check_writable(out)


def write_video(
    out: Path,
    info: VideoInfo,
    frames: Iterator[np.ndarray],
    total: int,
    audio: Path,
    track: int = 1,
    crf: int = 16,
    colours: Colours | None = None,
    overlay: bool = False,
    plays_everywhere: bool = False,
) -> Iterator[Progress]:
    """Encode `total` frames with a sound track, while the next ones are drawn in another thread.

    In an mp4 the sound is taken over as it is stored, where `stored_sound.sound_for_mp4` does so; `plays_everywhere`:
    only one that browsers play. Else it becomes AAC, that of an overlay PCM, which all editors read.

    Frames are (H, W, 3) uint8 RGB, or with `colours` planes (H * 3 / 2, W), or of an `overlay` (H, W, 4) RGBA; errors
    as in `VideoWriter`. The file says that it is generated.
    """
    codecs = () if overlay else EVERYWHERE if plays_everywhere else HELD
    with (
        sound_for_mp4(audio, track, codecs) as sound,
        _writer(out, info, sound, crf, colours, overlay) as writer,
        closing(prefetch(frames, 8)) as ready,
    ):
        begun_s = time.monotonic()
        for done, frame in enumerate(ready, 1):
            writer.write(frame)
            yield Progress("frames", done, total, f"{done / (time.monotonic() - begun_s):.1f} frames/s")


def _writer(
    out: Path, info: VideoInfo, sound: Sound, crf: int, colours: Colours | None, overlay: bool
) -> AbstractContextManager[VideoWriter | PictureFolder]:
    if overlay and not out.suffix:
        return PictureFolder(out, sound.path)
    return VideoWriter(
        out,
        width=info.width,
        height=info.height,
        fps=info.fps,
        audio=sound.path,
        audio_as_stored=sound.as_stored,
        crf=crf,
        colours=colours,
        generated=True,
        overlay=overlay,
    )
