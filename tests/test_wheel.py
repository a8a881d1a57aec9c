"""The packages: what an installation without the source folder finds, and that it runs alone."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")
USE = """
import sys, udh_core
from pathlib import Path
assert Path(udh_core.__file__).is_relative_to(sys.prefix), udh_core.__file__
from udh_core.doctor.packages import packages
assert {"numpy", "typer", "torch"} <= {check.name for check in packages()}
from udh_core.models.motion_prior import open_prior
assert open_prior() is not None
"""


def build(what: str, folder: Path) -> None:
    code = f"from setuptools.build_meta import build_{what}; build_{what}('.')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the source archive, as pip makes it where there is no wheel."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "udh_core", folder / "udh_core", ignore=shutil.ignore_patterns("__pycache__"))
    build("sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as file:
        file.extractall(unpacked, filter="data")
    (inside,) = unpacked.iterdir()
    build("wheel", inside)
    (made,) = inside.glob("*.whl")
    return made


def test_wheel_holds_every_file_of_the_core(wheel: Path) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "udh_core").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {"udh_core/__main__.py", "udh_core/errors.py"} < wanted
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("udh_core/")} == wanted


def test_it_runs_where_nothing_else_of_this_project_is(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which borrows the installed dependencies."""
    home = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    borrow = "import site; print(site.getsitepackages()[0])"
    own = subprocess.run([python, "-c", borrow], capture_output=True, text=True, check=True).stdout.strip()
    Path(own, "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    subprocess.run([python, "-c", USE], cwd=tmp_path, check=True)
    udh = python.with_name("udh.exe" if sys.platform == "win32" else "udh")
    said = subprocess.run([udh, "batch", "none.jsonl"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stderr.startswith("error: cannot read none.jsonl: No such file or directory")
