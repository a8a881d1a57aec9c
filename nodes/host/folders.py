"""ComfyUI's folders: where avatars, checkpoints and weight files lie, and what new files are called."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import folder_paths

from ...udh_core.errors import FileError, OptionError, WeightsError
from ...udh_core.weights.registry import WEIGHTS, models_dir

FOLDER = "udh"  # under models/ and output/
INSTALLER = Path(__file__).absolute().parents[2] / "install.py"
LPIPS = "lpips_alex.safetensors"
SPEECH = "silero_vad.safetensors"
FACE = ("face_detection_short_range.tflite", "face_landmark.tflite")
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
    if re.search(r'[/\\:*?"<>|\x00-\x1f]', name) or name.startswith(".") or name.endswith(".") or len(name) > 100:
        raise OptionError(f"{name!r} cannot be a name: use up to 100 letters, digits, spaces, - and _, no path")
    if name.split(".")[0].lower().strip() in _RESERVED:
        raise OptionError(f"{name!r} cannot be a name: Windows keeps it for itself; choose another")
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
    """Names of what is saved: files or folders that match `pattern`, a path below the kind's folder."""
    found = {path.relative_to(folder).parts[0] for folder in model_folders(kind) for path in folder.glob(pattern)}
    return sorted(name.removesuffix(".safetensors") for name in found if not name.endswith(".resume.safetensors"))


def saved_path(kind: str, name: str, suffix: str = "") -> Path:
    """Path of a saved thing; FileError when it is not there."""
    safe = safe_name(name, "")
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
        f"the weight file {missing} is missing in {folders[0]}: run `{sys.executable} {INSTALLER}`, then run the "
        f"graph again"
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


def input_videos() -> list[str]:
    """Video files in the input folder."""
    folder = Path(folder_paths.get_input_directory())
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(names, ["video"]))


def input_path(file: str) -> Path:
    """A chosen or uploaded file of the input folder."""
    return Path(folder_paths.get_annotated_filepath(file))


def stamp(path: Path) -> str:
    """Changes when the file does; "missing" where there is none."""
    if not path.exists():
        return "missing"
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"
