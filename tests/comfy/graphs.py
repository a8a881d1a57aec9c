"""Graphs in ComfyUI's API format, with settings small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

TWINS = Path(__file__).resolve().parents[2] / "workflows" / "api"
TINY = {
    "UDH_LoadAvatarVideo": {"file": "clip.mp4", "name": "twin", "crop_px": 96},
    "UDH_TrainGenerator": {"model_size": "small", "minutes": 0.0, "steps": 4, "motion_steps": 1, "batch": 4},
}


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def clip(file: str, name: str = "tester", **more) -> dict:
    """1: the clip, 2: its face, 3: its sound."""
    settings = {"name": name, "crop_px": 96, "start_s": 0.0, "duration_s": 0.0, **more}
    return {
        "1": node("UDH_LoadAvatarVideo", file=file, **settings),
        "2": node("UDH_DetectLandmarks", avatar=["1", 0], face_index=0, max_gap_s=1.0, skip_lost=False),
        "3": node("UDH_ExtractAudioFeatures", audio=["1", 1], encoder="mel80", model=""),
    }


def generator(steps: int = 4, **more) -> dict:
    """5: its generator."""
    settings = {
        "name": "",
        "minutes": 0.0,
        "model_size": "small",
        "batch": 4,
        "motion_steps": 1,
        "seed": 0,
        "resume": True,
    }
    return {
        "5": node("UDH_TrainGenerator", avatar=["2", 0], features=["3", 0], **{**settings, "steps": steps, **more}),
    }


def render(audio=("1", 1), **more) -> dict:
    """6: the render."""
    settings = {"when_audio_longer": "bounce", "when_audio_shorter": "cut", "feather": 0.1, "crf": 20}
    settings |= {"amplitude": 1.0, "rest": True}
    sound = {} if audio is None else {"audio": list(audio)}
    return {"6": node("UDH_LipSyncRender", avatar=["2", 0], generator=["5", 0], **sound, **{**settings, **more})}


def mux(prefix: str = "udh/test") -> dict:
    """7: the saved mp4."""
    return {"7": node("UDH_MuxVideo", video=["6", 0], audio=["1", 1], filename_prefix=prefix)}


def report(**more) -> dict:
    """8: the report; 81 and 82 show its texts."""
    inputs = {"avatar": ["2", 0], "generator": ["5", 0], "filename_prefix": "udh/report", **more}
    shown = {str(80 + k): node("PreviewAny", source=["8", k]) for k in (1, 2)}
    return {"8": node("UDH_SyncReport", **inputs), **shown, "80": node("PreviewImage", images=["8", 0])}


def speak(file: str, **more) -> dict:
    """From the clip to the saved mp4: the quick start."""
    return clip(file, **more) | generator() | render() | mux()


def quick_start() -> dict:
    """The shipped workflow of that name, on the test's clip and with tiny settings. Node 8 saves the mp4."""
    graph = json.loads((TWINS / "Quick start.json").read_text(encoding="utf-8"))
    for one in graph.values():
        one["inputs"] |= TINY.get(one["class_type"], {})
    return graph
