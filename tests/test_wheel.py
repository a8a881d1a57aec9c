"""The packages: what an installation without the source folder finds, and that it runs alone."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
WINDOWS = sys.platform == "win32"
PYTHON, UDH = ("python.exe", "udh.exe") if WINDOWS else ("python", "udh")
USE = """
import sys, udh_core
from importlib import metadata
from pathlib import Path
assert Path(udh_core.__file__).is_relative_to(sys.prefix), udh_core.__file__
assert udh_core.__version__ == metadata.version("ultralight-digital-human")
from udh_core.doctor.packages import packages
found = {check.name: check.level for check in packages()}
assert {"numpy", "typer", "torch"} <= set(found) and set(found.values()) == {"ok"}, found
from udh_core.models.motion_prior import open_prior
assert open_prior() is not None
"""
SHORT = 'GeneratorOptions(steps=1, motion_steps=1, batch=2, model_size="small")'  # in place of the README's 15 minutes


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


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of python and udh of an environment in which the wheel is installed; it borrows the dependencies."""
    home = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    folder = home / ("Scripts" if WINDOWS else "bin")
    pip = (sys.executable, "-m", "pip", "--python", folder / PYTHON, "install", "--quiet", "--no-deps", "--no-index")
    installed = run(home, *pip, wheel)
    assert installed.returncode == 0, installed.stderr
    borrow = [folder / PYTHON, "-c", "import site; print(site.getsitepackages()[0])"]
    own = subprocess.run(borrow, capture_output=True, text=True, check=True).stdout.strip()
    Path(own, "borrowed.pth").write_text("\n".join(site.getsitepackages()))
    return folder


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """In a folder, with nothing of this project on the way to it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_runs_where_nothing_else_of_this_project_is(programs: Path, tmp_path: Path) -> None:
    used = run(tmp_path, programs / PYTHON, "-c", USE)
    assert used.returncode == 0, used.stderr
    refused = run(tmp_path, programs / UDH, "batch", "none.jsonl")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: cannot read none.jsonl: No such file or directory")


def test_the_readmes_example_runs_there(
    programs: Path, person: Path, speech: Path, models: Path, tmp_path: Path
) -> None:
    """In an empty folder with a clip and a speech, and a training of one step; then `udh` renders what it made."""
    from udh_core.media.probe import probe

    shutil.copy(person / "person.mp4", tmp_path / "me.mp4")
    shutil.copy(speech, tmp_path / "speech.wav")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "GeneratorOptions(minutes=15)" in example
    done = run(tmp_path, programs / PYTHON, "-c", example.replace("GeneratorOptions(minutes=15)", SHORT))
    assert done.returncode == 0, done.stderr
    assert "landmarks" in done.stdout
    person_files = ("--avatar", "me", "--generator", "me.safetensors", "--audio", "speech.wav")
    rendered = run(tmp_path, programs / UDH, "render", *person_files, "--out", "again.mp4")
    assert rendered.returncode == 0, rendered.stderr
    for name in ("talking.mp4", "again.mp4"):
        video = probe(tmp_path / name).video
        assert video is not None and video.frame_count == 50
    assert (tmp_path / "talking.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()
