"""Jobs on a real Ray cluster of two workers: one is killed, then the head is; each job is done once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batches import LIMIT_S, ROOT, Jobs, below, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

QUICK = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3"}  # 60 s by default until a program gives up a head that is gone


class Head:
    """The head of a cluster with two processors, which can be killed and begun again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        own = ["--temp-dir", str(self._folder), "--object-store-memory", "80000000", "--node-ip-address", "127.0.0.1"]
        limits = ["--num-cpus", "2", "--include-dashboard", "false", "--disable-usage-stats"]
        ray = Path(sys.executable).with_name("ray")
        self.process = subprocess.Popen(
            [ray, "start", "--head", "--block", "--port", str(self.port), *own, *limits],
            env=os.environ | QUICK | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.1)

    def kill(self) -> None:
        for pid in below(self.process.pid, ""):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def head() -> Iterator[Head]:
    cluster = Head()
    yield cluster
    cluster.close()


def test_a_worker_and_then_the_head_are_killed(head: Head, renders: Callable[..., Jobs]) -> None:
    jobs = renders(4)
    cluster = ("--engine", "ray", "--address", head.address)
    first = jobs.start(*cluster, environment=QUICK)
    os.kill(until(lambda: below(head.process.pid, "ray::perform"), first)[0], signal.SIGKILL)
    until(lambda: jobs.events("ended"), first)
    head.kill()
    said = first.communicate(timeout=LIMIT_S)[0]
    assert first.returncode != 0, said
    head.start()
    second = jobs.start(*cluster, environment=QUICK)
    said = second.communicate(timeout=LIMIT_S)[0]
    assert second.returncode == 0, said
    assert "0 failed" in said and "were done before" in said
    jobs.check_done_once([1, 2, 3, 4])


@pytest.mark.skipif(os.environ.get("UDH_FAULTS") != "all", reason="minutes; only with UDH_FAULTS=all")
def test_two_hundred_jobs_and_five_kills(head: Head, renders: Callable[..., Jobs], figure: Callable) -> None:
    count, chance = 200, random.Random(5)  # noqa: S311 - which moments
    jobs = renders(count, seconds=1.0)
    process = jobs.start("--engine", "ray", "--address", head.address)
    for moment in sorted(chance.sample(range(5, count - 5), 5)):
        until(lambda moment=moment: len(jobs.events("ended")) >= moment, process)
        working = until(lambda: below(head.process.pid, "ray::perform"), process)
        os.kill(chance.choice(working), signal.SIGKILL)
    said = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 0, said
    jobs.check_done_once(list(range(1, count + 1)))
    begun = len(jobs.events("begun"))
    figure(f"{count} renders on Ray with 5 kills: {count} results, {begun} attempts")
    assert count < begun <= count + 5


def test_no_cluster_is_said_at_once(renders: Callable[..., Jobs]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        process = renders(1).start("--engine", "ray", "--address", f"127.0.0.1:{closed.getsockname()[1]}")
        said = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1" in said and len(said.strip().splitlines()) == 1, said
