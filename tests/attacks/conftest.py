"""Files made to attack, and the marker they would leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


class Payload:
    """Runs a shell command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch pwned",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder the test runs in; afterwards no payload has left its marker in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("pwned*"))
