"""What happens when a prompt is queued: texts of an earlier run go, an empty Load Audio is called by its name, and
graphs saved by earlier versions are read rightly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from comfy_execution.utils import get_executing_context
from server import PromptServer

from . import display

NO_SOUND = "(no sound file chosen)"
NOTHING = " "  # the browser takes no empty text
TRACKS = ("audio_track", "video_track")  # of Load Avatar Video, its last widgets before the upload button
MOST_NODES = 10_000  # remembered of all prompts together
_queued: dict[tuple[str, str], str] = {}  # (client, node) → what it was queued with
_ended: dict[tuple[str, str], str] = {}  # the same of those that ended well


def register() -> None:
    """Have ComfyUI's server hand every request through `queued`, before it looks at it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.add_on_prompt_handler(queued)


def queued(request: dict[str, Any]) -> dict[str, Any]:
    """The request, where it concerns nodes of this pack: their old texts are gone, and no sound is called so."""
    prompt, client = request.get("prompt"), request.get("client_id")
    if not isinstance(prompt, Mapping):
        return request
    ours = [str(name) for name, node in prompt.items() if _kind(node).startswith("UDH_")]
    if ours:
        _name_missing_sound(prompt)
        _choose_the_track(prompt)
    if isinstance(client, str):
        _take_texts_away(prompt, ours, client)
    return request


def _name_missing_sound(prompt: Mapping[str, Any]) -> None:
    """Core's Load Audio takes an empty name for a file and fails in the midst of the run, "Is a directory"."""
    for node in prompt.values():
        if _kind(node) == "LoadAudio" and isinstance(node.get("inputs"), dict) and node["inputs"].get("audio") == "":
            node["inputs"]["audio"] = NO_SOUND


def _choose_the_track(prompt: Mapping[str, Any]) -> None:
    """A graph saved before Load Avatar Video had a choice of tracks has the upload button's value in its place."""
    for node in prompt.values():
        inputs = node.get("inputs") if _kind(node) == "UDH_LoadAvatarVideo" else None
        if isinstance(inputs, dict):
            inputs |= {name: 0 for name in TRACKS if inputs.get(name) == "image"}


def _take_texts_away(prompt: Mapping[str, Any], ours: list[str], client: str) -> None:
    """Of the nodes that will run. Where nothing changed since one ended well, ComfyUI's cache has its result."""
    if len(_queued) > MOST_NODES:
        _queued.clear()
        _ended.clear()
    for name in ours:
        key = (client, name)
        _queued[key] = _content(prompt, name)
        if _ended.get(key) != _queued[key]:
            display.send_text(NOTHING, name, client)


def _kind(node: object) -> str:
    return str(node.get("class_type")) if isinstance(node, Mapping) else ""


def end() -> None:
    """The node that is running has ended well, with what it was queued with."""
    key = _running()
    if key in _queued:
        _ended[key] = _queued[key]


def begin() -> None:
    """The node that is running has not ended well yet."""
    _ended.pop(_running(), None)


def _running() -> tuple[str, str]:
    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    return str(getattr(server, "client_id", None)), context.node_id if context else ""


def _content(prompt: Mapping[str, Any], node_id: str) -> str:
    """A hash of a node's inputs and of all that lead to it."""
    found, ahead = {}, [node_id]
    while ahead:
        name = ahead.pop()
        node = prompt.get(name)
        if name in found or not isinstance(node, Mapping):
            continue
        found[name] = [node.get("class_type"), node.get("inputs")]
        inputs = node.get("inputs")
        values = inputs.values() if isinstance(inputs, Mapping) else ()
        ahead += [str(value[0]) for value in values if isinstance(value, list) and len(value) == 2]
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()
