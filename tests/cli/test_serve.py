"""The command `udh serve`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from udh_core.cli import app


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_page_is_served_until_somebody_ends_it(
    person_avatar: Path, generator_file: Path, models: Path, port: int
) -> None:
    asked = ["serve", "--avatar", str(person_avatar), "--generator", str(generator_file), "--port", str(port)]
    program = [sys.executable, "-m", "udh_core", *asked]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"open http://127.0.0.1:{port}/ in a browser; Ctrl-C ends it\n"
        second = CliRunner().invoke(app, asked)
        running.send_signal(signal.SIGTERM)
        said = running.communicate(timeout=20)[1]
    assert running.returncode == 0 and said == ""
    assert second.exit_code == 2
    assert f"--host 127.0.0.1 and --port {port} cannot be used" in second.output
