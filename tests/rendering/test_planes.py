"""A render keeps the planes of its clip: outside the mask they are the decoded ones, in the clip's own colours."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.media.colours import BT709, Colours
from udh_core.media.planes import split
from udh_core.media.transcode import import_video
from udh_core.media.video import VideoWriter, plane_colours, read_frames, read_planes
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render

FRAMES = 12
LOSSLESS = RenderOptions(crf=0, when_audio_longer="loop")


@pytest.fixture(scope="module")
def short(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from udh_core.media.audio import load_waveform, write_wave

    path = tmp_path_factory.mktemp("sound") / "short.wav"
    write_wave(path, load_waveform(speech, duration_s=FRAMES / 25))
    return path


def outside(avatar: Avatar, number: int, paste_area: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) and (H / 2, W / 2) bool of one frame: what the mask does not touch, in Y and in U and V."""
    height, width = avatar.info.height, avatar.info.width
    area = paste_area((height, width), avatar.track().transforms[number], avatar.crop)
    return ~area, ~area.reshape(height // 2, 2, width // 2, 2).any((1, 3))


@pytest.mark.parametrize("colours", [BT709, Colours(6, True, 6, 6)], ids=["bt709", "bt601 of full range"])
def test_planes_outside_the_mask_are_the_decoded_ones(
    person_avatar: Path,
    generator_file: Path,
    short: Path,
    tmp_path: Path,
    paste_area: Callable[..., np.ndarray],
    colours: Colours,
) -> None:
    shutil.copytree(person_avatar, tmp_path / "person")
    avatar = open_avatar(tmp_path / "person")
    size = {"width": avatar.info.width, "height": avatar.info.height}
    source = list(read_planes(avatar.video, count=FRAMES))
    with VideoWriter(tmp_path / "v.mp4", **size, fps=avatar.info.fps, colours=colours, encoder="x264") as writer:
        for number in range(avatar.info.frame_count):  # tagged otherwise, it looks otherwise: nothing is converted
            writer.write(source[number % FRAMES])
    shutil.move(tmp_path / "v.mp4", avatar.video)
    out = render(avatar, generator_file, short, tmp_path / "out.mp4", LOSSLESS).run()
    assert plane_colours(out) == colours
    pairs = list(zip(read_planes(out), read_planes(avatar.video), strict=False))
    assert len(pairs) == FRAMES
    for number, (got, wanted) in enumerate(pairs):
        luma, chroma = outside(avatar, number, paste_area)
        for new, old, kept in zip(split(got), split(wanted), (luma, chroma, chroma), strict=True):
            assert np.array_equal(new[kept], old[kept]), number
        assert (split(got)[0] != split(wanted)[0])[~luma].mean() > 0.3


def test_frames_that_are_asked_for_are_rgb_without_loss(
    person_avatar: Path, generator_file: Path, short: Path, tmp_path: Path, paste_area: Callable[..., np.ndarray]
) -> None:
    avatar, kept = open_avatar(person_avatar), []

    def space(shape: tuple[int, int, int, int]) -> np.ndarray:
        kept.append(np.empty(shape, np.float32))
        return kept[0]

    seen = render(avatar, generator_file, short, tmp_path / "frames.mp4", LOSSLESS, space=space).run()
    plain = render(avatar, generator_file, short, tmp_path / "planes.mp4", LOSSLESS).run()
    for number, source in enumerate(read_frames(avatar.video, count=FRAMES)):
        luma, _ = outside(avatar, number, paste_area)
        assert np.array_equal(np.rint(kept[0][number] * 255).astype(np.uint8)[luma], source[luma])
    for one, other in zip(read_frames(seen), read_frames(plain), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 1.0


def test_a_clip_in_other_planes_is_rendered_in_rgb(
    person_avatar: Path, generator_file: Path, short: Path, tmp_path: Path
) -> None:
    """An avatar's clip is H.264 in 4:2:0 unless something else was put in its place."""
    from udh_core.media.ffmpeg import run, url

    shutil.copytree(person_avatar, tmp_path / "person")
    avatar = open_avatar(tmp_path / "person")
    usual = render(avatar, generator_file, short, tmp_path / "usual.mp4", LOSSLESS).run()
    arguments = ["-i", url(avatar.video), "-c:v", "libx264", "-crf", "0", "-pix_fmt", "yuv444p", "-y"]
    run([*arguments, url(tmp_path / "wide.mp4")], "test")
    shutil.move(tmp_path / "wide.mp4", avatar.video)
    assert plane_colours(avatar.video) is None
    out = render(avatar, generator_file, short, tmp_path / "out.mp4", LOSSLESS).run()
    for one, other in zip(read_frames(out), read_frames(usual), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 1.5


def test_imported_clips_have_planes(tmp_path: Path) -> None:
    """Copied or encoded, of ten bits, turned or of an odd size: what an avatar holds can be rendered in planes."""
    from udh_core.media.ffmpeg import run, url

    source = tmp_path / "odd.mkv"
    made = ["-f", "lavfi", "-i", "testsrc2=size=98x76:rate=25:duration=0.4"]
    run([*made, "-vf", "crop=97:75:exact=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", "-y", url(source)], "test")
    import_video(source, tmp_path / "odd.mp4").run()
    assert plane_colours(tmp_path / "odd.mp4") == BT709
