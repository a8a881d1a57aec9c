"""The wheel: what an installation without the source folder finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")


def test_wheel_holds_every_file_of_the_core(tmp_path):
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    core = shutil.copytree(ROOT / "udh_core", tmp_path / "udh_core", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    wanted = {path.relative_to(tmp_path).as_posix() for path in core.rglob("*") if path.is_file()}
    assert {"udh_core/__main__.py", "udh_core/errors.py"} < wanted
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("udh_core/")} == wanted
