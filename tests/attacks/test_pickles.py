"""Pickles that run code, wherever a file is opened: refused, and never run."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.folder import Avatar
from udh_core.errors import FormatError
from udh_core.export.bundle import open_bundle
from udh_core.face.crop import CropSpec
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.media.probe import VideoInfo
from udh_core.models.checkpoint import load_resume, open_generator, read_info
from udh_core.published.dataset import load_rows
from udh_core.published.model import import_model, open_published
from udh_core.speech import features
from udh_core.weights import convert, unpickle
from udh_core.weights.pth import read_state_dict


class Payload:
    """Runs a shell command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch pwned",)


def rebuilt(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change the members of a zip file."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, change(name, content))


def zipped(path: Path) -> None:
    torch.save({"w": torch.ones(2), "trap": Payload()}, path)


def legacy(path: Path) -> None:
    torch.save({"w": torch.ones(2), "trap": Payload()}, path, _use_new_zipfile_serialization=False)


def bare(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": Payload()}))


def oldest(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": Payload()}, 0))  # plain text, which looks like no pickle


def whole(path: Path) -> None:
    torch.save(Payload(), path)


def name_of_a_tensor(path: Path) -> None:
    torch.save({Payload(): torch.ones(2)}, path)


def beside_the_tensors(path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": Payload()}, path)


WRITERS = (zipped, legacy, bare, oldest, whole, name_of_a_tensor, beside_the_tensors)
OPENERS: dict[str, Callable[[Path], object]] = {
    "any checkpoint": read_info,
    "generator": open_generator,
    "syncnet": open_syncnet,
    "published_model": open_published,
    "import": lambda path: import_model(path, path.with_name("out.safetensors")),
    "bundle": lambda path: open_bundle(path, path.with_name("opened")),
    "state dict": read_state_dict,
}


@pytest.mark.parametrize("write", WRITERS)
def test_the_payload_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("evil"))
    with suppress(RuntimeError, pickle.UnpicklingError):  # what is no checkpoint has been unpickled by then
        torch.load("evil", weights_only=False)
    assert Path("pwned").exists()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.ckpt", "evil.safetensors"])
@pytest.mark.parametrize("opened", OPENERS)
def test_no_opener_runs_a_pickle(here: Path, opened: str, name: str, write: Callable[[Path], None]) -> None:
    write(here / name)
    with pytest.raises(FormatError, match=name):
        OPENERS[opened](here / name)
    assert [path.name for path in here.iterdir()] == [name]


@pytest.mark.parametrize("write", [zipped, legacy, bare])
def test_a_pickle_is_called_one(here: Path, write: Callable[[Path], None]) -> None:
    write(here / "model.safetensors")
    with pytest.raises(FormatError, match="it is a pickle, which can run code and is not opened"):
        open_generator(here / "model.safetensors")


@pytest.mark.parametrize("write", WRITERS)
def test_a_resume_state_is_no_pickle(here: Path, write: Callable[[Path], None]) -> None:
    write(here / "me.resume.safetensors")
    with pytest.raises(FormatError, match=r"me\.resume\.safetensors"):
        load_resume(here / "me.safetensors")


@pytest.mark.parametrize("convert_weight", [convert.lpips_alex, convert.whisper_encoder, convert.silero_vad])
@pytest.mark.parametrize("write", WRITERS)
def test_converting_a_weight_file_runs_nothing(here: Path, write: Callable[[Path], None], convert_weight) -> None:
    write(here / "weight")
    with pytest.raises(FormatError):
        convert_weight((here / "weight").read_bytes())


def test_an_unpickler_knows_arrays_and_nothing_else(here: Path) -> None:
    tree = {"a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    for protocol in (3, 4):
        back = unpickle.array_tree(pickle.dumps(tree, protocol))
        assert np.array_equal(back["a"]["kernel"], tree["a"]["kernel"])
    with pytest.raises(FormatError, match="system"):
        unpickle.array_tree(pickle.dumps({"a": Payload()}))
    with pytest.raises(FormatError, match="only"):
        unpickle.array_tree(pickle.dumps({"a": np.array([Payload()], dtype=object)}))
    with pytest.raises(FormatError, match="list"):
        unpickle.array_tree(pickle.dumps([1, 2]))


def test_a_whole_module_is_refused_by_the_name_it_asks_for(here: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), here / "module.pth")
    with pytest.raises(FormatError, match=r"module\.pth is not opened: the pickle asks for torch\.nn"):
        read_state_dict(here / "module.pth")


# Tensors that are not what their list says: read unchecked, they would show memory that is not theirs


def test_a_storage_shorter_than_its_tensor_is_refused(here: Path) -> None:
    torch.save({"w": torch.ones(1000)}, here / "a.pth")
    rebuilt(here / "a.pth", lambda name, content: content[:400] if "/data/" in name else content)
    with pytest.raises(FormatError, match=r"a\.pth is damaged: .*data/0"):
        read_state_dict(here / "a.pth")


@pytest.mark.parametrize(("true", "claimed"), [(b"K\x07", b"K\x63"), (b"K\x0b", b"K\xff"), (b"K\x02", b"K\x63")])
def test_sizes_offsets_and_strides_beyond_the_storage_are_refused(here: Path, true: bytes, claimed: bytes) -> None:
    storage = torch.arange(100.0)
    torch.save({"w": storage.as_strided((7,), (2,), 11)}, here / "a.pth")
    assert read_state_dict(here / "a.pth")["w"].tolist() == [11, 13, 15, 17, 19, 21, 23]

    def change(name: str, content: bytes) -> bytes:
        assert not name.endswith("data.pkl") or content.count(true) == 1
        return content.replace(true, claimed) if name.endswith("data.pkl") else content

    rebuilt(here / "a.pth", change)
    with pytest.raises(FormatError, match=r"a\.pth is damaged"):
        read_state_dict(here / "a.pth")


# Object arrays: numpy stores them as pickles


@pytest.fixture
def avatar(here: Path) -> Avatar:
    return Avatar(here, VideoInfo(64, 64, Fraction(25), 10), CropSpec(160), "0123456789abcdef")


def object_array(path: Path) -> None:
    np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("write", [object_array, bare])  # numpy takes any file for a pickle, where it is let
def test_pickled_crops_are_refused(here: Path, avatar: Avatar, write: Callable[[Path], None]) -> None:
    write(here / "crops.npy")
    with pytest.raises(FormatError, match=r"crops\.npy is damaged"):
        avatar.crops()


@pytest.mark.parametrize("name", ["landmarks", "transforms", "valid", "shot_starts", "scheme", "distance"])
def test_object_arrays_of_a_track_are_refused(here: Path, avatar: Avatar, name: str) -> None:
    plain = {"landmarks": np.zeros((10, 468, 2), np.float32), "transforms": np.zeros((10, 2, 3), np.float32)}
    plain |= {"valid": np.ones(10, bool), "shot_starts": np.zeros(10, bool), "scheme": np.array("mediapipe468")}
    np.savez(here / "track.npz", **plain)
    assert avatar.track().scheme == "mediapipe468"
    np.savez(here / "track.npz", allow_pickle=True, **{**plain, name: np.array([Payload()], dtype=object)})
    with pytest.raises(FormatError, match=r"track\.npz is damaged"):
        avatar.track()


@pytest.mark.parametrize("write", [object_array, bare])
def test_pickled_audio_features_are_refused(here: Path, avatar: Avatar, write: Callable[[Path], None]) -> None:
    (here / "features").mkdir()
    write(here / "features" / "mel80.npy")
    facts = {"format": features.FORMAT, "encoder": "mel80", "rate_hz": 100.0, "rows": 1, "width": 80}
    (here / "features" / "mel80.json").write_text(json.dumps(facts))
    with pytest.raises(FormatError, match=r"mel80\.npy is damaged"):
        avatar.features("mel80")
    with pytest.raises(FormatError, match=r"mel80\.npy is damaged"):
        load_rows(here / "features" / "mel80.npy", "hubert")
