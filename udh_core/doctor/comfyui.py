"""ComfyUI, if this lies in one or the user works in one."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.version import Version

from .check import Check

OLDEST = "0.16.3"
PACK = Path(__file__).resolve().parents[2]


def comfyui(folder: Path, pack: Path = PACK) -> Check:
    """Found from the folder this pack lies in, or from the user's; the command line works without."""
    home = _home((pack, folder))
    if home is None:
        return Check("note", "ComfyUI", "not found from here (the command line needs none)")
    version = _version(home)
    if version and Version(version) < Version(OLDEST):
        return Check("lacks", "ComfyUI", f"{version} in {home}, where {OLDEST} is needed", "update ComfyUI")
    if not pack.is_relative_to(home / "custom_nodes") and not _is_linked(home, pack):
        remedy = f"install this pack with ComfyUI-Manager, or clone it into {home / 'custom_nodes'}"
        return Check("note", "ComfyUI", f"{version or 'unknown version'} in {home}, without this pack", remedy)
    return Check("ok", "ComfyUI", f"{version or 'unknown version'} in {home}")


def _home(starts: tuple[Path, ...]) -> Path | None:
    for start in starts:
        for place in (start.absolute() / "ComfyUI", start.absolute(), *start.absolute().parents):
            if (place / "custom_nodes").is_dir() and (place / "comfyui_version.py").is_file():
                return place
    return None


def _is_linked(home: Path, pack: Path) -> bool:
    return any(entry.resolve() == pack for entry in (home / "custom_nodes").iterdir())


def _version(home: Path) -> str:
    text = (home / "comfyui_version.py").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"__version__ = \"([\d.]+)\"", text)
    return found[1] if found else ""
