"""The nodes in ComfyUI's own process: all tests on the newest version, what may differ on the oldest."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from program import FLOOR, PACK, arguments, make_base, python_of

HERE = Path(__file__).resolve().parent / "inside"
# What the oldest version may do otherwise: its interfaces. What the nodes do with the core is the same.
OF_FLOOR = (
    "test_run.py::test_quick_start_makes_a_talking_video_and_is_cached",
    "test_run.py::test_a_finished_training_comes_from_disk_and_a_longer_one_goes_on",
    "test_files.py",
    "test_schema.py",
    "test_sounds.py",
    "test_speak.py",
    "test_texts.py",
    "test_wanted.py",
)
# Of these files, what trains or renders to show what the core does, not how ComfyUI takes it.
OF_THE_CORE = (
    "test_sounds.py::test_features_of_another_sound_are_refused_and_harm_nothing",
    "test_sounds.py::test_training_makes_the_features_of_the_avatars_own_sound",
    "test_texts.py::test_a_covered_mouth_is_refused_where_that_is_wanted",
)


def test_nodes_in_process(each_home, base, tmp_path):
    own = make_base(tmp_path / "base")
    for name in ("clip.mp4", "speech.wav"):
        shutil.copy(base / "input" / name, own / "input" / name)
    settings = {
        "UDH_COMFYUI": str(each_home / "ComfyUI"),
        "UDH_BASE": str(own),
        "UDH_ARGUMENTS": "\n".join(arguments(own)),
    }
    tests: list[str | Path] = [HERE]
    if each_home.name == FLOOR:
        tests = [HERE / name for name in OF_FLOOR]
        tests += [f"--deselect={HERE.relative_to(PACK).as_posix()}/{name}" for name in OF_THE_CORE]
    command = [python_of(each_home), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=HERE.parents[2], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
