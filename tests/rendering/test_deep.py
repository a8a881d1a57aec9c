"""Clips of more than 8 bits: kept by preparation, rendered in 10 bits and their own colours, HDR as HDR."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.colours import BT709, Colours
from udh_core.media.ffmpeg import run, url
from udh_core.media.hdr_metadata import Mastering, StaticHdr
from udh_core.media.planes import split
from udh_core.media.tone_map import from_screen, to_screen
from udh_core.media.transcode import import_deep
from udh_core.media.video import deep_colours, plane_colours, read_deep_planes, read_frames
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render

FRAMES = 6
SDR, HLG = Colours(1, False, 1, 1, bits=10), Colours(9, False, 9, 18, bits=10)
STUDIO = StaticHdr(Mastering((34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450), (50, 10_000_000)), (993, 401))
GRADED = replace(HLG, hdr=STUDIO)
TO_HLG = "zscale=min=709:tin=709:pin=709:rin=limited:m=2020_ncl:t=arib-std-b67:p=2020:npl=203:r=limited,"
TAGS = {SDR: BT709.arguments(), HLG: HLG.arguments(), GRADED: HLG.arguments()}
LOSSLESS = "log-level=error:lossless=1"
HEVC = ["-c:v", "libx265", "-x265-params", LOSSLESS]


def with_ten_bits(avatar: Path, colours: Colours, root: Path) -> Avatar:
    """A copy of an avatar whose first frames are there in 10 bits, too."""
    shutil.copytree(avatar, root)
    made = open_avatar(root)
    to_hlg = "" if colours == SDR else TO_HLG
    hevc = [*HEVC[:-1], LOSSLESS if colours.hdr is None else f"{LOSSLESS}:{colours.hdr.parameters('libx265')}"]
    filters = f"format=yuv444p10le,{to_hlg}format=yuv420p10le"
    picture = ["-frames:v", str(FRAMES), "-vf", filters, *hevc, *TAGS[colours]]
    run(["-i", url(made.video), *picture, "-tag:v", "hvc1", url(made.deep)], "test")
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    state["stages"]["deep"] = "a key"
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def words(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "short.wav"
    write_wave(path, load_waveform(speech, duration_s=FRAMES / 25))
    return path


@pytest.mark.parametrize("colours", [SDR, HLG, GRADED], ids=["ordinary", "HLG", "with HDR10's metadata"])
def test_ten_bits_and_colours_of_the_clip_are_kept(
    person_avatar: Path,
    generator_file: Path,
    words: Path,
    tmp_path: Path,
    paste_area: Callable[..., np.ndarray],
    colours: Colours,
) -> None:
    avatar = with_ten_bits(person_avatar, colours, tmp_path / "deep")
    options = RenderOptions(crf=2)
    out = render(avatar, generator_file, words, tmp_path / "out.mp4", options).run()
    assert deep_colours(out) == colours
    usual = render(avatar, generator_file, words, tmp_path / "h264.mp4", RenderOptions(crf=2, codec="h264")).run()
    assert plane_colours(usual) == BT709
    outside = ~paste_area((512, 512), avatar.track().transforms[0], avatar.crop)
    (got, *_), (wanted, *_) = list(read_deep_planes(out)), list(read_deep_planes(avatar.deep))
    assert got.dtype == np.uint16 and got.max() > 300
    assert np.abs(split(got)[0][outside].astype(int) - split(wanted)[0][outside]).mean() < 2  # of 1023
    assert len(np.unique(split(got)[0] % 4)) == 4
    for one, other in zip(read_frames(out), read_frames(usual), strict=True):
        differences = np.abs(one.astype(int) - other)
        assert differences.mean() < 2 and differences[~outside].mean() < 3


def test_frames_that_are_given_on_have_eight_bits_and_it_is_said(
    person_avatar: Path, generator_file: Path, words: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    avatar = with_ten_bits(person_avatar, SDR, tmp_path / "deep")
    with caplog.at_level(logging.WARNING):
        out = render(avatar, generator_file, words, tmp_path / "out.mp4", space=np.empty).run()
    assert plane_colours(out) == BT709
    assert "have 8 bits, and so has this video; the clip has more" in caplog.text


@pytest.mark.parametrize(
    ("trc", "primaries"),
    [
        (ColorTrc.ARIB_STD_B67, ColorPrimaries.BT2020),
        (ColorTrc.SMPTE2084, ColorPrimaries.BT2020),
        (ColorTrc.BT709, ColorPrimaries.SMPTE432),
    ],
)
def test_what_a_screen_shows_goes_back_to_what_is_stored(trc: int, primaries: int) -> None:
    skin = np.array([0.62, 0.47, 0.40]) * np.linspace(0.05, 1.5, 200)[:, None]
    stored = from_screen(skin, trc, primaries)
    assert np.abs(to_screen(stored, trc, primaries) - skin).max() < 1e-3
    assert np.isfinite(from_screen(np.ones((1, 3)), trc, primaries)).all()


@pytest.mark.parametrize(
    ("codec", "copied"),
    [([*HEVC, "-pix_fmt", "yuv420p10le"], True), (["-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"], False)],
    ids=["HEVC is copied", "ProRes is encoded"],
)
def test_a_clip_of_ten_bits_is_kept_beside_that_of_eight(codec: list[str], copied: bool, tmp_path: Path) -> None:
    source, root = tmp_path / "clip.mov", tmp_path / "person"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=5.2"]
    sound = ["-f", "lavfi", "-i", "sine=440:duration=5.2"]
    run([*picture, *sound, "-c:a", "pcm_s16le", "-vf", HLG.filter(), *codec, *HLG.arguments(), url(source)], "test")
    avatar = import_clip(source, root, PrepareOptions(96)).run()
    assert avatar.is_deep and deep_colours(avatar.deep) == HLG and plane_colours(avatar.video) == BT709
    one, other = (list(read_frames(path)) for path in (avatar.deep, source))
    assert len(one) == len(other) == avatar.info.frame_count
    assert np.abs(one[7].astype(int) - other[7]).mean() < (0.01 if copied else 4)
    assert not [step for step in import_clip(source, root, PrepareOptions(96)) if step.stage == "video"]
    avatar.deep.unlink()
    assert import_clip(source, root, PrepareOptions(96)).run().is_deep


def test_a_clip_of_eight_bits_has_no_other(person: Path, person_avatar: Path, tmp_path: Path) -> None:
    assert not open_avatar(person_avatar).is_deep
    with pytest.raises(ValueError, match="8 bits"):
        import_deep(person / "person.mp4", tmp_path / "o.mp4").run()
