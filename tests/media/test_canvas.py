"""Colour: HDR, wide gamut, ten bits and alpha become the BT.709 picture that was meant."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numbered import FPS, convert

from udh_core.errors import MediaError
from udh_core.media.canvas import Canvas, Painter
from udh_core.media.probe import probe
from udh_core.media.tone_map import to_screen
from udh_core.media.transcode import import_video
from udh_core.media.video import VideoWriter, read_frames

TO_HDR = (
    "zscale=min=bt709:tin=bt709:pin=bt709:rin=tv:m=bt2020nc:t={}:p=bt2020:npl=203:r=tv,format=yuv420p10le",
    "-c:v libx265 -x265-params log-level=none -crf 4 -tag:v hvc1",
)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of skin tones, colours and greys, 128×96 px, tagged BT.709."""
    colours = [(224, 172, 105), (141, 85, 36), (198, 134, 66), (255, 219, 172), (60, 120, 60), (40, 60, 140)]
    colours += [(170, 40, 40), (90, 90, 90), (160, 160, 160), (200, 200, 200), (30, 30, 30), (120, 60, 130)]
    frame = np.array(colours, np.uint8).reshape(3, 4, 3).repeat(32, 0).repeat(32, 1)
    path = tmp_path_factory.mktemp("chart") / "chart.mp4"
    with VideoWriter(path, width=128, height=96, fps=FPS, crf=4) as writer:
        for _ in range(10):
            writer.write(frame)
    return path


def figures(path: Path) -> tuple[float, float, np.ndarray]:
    """(mean level, mean saturation, the frame) of the fifth frame, 0..255."""
    frame = list(read_frames(path))[5]
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    return float(frame.mean()), float(hsv[..., 1].mean()), frame.astype(int)


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_tone_mapped(chart: Path, tmp_path: Path, transfer: str, name: str) -> None:
    source = convert(chart, tmp_path / "hdr.mov", "-vf", TO_HDR[0].format(transfer), *TO_HDR[1].split())
    import_video(source, tmp_path / "made.mp4").run()
    level, saturation, _ = figures(chart)
    for path in (source, tmp_path / "made.mp4"):
        found_level, found_saturation, _ = figures(path)
        assert abs(found_level - level) < 4 and abs(found_saturation - saturation) < 8, path
    assert [note.sentence for note in probe(source).notes] == [
        f"the picture is HDR ({name}); it has been tone-mapped to BT.709"
    ]
    assert tags(tmp_path / "made.mp4") == (1, 1, 1) and probe(tmp_path / "made.mp4").notes == ()


def tags(path: Path) -> tuple[int, int, int]:
    """Matrix, primaries and transfer function, by libav's numbers: 1 is BT.709."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.colorspace, stream.color_primaries, stream.color_trc


def test_hdr_in_eight_bits_is_not_copied(chart: Path, tmp_path: Path) -> None:
    """A picture that would be ready but for its transfer function."""
    hdr = TO_HDR[0].format("arib-std-b67").replace("yuv420p10le", "yuv420p")
    source = convert(chart, tmp_path / "hdr.mp4", "-vf", hdr, "-c:v", "libx264", "-crf", "4")
    import_video(source, tmp_path / "made.mp4").run()
    assert abs(figures(tmp_path / "made.mp4")[1] - figures(chart)[1]) < 8
    assert tags(tmp_path / "made.mp4") == (1, 1, 1)


@pytest.mark.parametrize(("primaries", "matrix"), [("bt2020", "bt2020nc"), ("smpte432", "bt709")])
def test_a_wide_gamut_is_converted(chart: Path, tmp_path: Path, primaries: str, matrix: str) -> None:
    wide = f"zscale=min=bt709:tin=bt709:pin=bt709:rin=tv:m={matrix}:t=bt709:p={primaries}:r=tv,format=yuv420p10le"
    source = convert(chart, tmp_path / "wide.mov", "-vf", wide, *TO_HDR[1].split())
    assert np.abs(figures(source)[2] - figures(chart)[2]).mean() < 3
    assert [note.name for note in probe(source).notes] == ["wide gamut"]


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_more_bits_change_nothing(chart: Path, tmp_path: Path, pixels: str) -> None:
    source = convert(chart, tmp_path / "deep.mkv", "-pix_fmt", pixels, *TO_HDR[1].split()[:-2])
    assert np.abs(figures(source)[2] - figures(chart)[2]).mean() < 2
    assert probe(source).notes == ()


@pytest.mark.parametrize("matrix", [0, 3, 200])
def test_a_matrix_that_is_none_counts_as_not_named(matrix: int) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8)).reformat(format="yuv420p")
    frame.colorspace = matrix
    size = (64, 48)
    assert np.abs(Painter(Canvas(size, size, "rgb24"), 1).paint(frame).astype(int) - 90).max() <= 1


def test_a_highlight_keeps_its_order_and_paper_is_nearly_white() -> None:
    nits = np.array([50.0, 100.0, 203.0, 400.0, 1000.0, 4000.0])
    root = (nits / 10000) ** (2610 / 16384)
    code = ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)
    shown = to_screen(np.repeat(code[:, None], 3, 1), trc=16, primaries=9)[:, 0]
    assert (np.diff(shown) > 0).all() and shown[-1] <= 1.0
    assert shown[0] == pytest.approx((50 / 203) ** (1 / 2.4), abs=0.002) and shown[2] > 0.95


# Alpha


HALF = "geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='if(lt(X,64),0,255)'"


@pytest.mark.parametrize(
    ("name", "pixels", "codec"),
    [
        ("a.mov", "yuva444p10le", "-c:v prores_ks -profile:v 4444"),
        ("a.webm", "yuva420p", "-c:v libvpx-vp9 -b:v 0 -crf 4 -deadline realtime -auto-alt-ref 0"),
        ("b.webm", "yuva420p", "-c:v libvpx -b:v 2M -auto-alt-ref 0"),
        ("b.mov", "rgba", "-c:v png"),
    ],
)
def test_black_lies_behind_what_is_transparent(chart: Path, tmp_path: Path, name: str, pixels: str, codec: str) -> None:
    source = convert(chart, tmp_path / name, "-vf", f"format=yuva444p,{HALF}", "-pix_fmt", pixels, *codec.split())
    import_video(source, tmp_path / "made.mp4").run()
    expected = figures(chart)[2]
    for path in (source, tmp_path / "made.mp4"):
        frame = figures(path)[2]
        assert frame[:, :56].max() < 12, path
        assert np.abs(frame[:, 72:] - expected[:, 72:]).mean() < 6, path
    assert [note.name for note in probe(source).notes] == ["alpha"]
    assert "black" in probe(source).notes[0].sentence


def test_an_alpha_plane_that_hides_nothing_is_not_mentioned(chart: Path, tmp_path: Path) -> None:
    source = convert(chart, tmp_path / "a.mov", "-pix_fmt", "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4444")
    assert probe(source).notes == ()
    assert np.abs(figures(source)[2] - figures(chart)[2]).mean() < 3


@pytest.mark.parametrize("untagged", ["color_primaries", "colorspace"])
@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_without_other_tags_is_that_of_bt2020(chart: Path, tmp_path: Path, transfer: str, untagged: str) -> None:
    hdr = f"{TO_HDR[0].format(transfer)},setparams={untagged}=unknown"
    source = convert(chart, tmp_path / "hdr.mkv", "-vf", hdr, *TO_HDR[1].split()[:-2])
    for found, meant in zip(figures(source)[:2], figures(chart)[:2], strict=True):
        assert abs(found - meant) < 8


def test_a_wide_gamut_that_may_be_hdr_is_named(chart: Path, tmp_path: Path) -> None:
    hdr = f"{TO_HDR[0].format('arib-std-b67')},setparams=color_trc=unknown"
    source = convert(chart, tmp_path / "hdr.mkv", "-vf", hdr, *TO_HDR[1].split()[:-2])
    (note,) = probe(source).notes
    assert note.serious and "does not say whether it is HDR" in note.sentence


def with_dolby_vision(chart: Path, target: Path, profile: int, *tags: str) -> Path:
    """The chart as HEVC, each of its frames with Dolby Vision metadata of this vdr_rpu_profile."""
    plain, dolby = target.with_name("plain.hevc"), target.with_name("dolby.hevc")
    encoder = "-frames:v 2 -c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=none:bframes=0"
    convert(chart, plain, *encoder.split(), *tags)
    rpu = b"\0\0\0\x01\x7c\x01\x19\x08\x09" + bytes([profile << 3]) + b"\x01" * 8
    with av.open(str(plain)) as container:
        dolby.write_bytes(b"".join(bytes(packet) + rpu for packet in container.demux() if packet.size))
    return convert(dolby, target, "-c", "copy", *(["-tag:v", "hvc1"] if target.suffix == ".mp4" else []))


@pytest.mark.parametrize("name", ["own.mkv", "own.mp4"])
@pytest.mark.parametrize(
    "tags", [(), ("-vf", "setparams=color_trc=smpte2084:colorspace=bt2020nc")], ids=["plain", "as PQ"]
)
def test_colours_that_only_dolby_vision_knows_are_refused(
    chart: Path, tmp_path: Path, name: str, tags: tuple[str, ...]
) -> None:
    source = with_dolby_vision(chart, tmp_path / name, 0, *tags)
    with pytest.raises(MediaError, match=r"own\.m.*Dolby Vision of profile 5.*convert it"):
        import_video(source, tmp_path / "made.mp4").run()


def test_dolby_vision_above_hlg_is_hlg(chart: Path, tmp_path: Path) -> None:
    """What telephones record, profile 8.4: other decoders show its base layer."""
    source = with_dolby_vision(chart, tmp_path / "phone.mp4", 1, "-vf", "setparams=color_trc=arib-std-b67")
    assert [note.name for note in probe(source).notes] == ["HDR"]
    import_video(source, tmp_path / "made.mp4").run()
