"""Device and memory: where ComfyUI computes, how room is made there for our networks, and how much main memory is free.

Our networks lie on the device only while a node runs, so ComfyUI's management of models never has to move one of them;
it is asked to make room for them before, and moves no more of the user's models than that takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management
import torch

from ...udh_core.speech.encoders import ENCODERS

CROPS_BYTES = 1 << 30  # what drawing a batch of face crops needs at most: 4 of 512 px
ENCODER_BYTES = 1 << 29  # an audio encoder with its weights
LARGE_ENCODER_BYTES = 3 << 30  # those of which the user gives the model: HuBERT large has 1.3 GB of weights
COPIES = 2  # of a checkpoint's weights: those that were read, and those that draw


@contextmanager
def for_inference(encoder: str, *checkpoints: Path) -> Iterator[str]:
    """The device, as torch spells it, with room on it for an audio encoder and the networks of these checkpoints."""
    management, device = comfy.model_management, comfy.model_management.get_torch_device()
    own = ENCODERS[encoder.partition(":")[0]]
    needed = LARGE_ENCODER_BYTES if own.model else ENCODER_BYTES
    needed += sum(COPIES * path.stat().st_size + CROPS_BYTES for path in checkpoints)
    management.free_memory(needed, device)
    try:
        with torch.inference_mode(False):
            yield str(device)
    finally:
        management.soft_empty_cache()


@contextmanager
def for_training() -> Iterator[str]:
    """The device, as torch spells it, with ComfyUI's other models moved off it; ComfyUI is told of the training."""
    management = comfy.model_management
    management.unload_all_models()
    management.soft_empty_cache()
    known = hasattr(management, "in_training")
    if known:
        management.in_training = True
    try:
        with torch.inference_mode(False):  # what is opened in inference mode could never take part in training
            yield str(management.get_torch_device())
    finally:
        if known:
            management.in_training = False
        management.soft_empty_cache()


def free_ram_bytes() -> int:
    """What is free of the main memory."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    return int(free[0] if isinstance(free, tuple) else free)
