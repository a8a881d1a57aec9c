"""What is remarkable about the file that a clip came from is said where the clip's faults are said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.audit.source import source_findings
from udh_core.avatar.folder import open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip
from udh_core.media.audio import write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.note import Note


@pytest.fixture(scope="module")
def two_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with sound and two pictures, the second one larger."""
    folder = tmp_path_factory.mktemp("two")
    write_wave(folder / "s.wav", np.random.default_rng(0).normal(0, 0.1, 6 * 16000).clip(-1, 1))
    cv2.imwrite(str(folder / "p.png"), np.full((96, 128, 3), 90, np.uint8))
    still = ["-loop", "1", "-framerate", "10", "-t", "6", "-i", url(folder / "p.png")]
    maps = ["-map", "0", "-map", "1", "-map", "2", "-filter:v:0", "scale=64:48", "-c:v", "libx264"]
    run([*still, *still, "-i", url(folder / "s.wav"), *maps, "-y", url(folder / "two.mkv")], "")
    return folder / "two.mkv"


def test_a_choice_among_pictures_is_remembered_and_found(two_pictures: Path, tmp_path: Path) -> None:
    import_clip(two_pictures, tmp_path / "av", PrepareOptions(96)).run()
    avatar = open_avatar(tmp_path / "av", ("video", "audio"))
    (found,) = (one for one in source_findings(avatar.notes()) if one.name == "video tracks")
    assert found.level == "yellow"
    assert "2: 128×96, 6.0 s" in found.sentence and "number 2 is taken" in found.sentence
    assert (avatar.info.width, avatar.info.height) == (128, 96)


def test_another_choice_makes_another_avatar(two_pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "av"
    import_clip(two_pictures, root, PrepareOptions(96)).run()
    before = open_avatar(root, ("video", "audio"))
    import_clip(two_pictures, root, PrepareOptions(96, video_track=1)).run()
    now = open_avatar(root, ("video", "audio"))
    assert (now.info.width, now.info.height) == (64, 48) and now.identity != before.identity


def test_what_was_dealt_with_entirely_is_no_fault() -> None:
    (found,) = source_findings([Note("HDR", "tone-mapped", serious=False)])
    assert (found.level, found.sentence) == ("green", "tone-mapped")


def test_only_what_is_taken_is_remarked(two_pictures: Path, tmp_path: Path) -> None:
    """A picture that stands still from 4.7 s on, and a part that ends soon after that, as the remark advises."""
    gap = "select='lt(t,4.75)+gt(t,5.85)'"
    arguments = ["-map", "0:v:0", "-map", "0:a", "-vf", gap, "-fps_mode", "passthrough", "-c:v", "libx264", "-y"]
    run(["-i", url(two_pictures), *arguments, url(tmp_path / "gap.mkv")], "")
    named = []
    for options in (PrepareOptions(96), PrepareOptions(96, duration_s=5.0)):
        import_clip(tmp_path / "gap.mkv", tmp_path / "av", options).run()
        named.append([note.name for note in open_avatar(tmp_path / "av", ("video", "audio")).notes()])
    assert "stills" in named[0] and "stills" not in named[1]
