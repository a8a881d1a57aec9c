"""A checkpoint and a data folder as the published system leaves them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from udh_core.avatar.folder import open_avatar
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import read_frames
from udh_core.published.dataset import mesh_squares
from udh_core.published.model import import_model

sys.path.append(str(Path(__file__).resolve().parent))
from making import FRAMES, lms, network


@pytest.fixture(scope="package")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hubert checkpoint as the published training writes it."""
    path = tmp_path_factory.mktemp("pth") / "199.pth"
    torch.save(network().state_dict(), path)
    return path


@pytest.fixture(scope="package")
def model(pth: Path) -> Path:
    """That checkpoint, imported."""
    out = pth.with_suffix(".safetensors")
    import_model(pth, out)
    return out


@pytest.fixture(scope="package")
def data_folder(person: Path, person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in person as the published preparation leaves it; of the 110 points those of the crop are right."""
    root = tmp_path_factory.mktemp("published") / "anna"
    (root / "full_body_img").mkdir(parents=True)
    (root / "landmarks").mkdir()
    squares = mesh_squares(open_avatar(person_avatar))
    for i, frame in enumerate(read_frames(person / "person.mp4", count=FRAMES)):
        cv2.imwrite(str(root / f"full_body_img/{i}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (root / f"landmarks/{i}.lms").write_text(lms(squares[i]))
    write_wave(root / "aud.wav", load_waveform(person / "speech.wav", duration_s=FRAMES / 25))
    rows = np.random.default_rng(0).normal(size=(FRAMES, 2, 1024)).astype(np.float32)
    np.save(root / "aud_hu.npy", rows)
    return root


@pytest.fixture
def folder(data_folder: Path, tmp_path: Path) -> Path:
    """An own copy of the data folder, to damage."""
    return Path(shutil.copytree(data_folder, tmp_path / "anna"))
