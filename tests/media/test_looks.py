"""Recordings whose format, colours, scanning or pixels change on the way: nothing is copied that only begins well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numbered import FPS, NUMBERS, convert, numbers

from udh_core.errors import MediaError
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import inspect, probe
from udh_core.media.transcode import import_video
from udh_core.media.video import VideoWriter, read_frames

PLAIN = "-c:v libx264 -crf 4 -bf 0 -an"
TO_HLG = "zscale=min=bt709:tin=bt709:pin=bt709:rin=tv:m=bt2020nc:t=arib-std-b67:p=bt2020:npl=203:r=tv"


@pytest.fixture
def joined(numbered: Path, tmp_path: Path):
    """Makes a recording whose second part, from frame 25 on, is encoded with other options than its first."""

    def make(first: str, second: str, name: str = "joined.mkv") -> Path:
        parts = [tmp_path / f"{i}.ts" for i in (1, 2)]
        convert(numbered, parts[0], "-t", "1", *PLAIN.split(), *first.split())
        convert(numbered, parts[1], *PLAIN.split(), *second.split(), before=("-ss", "1"))
        table = tmp_path / "parts.txt"
        table.write_text("".join(f"file '{part}'\n" for part in parts))
        run(["-f", "concat", "-safe", "0", "-i", url(table), "-c", "copy", "-y", url(tmp_path / name)], "")
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    "second",
    ["-pix_fmt yuv444p", "-pix_fmt yuv422p10le", "-flags +ildct+ilme -x264-params tff=1"],
    ids=["chroma", "bits", "interlaced"],
)
@pytest.mark.parametrize("name", ["joined.mkv", "joined.ts"])
def test_what_changes_on_the_way_is_not_copied(joined, tmp_path: Path, second: str, name: str) -> None:
    source = joined("", second, name)
    import_video(source, tmp_path / "made.mp4").run()
    made = inspect(tmp_path / "made.mp4")[1]
    assert made is not None and made.uniform and not made.interlaced and made.pixels == "yuv420p"
    assert numbers(tmp_path / "made.mp4") == NUMBERS


def test_what_becomes_hdr_on_the_way_is_tone_mapped_from_there_on(joined, numbered: Path, tmp_path: Path) -> None:
    source = joined("-colorspace bt709 -color_trc bt709 -color_primaries bt709", f"-vf {TO_HLG}")
    assert [note.sentence for note in probe(source).notes] == [
        "the picture is in parts HDR (HLG); it has been tone-mapped to BT.709"
    ]
    import_video(source, tmp_path / "made.mp4").run()
    levels = [[float(frame.mean()) for frame in read_frames(path)] for path in (numbered, tmp_path / "made.mp4")]
    assert np.abs(np.subtract(*levels)).max() < 4


@pytest.mark.parametrize("aspects", [("1", "2"), ("16/15", "64/45")])
def test_pixels_that_change_their_shape_are_refused(joined, tmp_path: Path, aspects: tuple[str, str]) -> None:
    source = joined(*(f"-vf setsar={aspect}" for aspect in aspects), name="joined.ts")
    for attempt in (lambda: import_video(source, tmp_path / "made.mp4").run(), lambda: list(read_frames(source))):
        with pytest.raises(MediaError, match=r"joined\.ts: the shape of its pixels changes.*square pixels"):
            attempt()


@pytest.mark.parametrize(("turned", "degrees"), [("transpose=clock", 90), ("hflip,vflip", 180)])
def test_a_turn_that_only_key_frames_state(tmp_path: Path, turned: str, degrees: int) -> None:
    """A telephone that was turned on the way, or all the time; the file says so inside the picture's stream."""
    left = np.zeros((48, 96, 3), np.uint8)
    left[:, :48] = 255
    with VideoWriter(tmp_path / "a.mp4", width=96, height=48, fps=FPS) as writer:
        for _ in range(20):
            writer.write(left)
    said = ["-vf", turned, "-bsf:v", f"h264_metadata=display_orientation=insert:rotate={degrees}"]
    parts = [convert(tmp_path / "a.mp4", tmp_path / "1.ts", *PLAIN.split())]
    parts.append(convert(tmp_path / "a.mp4", tmp_path / "2.ts", *PLAIN.split(), *said))
    source = tmp_path / "joined.ts"
    for content in (b"".join(part.read_bytes() for part in parts), parts[1].read_bytes()):
        source.write_bytes(content)
        import_video(source, tmp_path / "made.mp4").run()
        frames = [*read_frames(tmp_path / "made.mp4"), *read_frames(source, start=15)]
        assert all(frame[:, :40].min() > 200 and frame[:, 56:].max() < 50 for frame in frames)
