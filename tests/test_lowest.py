"""The lowest versions of what is required, as pyproject.toml has them, really do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needs import unavailable

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("tests/cli/test_cli.py", "-k", "text_is_spoken")  # a clip is prepared, trained on for two steps, and speaks


@pytest.mark.usefixtures("models")
@pytest.mark.skipif(sys.platform == "win32", reason="torch is linked")
def test_a_person_is_made_and_speaks(tmp_path: Path) -> None:
    """`python dev.py lowest` runs more."""
    home = tmp_path / "env"
    command = [sys.executable, str(ROOT / "tests" / "lowest.py"), str(home), *SHORT, f"--basetemp={tmp_path / 'inner'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    shutil.rmtree(home)
    if "failed to fetch" in done.stderr.lower() or "dns error" in done.stderr.lower():
        unavailable("the package index does not answer")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
