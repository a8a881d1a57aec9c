"""A jobs file of tiny renders, and places elsewhere that their files may lie at."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))  # batches.py, servers.py
from batches import Jobs
from servers import Ftp, ftp_server


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


@pytest.fixture
def memory() -> Iterator[str]:
    """An address within this process."""
    import fsspec

    yield "memory://store"
    fsspec.filesystem("memory").rm("/store", recursive=True)


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[Ftp]:
    """A server of the folder ftp/."""
    (tmp_path / "ftp").mkdir()
    with ftp_server(tmp_path / "ftp") as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """S3's API, over HTTP."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of an empty bucket; every process finds its server and has the right to use it."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}"
