"""Published checkpoints are opened without running them, or refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from making import both, network

from udh_core.errors import FileError, FormatError, UdhError
from udh_core.models.checkpoint import open_generator, read_info
from udh_core.published.model import import_model, open_published
from udh_core.weights.pth import read_state_dict


@both
@pytest.mark.parametrize(
    "wrapped", ["bare", "training state", "model_state_dict", "data parallel", "both", "parameters"]
)
def test_published_checkpoint_comes_over_whole(tmp_path: Path, variant: str, wrapped: str) -> None:
    made = network(variant)
    state = made.state_dict()
    optimiser = torch.optim.Adam(made.parameters())
    forms = {
        "bare": state,
        "training state": {"epoch": 7, "model": state, "optimizer": optimiser.state_dict()},
        "model_state_dict": {"epoch": 7, "model_state_dict": state},
        "data parallel": {f"module.{name}": tensor for name, tensor in state.items()},
        "both": {"net": {f"module.{name}": tensor for name, tensor in state.items()}},
        "parameters": {**state, **dict(made.named_parameters())},
    }
    torch.save(forms[wrapped], tmp_path / "x.pth")
    import_model(tmp_path / "x.pth", tmp_path / "x.safetensors")
    info, opened = open_published(tmp_path / "x.safetensors")
    assert (info.kind, info.encoder, opened.variant) == ("published_model", variant, variant)
    assert info.made_from.startswith("x.pth:")
    pairs = zip(opened.state_dict().values(), state.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_tensors_of_every_layout_and_type_are_read(tmp_path: Path) -> None:
    big = torch.arange(24.0).reshape(2, 3, 4)
    saved = {
        "turned": big.permute(2, 0, 1),
        "part": big[1, 1:],
        "half": torch.rand(3).half(),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    torch.save(saved, tmp_path / "x.pth")
    read = read_state_dict(tmp_path / "x.pth")
    assert set(read) == set(saved)
    for name, tensor in saved.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.write_bytes(b"words"), lambda path: path.write_bytes(b"")]
)
def test_damaged_checkpoint_names_the_file(pth: Path, tmp_path: Path, damage) -> None:
    shutil.copy(pth, tmp_path / "bad.pth")
    damage(tmp_path / "bad.pth")
    with pytest.raises(FormatError, match=r"bad\.pth is damaged"):
        import_model(tmp_path / "bad.pth", tmp_path / "out.safetensors")


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {"epoch": 3}, "holds no network's tensors"),
        (lambda s: {"w": torch.ones(2)}, "is no U-Net of Ultralight-Digital-Human as published"),
        (lambda s: without(s, "outc.conv.bias"), "it has no outc.conv.bias"),
        (lambda s: {**s, "outc.conv.bias": torch.ones(4)}, r"its outc.conv.bias has the shape \(4,\), not \(3,\)"),
        (lambda s: {**s, "extra.weight": torch.ones(4)}, "it also has extra.weight"),
        (lambda s: {**s, "outc.conv.bias": torch.full((3,), np.nan)}, "its training diverged"),
        (lambda s: {**s, "audio_model.conv1.conv.0.weight": torch.ones(64, 32, 1, 1)}, "takes 32 rows of audio"),
    ],
)
def test_other_network_is_refused_by_name(tmp_path: Path, change, words: str) -> None:
    torch.save(change(network().state_dict()), tmp_path / "other.pth")
    with pytest.raises(FormatError, match=rf"other\.pth.*{words}"):
        import_model(tmp_path / "other.pth", tmp_path / "out.safetensors")


def test_files_of_another_kind(pth: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no such file: .*gone\.pth"):
        import_model(tmp_path / "gone.pth", tmp_path / "out.safetensors")
    with pytest.raises(FormatError, match=r"199\.pth is a checkpoint as published; convert it once"):
        open_published(pth)
    with pytest.raises(FormatError, match="holds a published model, where a generator is needed"):
        open_generator(model)
    with pytest.raises(UdhError, match="cannot compute on abacus"):
        open_published(model, "abacus")
    assert read_info(model).encoder == "hubert"
