"""Ultralight Digital Human: learn a person's mouth from a short video, then make the person say any audio.

The public names below are imported when they are first used, so that `import udh_core` costs nothing:

    import udh_core

    avatar = udh_core.prepare("me.mp4", "me").run()
    udh_core.train_generator(avatar, "me.safetensors", udh_core.GeneratorOptions(minutes=15)).run()
    udh_core.render(avatar, "me.safetensors", "speech.wav", "talking.mp4").run()

Everything that takes long is a `Job`: iterate over it for progress, or `run()` it for the result.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from .avatar.folder import Avatar, open_avatar
    from .avatar.options import PrepareOptions
    from .avatar.prepare import prepare
    from .errors import UdhError
    from .evaluation.evaluate import evaluate
    from .evaluation.html import write_html
    from .evaluation.result import Evaluation
    from .export.bundle import export_bundle, open_bundle
    from .export.onnx import export_onnx
    from .inference.sync_scorer import SyncScorer, open_syncnet
    from .progress import Job, Progress
    from .rendering.live_person import LivePerson
    from .rendering.options import RenderOptions
    from .rendering.render import render
    from .rendering.speakers import Speaker
    from .rendering.stream import SpeechStream
    from .training.generator import train_generator
    from .training.options import GeneratorOptions, SyncNetOptions
    from .training.syncnet import train_syncnet
    from .weights.registry import fetch_weights

_PLACES = {
    "avatar.folder": ("Avatar", "open_avatar"),
    "avatar.options": ("PrepareOptions",),
    "avatar.prepare": ("prepare",),
    "errors": ("UdhError",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.html": ("write_html",),
    "evaluation.result": ("Evaluation",),
    "export.bundle": ("export_bundle", "open_bundle"),
    "export.onnx": ("export_onnx",),
    "inference.sync_scorer": ("SyncScorer", "open_syncnet"),
    "progress": ("Job", "Progress"),
    "rendering.live_person": ("LivePerson",),
    "rendering.options": ("RenderOptions",),
    "rendering.render": ("render",),
    "rendering.speakers": ("Speaker",),
    "rendering.stream": ("SpeechStream",),
    "training.generator": ("train_generator",),
    "training.options": ("GeneratorOptions", "SyncNetOptions"),
    "training.syncnet": ("train_syncnet",),
    "weights.registry": ("fetch_weights",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Avatar",
    "Evaluation",
    "GeneratorOptions",
    "Job",
    "LivePerson",
    "PrepareOptions",
    "Progress",
    "RenderOptions",
    "Speaker",
    "SpeechStream",
    "SyncNetOptions",
    "SyncScorer",
    "UdhError",
    "__version__",
    "evaluate",
    "export_bundle",
    "export_onnx",
    "fetch_weights",
    "open_avatar",
    "open_bundle",
    "open_syncnet",
    "prepare",
    "render",
    "train_generator",
    "train_syncnet",
    "write_html",
]


def __getattr__(name: str) -> object:
    """A public name, from where it is defined."""
    if name == "__version__":
        return _version()
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f".{_PLACE_OF[name]}", __name__), name)


def _version() -> str:
    """As pyproject.toml has it where it lies beside the package, in a clone or a ComfyUI pack; else as pip knows it."""
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    found = re.search(r'^name = "ultralight-digital-human"\nversion = "(.+)"', text, re.MULTILINE)
    return found[1] if found else import_module("importlib.metadata").version("ultralight-digital-human")


def __dir__() -> list[str]:
    return sorted(__all__)
