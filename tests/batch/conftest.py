"""A jobs file of tiny renders."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # batches.py
from batches import Jobs


@pytest.fixture
def renders(person_avatar: Path, generator_file: Path, person: Path, tmp_path: Path) -> Callable[..., Jobs]:
    """Takes a number of renders, more lines, and the seconds of speech; their jobs file."""
    from udh_core.media.audio import load_waveform, write_wave

    def make(count: int, *more: dict[str, Any], seconds: float = 0.5) -> Jobs:
        write_wave(tmp_path / "said.wav", load_waveform(person / "speech.wav", duration_s=seconds))
        common = {"command": "render", "avatar": str(person_avatar), "generator": str(generator_file)}
        lines = [{**common, "audio": "said.wav", "out": f"{k}.mp4"} for k in range(count)]
        path = tmp_path / "jobs.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]), encoding="utf-8")
        return Jobs(path)

    return make
