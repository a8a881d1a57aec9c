"""Checkpoints: what is saved comes back, what is foreign is refused with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from udh_core.errors import FileError, FormatError, MismatchError
from udh_core.face.crop import CropSpec
from udh_core.models import checkpoint
from udh_core.models.checkpoint import (
    Checkpoint,
    check_match,
    flatten,
    load,
    load_resume,
    open_generator,
    resume_path,
    save,
    save_generator,
    save_resume,
    unflatten,
)
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.motion_prior import PriorConfig
from udh_core.models.warping import WarpConfig

INFO = Checkpoint(
    kind="generator",
    config={"widths": [8, 16], "rate": 0.5},
    step=120,
    encoder="mel80",
    crop=CropSpec(160),
    made_from="0123456789abcdef",
    metrics={"held_out_l1": 0.03125},
)


def tensors() -> dict[str, Tensor]:
    return {
        "float": torch.randn(3, 4),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "steps": torch.tensor(7),
        "turned": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }


# Round trips


def test_round_trip(tmp_path: Path) -> None:
    path, values = tmp_path / "model.safetensors", tensors()
    save(path, INFO, values)
    info, loaded = load(path, "generator")
    assert info == INFO
    assert checkpoint.read_info(path) == INFO
    assert loaded.keys() == values.keys()
    for name, value in values.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    save(tmp_path / "model.safetensors", INFO, {"whole": whole, "part": whole[2:4], "same": whole})
    loaded = load(tmp_path / "model.safetensors", "generator")[1]
    assert loaded["part"].tolist() == [2, 3]
    assert torch.equal(loaded["same"], loaded["whole"])


@pytest.mark.parametrize("kind", ["generator", "resume"])
def test_what_was_loaded_stays_when_its_file_is_written_over(kind: str, tmp_path: Path) -> None:
    path, values = tmp_path / "model.safetensors", tensors()
    if kind == "resume":
        save_resume(path, INFO, values)
        loaded, written = load_resume(path)[1], resume_path(path)
    else:
        save(path, INFO, values)
        loaded, written = load(path, "generator")[1], path
    with written.open("r+b") as file:  # in place, as `cp` does
        file.write(b"\xff" * written.stat().st_size)
    assert all(torch.equal(loaded[name], value) for name, value in values.items())


def test_generator_round_trip(tmp_path: Path) -> None:
    warp = WarpConfig(160, references=2, widths=(16, 24), condition=16)
    config = GeneratorConfig(MotionConfig(80, channels=16, members=2), warp, 53)
    generator = Generator(config, CropSpec(160)).eval()
    generator.warp.references.random_(0, 256)
    info = replace(INFO, config={"model": config.to_dict()})
    save_generator(tmp_path / "g.safetensors", info, generator)
    _, loaded = open_generator(tmp_path / "g.safetensors")
    assert loaded.config == config
    assert not loaded.training
    for name, value in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_generator_of_before_there_was_a_general_head(tmp_path: Path) -> None:
    """The person's head on the prior, which then served all voices, still serves those at any distance."""
    prior = PriorConfig(80, channels=8, dilations=(1,), members=1)
    config = GeneratorConfig(
        MotionConfig(80, channels=8, members=1, prior=prior), WarpConfig(160, references=1, widths=(8, 8)), 53
    )
    generator = Generator(config, CropSpec(160)).eval()
    generator.motion.prior_share.fill_(1.0)
    generator.mouth_amplitude.fill_(0.5)
    older = {name: value for name, value in generator.state_dict().items() if not name.startswith("motion.general_")}
    save(tmp_path / "g.safetensors", replace(INFO, config={"model": config.to_dict()}), older)
    _, loaded = open_generator(tmp_path / "g.safetensors")
    features = torch.randn(1, 20, 80)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.motion(features, torch.ones(1)), generator.motion(features))
    assert float(loaded.motion.general_amplitude) == 0.5


def test_generator_whose_tensors_do_not_fit(tmp_path: Path) -> None:
    config = GeneratorConfig(MotionConfig(80), WarpConfig(160, references=1), 53)
    save(tmp_path / "g.safetensors", replace(INFO, config={"model": config.to_dict()}), tensors())
    with pytest.raises(FormatError, match="its tensors do not fit its description"):
        open_generator(tmp_path / "g.safetensors")


def test_a_run_does_not_go_on_with_another_network() -> None:
    config = WarpConfig(160, references=2, widths=(16, 24))
    info = replace(INFO, config=json.loads(json.dumps({"model": config.to_dict(), "options": {}})))
    checkpoint.check_settings(info, {}, config.to_dict())
    with pytest.raises(MismatchError, match="a network built otherwise; train anew"):
        checkpoint.check_settings(info, {}, replace(config, references=4).to_dict())


def test_an_older_run_goes_on_though_it_names_fewer_sizes() -> None:
    """But not with what did not exist then."""
    config = GeneratorConfig(MotionConfig(80), WarpConfig(160), 53)
    older = json.loads(json.dumps(config.to_dict()))
    del older["warp"]["per_frame"]
    info = replace(INFO, config={"model": older, "options": {}})
    checkpoint.check_settings(info, {}, config.to_dict())
    with pytest.raises(MismatchError, match="a network built otherwise; train anew"):
        bank = replace(config.warp, references=128, per_frame=3)
        checkpoint.check_settings(info, {}, replace(config, warp=bank).to_dict())


def test_a_run_goes_on_with_a_smaller_batch_only() -> None:
    """It is halved where memory runs out; any other size of batch is another run."""
    began = {"batch": 16, "neighbourhoods": 6, "seed": 0}
    info = replace(INFO, config={"model": {}, "options": began})
    for smaller in ({"batch": 8}, {"neighbourhoods": 2}, {}):
        checkpoint.check_settings(info, {**began, **smaller}, {})
    for other in ({"batch": 32}, {"neighbourhoods": 7}, {"batch": 8, "seed": 1}):
        with pytest.raises(MismatchError, match="the settings it began with"):
            checkpoint.check_settings(info, {**began, **other}, {})


def test_state_of_an_optimiser_round_trip(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(torch.randn(5, 3)).sum().backward()
    optimiser.step()
    state = {"optimiser": {"state": optimiser.state_dict()["state"]}, "best": float("inf"), "spent_s": 1.5}
    checkpoint.save_resume(tmp_path / "model.safetensors", INFO, state)
    info, loaded = load_resume(tmp_path / "model.safetensors")
    assert (info.kind, info.step, info.made_from) == ("resume", INFO.step, INFO.made_from)
    assert (loaded["best"], loaded["spent_s"]) == (float("inf"), 1.5)
    for number, values in optimiser.state_dict()["state"].items():
        assert loaded["optimiser"]["state"][number].keys() == values.keys()
        for name, value in values.items():
            assert torch.equal(loaded["optimiser"]["state"][number][name], value)


def test_flatten_and_unflatten() -> None:
    state = {
        "a": {0: torch.ones(2), "text": "x", "none": None},
        "list": [1, 2.5, {"deep": torch.zeros(1)}],
        "yes": True,
    }
    moved: dict[str, Tensor] = {}
    layout = json.loads(json.dumps(flatten("state", state, moved)))
    assert len(moved) == 2
    back = unflatten(layout, moved)
    assert torch.equal(back["a"].pop(0), torch.ones(2))
    assert torch.equal(back["list"][2].pop("deep"), torch.zeros(1))
    assert back == {"a": {"text": "x", "none": None}, "list": [1, 2.5, {}], "yes": True}


def test_resume_state_lies_beside_its_checkpoint() -> None:
    assert resume_path(Path("models/anna.safetensors")) == Path("models/anna.resume.safetensors")


# What is refused


def test_wrong_kind(tmp_path: Path) -> None:
    save(tmp_path / "sync.safetensors", replace(INFO, kind="syncnet"), tensors())
    with pytest.raises(FormatError, match=r"sync\.safetensors holds a syncnet, where a generator is needed"):
        load(tmp_path / "sync.safetensors", "generator")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no such file: .*gone\.safetensors"):
        load(tmp_path / "gone.safetensors", "generator")


@pytest.mark.parametrize("content", [b"", b"text", b"\x00" * 100, b"\xff" * 100])
def test_rubbish(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rubbish.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match=r"rubbish\.safetensors is not a safetensors file; give a checkpoint"):
        load(tmp_path / "rubbish.safetensors", "generator")


def test_cut_off_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path, INFO, tensors())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="is not a safetensors file"):
        load(path, "generator")


def test_foreign_safetensors(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "foreign.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match="is a safetensors file of another program"):
        load(tmp_path / "foreign.safetensors", "generator")


NO_CONFIG = '{"kind": "generator", "crop": {"size": 160, "layout": 1}}'
NO_SUCH_SIZE = NO_CONFIG.replace("160", "100")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", NO_CONFIG, NO_SUCH_SIZE])
def test_damaged_description(tmp_path: Path, text: str) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"udh": text})
    with pytest.raises(FormatError, match="its description is damaged or of another version"):
        load(tmp_path / "model.safetensors", "generator")


def test_other_format_version(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", replace(INFO, format=3), tensors())
    with pytest.raises(FormatError, match="has format 3, this program reads 1 to 2"):
        load(tmp_path / "model.safetensors", "generator")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"avatar": "fedcba9876543210"}, ("0123456789abcdef", "fedcba9876543210")),
        ({"crop": CropSpec(256)}, ("160 px", "256 px")),
        ({"encoder": "whisper-tiny"}, ("mel80", "whisper-tiny")),
    ],
)
def test_mismatch_names_both_values(other: dict, words: tuple[str, str]) -> None:
    with pytest.raises(MismatchError) as error:
        check_match(INFO, **other)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_match() -> None:
    check_match(INFO)
    check_match(INFO, avatar="0123456789abcdef", crop=CropSpec(160), encoder="mel80")


# Saving that fails


def test_failed_saving_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    limits = pytest.importorskip("resource")  # not on Windows
    path = tmp_path / "model.safetensors"
    save(path, INFO, tensors())
    before = path.read_bytes()
    unlimited = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (len(before) // 2, unlimited[1]))
    try:
        for name in ("model.safetensors", "new.safetensors"):
            with pytest.raises(FileError, match=r"cannot write .*safetensors: File too large; free some space"):
                save(tmp_path / name, INFO, tensors())
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, unlimited)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no folder"):
        save(tmp_path / "gone" / "model.safetensors", INFO, tensors())
    assert list(tmp_path.iterdir()) == []
