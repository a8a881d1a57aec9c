"""Static HDR10 metadata: read from the stream or from the file's header, and written by both encoders."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from numbered import convert

from udh_core.media.colours import Colours
from udh_core.media.ffmpeg import process, url
from udh_core.media.hdr_metadata import DISPLAY, LIGHT, Mastering, StaticHdr, _light, _mastering
from udh_core.media.transcode import import_deep
from udh_core.media.video import VideoWriter, deep_colours, read_deep_planes

# A P3 display with D65 white, 0.005 to 1000 cd/m², in the numbers of SMPTE ST 2086.
P3 = Mastering((34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450), (50, 10_000_000))
HDR = StaticHdr(P3, (993, 401))
X265 = "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
PQ = Colours(9, False, 9, 16, bits=10, hdr=HDR)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of PQ in HEVC of 10 bits, as a studio delivers it."""
    path = tmp_path_factory.mktemp("graded") / "graded.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=0.5"]
    tags = ["-vf", f"format=yuv420p10le,{PQ.filter()}", *PQ.arguments(), "-tag:v", "hvc1"]
    with process([*picture, "-c:v", "libx265", "-x265-params", f"{X265}:max-cll=993,401", *tags, url(path)]) as child:
        child.finish("test")
    return path


def said_by_ffmpeg(path: Path) -> tuple[str, str]:
    """What ffmpeg itself prints about the first frame's display and light."""
    with process(["-i", url(path), "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]) as child:
        child.finish("test")
        text = child.log_text()
    display, light = (
        re.search(rf"side data - {name}[^:]*:(.*)", text, re.I) for name in ("mastering", "content light")
    )
    return "" if display is None else display[1], "" if light is None else light[1]


def test_what_the_stream_says_is_read(graded: Path) -> None:
    assert deep_colours(graded) == PQ
    display, light = said_by_ffmpeg(graded)
    assert "1000" in display and "0.005" in display and "993" in light and "401" in light


def test_the_files_header_is_read_where_the_stream_says_nothing(graded: Path, tmp_path: Path) -> None:
    matroska = convert(graded, tmp_path / "a.mkv", "-c", "copy")
    bare = convert(matroska, tmp_path / "bare.mkv", "-c", "copy", "-bsf:v", "filter_units=remove_types=39")
    assert deep_colours(bare) == PQ


@pytest.mark.parametrize(("encoder", "hdr"), [("auto", HDR), ("x264", HDR), ("auto", StaticHdr(P3)), ("auto", None)])
def test_it_is_written(graded: Path, tmp_path: Path, encoder: str, hdr: StaticHdr | None) -> None:
    colours = Colours(9, False, 9, 16, bits=10, hdr=hdr)
    size = {"width": 128, "height": 96, "fps": Fraction(25)}
    with VideoWriter(tmp_path / "a.mp4", **size, colours=colours, encoder=encoder) as writer:  # type: ignore[arg-type]
        for frame in read_deep_planes(graded):
            writer.write(frame)
    assert deep_colours(tmp_path / "a.mp4") == colours
    display, light = said_by_ffmpeg(tmp_path / "a.mp4")
    assert display == (said_by_ffmpeg(graded)[0] if hdr else "")
    assert ("MaxCLL=993" in light) == (hdr == HDR)


@pytest.mark.parametrize("start_s", [0.0, 0.2])
def test_an_import_keeps_it(graded: Path, tmp_path: Path, start_s: float) -> None:
    """Copied, and encoded."""
    import_deep(graded, tmp_path / "a.mp4", start_s=start_s).run()
    assert deep_colours(tmp_path / "a.mp4") == PQ


def test_what_says_nothing_has_none() -> None:
    display = [1, 2] * 10
    assert _mastering(DISPLAY.pack(*display, 1, 1)) is not None
    assert _mastering(DISPLAY.pack(*display, 1, 0)) is None  # its light is not known
    assert _mastering(DISPLAY.pack(*display[:-1], 0, 1, 1)) is None
    assert _mastering(b"") is None and _light(b"") is None and _light(LIGHT.pack(0, 0)) is None
