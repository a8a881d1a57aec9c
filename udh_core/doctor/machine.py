"""The machine: device, ffmpeg, weight files, disks."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import MediaError
from ..files import content_hash, in_bytes
from ..media.ffmpeg import ffmpeg_path, process
from ..weights.registry import WEIGHTS, models_dir
from .check import Check

ENCODERS = ("libx264", "aac")
ROOM_BYTES = 2 << 30  # free on a disk, below which it is said: an hour of video, or five minutes of 256 px crops
FETCH = "udh weights fetch"


def device() -> Check:
    """The best device that torch can have here. What torch was built for is read from its files."""
    gpu, built_for = _nvidia_gpu(), _cuda_of_torch()
    if gpu and built_for:
        return Check("ok", "device", f"cuda: {gpu}; torch for CUDA {built_for}")
    if gpu:
        remedy = "install a torch for CUDA, as pytorch.org says, to use it"
        return Check("note", "device", f"cpu; there is a {gpu}, but torch is built without CUDA", remedy)
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Check("ok", "device", "mps")
    return Check("ok", "device", "cpu")


def _nvidia_gpu() -> str:
    """Name of the first one that its driver shows; "" where there is none."""
    library = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return ""
    number, name = ctypes.c_int(), ctypes.create_string_buffer(100)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0) or driver.cuDeviceGetName(name, 100, number):
        return ""
    return name.value.decode(errors="replace")


def _cuda_of_torch() -> str:
    """The version of CUDA that the installed torch is built for; "" for none."""
    found = importlib.util.find_spec("torch")
    for folder in (found.submodule_search_locations or []) if found else []:
        version = Path(folder) / "version.py"
        if version.is_file():
            said = re.search(r"^cuda\b.*= '([\d.]+)'", version.read_text(encoding="utf-8"), re.MULTILINE)
            return said[1] if said else ""
    return ""


def ffmpeg() -> Iterator[Check]:
    """The program that writes videos, and the encoders it must have."""
    try:
        program = ffmpeg_path()
        with process(["-hide_banner", "-encoders"], "stdout") as child:
            text = child.stdout.read().decode(errors="replace")
    except MediaError as error:
        yield Check("lacks", "ffmpeg", str(error), "pip install --force-reinstall imageio-ffmpeg")
        return
    there = set(re.findall(r"^ [VA]\S+ (\S+)", text, re.MULTILINE))
    lacking = [name for name in ENCODERS if name not in there]
    if lacking:
        remedy = "unset IMAGEIO_FFMPEG_EXE, or let it name an ffmpeg that has them"
        yield Check("lacks", "ffmpeg", f"{program}, without {' and '.join(lacking)}", remedy)
    else:
        yield Check("ok", "ffmpeg", f"{program}: {', '.join(ENCODERS)}" + (", NVENC" if "h264_nvenc" in there else ""))


def weights(models: Path | None = None) -> Iterator[Check]:
    """Every weight file: there, and the right bytes."""
    folder = models_dir(models)
    for weight in WEIGHTS.values():
        path = folder / weight.name
        if not path.is_file():
            yield Check("lacks", weight.name, f"not in {folder}", FETCH)
        elif content_hash(path) != weight.sha256:
            yield Check("lacks", weight.name, f"{path} is damaged or another version (sha256 differs)", FETCH)
        else:
            yield Check("ok", weight.name, in_bytes(weight.size))


def disks(folder: Path, models: Path | None = None) -> Iterator[Check]:
    """Room where files go: the user's folder, that for temporary files, that of the weights."""
    places = {"your folder": folder, "temporary files": Path(tempfile.gettempdir()), "weights": models_dir(models)}
    for what, place in places.items():
        there = next(one for one in (place, *place.absolute().parents) if one.is_dir())
        free = shutil.disk_usage(there).free
        found = f"{in_bytes(free)} free in {place}"
        if free < ROOM_BYTES:
            yield Check("note", what, found, "free some space, or work in a folder on another disk")
        else:
            yield Check("ok", what, found)
