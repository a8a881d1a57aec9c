"""CONTRIBUTING by the book: its encoder, put where it says, works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USE = """
import numpy as np
from udh_core.speech.encoders import encoder_names, open_encoder
from udh_core.speech.features import extract
tone = np.sin(np.arange(16000) / 5).astype(np.float32)
found = extract(tone, "mfcc13")
assert "mfcc13" in encoder_names()
assert open_encoder("mfcc13").width == found.width == 13
assert found.values.shape == (100, 13) and found.values.dtype == np.float32 and found.encoder == "mfcc13"
assert np.isfinite(found.values).all() and found.values.std(0).max() > 0
"""


def test_an_encoder_is_added_as_the_book_says(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = re.search(r"(?ms)^## Add an encoder\n(.*?)^## ", text)
    assert section
    encoder, line = re.findall(r"```python\n(.*?)```", section[1], re.S)
    shutil.copytree(ROOT / "udh_core", tmp_path / "udh_core", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "udh_core" / "speech" / "encoders.py"
    source = path.read_text(encoding="utf-8")
    start = re.search(r"(?m)^ENCODERS: .*\{\n", source)
    assert start
    path.write_text(f"{source[: start.end()]}{line}{source[start.end() :]}\n\n{encoder}", encoding="utf-8")
    subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, check=True, env={"PYTHONPATH": str(tmp_path)})
    ruff = Path(sys.executable).parent / "ruff"
    subprocess.run([ruff, "check", "--config", ROOT / "pyproject.toml", path], check=True)
