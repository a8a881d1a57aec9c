"""Published pickles of arrays → plain tensors with our names, without running anything that a pickle asks for.

Used once, when a weight file is fetched or a foreign checkpoint imported; at run time only safetensors is read.
"""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

from .errors import FormatError

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

_DAMAGED = (  # all that pickle is documented or seen to raise on bytes that are no pickle
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ImportError,
)


def array_tree(raw: bytes) -> dict[str, Any]:
    """Nested dict of numpy arrays from a pickle that holds nothing else; FormatError for any other content."""
    tree = unpickled(ArrayUnpickler(io.BytesIO(raw)))
    if not isinstance(tree, dict):
        raise FormatError(f"the pickle holds a {type(tree).__name__} where a dict of arrays is expected")
    return tree


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
    import torch

    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)["model_state_dict"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as e:
        raise FormatError("not a Whisper checkpoint: it does not open with weights_only") from e
    prefix = "encoder."
    return {_whisper_key(k.removeprefix(prefix)): v.numpy() for k, v in state.items() if k.startswith(prefix)}


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


def _number_dtype(code: str, *flags: bool) -> np.dtype:
    dtype = np.dtype(code, *flags)
    if dtype.kind not in "fiub":  # above all no object arrays: they hold anything
        raise FormatError(f"the pickle holds an array of {dtype}; only numbers are read")
    return dtype


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # taken from an array: the module it lives in differs by numpy version
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _number_dtype,
    ("collections", "OrderedDict"): OrderedDict,
}


class ArrayUnpickler(pickle.Unpickler):
    """Knows the names that a dict of numpy arrays needs, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        try:
            return _ALLOWED[module, name]
        except KeyError as e:
            raise FormatError(f"the pickle asks for {module}.{name}; only arrays of numbers are read") from e


def unpickled(source: ArrayUnpickler) -> Any:  # noqa: ANN401 - whatever was pickled
    """What a restricted unpickler finds; FormatError when its bytes are damaged or ask for more than it knows."""
    try:
        return source.load()
    except _DAMAGED as e:
        raise FormatError(f"the pickle is damaged or no pickle of arrays: {e}") from e
