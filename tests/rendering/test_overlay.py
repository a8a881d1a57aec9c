"""An overlay: laid over the clip's own frames it is the render."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.errors import FileError, OptionError
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.probe import probe
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import read_info
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.places import places_of
from udh_core.rendering.render import render

FRAMES = 8
OVERLAY = RenderOptions(overlay=True)


@pytest.fixture(scope="module")
def words(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "short.wav"
    write_wave(path, load_waveform(speech, duration_s=FRAMES / 25))
    return path


@pytest.fixture(scope="module")
def rendered(covered_avatar: Avatar, generator_file: Path, words: Path, tmp_path_factory) -> np.ndarray:
    """(FRAMES, H, W, 3) float64 0..255: what is drawn, before it is encoded, from frame 6 of the clip on."""
    kept = np.empty((FRAMES, covered_avatar.info.height, covered_avatar.info.width, 3), np.float32)
    out = tmp_path_factory.mktemp("whole") / "whole.mp4"
    render(covered_avatar, generator_file, words, out, RenderOptions(start_s=0.24), space=lambda _: kept).run()
    return kept.astype(np.float64) * 255


def laid_over(overlays: np.ndarray, avatar: Avatar) -> np.ndarray:
    """(FRAMES, H, W, 3) float64 0..255, of overlays (FRAMES, H, W, 4) and the clip's frames from number 6 on."""
    frames = np.stack(list(read_frames(avatar.video, start=6, count=FRAMES))).astype(np.float64)
    alpha = overlays[..., 3:] / 255
    return frames * (1 - alpha) + overlays[..., :3] * alpha


def test_pictures_laid_over_the_clip_are_the_render(
    covered_avatar: Avatar, generator_file: Path, words: Path, rendered: np.ndarray, tmp_path: Path
) -> None:
    options = RenderOptions(start_s=0.24, overlay=True)
    out = render(covered_avatar, generator_file, words, tmp_path / "frames", options).run()
    names = sorted(path.name for path in out.iterdir())
    assert names == [*(f"{k:06d}.png" for k in range(1, FRAMES + 1)), "sound.wav"]
    pictures = [cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED) for name in names[:-1]]
    overlays = np.stack([cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA) for picture in pictures])
    assert np.abs(laid_over(overlays, covered_avatar) - rendered).max() <= 1.001
    places = places_of(covered_avatar.redrawn_in(read_info(generator_file).crop), FRAMES, options)
    for k, overlay in enumerate(overlays):
        assert np.abs(overlay[..., 3] / 255 - places.mask(k)).max() <= 1 / 255
    with pytest.raises(FileError, match="is there already; give the name of a new folder for the pictures"):
        render(covered_avatar, generator_file, words, out, options).run()


def test_prores_laid_over_the_clip_is_the_render(
    covered_avatar: Avatar, generator_file: Path, words: Path, rendered: np.ndarray, tmp_path: Path
) -> None:
    options = RenderOptions(start_s=0.24, overlay=True)
    out = render(covered_avatar, generator_file, words, tmp_path / "mouth.mov", options).run()
    info = probe(out)
    assert info.video_codec == "prores" and info.has_audio and info.video.fps == covered_avatar.info.fps
    with av.open(str(out)) as container:
        overlays = np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)])
        assert "IPTC digital source type" in container.metadata["comment"]
    difference = np.abs(laid_over(overlays, covered_avatar) - rendered)
    inside = overlays[..., 3] > 0
    assert 0.01 < inside.mean() < 0.3
    assert difference[inside].mean() < 0.5 and difference[~inside].max() < 0.001


def test_frames_without_a_face_have_an_empty_overlay(
    covered_avatar: Avatar, generator_file: Path, words: Path, tmp_path: Path
) -> None:
    options = RenderOptions(start_s=1.24, overlay=True)  # the mouth is covered
    out = render(covered_avatar, generator_file, words, tmp_path / "frames", options).run()
    assert not cv2.imread(str(out / "000003.png"), cv2.IMREAD_UNCHANGED).any()


def test_what_cannot_be_an_overlay(person_avatar: Path, generator_file: Path, words: Path, tmp_path: Path) -> None:
    avatar = open_avatar(person_avatar)
    with pytest.raises(FileError, match=r"ends in \.mov \(ProRes 4444\), or that of a new folder"):
        render(avatar, generator_file, words, tmp_path / "o.mp4", OVERLAY).run()
    with pytest.raises(FileError, match="the output is an mp4"):
        render(avatar, generator_file, words, tmp_path / "o.mov").run()
    with pytest.raises(OptionError, match="given on as a file alone"):
        render(avatar, generator_file, words, tmp_path / "o.mov", OVERLAY, mouths=np.empty).run()
    with pytest.raises(OptionError, match="choose pass or fail as `lost`"):
        RenderOptions(overlay=True, lost="hold")
    with pytest.raises(OptionError, match="leave out `mark`"):
        RenderOptions(overlay=True, mark="AI-generated")
    assert list(tmp_path.iterdir()) == []
