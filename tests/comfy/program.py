"""A genuine ComfyUI as a process: started on a free port with a base folder of its own, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import websocket
from needs import unavailable

PACK = Path(__file__).resolve().parents[2]
CURRENT, FLOOR = "0.30.0", "0.16.3"
START_S = 180
FIRST_START = {"Comfy.TutorialCompleted": True}  # else the browser shows the templates at its first start


def python_of(home: Path) -> Path:
    return home / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def home_of(version: str) -> Path:
    """Where a ComfyUI is installed. Where it is not, the test is skipped; on CI it fails."""
    home = PACK / ".comfyui" / version
    if not (home / "installed-pack").is_file():
        command = f"python tests/comfy/install_comfyui.py .comfyui/{version} {version}"
        unavailable(f"ComfyUI {version} is not installed: {command}")
    return home


def make_base(base: Path) -> Path:
    """The folders ComfyUI works in, with the pack linked into custom_nodes."""
    for name in ("custom_nodes", "input", "output", "models", "user", "temp"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / "ultralight-digital-human"
    if not link.is_symlink():
        link.symlink_to(PACK, target_is_directory=True)
    (base / "user" / "default").mkdir(exist_ok=True)
    (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(FIRST_START))
    return base


def arguments(base: Path) -> list[str]:
    database = f"sqlite:///{base / 'user' / 'comfy.db'}"
    return ["--cpu", "--base-directory", str(base), "--database-url", database, "--disable-api-nodes"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Comfy:
    """A running ComfyUI."""

    process: subprocess.Popen
    base: Path
    port: int
    log: Path

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=60) as reply:
            return json.loads(reply.read() or "null")

    def post(self, path: str, value: dict):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                return json.loads(reply.read() or "null")
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def queue(self, prompt: dict, client: str = "") -> str:
        reply = self.post("prompt", {"prompt": prompt, "client_id": client or uuid.uuid4().hex})
        assert "prompt_id" in reply, json.dumps(reply, indent=1)
        return reply["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The entry of the history, once it is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"history/{prompt_id}")
            if history:
                return history[prompt_id]
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} did not end in {seconds} s")

    def run(self, prompt: dict, seconds: float = 300) -> dict:
        """Run to success; the history entry."""
        entry = self.wait(self.queue(prompt), seconds)
        assert entry["status"]["status_str"] == "success", message_of(entry)
        return entry

    def forget_peak(self) -> None:
        """Drop what is cached, and measure the peak of the memory from here on."""
        self.post("free", {"unload_models": True, "free_memory": True})
        time.sleep(2)  # the program's queue looks for the flag once a second
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mb(self) -> float:
        """The most memory the process held (VmHWM), ever or since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(home: Path, base: Path) -> Comfy:
    """Start the ComfyUI installed in `home` and wait until it answers."""
    port, log = free_port(), base / "user" / "log.txt"
    command = [python_of(home), "main.py", "--listen", "127.0.0.1", "--port", str(port), *arguments(make_base(base))]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=home / "ComfyUI", stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    comfy = Comfy(process, base, port, log)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            comfy.get("system_stats")
            return comfy
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    comfy.stop()
    raise TimeoutError(f"ComfyUI did not answer in {START_S} s: {log.read_text()[-3000:]}")


def message_of(entry: dict) -> str:
    """What went wrong, in a history entry."""
    errors = [facts for name, facts in entry["status"]["messages"] if name == "execution_error"]
    return "\n".join(f"{e['exception_message']}\n{''.join(e['traceback'])}" for e in errors)


def cached_of(entry: dict) -> set[str]:
    """Ids of the nodes that were served from the cache."""
    return {
        node for name, facts in entry["status"]["messages"] if name == "execution_cached" for node in facts["nodes"]
    }


class Watcher:
    """What the browser would see: texts on the nodes, number of previews and of progress messages."""

    def __init__(self, comfy: Comfy) -> None:
        self.client = f"watcher-{time.monotonic_ns()}"
        self.texts: list[str] = []
        self.previews, self.progress = 0, 0
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{comfy.port}/ws?clientId={self.client}", timeout=60)
        self.socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        try:
            while True:
                message = self.socket.recv()
                if not message:  # closed
                    return
                if isinstance(message, str):
                    self.progress += "progress" in json.loads(message)["type"]
                elif int.from_bytes(message[:4], "big") == 3:  # text: length of the node's id, id, words
                    length = int.from_bytes(message[4:8], "big")
                    self.texts.append(message[8 + length :].decode())
                else:
                    self.previews += 1
        except (websocket.WebSocketException, OSError):
            return

    def wait_for(self, pattern: str, seconds: float = 120) -> str:
        """The first text that matches."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for text in list(self.texts):
                if re.search(pattern, text):
                    return text
            time.sleep(0.05)
        raise TimeoutError(f"no text like {pattern!r} among {self.texts[-5:]}")

    def close(self) -> None:
        self.socket.close()
        self.thread.join(5)


def cancel(comfy: Comfy, prompt_id: str) -> float:
    """Interrupt as the browser's button does; seconds until the history says so."""
    begun = time.monotonic()
    comfy.post("interrupt", {})
    entry = comfy.wait(prompt_id, 60)
    took = time.monotonic() - begun
    assert [name for name, _ in entry["status"]["messages"]][-1] == "execution_interrupted", message_of(entry)
    return took
