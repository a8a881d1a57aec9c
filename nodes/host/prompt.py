"""The graph that is being run: which outputs of a node are linked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from comfy.cli_args import args
from server import PromptServer


def is_linked(prompt: Mapping[str, Any] | None, node_id: str | None, output: int) -> bool:
    """Whether any node of the prompt takes this output of the node."""
    wanted = [str(node_id), output]
    nodes = (prompt or {}).values()
    return any(value == wanted for node in nodes for value in node.get("inputs", {}).values())


def running_prompt(node_id: str | None) -> Mapping[str, Any]:
    """The prompt being run that has this node; {} where there is no queue.

    ComfyUI does not tell `fingerprint_inputs` which outputs are linked; that decides whether a cached result will do.
    """
    server = getattr(PromptServer, "instance", None)
    queue = getattr(server, "prompt_queue", None)
    running = queue.get_current_queue_volatile()[0] if queue is not None else []
    for item in running:
        if isinstance(item[2], Mapping) and str(node_id) in item[2]:
            return item[2]
    return {}


def saved_metadata(prompt: Mapping[str, Any] | None, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """What core's save nodes write into a video, so that it can be dropped onto the canvas: workflow and prompt.

    Nothing where ComfyUI was started with --disable-metadata.
    """
    if args.disable_metadata:
        return {}
    values = {**(extra or {}), **({"prompt": prompt} if prompt else {})}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
