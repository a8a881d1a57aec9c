"""Installed packages against the ranges that are required, by their metadata: none is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .check import Check, Level

DISTRIBUTION = "ultralight-digital-human"
PYTHON = (3, 10)
TORCH = "torch>=2.4"
OPENCV = ("opencv-python-headless>=4.10", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
OPTIONAL = {  # what needs it
    "hibari-tts": "text-to-speech (udh render with a text)",
    "onnxruntime": "wenet features and the ONNX export",
    "kaldi-native-fbank": "wenet features",
    "onnx": "the ONNX export",
    "onnxscript": "the ONNX export",
    "ray": "udh batch on a cluster",
    "fsspec": "udh batch with files at addresses (s3://…)",
    "aiohttp": "udh serve, the live page",
}


def program() -> Check:
    """This program itself."""
    from .. import __version__

    return Check("ok", DISTRIBUTION, f"{__version__}, {Path(__file__).resolve().parents[2]}")


def python() -> Check:
    """The interpreter."""
    found = sys.version.split()[0]
    if sys.version_info[:2] >= PYTHON:
        return Check("ok", "Python", f"{found}, {sys.executable}")
    return Check("lacks", "Python", found, "install Python 3.10 or newer")


def packages() -> Iterator[Check]:
    """Those that are needed."""
    for text in (*_required(), TORCH):
        yield of_requirement(text)
    yield _opencv()


def optional_packages() -> Iterator[Check]:
    """Those that one feature needs."""
    for name, use in OPTIONAL.items():
        found = _version(name)
        if found:
            yield Check("ok", name, found)
        else:
            yield Check("note", name, f"not installed; {use} needs it", f"pip install {name}")


def of_requirement(text: str, missing: Level = "lacks") -> Check:
    """Of a requirement such as "numpy>=1.26"."""
    wanted = Requirement(text)
    found = _version(wanted.name)
    if not found:
        return Check(missing, wanted.name, "not installed", f'pip install "{text}"')
    if wanted.specifier.contains(found, prereleases=True):
        return Check("ok", wanted.name, found)
    return Check(missing, wanted.name, f"{found}, where {wanted.specifier} is needed", f'pip install "{text}"')


def _opencv() -> Check:
    """Whichever build is there."""
    first = Requirement(OPENCV[0])
    for name in (first.name, *OPENCV[1:]):
        if _version(name):
            return of_requirement(f"{name}{first.specifier}")
    return of_requirement(OPENCV[0])


def _required() -> list[str]:
    """From requirements.txt of the folder this was cloned into, else from the metadata of the installed package."""
    listed = Path(__file__).resolve().parents[2] / "requirements.txt"
    if listed.is_file():
        lines = listed.read_text(encoding="utf-8").splitlines()
    else:
        lines = metadata.requires(DISTRIBUTION) or []
    return [line for line in lines if line.strip() and not line.startswith("#") and "extra ==" not in line]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
