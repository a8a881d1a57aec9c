"""Each installed version of ComfyUI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from program import CURRENT, FLOOR, home_of

if "UDH_COMFYUI" not in os.environ:  # those run inside ComfyUI's own Python, started by test_inside
    collect_ignore = ["inside"]


@pytest.fixture(params=[CURRENT, FLOOR])
def each_home(request) -> Path:
    """The folder of each installed version in turn."""
    return home_of(request.param)
