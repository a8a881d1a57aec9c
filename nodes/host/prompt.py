"""The graph that is being run, with what nodes have expanded into: which outputs of a node are linked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from comfy.cli_args import args
from comfy_execution.graph import DynamicPrompt, TopologicalSort
from comfy_execution.graph_utils import is_link
from comfy_execution.progress import get_progress_state

Linked = Literal["yes", "no", "perhaps"]
MAY_BE_IMAGES = ("IMAGE", "MASK", "*")


def linked(node_id: str | None, output: int) -> Linked:
    """Whether any node takes this output of the node; "perhaps" where the node is part of another one's expansion,
    which may hand it on as an output of its own.
    """
    graph = get_progress_state().dynprompt
    if node_id is None or not graph.has_node(node_id):
        return "no"
    if _is_taken(graph, node_id, output):
        return "yes"
    parent = graph.get_parent_node_id(node_id)
    return "perhaps" if parent is not None and _may_hand_on(graph, parent) else "no"


def class_of(node_id: str) -> str:
    """The class of a node of the graph that is run; "" of any other."""
    graph = get_progress_state().dynprompt
    return graph.get_node(node_id)["class_type"] if graph is not None and graph.has_node(node_id) else ""


def _is_taken(graph: DynamicPrompt, node_id: str, output: int) -> bool:
    return any(link == [node_id, output] for _, _, link in _links(graph))


def _may_hand_on(graph: DynamicPrompt, parent: str) -> bool:
    """Whether what a node that expanded hands out is taken as images, or handed on in its turn."""
    inputs = TopologicalSort(graph)
    takers = [(taker, name) for taker, name, link in _links(graph) if link[0] == parent]
    if any(inputs.get_input_info(taker, name)[0] in MAY_BE_IMAGES for taker, name in takers):
        return True
    above = graph.get_parent_node_id(parent)
    return above is not None and _may_hand_on(graph, above)


def _links(graph: DynamicPrompt) -> Iterator[tuple[str, str, list]]:
    """(node that takes, its input, [node that gives, output]) of every link."""
    for taker in graph.all_node_ids():
        for name, value in graph.get_node(taker).get("inputs", {}).items():
            if is_link(value):
                yield taker, name, value


def saved_metadata(prompt: Mapping[str, Any] | None, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """What core's save nodes write into a video, so that it can be dropped onto the canvas: workflow and prompt.

    Nothing where ComfyUI was started with --disable-metadata.
    """
    if args.disable_metadata:
        return {}
    values = {**(extra or {}), **({"prompt": prompt} if prompt else {})}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
