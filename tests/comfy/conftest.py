"""Where the genuine ComfyUIs are, and a small clip of a person talking."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))  # program.py and graphs.py
PACK = HERE.parents[1]
HOMES = PACK / ".comfyui"
CURRENT, FLOOR = "0.30.0", "0.16.3"
if "UDH_COMFYUI" not in os.environ:  # those run inside ComfyUI's own Python, started by test_inside
    collect_ignore = ["inside"]


def home_of(version: str) -> Path:
    """Where a ComfyUI is installed. Where it is not, the test is skipped; on CI it fails."""
    home = HOMES / version
    if not (home / "installed-pack").is_file():
        missing = (
            f"ComfyUI {version} is not installed: python tests/comfy/install_comfyui.py .comfyui/{version} {version}"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return home


@pytest.fixture(params=[CURRENT, FLOOR])
def each_home(request) -> Path:
    """The folder of each installed version in turn."""
    return home_of(request.param)


@pytest.fixture(scope="session")
def current_home() -> Path:
    return home_of(CURRENT)


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory, request) -> Path:
    """Six seconds of a real person with sound, or of the built-in one where the real clips are not at hand."""
    from udh_core.media.audio import load_sound, write_wave
    from udh_core.media.transcode import import_video, mux

    real = PACK.parent / "shared" / "data" / "video" / "dfrf_cnn2_25fps.mp4"
    if not real.is_file():
        return request.getfixturevalue("person") / "person.mp4"
    folder = tmp_path_factory.mktemp("clip")
    import_video(real, folder / "picture.mp4", start_s=10.0, duration_s=6.0).run()
    write_wave(folder / "sound.wav", *load_sound(real, start_s=10.0, duration_s=6.0))
    mux(folder / "picture.mp4", folder / "sound.wav", folder / "clip.mp4").run()
    return folder / "clip.mp4"


@pytest.fixture(scope="session")
def base(tmp_path_factory, small_clip) -> Path:
    """ComfyUI's folders, with the clip and its sound in input/."""
    from program import make_base

    from udh_core.media.audio import load_sound, write_wave

    folder = make_base(tmp_path_factory.mktemp("comfy"))
    shutil.copy(small_clip, folder / "input" / "clip.mp4")
    write_wave(folder / "input" / "speech.wav", *load_sound(small_clip, duration_s=3.0))
    return folder


@pytest.fixture(scope="session")
def comfy(current_home, base):
    """A running ComfyUI of the current version."""
    from program import start

    running = start(current_home, base)
    yield running
    running.stop()
