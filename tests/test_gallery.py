"""The gallery: every picture is named and small, and the parts of the script that draws it do so."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_gallery", ROOT / "docs" / "draw_gallery.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_named_and_all_of_them_are_small() -> None:
    named = re.findall(r"!\[[^\]]+\]\(([\w.]+)\)", (GALLERY / "README.md").read_text(encoding="utf-8"))
    pictures = [path for path in GALLERY.iterdir() if path.name != "README.md"]
    assert sorted(named) == sorted(path.name for path in pictures)
    assert sum(path.stat().st_size for path in pictures) <= MOST_BYTES


def test_the_commands_exist_and_are_those_of_the_quick_start(draw: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in draw.COMMANDS:
        assert " ".join(command.split()[:3]) in text, command


def test_a_step_is_run_and_drawn(draw: ModuleType, tmp_path: Path) -> None:
    previews: list[np.ndarray] = []
    step = draw.run_step("udh weights list", tmp_path, previews)
    assert any("whisper_tiny_en_encoder" in line for line in step.printed) and step.seconds > 0
    picture = draw.terminal(step, (600, 200))
    assert picture.shape == (200, 600, 3)
    assert (picture > 150).any(axis=(1, 2)).sum() > 60  # lines of text
    assert not previews
    with pytest.raises(SystemExit, match="no such file"):
        draw.run_step("udh audit none.mp4", tmp_path, previews)


def test_pictures_are_drawn(draw: ModuleType, person_avatar: Path, generator_file: Path, tmp_path: Path) -> None:
    from udh_core.avatar.folder import open_avatar
    from udh_core.media.audio import load_waveform, write_wave
    from udh_core.rendering.render import render

    avatar, speech = open_avatar(person_avatar), tmp_path / "speech.wav"
    write_wave(speech, load_waveform(person_avatar / "audio.wav", duration_s=0.4))
    video = render(avatar, generator_file, speech, tmp_path / "talking.mp4").run()
    made = [draw.prepared(avatar, 3), draw.beside(avatar, video, 3), draw.masks(avatar, video)]
    made += [draw.mouths(avatar, video, 4), draw.marked(avatar, generator_file, speech, tmp_path)]
    step = draw.Step("udh render", ["out.mp4 is ready"], 1.25)
    made.append(draw.strip([step, step], [made[0], made[1]]))
    for picture in made:
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and draw.WIDTH - 20 <= picture.shape[1] <= draw.WIDTH
        assert picture.std() > 10
    draw.save(tmp_path / "gallery" / "strip.jpg", made[-1])
    assert draw.read_picture(tmp_path / "gallery" / "strip.jpg").shape == made[-1].shape
