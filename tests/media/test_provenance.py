"""A generated video says so: in XMP where other programs look for it, and in a comment that copies keep."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from needs import unavailable

from udh_core.media.audio import write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.provenance import SOURCE_TYPE, XMP_UUID, is_generated
from udh_core.media.transcode import import_video, mux
from udh_core.media.video import VideoWriter, read_frames

COUNT = 6
PROPERTY = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"


@pytest.fixture(scope="module")
def click(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("click") / "click.wav"
    write_wave(path, np.full(4000, 0.5, np.float32))
    return path


def video(path: Path, sound: Path, generated: bool = True) -> Path:
    with VideoWriter(path, width=32, height=32, fps=Fraction(25), audio=sound, generated=generated) as writer:
        for number in range(COUNT):
            writer.write(np.full((32, 32, 3), 40 * number, np.uint8))
    return path


def boxes(path: Path) -> list[tuple[str, bytes]]:
    """Kind and content of every box of the outermost level; they fill the file."""
    data, found, place = path.read_bytes(), [], 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        assert 8 <= size <= len(data) - place
        found.append((kind.decode(), data[place + 8 : place + size]))
        place += size
    return found


def said_type(path: Path) -> str | None:
    """The digital source type in a file's XMP."""
    packets = [content[16:] for kind, content in boxes(path) if kind == "uuid" and content.startswith(XMP_UUID)]
    if not packets:
        return None
    (packet,) = packets
    return next(one.get(PROPERTY) for one in ET.fromstring(packet.decode()).iter() if one.get(PROPERTY))  # noqa: S314


def test_the_mark_lies_behind_everything_else(click: Path, tmp_path: Path) -> None:
    plain, marked = video(tmp_path / "p.mp4", click, generated=False), video(tmp_path / "m.mp4", click)
    assert [kind for kind, _ in boxes(plain)] == ["ftyp", "moov", "free", "mdat"]  # can be played while it loads
    assert [kind for kind, _ in boxes(marked)] == ["ftyp", "moov", "free", "mdat", "uuid"]
    assert boxes(marked)[3] == boxes(plain)[3]
    assert said_type(marked) == SOURCE_TYPE and said_type(plain) is None
    assert is_generated(marked) and not is_generated(plain)
    assert [frame.tobytes() for frame in read_frames(marked)] == [frame.tobytes() for frame in read_frames(plain)]


def test_a_video_with_another_sound_goes_on_saying_so(click: Path, tmp_path: Path) -> None:
    for generated in (True, False):
        source, out = video(tmp_path / "a.mp4", click, generated), tmp_path / f"{generated}.mp4"
        mux(source, click, out, {"workflow": '{"a": 1}'}).run()
        assert (said_type(out) == SOURCE_TYPE) is is_generated(out) is generated
        run(["-i", url(out), "-f", "ffmetadata", "-y", url(tmp_path / "notes")], "no metadata")
        assert 'workflow={"a": 1}\n' in (tmp_path / "notes").read_text("utf-8")
        assert sum(1 for _ in read_frames(out)) == COUNT


def test_a_copy_by_another_program_still_says_so(click: Path, tmp_path: Path) -> None:
    run(["-i", url(video(tmp_path / "a.mp4", click)), "-c", "copy", url(tmp_path / "b.mkv")], "no copy")
    assert is_generated(tmp_path / "b.mkv")
    mux(tmp_path / "b.mkv", click, tmp_path / "c.mp4").run()
    assert said_type(tmp_path / "c.mp4") == SOURCE_TYPE


def test_it_can_be_imported_like_any_clip(click: Path, tmp_path: Path) -> None:
    assert import_video(video(tmp_path / "a.mp4", click), tmp_path / "b.mp4").run().frame_count == COUNT


def test_exiftool_shows_it(click: Path, tmp_path: Path) -> None:
    program = shutil.which("exiftool")
    if program is None:
        unavailable("exiftool is not installed")
    path = video(tmp_path / "a.mp4", click)
    done = subprocess.run([program, "-json", "-G", str(path)], capture_output=True, text=True, check=True)
    (said,) = json.loads(done.stdout)
    assert said["XMP:DigitalSourceType"] == SOURCE_TYPE
    assert SOURCE_TYPE in said["QuickTime:Comment"]
    assert "Warning" not in done.stdout
