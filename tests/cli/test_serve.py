"""The command `udh serve`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import websocket
from serving import free_port
from typer.testing import CliRunner

from udh_core.cli import app
from udh_core.live.room import CLOSING


@pytest.fixture
def port() -> int:
    return free_port()


def test_the_page_is_served_until_somebody_ends_it(
    person_avatar: Path, generator_file: Path, models: Path, port: int
) -> None:
    asked = ["serve", "--avatar", str(person_avatar), "--generator", str(generator_file), "--port", str(port)]
    program = [sys.executable, "-m", "udh_core", *asked]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"open http://127.0.0.1:{port}/ in a browser; Ctrl-C ends it\n"
        assert running.stdout.readline().startswith("visitors at once: ")
        second = CliRunner().invoke(app, asked)
        visitor = websocket.create_connection(f"ws://127.0.0.1:{port}/talk", timeout=20)
        assert len(visitor.recv()) > 1000
        running.send_signal(signal.SIGTERM)
        while not isinstance(message := visitor.recv(), str):
            pass
        said = running.communicate(timeout=20)[1]
    assert json.loads(message) == {"closing": CLOSING}
    assert running.returncode == 0 and said == ""
    assert second.exit_code == 2
    assert f"--host 127.0.0.1 and --port {port} cannot be used" in second.output
