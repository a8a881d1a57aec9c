"""Published weights under our names: right tensors, right bytes, nothing of the file run."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.filters
import torch
from safetensors.numpy import load as load_safetensors
from torch.nn import functional as F

from udh_core.errors import FormatError
from udh_core.weights import convert, registry


class Runs:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def whisper_checkpoint(state: dict) -> bytes:
    """As OpenAI saves it."""
    stream = io.BytesIO()
    torch.save({"dims": {"n_mels": 80, "n_audio_layer": 1}, "model_state_dict": state}, stream)
    return stream.getvalue()


def test_whisper_encoder_goes_by_the_names_of_transformers() -> None:
    tensor = torch.rand(2, 3).half()
    theirs = (
        "positional_embedding",
        "conv1.weight",
        "blocks.0.attn.query.weight",
        "blocks.0.mlp.0.bias",
        "ln_post.bias",
    )
    state = {f"encoder.{name}": tensor for name in theirs} | {"decoder.ln.weight": torch.ones(3)}
    back = convert.whisper_encoder(whisper_checkpoint(state))
    ours = {"embed_positions.weight", "conv1.weight", "layers.0.self_attn.q_proj.weight", "layers.0.fc1.bias"}
    assert set(back) == ours | {"layer_norm.bias"}
    assert all(value.dtype == np.float16 and np.array_equal(value, tensor.numpy()) for value in back.values())


@pytest.mark.parametrize(
    ("state", "words"),
    [({"decoder.ln.weight": torch.ones(3)}, "holds no encoder"), ({"encoder.ln": torch.ones(3), "x": Runs()}, "mkdir")],
)
def test_other_checkpoints_are_no_whisper(
    state: dict, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match=words):
        convert.whisper_encoder(whisper_checkpoint(state))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["none", "missing", "short", "empty"])
def test_silero_is_read_by_its_numbers_alone(damage: str) -> None:
    """What the archive has beside them, a pickle and code, is not looked at."""
    archive, wanted = io.BytesIO(), {}
    with zipfile.ZipFile(archive, "w") as file:
        for number, (name, shape) in enumerate(convert._SILERO_TENSORS.items() if damage != "empty" else (), 2):
            wanted[name] = np.arange(np.prod(shape), dtype="<f4").reshape(shape)
            raw = wanted[name].tobytes()
            if number != 5 or damage == "none":
                file.writestr(f"net/data/{number}", raw)
            elif damage == "short":
                file.writestr(f"net/data/{number}", raw[:-4])
        file.writestr("net/data.pkl", pickle.dumps(Runs()))
    if damage == "none":
        found = convert.silero_vad(archive.getvalue())
        assert found.keys() == wanted.keys()
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    else:
        with pytest.raises(FormatError, match="Silero"):
            convert.silero_vad(archive.getvalue())


def test_our_safetensors_are_what_the_library_reads() -> None:
    tensors = {"b": np.ones((2, 3), np.float16), "a": np.arange(5, dtype=np.float32)}
    raw = convert.safetensors_bytes(tensors)
    back = load_safetensors(raw)
    assert all(np.array_equal(back[k], v) and back[k].dtype == v.dtype for k, v in tensors.items())
    assert raw == convert.safetensors_bytes(dict(reversed(tensors.items())))


def installed(name: str) -> bytes:
    return registry.weight_path(name).read_bytes()


def test_lpips_weights_are_alexnet_in_torch_layout() -> None:
    raw = installed("lpips_alex.safetensors")
    assert hashlib.sha256(raw).hexdigest() == registry.WEIGHTS["lpips_alex.safetensors"].sha256
    tensors = load_safetensors(raw)
    shapes = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
    assert [tensors[f"conv{i}.weight"].shape for i in range(1, 6)] == shapes
    assert [tensors[f"conv{i}.bias"].shape for i in range(1, 6)] == [s[:1] for s in shapes]
    for i, (channels, *_) in enumerate(shapes):
        assert tensors[f"lin{i}"].shape == (1, channels, 1, 1)
        assert tensors[f"lin{i}"].min() >= 0  # LPIPS clamps them, so that a distance is never negative
    first = tensors["conv1.weight"]  # edge and colour filters: smooth along both axes of the image
    for one, other in ((first[..., 1:], first[..., :-1]), (first[:, :, 1:], first[:, :, :-1])):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.4


def lpips(a: np.ndarray, b: np.ndarray, tensors: dict[str, np.ndarray]) -> float:
    """The published definition: unit-normalised AlexNet activations, squared differences, linear layers."""
    w = {k: torch.from_numpy(v) for k, v in tensors.items()}
    x = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2) * 2 - 1  # [-1, 1]
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    total = 0.0
    for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
        x = F.max_pool2d(x, 3, 2) if i in (1, 2) else x
        x = F.relu(F.conv2d(x, w[f"conv{i + 1}.weight"], w[f"conv{i + 1}.bias"], stride, padding))
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        total += float(F.conv2d((unit[:1] - unit[1:]).square(), w[f"lin{i}"]).mean())
    return total


def test_lpips_distances_are_as_published() -> None:
    tensors = load_safetensors(installed("lpips_alex.safetensors"))
    image = skimage.data.astronaut()[:256, 128:384].astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    blurred = skimage.filters.gaussian(image, 3, channel_axis=2).astype(np.float32)
    assert lpips(image, image, tensors) == 0
    assert 0.005 < lpips(image, image + 0.02 * noise, tensors) < lpips(image, image + 0.1 * noise, tensors)
    assert 0.2 < lpips(image, blurred, tensors) < 0.7  # far off for the eye …
    assert lpips(image, np.clip(image * 1.05, 0, 1), tensors) < 0.03  # … unlike a slight change of brightness
