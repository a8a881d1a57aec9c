"""Small clips with known content."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent))  # numbered.py


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """75 frames at 25 fps; frame i is grey 20 + 3 i."""
    from numbered import FPS, NUMBERS, plain

    from udh_core.media.video import VideoWriter

    path = tmp_path_factory.mktemp("numbered") / "n.mp4"
    with VideoWriter(path, width=64, height=48, fps=FPS) as writer:
        for i in NUMBERS:
            writer.write(plain(20 + 3 * i))
    return path


@pytest.fixture(scope="session")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s, in which at 2 s a click sounds and one frame is white."""
    from numbered import FPS, plain

    from udh_core.media.audio import write_wave
    from udh_core.media.video import VideoWriter

    folder = tmp_path_factory.mktemp("flash")
    click = np.zeros(64000, np.float32)
    click[32000:32160] = 0.9
    write_wave(folder / "click.wav", click)
    with VideoWriter(folder / "flash.mp4", width=64, height=48, fps=FPS, audio=folder / "click.wav") as writer:
        for i in range(100):
            writer.write(plain(255 if i == 50 else 0))
    return folder / "flash.mp4"
