"""Jobs by workers of this machine: killed, interrupted and gone on with, each is done once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batches import LIMIT_S, Jobs, below, until
from typer.testing import CliRunner

from udh_core.batch.jobs import BatchOptions
from udh_core.batch.journal import Journal
from udh_core.batch.run import run_batch
from udh_core.batch.workers import _deaf_to_interrupts
from udh_core.cli import app
from udh_core.errors import InUseError

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@linux_only
def test_killed_and_interrupted_each_job_is_done_once(renders: Callable[..., Jobs], tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("these are words")
    bad = {"command": "prepare", "video": "words.mp4", "avatar": "who", "priority": 9}
    lost = {"command": "train", "avatar": "who", "out": "who.safetensors"}
    jobs = renders(6, bad, lost)
    first = jobs.start("--workers", "2")
    until(lambda: len(jobs.events("begun")) >= 3, first)  # the bad one has failed, two renders run
    victim = below(first.pid, "spawn_main")[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: [event for event in jobs.events("ended") if event["result"]["status"] == "done"], first)
    workers = below(first.pid, "spawn_main")
    os.killpg(first.pid, signal.SIGINT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 130 and "run it again to continue" in said, said
    assert workers and not any(map(is_there, workers)) and not list(tmp_path.glob(".*part*"))
    assert max(event["attempt"] for event in jobs.events("begun")) == 2
    summary = run_batch(jobs.path, BatchOptions(workers=1)).run()
    assert 1 <= summary.earlier < 6 and summary.done + summary.earlier == 6
    assert [result["line"] for result in summary.failed] == [7, 8] and summary.faults == {"input"}
    assert "words.mp4 is not an audio or video file" in summary.failed[0]["error"]
    assert summary.failed[1]["error"].endswith("who, which line 7 makes, is not there: that job failed")
    jobs.check_done_once([1, 2, 3, 4, 5, 6])
    assert len({(tmp_path / f"{k}.mp4").read_bytes() for k in range(6)}) == 1


@linux_only
def test_an_interrupt_while_a_worker_is_begun_is_not_lost(request: pytest.FixtureRequest) -> None:
    """It comes afterwards; the worker never gets one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(KeyboardInterrupt), _deaf_to_interrupts():
        child = subprocess.Popen(sleeps)
        child.send_signal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    try:
        time.sleep(0.1)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@linux_only
def test_workers_do_not_outlive_a_batch_that_is_killed(renders: Callable[..., Jobs]) -> None:
    jobs = renders(1)
    batch = jobs.start()
    (worker,) = until(lambda: below(batch.pid, "spawn_main"), batch)
    until(lambda: "libtorch" in Path(f"/proc/{worker}/maps").read_text(), batch)  # it is in the middle of its job
    batch.kill()
    batch.communicate()
    end_s = time.monotonic() + LIMIT_S
    while is_there(worker):
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert not jobs.path.with_name("0.mp4").exists()


def is_there(pid: int) -> bool:
    """Whether a process lives; one that only waits to be collected has no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_a_worker_that_dies_always_is_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "me.mp4").touch()
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"command": "prepare", "video": "me.mp4", "avatar": "a"}')
    work = run_batch(path, BatchOptions(retries=1))
    for _ in work:
        for worker in multiprocessing.active_children():
            worker.kill()
    (failed,) = work.result.failed
    assert (failed["attempts"], failed["line"]) == (2, 1)
    assert failed["error"] == "the worker process died (SIGKILL: memory may be short, take fewer `workers`)"
    assert work.result.faults == {"worker"}


def test_a_file_that_is_being_done_and_one_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"command": "prepare", "video": "me.mp4", "avatar": "a", "crop": 1}')
    refused = CliRunner().invoke(app, ["batch", str(path)])
    assert refused.exit_code == 2
    assert refused.output.startswith(f'error: {path}, line 1: there is no "crop"') and refused.output.count("\n") == 1
    (tmp_path / "me.mp4").touch()
    path.write_text('{"command": "prepare", "video": "me.mp4", "avatar": "a"}')
    with Journal(tmp_path / "jobs.journal.jsonl"), pytest.raises(InUseError, match="another run is doing the jobs"):
        run_batch(path).run()
