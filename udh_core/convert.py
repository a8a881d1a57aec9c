"""Published weights → plain tensors with our names, and those as safetensors; used once, when a file is fetched."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from .errors import FormatError
from .torch_zip import state_dict
from .unpickle import array_tree

_WHISPER_NAMES = (  # OpenAI's key part → transformers' key part, in the order in which they are replaced
    ("blocks.", "layers."),
    ("attn_ln.", "self_attn_layer_norm."),
    ("attn.query.", "self_attn.q_proj."),
    ("attn.key.", "self_attn.k_proj."),
    ("attn.value.", "self_attn.v_proj."),
    ("attn.out.", "self_attn.out_proj."),
    ("mlp_ln.", "final_layer_norm."),
    ("mlp.0.", "fc1."),
    ("mlp.2.", "fc2."),
    ("ln_post.", "layer_norm."),
)


def lpips_alex(raw: bytes) -> dict[str, np.ndarray]:
    """LPIPS on AlexNet from its flax pickle: convN.weight (O, I, H, W), convN.bias (O,), linN (1, C, 1, 1), float32."""
    tree = array_tree(raw)
    tensors: dict[str, np.ndarray] = {}
    try:
        for i in range(5):
            conv = tree["AlexNet_0"][f"Conv_{i}"]
            tensors[f"conv{i + 1}.weight"] = _to_oihw(conv["kernel"])
            tensors[f"conv{i + 1}.bias"] = conv["bias"]
            tensors[f"lin{i}"] = _to_oihw(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
    except (KeyError, TypeError) as e:
        raise FormatError(f"not the LPIPS weights for AlexNet: {e} is missing") from e
    return tensors


def whisper_encoder(raw: bytes) -> dict[str, np.ndarray]:
    """Encoder of OpenAI's Whisper checkpoint under the keys of transformers' WhisperEncoder; float16, as published."""
    prefix = "encoder."
    tensors = state_dict(io.BytesIO(raw), "the Whisper checkpoint")
    encoder = {_whisper_key(k.removeprefix(prefix)): v for k, v in tensors.items() if k.startswith(prefix)}
    if not encoder:
        raise FormatError("not a Whisper checkpoint: it holds no encoder")
    return encoder


def safetensors_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file, byte for byte the same with every library version: its hash can be pinned."""
    codes = {"float16": "F16", "float32": "F32"}
    header: dict[str, Any] = {}
    chunks: list[bytes] = []
    end = 0
    for name in sorted(tensors):
        chunks.append(np.ascontiguousarray(tensors[name]).tobytes())
        start, end = end, end + len(chunks[-1])
        dtype = codes[tensors[name].dtype.name]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format asks for data aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


def _to_oihw(kernel: np.ndarray) -> np.ndarray:
    """flax (H, W, I, O) → torch (O, I, H, W)."""
    return kernel.transpose(3, 2, 0, 1)


def _whisper_key(key: str) -> str:
    if key == "positional_embedding":
        return "embed_positions.weight"
    for theirs, ours in _WHISPER_NAMES:
        key = key.replace(theirs, ours)
    return key
