"""What an installation lacks is found, each with what to do, and quickly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from udh_core.doctor import comfyui, machine, packages
from udh_core.doctor.check import Check
from udh_core.doctor.examine import examine
from udh_core.media.ffmpeg import ffmpeg_path
from udh_core.weights.registry import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_nothing_lacks_here(models: Path, tmp_path: Path) -> None:
    found = {check.name: check for check in examine(tmp_path, models)}
    assert [check for check in found.values() if check.level == "lacks"] == []
    assert {"Python", "numpy", "torch", "device", "ffmpeg", "ComfyUI", "ray", "temporary files", *WEIGHTS} <= set(found)
    assert found["ffmpeg"].found.endswith(("libx264, aac", "NVENC"))
    assert all(check.remedy for check in found.values() if check.level == "note" and check.name != "ComfyUI")


def test_the_command_is_quick_and_loads_no_torch(models: Path) -> None:
    code = "import sys, udh_core.cli as c; c.app(['doctor'], standalone_mode=False); print('torch' in sys.modules)"
    before_s = _children_s()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "everything that is needed is there" in done.stdout
    assert done.stdout.strip().endswith("False")
    assert _children_s() - before_s < 4  # of a processor; half of it is Python's start and the reading of the weights


def _children_s() -> float:
    """Seconds that child processes have computed so far."""
    spent = os.times()
    return spent.children_user + spent.children_system


def test_weights_that_lack(models: Path, tmp_path: Path) -> None:
    first, second, *others = WEIGHTS
    (tmp_path / first).write_bytes(b"x" * WEIGHTS[first].size)
    (tmp_path / second).write_bytes((models / second).read_bytes())
    found = {check.name: check for check in machine.weights(tmp_path)}
    assert "is damaged or another version" in found[first].found
    assert found[second].level == "ok"
    for name in others:
        assert found[name] == Check("lacks", name, f"not in {tmp_path}", "udh weights fetch")


def test_packages_that_lack() -> None:
    assert packages.of_requirement("numpy>=1.26").level == "ok"
    old = packages.of_requirement("numpy>=99")
    assert old.level == "lacks" and old.found.endswith(", where >=99 is needed")
    assert old.remedy == 'pip install "numpy>=99"'
    assert packages.of_requirement("no-such-thing>=1").found == "not installed"


def test_ffmpeg_that_lacks(tmp_path: Path) -> None:
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho ' V....D libx264 x'\n")
    poor.chmod(0o755)
    for named, said in ((poor, f"{poor}, without aac"), (tmp_path / "none", "cannot run")):
        ffmpeg_path.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IMAGEIO_FFMPEG_EXE", str(named))
            (found,) = machine.ffmpeg()
        ffmpeg_path.cache_clear()
        assert found.level == "lacks" and said in found.found and found.remedy


def test_comfyui(tmp_path: Path) -> None:
    home = tmp_path / "ComfyUI"
    pack = home / "custom_nodes" / "udh"
    pack.mkdir(parents=True)
    assert comfyui.comfyui(tmp_path, tmp_path / "elsewhere").level == "note"
    (home / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    assert comfyui.comfyui(tmp_path, pack) == Check("ok", "ComfyUI", f"0.30.0 in {home}")
    without = comfyui.comfyui(home / "input", tmp_path / "elsewhere")
    assert without.level == "note" and "without this pack" in without.found
    (home / "comfyui_version.py").write_text('__version__ = "0.9.1"\n')
    assert comfyui.comfyui(tmp_path, pack).level == "lacks"


def test_what_is_needed_is_what_the_project_says() -> None:
    assert f'torch = ["{packages.TORCH}"]' in PROJECT
    assert f'opencv = ["{packages.OPENCV[0]}"]' in PROJECT
    assert f'requires-comfyui = ">={comfyui.OLDEST}"' in PROJECT
    assert f'requires-python = ">={".".join(map(str, packages.PYTHON))}"' in PROJECT
    extras = " ".join(re.findall(r"(?m)^(?:speech|wenet|export|ray|remote|live) = \[(.*)\]", PROJECT))
    assert set(packages.OPTIONAL) <= set(re.findall(r'"([\w-]+)>=', extras))
