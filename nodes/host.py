"""ComfyUI as the nodes see it: progress and Cancel, folders and names, device and memory."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ..udh_core.errors import FileError, MediaError, OptionError, WeightsError
from ..udh_core.weights.registry import WEIGHTS, models_dir

T = TypeVar("T")
R = TypeVar("R")
FOLDER = "udh"  # under models/ and output/
PREVIEW_EVERY_S = 0.5
TEXT_EVERY_S = 0.5
BAR_EVERY_S = 0.1
POLL_S = 0.1  # how soon Cancel is noticed
CLOSE_S = 1.5  # how long Cancel waits for the state to be saved; then it goes on in the background
PREVIEW_PX = 768
BAR = 1000  # the progress bar's own units
INSTALLER = Path(__file__).absolute().parent.parent / "install.py"
_END: Any = object()
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}


class Shown(NamedTuple):
    """What a node shows of one item of its work."""

    text: str
    done: float  # 0..1
    preview: np.ndarray | None = None  # (H, W, 3) uint8


# Progress and Cancel

# One thread does the work of all nodes, so that Cancel need not wait for a long step, and so that what the last run
# still has to save is saved before the next one begins. It is never in inference mode, as the graph's own thread is.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="udh")


def pull(items: Iterator[T], describe: Callable[[T], Shown]) -> T | None:
    """Do the work of an iterator: bar, text and preview on the node; Cancel at any moment. Returns the last item.

    However it ends, the iterator is closed between two items, so that it saves what can be resumed.
    """
    context = get_executing_context()
    display = _Display(context.node_id if context else None)
    last: T | None = None
    try:
        while (item := _wait(_WORKER.submit(next, items, _END))) is not _END:
            last = cast(T, item)
            display.show(describe(last))
    finally:
        _close(items)
    display.finish()
    return last


def settle() -> None:
    """Wait until what was cancelled has saved its state; a step may take a while to end."""
    _wait(_WORKER.submit(lambda: None))


def _wait(future: Future[R]) -> R:
    try:
        while True:
            comfy.model_management.throw_exception_if_processing_interrupted()
            done, _ = wait([future], POLL_S)
            if done:
                return future.result()
    finally:
        future.cancel()  # where it has not begun yet


def _close(items: Iterator) -> None:
    """Close in the worker, behind the step that may still run there."""
    close = getattr(items, "close", None)
    if close is None:
        return
    closing = _WORKER.submit(close)
    try:
        closing.result(CLOSE_S)
    except FutureTimeout:
        logging.getLogger(__name__).info("cancelled; the step that was begun will be finished and saved")


class _Display:
    """The node's bar, text and picture, not updated more often than a browser can use."""

    def __init__(self, node_id: str | None) -> None:
        self.node_id = node_id
        self.bar = comfy.utils.ProgressBar(BAR, node_id=node_id)
        self.text_s = self.preview_s = self.bar_s = -1e9
        self.last: Shown | None = None
        self.picture: np.ndarray | None = None

    def show(self, shown: Shown) -> None:
        now = time.monotonic()
        self.last = shown
        self.picture = shown.preview if shown.preview is not None else self.picture
        if now - self.text_s >= TEXT_EVERY_S:
            self.text_s = now
            self._send_text(shown.text)
        if self.picture is not None and now - self.preview_s >= PREVIEW_EVERY_S:
            self.preview_s = now
            self._send_bar(shown.done)
        elif self.picture is None and now - self.bar_s >= BAR_EVERY_S:
            self.bar_s = now
            self._send_bar(shown.done)

    def finish(self) -> None:
        if self.last is not None:
            self._send_text(self.last.text)
            self._send_bar(1.0)

    def _send_bar(self, done: float) -> None:
        preview = None
        if self.picture is not None:
            preview = ("JPEG", Image.fromarray(self.picture), PREVIEW_PX)
        self.bar.update_absolute(round(done * BAR), BAR, preview)

    def _send_text(self, text: str) -> None:
        server = getattr(PromptServer, "instance", None)
        if server is not None and self.node_id is not None:
            server.send_progress_text(text, self.node_id)


# Device and memory


def device() -> str:
    """The device ComfyUI computes on, as torch spells it."""
    return str(comfy.model_management.get_torch_device())


@contextmanager
def alone_on_device(training: bool = False) -> Iterator[str]:
    """The device, with ComfyUI's other models moved off it; `training` also tells ComfyUI so."""
    management = comfy.model_management
    management.unload_all_models()
    management.soft_empty_cache()
    known = training and hasattr(management, "in_training")
    if known:
        management.in_training = True
    try:
        with torch.inference_mode(False):  # what is opened in inference mode could never take part in training
            yield device()
    finally:
        if known:
            management.in_training = False
        management.soft_empty_cache()


def free_ram_bytes() -> int:
    """What is free of the main memory."""
    return int(comfy.model_management.get_free_memory(torch.device("cpu")))


# Folders and names


def register_folder() -> None:
    """Make models/udh known to ComfyUI; folders that extra_model_paths.yaml gives for `udh` stay in the list."""
    own = str(Path(folder_paths.models_dir) / FOLDER)
    known, _ = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    folder_paths.folder_names_and_paths[FOLDER] = ([*known, *([] if own in known else [own])], {".safetensors"})


def model_folders(kind: str) -> list[Path]:
    """Where things of a kind (avatars, generators, syncnets, weights) may lie; new ones go into the first."""
    return [Path(folder) / kind for folder in folder_paths.get_folder_paths(FOLDER)]


def safe_name(name: str, fallback: str) -> str:
    """A name as a file name; `fallback` where it is empty. OptionError for one that would leave its folder."""
    name = name.strip()
    if not name:
        return re.sub(r"[^\w\- ]+", "_", fallback).strip("_ ")[:60] or "person"
    if re.search(r'[/\\:*?"<>|\x00-\x1f]', name) or name.startswith(".") or name.endswith(".") or len(name) > 100:
        raise OptionError(f"{name!r} cannot be a name: use up to 100 letters, digits, spaces, - and _, no path")
    if name.split(".")[0].lower().strip() in _RESERVED:
        raise OptionError(f"{name!r} cannot be a name: Windows keeps it for itself; choose another")
    return name


def new_path(kind: str, name: str, suffix: str = "") -> Path:
    """Where to write a thing of this kind and (safe) name; its folder exists then.

    What already is in one of the folders is written where it is.
    """
    for folder in model_folders(kind):
        if (folder / f"{name}{suffix}").exists():
            return folder / f"{name}{suffix}"
    first = model_folders(kind)[0]
    first.mkdir(parents=True, exist_ok=True)
    return first / f"{name}{suffix}"


def saved_names(kind: str, pattern: str) -> list[str]:
    """Names of what is saved: files or folders that match `pattern`, a path below the kind's folder."""
    found = {path.relative_to(folder).parts[0] for folder in model_folders(kind) for path in folder.glob(pattern)}
    return sorted(name.removesuffix(".safetensors") for name in found if not name.endswith(".resume.safetensors"))


def saved_path(kind: str, name: str, suffix: str = "") -> Path:
    """Path of a saved thing; FileError when it is not there."""
    safe = safe_name(name, "")
    for folder in model_folders(kind):
        if (folder / f"{safe}{suffix}").exists():
            return folder / f"{safe}{suffix}"
    raise FileError(
        f"there is no {'avatar' if kind == 'to-go' else kind.removesuffix('s')} called {name!r} in "
        f"{model_folders(kind)[0]}; {'export' if kind == 'to-go' else 'train'} it first"
    )


LPIPS = "lpips_alex.safetensors"
SPEECH = "silero_vad.safetensors"


def weights(*names: str) -> Path:
    """The folder that holds these weight files; WeightsError naming file, folder and install.py when one is missing."""
    folders = [*model_folders("weights"), models_dir()]
    missing = ""
    for folder in folders:
        lacks = [n for n in names if not (folder / n).is_file() or (folder / n).stat().st_size != WEIGHTS[n].size]
        if not lacks:
            return folder
        missing = missing or lacks[0]
    raise WeightsError(
        f"the weight file {missing} is missing in {folders[0]}: run `{sys.executable} {INSTALLER}`, then run the "
        f"graph again"
    )


def temp_folder() -> Path:
    """For what only lasts until ComfyUI ends."""
    folder = Path(folder_paths.get_temp_directory()) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def next_output(prefix: str, size: tuple[int, int] = (0, 0), suffix: str = ".mp4") -> tuple[Path, str]:
    """(path of a new file, its subfolder) below the output folder, numbered as core's save nodes do."""
    found = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory(), *size)
    folder, name, counter, subfolder, _ = found
    return Path(folder) / f"{name}_{counter:05}_{suffix}", subfolder


def input_videos() -> list[str]:
    """Video files in the input folder."""
    folder = Path(folder_paths.get_input_directory())
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(names, ["video"]))


def input_path(file: str) -> Path:
    """A chosen or uploaded file of the input folder."""
    return Path(folder_paths.get_annotated_filepath(file))


def stamp(path: Path) -> str:
    """Changes when the file does; "missing" where there is none."""
    if not path.exists():
        return "missing"
    status = path.stat()
    return f"{status.st_mtime_ns}-{status.st_size}"


# Values of other nodes


def clip_of(video: Any) -> tuple[Path, float, float | None]:  # noqa: ANN401 (ComfyUI's VIDEO, whatever its class)
    """(file, start_s, duration_s) of a VIDEO; what only is in memory is written to a file first."""
    start_s, duration_s = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    source = video.get_stream_source()
    if isinstance(source, str):
        return Path(source), start_s, duration_s or None
    data = source.getvalue()
    path = temp_folder() / f"{hashlib.sha256(data).hexdigest()[:16]}.mp4"
    if not path.is_file():
        path.write_bytes(data)
    return path, start_s, duration_s or None


def whole_clip(video: Any) -> Path:  # noqa: ANN401 (ComfyUI's VIDEO, whatever its class)
    """A file of nothing but this VIDEO; a trimmed one is written out by ComfyUI itself."""
    source, start_s, duration_s = clip_of(video)
    if not start_s and duration_s is None:
        return source
    name = hashlib.sha256(repr((source, stamp(source), start_s, duration_s)).encode()).hexdigest()[:16]
    path = temp_folder() / f"{name}.mp4"
    if not path.is_file():
        video.save_to(str(path))
    return path


def sound_file(audio: Mapping[str, Any] | None, what: str) -> Path:
    """A wav file of an AUDIO (its first item); MediaError when there is none."""
    from ..udh_core.media.audio import write_wave

    if audio is None:
        raise MediaError(f"{what} got no sound: the AUDIO is empty; the clip it comes from may have no sound track")
    waveform = audio["waveform"]
    samples = np.ascontiguousarray(waveform[0].detach().float().cpu().numpy().T)  # (n, channels)
    rate_hz = int(audio["sample_rate"])
    if samples.size == 0:
        raise MediaError(f"{what} got no sound: the AUDIO is 0 samples long")
    name = hashlib.sha256(samples.data).hexdigest()[:16]
    path = temp_folder() / f"{name}-{rate_hz}.wav"
    if not path.is_file():
        write_wave(path, samples, rate_hz)
    return path


def audio_of(sound: np.ndarray, rate_hz: int) -> dict[str, Any]:
    """(n, channels) float32 → AUDIO."""
    return {"waveform": torch.from_numpy(np.ascontiguousarray(sound.T))[None], "sample_rate": rate_hz}


def image_of(*pictures: np.ndarray) -> torch.Tensor:
    """Pictures (H, W, 3) uint8 of one size → IMAGE (B, H, W, 3) float32 0..1."""
    return torch.from_numpy(np.stack(pictures)).float() / 255.0


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
