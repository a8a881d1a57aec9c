"""Processes that train together, started by torchrun: the same curve as one, whoever goes on, and they end together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.errors import OptionError
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.training import motion, syncnet, warp
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.processes import Processes
from udh_core.training.run_log import open_log
from udh_core.training.syncnet import train_syncnet

ROOT = Path(__file__).resolve().parents[2]
UDH = str(Path(__file__).with_name("in_float32.py"))
WITHIN = 1e-4  # relative, of a loss; 1e-6 is measured
LIMIT_S = 200

GENERATOR = GeneratorOptions(steps=3, motion_steps=1, batch=5, model_size="small")
SYNCNET = SyncNetOptions(steps=2, neighbourhoods=2)


@pytest.fixture(scope="module", autouse=True)
def in_float32() -> Iterator[None]:
    """As those that are started here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (motion, syncnet, warp):
            patch.setattr(module, "training_dtype", lambda device: None)
        yield


@pytest.fixture(scope="module")
def expert(person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SyncNet that one process has trained for two steps, and what else its run left, in a folder of its own."""
    out = tmp_path_factory.mktemp("expert") / "s.safetensors"
    train_syncnet(open_avatar(person_avatar), out, SYNCNET, encoder="mel80").run()
    return out


def started(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """By torchrun, two processes with one thread each; what they say."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*torchrun, *command], cwd=folder, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def apart(command: list[str]) -> list[str]:
    """Each process in the folder of its rank, as on machines that share nothing else."""
    return ["--no-python", "sh", "-c", 'cd "$RANK" && exec "$@"', "sh", sys.executable, UDH, *command]


def flags(**values: object) -> list[str]:
    """Of the command line."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def curve(out: Path) -> list[float]:
    """All losses of a run, in order."""
    return [value for report in open_log(out).reports for value in report.losses.values()]


def test_two_processes_train_a_generator_as_one_does_and_one_goes_on(
    person_avatar: Path, expert: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Five pictures, shared unevenly; then one run of frames for the SyncNet's loss, which one of them has alone."""
    avatar, one, two = open_avatar(person_avatar), tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    sizes = flags(steps=3, motion_steps=1, batch=5, model_size="small", encoder="mel80")
    files = flags(avatar=person_avatar, out=two, syncnet=expert)
    run = started([UDH, "train", *files, *sizes, "--no-report"], tmp_path)
    assert (run.returncode, run.stderr, run.stdout.count("is ready")) == (0, "", 1), run
    make = partial(train_generator, avatar, encoder="mel80", syncnet=open_syncnet(expert))
    make(one, GENERATOR).run()
    assert len(curve(two)) == 3 + 3 + 3 + 4
    assert curve(two) == pytest.approx(curve(one), rel=WITHIN)
    most = max(abs(a / b - 1) for a, b in zip(curve(two), curve(one), strict=True))
    figure(f"The losses of two processes differ from those of one by {most:.0e} of themselves at most")
    for out in (one, two):
        make(out, replace(GENERATOR, steps=4), start="resume").run()
    assert len(curve(two)) > 3 + 3 + 3 + 4
    assert curve(two) == pytest.approx(curve(one), rel=WITHIN)


def test_two_processes_go_on_with_the_syncnet_of_one_and_the_first_alone_writes(
    person_avatar: Path, expert: Path, tmp_path: Path
) -> None:
    one, first, second = (tmp_path / name for name in ("one", "0", "1"))
    for folder in (one, first):
        shutil.copytree(expert.parent, folder)
    second.mkdir()
    given = flags(avatar=person_avatar, out=expert.name, steps=5, neighbourhoods=2, encoder="mel80")
    run = started(apart(["train-syncnet", *given, "--resume"]), tmp_path)
    assert (run.returncode, run.stderr, run.stdout.count("is ready")) == (0, "", 1), run
    goes_on = replace(SYNCNET, steps=5)
    train_syncnet(open_avatar(person_avatar), one / expert.name, goes_on, encoder="mel80", start="resume").run()
    assert len(curve(first / expert.name)) == 5
    assert curve(first / expert.name) == pytest.approx(curve(one / expert.name), rel=WITHIN)
    assert list(second.iterdir()) == []


def test_what_one_process_lacks_ends_all_in_one_line(person_avatar: Path, tmp_path: Path) -> None:
    """Only the first finds the avatar."""
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
    (tmp_path / "0" / "me").symlink_to(person_avatar)
    given = flags(avatar="me", out="s.safetensors", steps=100_000, neighbourhoods=2, encoder="mel80")
    run = started(apart(["train-syncnet", *given]), tmp_path)
    assert run.returncode != 0
    (line,) = (line for line in run.stderr.splitlines() if line.startswith(("error", "interrupted", "[rank")))
    assert line.startswith("error: ") and " me" in line


# The share of each


@pytest.mark.parametrize(("size", "count"), [(16, 1), (16, 4), (16, 3), (5, 4), (3, 4)])
def test_shares_make_the_batch(size: int, count: int) -> None:
    shares = [Processes(rank, count).share(size) for rank in range(count)]
    assert sum(share.part for share in shares) == pytest.approx(1)
    assert sorted(row for share in shares if share.part for row in range(size)[share.rows]) == list(range(size))
    assert all(range(size)[share.rows] for share in shares)  # none has nothing to do: a gradient is averaged over all


def test_more_processes_than_rows_are_refused() -> None:
    Processes(0, 4).check_batch(4, "or")
    with pytest.raises(OptionError, match="5 processes cannot share a batch of 4; start 4 at most, or give more"):
        Processes(0, 5).check_batch(4, "or give more")
