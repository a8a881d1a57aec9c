"""Conversion of published weights to plain tensors under our names, and to safetensors; done once, at the fetch."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from ..errors import FormatError
from .pth import state_dict
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

_SILERO_FIRST = 2  # before them lie two empty states
_SILERO_TENSORS = {
    "stft_conv.weight": (258, 1, 256),
    "conv1.weight": (128, 129, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3),
    "conv4.bias": (128,),
    "lstm.weight_ih_l0": (512, 128),
    "lstm.weight_hh_l0": (512, 128),
    "lstm.bias_ih_l0": (512,),
    "lstm.bias_hh_l0": (512,),
    "final_conv.weight": (1, 128, 1),
    "final_conv.bias": (1,),
}


def lpips_alex(raw: bytes) -> dict[str, np.ndarray]:
    """LPIPS on AlexNet from its flax pickle: convN.weight (O, I, H, W), convN.bias (O,), linN (1, C, 1, 1), float32.

    FormatError: another pickle.
    """
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
    """Encoder of OpenAI's Whisper checkpoint under the keys of transformers' WhisperEncoder; float16, as published.

    FormatError: another checkpoint.
    """
    prefix = "encoder."
    tensors = state_dict(io.BytesIO(raw), "the Whisper checkpoint")
    encoder = {_whisper_key(k.removeprefix(prefix)): v for k, v in tensors.items() if k.startswith(prefix)}
    if not encoder:
        raise FormatError("not a Whisper checkpoint: it holds no encoder")
    return encoder


def silero_vad(raw: bytes) -> dict[str, np.ndarray]:
    """Silero VAD at 16 kHz from its TorchScript archive, float32. Its pickle and its code are not read.

    Each tensor is a file of numbers in the archive, in the order of _SILERO_TENSORS. FormatError: another archive.
    """
    tensors: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            root = archive.namelist()[0].split("/")[0]
            for number, (name, shape) in enumerate(_SILERO_TENSORS.items(), _SILERO_FIRST):
                values = np.frombuffer(archive.read(f"{root}/data/{number}"), "<f4")
                tensors[name] = values.astype(np.float32).reshape(shape)
    except (zipfile.BadZipFile, LookupError, ValueError) as e:
        raise FormatError(f"not the TorchScript archive of Silero VAD: {e}") from e
    return tensors


def safetensors_bytes(tensors: dict[str, np.ndarray]) -> bytes:
    """A safetensors file of float16 and float32 tensors, always the same bytes, so that its hash can be pinned.

    That is why it is written here: safetensors.numpy.save promises the format, but not the order of its header's keys.
    """
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
    """Convolution kernel: flax (H, W, I, O) → torch (O, I, H, W)."""
    return kernel.transpose(3, 2, 0, 1)


def _whisper_key(key: str) -> str:
    if key == "positional_embedding":
        return "embed_positions.weight"
    for theirs, ours in _WHISPER_NAMES:
        key = key.replace(theirs, ours)
    return key
