"""What nodes have made on disk while ComfyUI runs. It serves their outputs from its cache for as long as that is there.

ComfyUI caches handles, paths and videos that point at files; a file that was deleted, or taken over by another graph,
is no reason for it to run the node again. So a node says what it made (`note`), and asks here in `fingerprint_inputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from comfy_execution.utils import get_executing_context

from .folders import stamp

_made: dict[str, dict[Path, Callable[[], bool]]] = {}  # by node: how to see that a thing is still what it made
_losses: dict[str, int] = {}  # by node: how often something was gone


def note(path: Path, is_current: Callable[[], bool] | None = None) -> None:
    """The node that is running has made this file or folder; `is_current` says whether it still is what was made.

    Without it anything that is there will do.
    """
    _made.setdefault(_node(), {})[path] = is_current or path.exists


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
    if not all(is_current() for is_current in _made.get(node, {}).values()):
        del _made[node]
        _losses[node] = _losses.get(node, 0) + 1
    return f"{node} {_losses.get(node, 0)}"


def _node() -> str:
    """The node that is running, or is asked whether it has to."""
    context = get_executing_context()
    return context.node_id if context is not None else ""
