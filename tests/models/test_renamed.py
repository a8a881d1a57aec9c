"""Files that the version before wrote, format 1, are read as what they were: same network, same output, same state.

What lies in `format1` was written by that version, small as it is; `syncnet.json` lists what was in a SyncNet's file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from udh_core.errors import FormatError
from udh_core.export.bundle import open_bundle
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.models import checkpoint
from udh_core.models.checkpoint import FORMAT, load_resume, open_generator, read_info, resume_path, save_generator
from udh_core.models.generator import AdaptationConfig, Generator
from udh_core.models.motion import MotionTrainingConfig

OLD = Path(__file__).parent / "format1"


def described(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["udh"])


def patterned(tensors: dict[str, Tensor]) -> None:
    """Every tensor filled by its place, as it was in the old version."""
    for place, tensor in enumerate(tensors.values()):
        wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + place).reshape(tensor.shape)
        tensor.copy_(0.2 * wave)


@torch.no_grad()
def assert_same_output(generator: Generator) -> None:
    """As the old version drew and moved; of what it drew every fourth px is kept."""
    side = torch.linspace(0, 1, 96)
    planes = (side[None, :].expand(96, 96), side[:, None].expand(96, 96), side[None] * side[:, None])
    crops = torch.stack(planes)[None].expand(2, -1, -1, -1).clone()
    drawn = generator.warp(crops, torch.linspace(-2, 2, 18).reshape(2, 3, 3))
    moved = generator.motion(torch.sin(torch.arange(160.0)).reshape(1, 20, 8))
    with np.load(OLD / "generator_outputs.npz") as old:
        np.testing.assert_allclose(drawn[:, :, ::4, ::4].numpy(), old["drawn"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(moved.numpy(), old["moved"], atol=1e-5)


def test_generator() -> None:
    info, generator = open_generator(OLD / "generator.safetensors")
    assert (info.kind, info.step, info.metrics) == ("generator", 7, {"held_out_l1": 0.5})
    assert generator.config.warp.widths == (8, 8)
    assert_same_output(generator)


def test_constants_of_the_old_version_are_in_its_description() -> None:
    config = open_generator(OLD / "generator.safetensors")[1].config
    assert config.adaptation == AdaptationConfig(0.12, 0.035, 1.6, 3.0, 0.5)
    assert config.motion_training == MotionTrainingConfig(
        4.0, 16, 1e-3, 50, 0.02, 0.1, 0.5, 1 / 16, 50, 1.5, (0.3, 0.7)
    )


def test_options_have_todays_names() -> None:
    assert described(OLD / "generator.safetensors")["config"]["options"].keys() >= {"rate", "size"}
    options = read_info(OLD / "generator.safetensors").config["options"]
    assert options["learning_rate"] == 1e-3 and options["model_size"] == "standard"
    assert not {"rate", "size"} & options.keys()


def test_what_is_saved_again_has_todays_format(tmp_path: Path) -> None:
    info, generator = open_generator(OLD / "generator.safetensors")
    save_generator(tmp_path / "g.safetensors", info, generator)
    assert described(tmp_path / "g.safetensors")["format"] == FORMAT == 2
    assert load_file(tmp_path / "g.safetensors").keys() == generator.state_dict().keys()
    assert open_generator(tmp_path / "g.safetensors")[0] == info


@torch.no_grad()
def test_syncnet(tmp_path: Path) -> None:
    old = json.loads((OLD / "syncnet.json").read_text(encoding="utf-8"))
    tensors = {name: torch.zeros(shape) for name, shape, _ in old["tensors"]}
    patterned(tensors)
    tensors["feature_std"].abs_().add_(0.5)
    save_file(tensors, tmp_path / "s.safetensors", metadata={"udh": json.dumps(old["description"])})
    network = open_syncnet(tmp_path / "s.safetensors").network
    mouths = torch.sin(torch.arange(5 * 32 * 32.0)).reshape(1, 5, 32, 32).abs()
    audio = torch.sin(torch.arange(80.0)).reshape(1, 10, 8)
    np.testing.assert_allclose(network.embed_mouths(mouths)[0].numpy(), old["mouths"], atol=1e-5)
    np.testing.assert_allclose(network.embed_audio(audio)[0].numpy(), old["audio"], atol=1e-5)


def test_resume_state(tmp_path: Path) -> None:
    shutil.copyfile(OLD / "run.resume.safetensors", resume_path(tmp_path / "run.safetensors"))
    info, state = load_resume(tmp_path / "run.safetensors")
    generator = open_generator(OLD / "generator.safetensors")[1]
    checkpoint.check_tensors(tmp_path, generator.state_dict(), state["networks"])
    checkpoint.check_tensors(tmp_path, generator.warp.state_dict(), state["average"]["weights"])
    checkpoint.check_settings(info, {}, generator.config.to_dict())
    for name, value in generator.state_dict().items():
        assert torch.equal(state["networks"][name], value), name
    assert (info.step, state["average"]["steps"], state["motion"]) == (7, 3, {"done": True, "members": [0, 1]})


def test_bundle(tmp_path: Path) -> None:
    assert described(OLD / "bundle.safetensors")["kind"] == "avatar to go"
    unpacked = open_bundle(OLD / "bundle.safetensors", tmp_path / "anna")
    assert described(unpacked.generator)["format"] == FORMAT
    info, generator = open_generator(unpacked.generator)
    assert (info.kind, info.made_from) == ("generator", "anna")
    whole = open_generator(OLD / "generator.safetensors")[1]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(generator.state_dict()[name], value, atol=1e-3, rtol=1e-3, msg=name)


def test_bundle_that_was_changed(tmp_path: Path) -> None:
    tensors, about = load_file(OLD / "bundle.safetensors"), described(OLD / "bundle.safetensors")
    tensors["generator.pixels.reach"] = tensors["generator.pixels.reach"] + 1
    save_file(tensors, tmp_path / "b.safetensors", metadata={"udh": json.dumps(about)})
    with pytest.raises(FormatError, match="is damaged"):
        open_bundle(tmp_path / "b.safetensors", tmp_path / "anna")


def test_published_model() -> None:
    assert read_info(OLD / "published.safetensors").kind == "published_model"


def test_old_names_in_a_file_of_today_are_refused(tmp_path: Path) -> None:
    about = {**described(OLD / "generator.safetensors"), "format": FORMAT}
    save_file(load_file(OLD / "generator.safetensors"), tmp_path / "g.safetensors", metadata={"udh": json.dumps(about)})
    with pytest.raises(FormatError, match="GeneratorConfig lacks warp"):
        open_generator(tmp_path / "g.safetensors")
