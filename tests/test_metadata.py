"""What pyproject.toml says of the project: complete for the ComfyUI registry, and the same as elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).resolve().parents[1]
RAW = "https://raw.githubusercontent.com/ultralight-digital-human/ultralight-digital-human/main/"
ACCELERATORS = {  # that the registry knows; another classifier of "Environment ::" hides all of them
    f"Environment :: {name}"
    for name in ("GPU :: NVIDIA CUDA", "GPU :: AMD ROCm", "GPU :: Intel Arc", "NPU :: Huawei Ascend")
}
ICON_PX = 400
INSECURE = ("S102", "S307", "E702")  # exec, eval, two statements in a line: what the registry's check looks for


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_registry_takes_the_project(said: dict[str, Any]) -> None:
    project, comfy = said["project"], said["tool"]["comfy"]
    assert re.fullmatch(r"[a-z](?:[-_.]?[a-z0-9])*", project["name"]) and len(project["name"]) < 100
    assert "comfyui" not in project["name"] and comfy["PublisherId"] and comfy["DisplayName"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert set(project["license"]) <= {"file", "text"}
    assert {"Homepage", "Documentation", "Repository", "Issues"} <= set(project["urls"])
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert {one for one in project["classifiers"] if one.startswith("Environment ::")} <= ACCELERATORS
    assert "Operating System :: OS Independent" in project["classifiers"]


def test_the_icon_is_in_the_pack_and_small_enough(said: dict[str, Any]) -> None:
    import cv2

    address = said["tool"]["comfy"]["Icon"]
    assert address.startswith(RAW) and address.endswith(".png")
    icon = cv2.imread(str(ROOT / address.removeprefix(RAW)))
    assert icon is not None and max(icon.shape[:2]) <= ICON_PX


def test_what_the_registry_calls_insecure_is_an_error_here(said: dict[str, Any]) -> None:
    rules = said["tool"]["ruff"]["lint"]
    assert all(rule.startswith(tuple(rules["select"])) for rule in INSECURE)
    ignored = {*rules["ignore"], *(one for ignored in rules["per-file-ignores"].values() for one in ignored)}
    assert not any(rule.startswith(one) for rule in INSECURE for one in ignored)


def test_requirements_are_the_same_for_pip_and_for_comfyui(said: dict[str, Any]) -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert said["project"]["dependencies"] == [line for line in lines if not line.startswith("#")]


def test_requirements_have_a_lowest_version_and_no_newest(said: dict[str, Any]) -> None:
    """A newer version is what a fresh installation has; ruff and pyright alone are held back, or CI would change."""
    extras = said["project"]["optional-dependencies"]
    listed = [*said["project"]["dependencies"], *(one for extra in extras.values() for one in extra)]
    held = {re.split(r"[\[=]", one)[0] for one in listed if not re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+", one)}
    assert held == {"ruff", "pyright"}
