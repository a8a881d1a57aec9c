"""What nodes have made on disk while ComfyUI runs. It serves their outputs from its cache for as long as that is there.

ComfyUI caches handles, paths and videos that point at files; a file that was deleted, or taken over by another graph,
is no reason for it to run the node again. So a node says what it made (`note`), and asks here in `fingerprint_inputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from comfy_execution.utils import get_executing_context

from . import prompt
from .folders import stamp


class _Made(NamedTuple):
    """Something that a node made."""

    is_current: Callable[[], bool]  # whether it is still what was made
    item: int | None  # of the list that the node was given, where it was given one


_made: dict[str, dict[Path, _Made]] = {}  # by node
_losses: dict[str, int] = {}  # by node: how often something was gone


def note(path: Path, is_current: Callable[[], bool] | None = None) -> None:
    """The node that is running has made this file or folder; `is_current` says whether it still is what was made.

    Without it anything that is there will do.
    """
    _made.setdefault(_node(), {})[path] = _Made(is_current or path.exists, _item())


def note_state(path: Path) -> None:
    """The node that is running has made this file, and another one may put its own in its place."""
    now = stamp(path)
    note(path, lambda: stamp(path) == now)


def state() -> str:
    """For `fingerprint_inputs` of such a node: changes when something it has made is gone or taken over.

    "" where no graph is run. Two nodes never have the same, because each knows what it made itself.
    """
    node = _node()
    if not node:
        return ""
    if not all(one.is_current() for one in _made.get(node, {}).values()):
        del _made[node]
        _losses[node] = _losses.get(node, 0) + 1
    return f"{node} {_losses.get(node, 0)}"


def is_held(path: Path) -> bool:
    """Whether another node of the same class in the running graph, or this one for another item of a list, has made
    this, and it is still what that made: its outputs would be taken from it.
    """
    node, item = _node(), _item()
    if not node:
        return False
    return any(
        path in things and (name, things[path].item) != (node, item) and things[path].is_current()
        for name, things in _made.items()
        if prompt.class_of(name) == prompt.class_of(node)
    )


def _node() -> str:
    """The node that is running, or is asked whether it has to."""
    context = get_executing_context()
    return context.node_id if context is not None else ""


def _item() -> int | None:
    """The place, in the list that the running node is given, of what it works on now."""
    context = get_executing_context()
    return context.list_index if context is not None else None
