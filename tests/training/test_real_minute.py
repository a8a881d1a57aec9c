"""A generator that learnt a minute of a real speaker for a short while: its mouth follows what it never heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from udh_core.avatar.folder import open_avatar
from udh_core.evaluation.evaluate import evaluate
from udh_core.evaluation.result import GENERATED
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions


def test_a_short_training_follows_held_out_speech(
    real_minute: Path, models: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    avatar, out = open_avatar(real_minute), tmp_path / "g.safetensors"
    train_generator(avatar, out, GeneratorOptions(steps=70, motion_steps=60, model_size="small"), models=models).run()
    found = evaluate(avatar, out, models=models).run().rows[GENERATED]["opening_correlation"]
    figure(f"real clip, held-out opening correlation after a short training: {found:.3f}")
    assert found >= 0.4
