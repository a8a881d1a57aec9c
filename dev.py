"""Set up and try this project on a fresh machine: `python dev.py demo`, `python dev.py test`. Standard library only.

Makes .venv beside this file, installs what is missing, and hands the rest of the line to the project itself.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch==2.13.0"
COMFYUI = ("0.30.0", "0.16.3")
PROGRAMS = {  # Debian's packages that the tests need, and the programs that do as well
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "libimage-exiftool-perl": ("exiftool",),
}
WHOLE = ["-n2", "--no-loadscope-reorder", "--cov=udh_core", "--cov-report=term:skip-covered"]
EXTRAS = {"demo": "demo", "test": "demo,test,wenet", "lowest": "demo,test,wenet", "udh": "demo"}


def main() -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "…" is no reason to stop
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "command",
        choices=tuple(EXTRAS),
        help="demo: the whole chain; test: ruff, pyright and pytest, what follows is pytest's; lowest: pytest with the "
        "lowest versions of what is required; udh: the CLI",
    )
    command, rest = parser.parse_args(sys.argv[1:2]), sys.argv[2:]
    if not sys.version_info[:2] >= (3, 10):
        parser.error(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    set_up(EXTRAS[command.command])
    if command.command == "test":
        return test(rest)
    if command.command == "lowest":
        return run(["-m", "udh_core", "weights", "fetch"], ROOT) or run(["tests/lowest.py", ".lowest", *rest], ROOT)
    return run(["-m", "udh_core", *(["demo"] if command.command == "demo" else []), *rest])


def test(arguments: list[str]) -> int:
    """Check and test, what is quick first; the exit code of the first that fails. `arguments` are pytest's own."""
    whole = [] if arguments else WHOLE
    set_up_programs()
    return (
        run(["-m", "ruff", "check"], ROOT)
        or run(["-m", "ruff", "format", "--check"], ROOT)
        or set_up_comfyui()
        or run(["-m", "pyright"], ROOT)
        or run(["-m", "udh_core", "weights", "fetch"], ROOT)
        or run(["-m", "pytest", *whole, *arguments], ROOT)
    )


def set_up(extras: str) -> None:
    """Make .venv and install into it; done at once when nothing changed since the last time."""
    if not PYTHON.is_file():
        print(f"making {VENV} …", flush=True)
        venv.create(VENV, with_pip=True)
    stamp = VENV / f"installed-{hashlib.sha256(extras.encode()).hexdigest()[:8]}"
    wanted = hashlib.sha256(
        (ROOT / "requirements.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    ).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if not can_import("torch"):
        install(TORCH)  # by name and version: a bare "torch" brings gigabytes of CUDA libraries
    install("-e", f"{ROOT}[{extras}]")
    if not can_import("cv2"):
        install("opencv-python-headless>=4.10")  # whichever build is there is taken; this one needs no libGL
    stamp.write_text(wanted)


def set_up_comfyui() -> int:
    """Install the ComfyUI versions that the tests run the nodes in, each with an environment of its own; exit code."""
    for version in COMFYUI:
        print(f"ComfyUI {version} for the tests …", flush=True)
        failed = run(["tests/comfy/install_comfyui.py", f".comfyui/{version}", version], ROOT)
        if failed:
            return failed
    return 0


def set_up_programs() -> None:
    """Install Debian's Chromium and exiftool, as root; where there are none tests skip, on CI they fail."""
    lacking = [package for package, names in PROGRAMS.items() if not any(map(shutil.which, names))]
    installer = shutil.which("apt-get")
    if not lacking or not installer or os.name != "posix" or os.geteuid() != 0:
        return
    print("installing", *lacking, "…", flush=True)
    quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *lacking]):
        subprocess.run([installer, "-qq", *arguments], env=quietly, check=False)


def can_import(name: str) -> bool:
    return subprocess.run([PYTHON, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0


def install(*what: str) -> None:
    print("installing", " ".join(what).replace(str(ROOT), "this project"), "…", flush=True)
    done = subprocess.run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what], check=False
    )
    if done.returncode:
        sys.exit(f"pip could not install {what[-1]}; the lines above say why")


def run(arguments: list[str], folder: Path | None = None) -> int:
    """Run the environment's Python, in `folder` or where the user is; its exit code."""
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}  # or pyright asks the network for a newer one
    try:
        return subprocess.run([PYTHON, *arguments], cwd=folder, env=environment, check=False).returncode
    except KeyboardInterrupt:  # the child has had it too, and has said so
        return 130


if __name__ == "__main__":
    sys.exit(main())
