"""An avatar folder of a test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(person_avatar: Path, tmp_path: Path) -> Path:
    """An avatar folder that a test may change."""
    return Path(shutil.copytree(person_avatar, tmp_path / "copy"))
