"""Between arrays and the networks' tensors: pixels in and out, rows in between, and which precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_input(crops: np.ndarray) -> Tensor:
    """(B, S, S, 3) uint8 RGB → (B, 3, S, S) float32 0..1, channels last: the only way into the networks."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float().div_(255.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """(B, 3, S, S) float 0..1 → (B, S, S, 3) uint8: the only way out of them."""
    return images.detach().float().clamp(0, 1).mul(255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def interpolate_rows(values: Tensor, rows: Tensor) -> Tensor:
    """values (B, T, D) at fractional rows (B, n) → (B, n, D), linear, clamped at the ends."""
    rows = rows.clamp(0, values.shape[1] - 1)
    low = rows.floor().long().clamp_max(max(values.shape[1] - 2, 0))
    high = (low + 1).clamp_max(values.shape[1] - 1)
    weight = (rows - low).unsqueeze(-1).to(values.dtype)
    width = values.shape[2]
    first = values.gather(1, low.unsqueeze(-1).expand(-1, -1, width))
    second = values.gather(1, high.unsqueeze(-1).expand(-1, -1, width))
    return first + weight * (second - first)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision in which a finished network runs faster on this device, or None where there is none."""
    if device.type == "cuda" and not _computes_bfloat16(device):
        return torch.float16
    if device.type == "cpu" and not _processor_has("amx_tile"):
        return None  # with AVX-512 a picture alone is drawn 3 to 7 % faster in bfloat16: not worth its rounding
    return training_dtype(device)


def training_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision to train in, or None: float16 would need its gradients scaled, or the small ones vanish."""
    if device.type == "cuda":
        return torch.bfloat16 if _computes_bfloat16(device) else None
    if device.type == "cpu":
        return torch.bfloat16 if _processor_has("amx_tile") or _processor_has("avx512_bf16") else None
    return None


def _processor_has(what: str) -> bool:
    """Whether torch can multiply in bfloat16 by it."""
    return bool(getattr(torch.cpu, f"_is_{what}_supported", lambda: False)())


def _computes_bfloat16(device: torch.device) -> bool:
    """In hardware: every AMD GPU that torch runs on, NVIDIA's from Ampere (8.0) on; before it is slow emulation."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8
