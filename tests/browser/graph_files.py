"""The workflow files of the pack, and what a UI-format graph says in API terms."""

from __future__ import annotations

import json
from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = ("Quick start", "Train a person", "Speak with a trained person", "Restore the mouth")
NAMES += ("TTS - lips - upscale - save", "Two people talk")
NOTES = {"Note", "MarkdownNote"}
BYPASSED, MUTED = 4, 2
TITLE = 30  # px that a node's title bar stands above its position


def ui_of(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def api_of(name: str) -> dict:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text(encoding="utf-8"))


def as_api(graph: dict) -> dict:
    """Node id → (type, values of its inputs) of a UI-format graph: widgets by name, links as [node, output]."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: (link[1], link[2]) for link in graph["links"]}
    return {
        str(node["id"]): (node["type"], widgets_of(node) | sources_of(node, nodes, links))
        for node in graph["nodes"]
        if node["type"] not in NOTES and node["mode"] not in (BYPASSED, MUTED)
    }


def widgets_of(node: dict) -> dict:
    """Widget name → value; buttons and players have a value too, which a prompt does not take."""
    names = [socket["name"] for socket in node["inputs"] if "widget" in socket]
    values = dict(zip(names, node.get("widgets_values", []), strict=False))
    return {name: value for name, value in values.items() if name not in ("upload", "audioUI", "preview_mode")}


def sources_of(node: dict, nodes: dict, links: dict) -> dict:
    """Input name → [node id, output] of what is linked, through bypassed nodes to the first that runs."""
    linked = {socket["name"]: links[socket["link"]] for socket in node["inputs"] if socket.get("link") is not None}
    return {name: list(through_codec(source, nodes, links)) for name, source in linked.items()}


def through_codec(source: tuple[int, int], nodes: dict, links: dict) -> tuple[str, int]:
    """The output behind a bypassed node's: that of its input of the same type."""
    node, output = nodes[source[0]], source[1]
    if node["mode"] != BYPASSED:
        return str(source[0]), output
    kind = node["outputs"][output]["type"]
    passed = next(s["link"] for s in node["inputs"] if s["type"] == kind and s.get("link") is not None)
    return through_codec(links[passed], nodes, links)


def apart(one: tuple, other: tuple) -> bool:
    """Whether two boxes (x, y, width, height) do not overlap."""
    (x, y, width, height), (u, v, across, down) = one, other
    return x + width <= u or u + across <= x or y + height <= v or v + down <= y
