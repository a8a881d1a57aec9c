"""Nothing is trained on a sound without speech."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.avatar.prepare import add_features
from udh_core.errors import MediaError
from udh_core.media.audio import SAMPLE_RATE_HZ, write_wave
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.syncnet import train_syncnet

COUNT = 6 * SAMPLE_RATE_HZ
SOUNDS: dict[str, Callable[[], np.ndarray]] = {
    "silence": lambda: np.zeros(COUNT),
    "noise": lambda: np.random.default_rng(0).normal(0, 0.1, COUNT),
    "hum": lambda: 0.3 * np.sin(2 * np.pi * 50 * np.arange(COUNT) / SAMPLE_RATE_HZ),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_training_refuses_sound_without_speech(person_avatar: Path, tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(person_avatar, tmp_path / "avatar"))
    write_wave(root / "audio.wav", SOUNDS[name]())
    add_features(root, "mel80").run()
    avatar, out = open_avatar(root), tmp_path / "out.safetensors"
    for training in (
        train_generator(avatar, out, GeneratorOptions(steps=1), encoder="mel80"),
        train_syncnet(avatar, out, SyncNetOptions(steps=1), encoder="mel80"),
    ):
        with pytest.raises(MediaError, match=r"there is no speech in .*audio\.wav.*use a clip with its own"):
            training.run()
    assert not out.exists()
