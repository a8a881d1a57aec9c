"""ComfyUI's folders: where avatars, checkpoints and weight files lie, and what new files are called."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import folder_paths
from comfy.cli_args import args
from server import PromptServer

from ...udh_core.errors import FileError, OptionError, WeightsError
from ...udh_core.weights.registry import WEIGHTS, models_dir

FOLDER = "udh"  # under models/ and output/
INSTALLER = Path(__file__).absolute().parents[2] / "install.py"
LPIPS = "lpips_alex.safetensors"
SPEECH = "silero_vad.safetensors"
FACE = ("face_detection_short_range.tflite", "face_landmark.tflite", "face_recognition.safetensors")
VIDEOS = {  # suffixes; ComfyUI's own list depends on the system's registry of types, and often lacks .ts and .mts
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv", ".mpg", ".mpeg", ".mxf"),
    *(".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".vob"),
}
MOST_BYTES = 180  # of a name: endings and the marks of unfinished files come on top, and 255 are the most
_FORMER = {"bundles": ("to-go",)}  # earlier names of a folder, in which files are still found
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}


def register_folder() -> None:
    """Make models/udh known to ComfyUI; folders that extra_model_paths.yaml gives for `udh` stay in the list."""
    own = str(Path(folder_paths.models_dir) / FOLDER)
    known, _ = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    folder_paths.folder_names_and_paths[FOLDER] = ([*known, *([] if own in known else [own])], {".safetensors"})


def model_folders(kind: str) -> list[Path]:
    """Where things of a kind (avatars, generators, syncnets, bundles, weights) may lie; new ones go into the first."""
    places = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    return [place / name for name in (kind, *_FORMER.get(kind, ())) for place in places]


def safe_name(name: str, fallback: str) -> str:
    """A name as a file name; `fallback` where it is empty. OptionError for one that would leave its folder."""
    name = name.strip()
    if not name:
        return re.sub(r"[^\w\- ]+", "_", fallback).strip("_ ")[:60] or "person"
    if re.search(r'[/\\:*?"<>|\x00-\x1f]', name) or name.startswith(".") or name.endswith("."):
        raise OptionError(f"{name!r} cannot be a name; use letters, digits, spaces, - and _, no path")
    if len(name) > 100 or len(os.fsencode(name)) > MOST_BYTES:
        raise OptionError(f"{name[:20]!r}… cannot be a name; use up to 100 letters, or 60 Chinese characters")
    if name.split(".")[0].lower().strip() in _RESERVED:
        raise OptionError(f"{name!r} cannot be a name, Windows keeps it for itself; choose another")
    return name


def new_path(kind: str, name: str, suffix: str = "") -> Path:
    """Where to write a thing of this kind and (safe) name; its folder exists then.

    What already is in one of the folders is written where it is.
    """
    for folder in model_folders(kind):
        if (folder / f"{name}{suffix}").exists():
            return folder / f"{name}{suffix}"
    first = model_folders(kind)[0]
    first.mkdir(parents=True, exist_ok=True)
    return first / f"{name}{suffix}"


def saved_names(kind: str, pattern: str) -> list[str]:
    """Names of what is saved, in sub-folders, too, as "folder/name": what stands for * in the paths that match."""
    found = [path.relative_to(place) for place in model_folders(kind) for path in place.rglob(pattern)]
    names = {path.as_posix().removesuffix(pattern.rpartition("*")[2]) for path in found}
    return sorted(name for name in names if not name.endswith(".resume"))


def saved_path(kind: str, name: str, suffix: str = "") -> Path:
    """Path of a saved thing; FileError when it is not there, OptionError for a name that would leave its folder."""
    safe = "/".join(safe_name(part, "") for part in name.split("/"))
    for folder in model_folders(kind):
        if (folder / f"{safe}{suffix}").exists():
            return folder / f"{safe}{suffix}"
    raise FileError(f"there is no {kind.removesuffix('s')} called {name!r} in {model_folders(kind)[0]}; make it first")


def weights(*names: str) -> Path:
    """The folder that holds these weight files; WeightsError naming file, folder and install.py when one is missing."""
    folders = [*model_folders("weights"), models_dir()]
    missing = ""
    for folder in folders:
        lacks = [n for n in names if not (folder / n).is_file() or (folder / n).stat().st_size != WEIGHTS[n].size]
        if not lacks:
            return folder
        missing = missing or lacks[0]
    raise WeightsError(
        f"the weight file {missing} is missing in {folders[0]}; run `{sys.executable} {INSTALLER}`, then this graph "
        "again"
    )


def temp_folder() -> Path:
    """For what only lasts until ComfyUI ends."""
    folder = Path(folder_paths.get_temp_directory()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def next_output(prefix: str, size: tuple[int, int] = (0, 0), suffix: str = ".mp4") -> tuple[Path, str]:
    """(path of a new file, its subfolder) below the output folder, numbered as core's save nodes do."""
    found = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory(), *size)
    folder, name, counter, subfolder, _ = found
    return Path(folder) / f"{name}_{counter:05}_{suffix}", subfolder


def view_url(path: Path, subfolder: str) -> str:
    """The address at which the server gives out a file of the output folder; it is saved, not shown, by the browser."""
    server = PromptServer.instance
    address, port = getattr(server, "address", ""), getattr(server, "port", 8188)
    everywhere = not address or not any(character in "123456789abcdef" for character in address)  # 0.0.0.0 or ::
    host = "127.0.0.1" if everywhere else f"[{address}]" if ":" in address else address
    query = urlencode({"filename": path.name, "subfolder": subfolder, "type": "output"})
    return f"{'https' if args.tls_keyfile else 'http'}://{host}:{port}/view?{query}"


def input_videos() -> list[str]:
    """Video files in the input folder and below it, as "folder/name.mp4"."""
    folder = Path(folder_paths.get_input_directory())
    below = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    videos = [path.relative_to(folder).as_posix() for path in below if path.suffix.lower() in VIDEOS]
    return sorted(videos, key=lambda name: ("/" in name, name))


def input_path(file: str) -> Path:
    """Where a chosen or uploaded file of the input folder lies."""
    return Path(folder_paths.get_annotated_filepath(file))


def check_input(file: str) -> None:
    """FileError unless it is a file of ComfyUI's folders."""
    gone = f"there is no file {file} in ComfyUI's input folder; choose or upload one"
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise FileError(gone)
    path = input_path(file)
    if path.is_dir():
        raise FileError(f"{file or 'the input folder'} is a folder; choose or upload a file")
    if not path.is_file():
        raise FileError(gone)


def check_prefix(prefix: str) -> None:
    """OptionError where files of this prefix would lie outside the output folder, or could not be called so."""
    parts = Path(prefix.replace("\\", "/")).parts
    if Path(prefix).is_absolute() or ".." in parts or not prefix.strip():
        raise OptionError(f"filename_prefix {prefix!r} leaves ComfyUI's output folder; choose folder/name, as udh/me")
    if any(len(os.fsencode(part)) > MOST_BYTES for part in parts):
        raise OptionError(f"filename_prefix {prefix!r} is too long for a file; choose a shorter one")


def stamp(path: Path) -> str:
    """Changes when the file does; "missing" where there is none."""
    if not path.exists():
        return "missing"
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"
