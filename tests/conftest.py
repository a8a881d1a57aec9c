"""Shared fixtures: where the development clips lie, and small media made on the spot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips that may lie beside the checkout."""
    if not (DATA / "video").is_dir():
        pytest.skip(f"the real clips are not beside the checkout ({DATA.parent.name}/{DATA.name})")
    return DATA
