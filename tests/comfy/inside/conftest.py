"""ComfyUI in this very process: its folders, its executor, an unstarted server whose messages are kept.

Run by ComfyUI's own Python (see test_inside): UDH_COMFYUI names the folder of its main.py, UDH_BASE its base folder.
"""

# ruff: noqa: I001
from __future__ import annotations

import asyncio
import copy
import logging
import os
import sys
import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

HOME, BASE = Path(os.environ["UDH_COMFYUI"]), Path(os.environ["UDH_BASE"])
PACK = BASE / "custom_nodes" / "ultralight-digital-human"
sys.path[:0] = [str(HOME), str(Path(__file__).resolve().parents[1])]
sys.argv = ["main.py", *os.environ["UDH_ARGUMENTS"].split("\n")]

# In the order of ComfyUI's own main.py: there are two packages called `utils`, and the first import decides.
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import folder_paths  # noqa: E402
import utils.extra_config  # noqa: E402, F401
from comfy_execution.progress import get_progress_state  # noqa: E402
from comfy_execution.utils import get_executing_context  # noqa: E402
import comfy.utils  # noqa: E402
import execution  # noqa: E402
import server  # noqa: E402
import nodes  # noqa: E402
from protocol import BinaryEventTypes  # noqa: E402


@dataclass
class Sent:
    """What the server would have sent."""

    event: object
    data: object
    client: str | None = None

    @property
    def text(self) -> tuple[str, str]:
        """(node id, words) of a text for a node; ("", "") of anything else."""
        if self.event != BinaryEventTypes.TEXT:
            return "", ""
        length = int.from_bytes(self.data[:4], "big")
        return self.data[4 : 4 + length].decode(), self.data[4 + length :].decode()


@dataclass
class Result:
    """The end of one prompt."""

    status: str
    error: str
    ui: dict
    cached: set[str]
    kind: str = ""  # of the error


@dataclass
class Host:
    """ComfyUI's executor."""

    loop: asyncio.AbstractEventLoop
    server: server.PromptServer
    executor: execution.PromptExecutor
    loaded: bool
    complaints: list[str]  # warnings while the pack was loaded
    sent: list[Sent] = field(default_factory=list)

    def run(self, prompt: dict, **extra) -> Result:
        """Validate and execute a prompt as the server's queue does, which reads each anew: ComfyUI writes into it.

        extra: what else the browser sends along.
        """
        return self.loop.run_until_complete(self._run(copy.deepcopy(prompt), extra))

    def texts(self, node_id: str = "") -> list[str]:
        """What was written onto a node, or onto any, since `sent` was cleared."""
        return [sent.text[1] for sent in self.sent if sent.text[0] and node_id in ("", sent.text[0])]

    async def _run(self, prompt: dict, extra: dict) -> Result:
        name = uuid.uuid4().hex
        prompt = self.server.trigger_on_prompt({"prompt": prompt, "client_id": "test"})["prompt"]
        valid = await execution.validate_prompt(name, prompt, None)
        if not valid[0]:
            return Result("invalid", str(valid[1:]), {}, set())
        await self.executor.execute_async(prompt, name, {"client_id": "test", **extra}, valid[2])
        messages = dict(self.executor.status_messages)
        error = messages.get("execution_error", {})
        status = "error" if error else "interrupted" if "execution_interrupted" in messages else "success"
        ui = getattr(self.executor, "history_result", {}).get("outputs", {}) if status == "success" else {}
        cached = set(messages["execution_cached"]["nodes"])
        return Result(status, error.get("exception_message", ""), ui, cached, error.get("exception_type", ""))

    def module(self, name: str) -> ModuleType:
        """A module of the pack's nodes, as ComfyUI loaded it."""
        package = nodes.NODE_CLASS_MAPPINGS["UDH_MuxVideo"].__module__.rpartition(".")[0]
        return sys.modules[f"{package}.{name}"]

    def core(self, name: str) -> ModuleType:
        """A module of udh_core, as the nodes see it."""
        package = nodes.NODE_CLASS_MAPPINGS["UDH_MuxVideo"].__module__.rpartition(".nodes.")[0]
        return sys.modules[f"{package}.udh_core.{name}"]


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="session")
def host() -> Host:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    running = server.PromptServer(loop)
    loop.run_until_complete(nodes.init_builtin_extra_nodes())
    listener = _Listener()
    logging.getLogger().addHandler(listener)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = loop.run_until_complete(nodes.load_custom_node(str(PACK)))
    logging.getLogger().removeHandler(listener)
    own = [str(w.message) for w in caught if str(PACK.resolve()) in str(Path(w.filename).resolve())]
    sizes = {"ram": 0.0, "ram_inactive": 0.0, "lru": 0}
    executor = execution.PromptExecutor(running, cache_type=execution.CacheType.CLASSIC, cache_args=sizes)
    made = Host(loop, running, executor, loaded, listener.lines + own)
    running.send_sync = lambda event, data, sid=None: made.sent.append(Sent(event, data, sid))
    running.sockets_metadata["test"] = {"feature_flags": {"supports_preview_metadata": True}}
    comfy.utils.set_progress_bar_global_hook(_progress)
    Path(folder_paths.get_temp_directory()).mkdir(parents=True, exist_ok=True)
    return made


def _progress(value, total, preview, prompt_id=None, node_id=None) -> None:
    """What main.py's own hook does with the progress of a node."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    context = get_executing_context()
    get_progress_state().update_progress(node_id or context.node_id, value, total, preview)
