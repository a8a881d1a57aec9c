"""Files of jobs at addresses: fetched from and uploaded to servers that really run, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest
from batches import LIMIT_S, ROOT, Jobs
from servers import Ftp, StoppingLine, ftp_server
from typer.testing import CliRunner

from udh_core.batch.addresses import name_of, path_of, shown, stand_in
from udh_core.batch.jobs import BatchOptions
from udh_core.batch.lines import read_jobs
from udh_core.batch.remote import Copies, _own_folder, upload
from udh_core.batch.run import run_batch
from udh_core.cli import app
from udh_core.errors import FileError, FormatError

MB = 1 << 20
UPLOAD = """
import sys
from pathlib import Path
from udh_core.batch.remote import upload
upload(Path(sys.argv[1]), sys.argv[2])
"""
FOLDER = """
import os, sys
from pathlib import Path
from udh_core.batch.remote import _own_folder
print(_own_folder(Path(sys.argv[1])), flush=True)
"""


# Words


def test_what_stands_for_an_address() -> None:
    assert shown("ftp://me:wo@rd@host/a b.mp4") == "ftp://me:…@host/a b.mp4"
    assert shown("https://host/a.mp4?Signature=secret") == "https://host/a.mp4?…"
    assert shown("s3://bucket/a?b:c@d.mp4") == "s3://bucket/a?b:c@d.mp4"
    assert name_of("https://host/x/a.mp4?b=/c.wav") == "a.mp4"
    assert name_of("s3://bucket/x/1:2|3.mp4") == "1_2_3.mp4"
    assert stand_in("s3://b/a") == stand_in("s3://b/a/") != stand_in("s3://c/a")
    assert path_of("file:///a%20b/c") == path_of("FILE://localhost/a%20b/c") == Path("/a b/c")
    assert path_of("s3://a/b") is None


def test_lines_with_addresses(tmp_path: Path) -> None:
    """What one line makes another may need, by its address; file:// is a path as any other."""
    prepare = {"command": "prepare", "video": "s3://b/me.mp4", "avatar": "s3://b/who"}
    train = {"command": "train", "avatar": "s3://b/who/", "out": (tmp_path / "g.safetensors").as_uri()}
    path = tmp_path / "jobs.jsonl"
    path.write_text(f"{json.dumps(prepare)}\n{json.dumps(train)}\n")
    first, second = read_jobs(path)
    assert first.job.addresses == {"video": "s3://b/me.mp4", "avatar": "s3://b/who"} and second.needs == (1,)
    assert second.job.addresses == {"avatar": "s3://b/who/"} and second.job.output == tmp_path / "g.safetensors"
    assert first.job.called(first.job.output) == "s3://b/who"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"out": "file://g.safetensors"}, "names no file of this machine; write file:///"),
        ({"out": "s3://b/g", "start": "resume"}, '"start" resume needs the earlier files: copy them'),
        ({"addresses": {"out": "s3://b/g"}}, 'there is no "addresses"'),
    ],
)
def test_lines_with_addresses_at_fault(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps({"command": "train", "avatar": "a", "out": "g"} | change))
    with pytest.raises(FormatError, match=r"jobs\.jsonl, line 1: ") as error:
        read_jobs(path)
    assert said in str(error.value)


def test_a_jobs_file_and_its_journal_lie_here() -> None:
    for arguments in (["s3://bucket/jobs.jsonl"], ["jobs.jsonl", "--results", "memory://x/r.jsonl"]):
        refused = CliRunner().invoke(app, ["batch", *arguments])
        assert refused.exit_code == 2 and refused.output.count("\n") == 1
        assert "lies on this machine, because of its locks; copy" in refused.output


# Copies


def test_one_copy_of_each_content(memory: str, tmp_path: Path) -> None:
    copies, store = Copies(tmp_path), fsspec.filesystem("memory")
    store.pipe({"/store/a/one.txt": b"1", "/store/a/below/two.txt": b"22", "/store/a/.lock": b""})
    first = copies.of(f"{memory}/a")
    assert {path.relative_to(first).as_posix() for path in first.rglob("*.*")} == {"one.txt", "below/two.txt"}
    store.get_file = None  # whatever would fetch now fails
    assert copies.of(f"{memory}/a") == first
    del store.get_file
    store.pipe("/store/a/one.txt", b"3")
    second = copies.of(f"{memory}/a")
    assert (second / "one.txt").read_bytes() == b"3" and (first / "one.txt").read_bytes() == b"1"
    copies.trim(3)
    assert second.exists() and not first.exists()
    store.pipe("/store/a/one:two", b"")
    with pytest.raises(FileError, match="cannot be the name of a file here"):
        copies.of(f"{memory}/a")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    kept, left = (
        subprocess.run(
            [sys.executable, "-c", FOLDER + end, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        for end in ("", "os._exit(1)")
    )
    assert kept.returncode == 0 and not Path(kept.stdout.strip()).exists()
    assert left.returncode == 1 and Path(left.stdout.strip()).is_dir()
    own = _own_folder(tmp_path)
    assert own.is_dir() and not Path(left.stdout.strip()).exists()
    assert _own_folder(tmp_path) != own and own.is_dir()


# Uploads


def test_a_folder_counts_when_all_of_it_is_there(memory: str, s3: str, ftp: Ftp, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "features").mkdir(parents=True)
    for name in ("avatar.json", "z.npy", "features/f.npy", ".lock"):
        (made / name).write_text(name)
    for address in (f"{memory}/deep/er/who", f"{s3}/deep/er/who", f"{ftp.address()}/deep/er/who"):
        upload(made, address)
        file_system, root = fsspec.url_to_fs(address)
        found = {name.removeprefix(f"{root}/"): file_system.cat_file(name) for name in file_system.find(root)}
        assert found == {name: name.encode() for name in ("avatar.json", "z.npy", "features/f.npy")}
    upload(made / "z.npy", f"{memory}/beside/z.npy")  # with what was made beside it, as a training's resume state
    assert fsspec.filesystem("memory").find("/store/beside") == ["/store/beside/avatar.json", "/store/beside/z.npy"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_upload_over_ftp_that_is_stopped_leaves_no_file(tmp_path: Path, end: signal.Signals) -> None:
    (tmp_path / "big.mp4").write_bytes(bytes(4 * MB))
    (tmp_path / "ftp").mkdir()
    with ftp_server(tmp_path / "ftp", bytes_per_s=MB) as ftp:
        process = start_upload(tmp_path / "big.mp4", f"{ftp.address()}/out.mp4")
        wait(lambda: [path for path in ftp.root.iterdir() if path.stat().st_size], process)
        process.send_signal(end)
        assert process.wait(LIMIT_S) != 0
        left = [path.name for path in ftp.root.iterdir()]
        assert all(name.endswith(".part") for name in left) and len(left) == (end == signal.SIGKILL)


def test_an_upload_to_s3_that_is_stopped_leaves_no_object(
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "big.mp4").write_bytes(bytes(4 * MB))
    server = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    line = StoppingLine((str(server.hostname), int(server.port or 0)), MB)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
    process = start_upload(tmp_path / "big.mp4", f"{s3}/out.mp4")
    wait(line.stopped.is_set, process)
    process.kill()
    process.wait()
    line.close()
    assert fsspec.filesystem("s3").find(s3) == []


def start_upload(path: Path, address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", UPLOAD, str(path), address], cwd=ROOT)


def wait(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None and time.monotonic() < end_s
        time.sleep(0.02)


# Jobs


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_jobs_whose_files_lie_elsewhere(
    renders: Callable[..., Jobs],
    s3: str,
    ftp: Ftp,
    person_avatar: Path,
    generator_file: Path,
    tmp_path: Path,
) -> None:
    """One worker: person from S3, speech from FTP, videos to both; the others fail with a reason."""
    upload(person_avatar, f"{s3}/who")
    fsspec.filesystem("s3").put_file(generator_file, f"{s3}/g.safetensors")
    person = {"command": "render", "avatar": f"{s3}/who", "generator": f"{s3}/g.safetensors"}
    said = f"{ftp.address('guest')}/said.wav"
    jobs = renders(
        1,
        person | {"audio": said, "out": f"{s3}/out/1.mp4"},
        person | {"audio": said, "out": f"{ftp.address()}/out/2.mp4"},
        person | {"audio": f"{s3}/none.wav", "out": "3.mp4"},
        person | {"audio": said, "out": f"{ftp.address('guest')}/4.mp4"},
        person | {"audio": said, "out": "s3://nobucket/5.mp4"},
        person | {"audio": "nope://x/said.wav", "out": "6.mp4"},
        person | {"audio": "gs://x/said.wav", "out": "7.mp4"},
        {"command": "train", "avatar": f"{s3}/who", "out": f"{s3}/who/track.npz"},
        person | {"audio": f"ftp://127.0.0.1:{free_port()}/said.wav", "out": "9.mp4"},
    )
    shutil.copy(tmp_path / "said.wav", ftp.root)
    summary = run_batch(jobs.path, BatchOptions(workers=1, retries=0)).run()
    results = jobs.results()
    assert (summary.done, len(summary.failed), summary.faults) == (3, 7, {"input", "worker"})
    reasons = (
        (f"cannot read {s3}/none.wav: it is not there; mend the name, or put it there"),
        ("cannot write ftp://guest:…@127.0.0.1:", "550 Not enough privileges.; mend the address"),
        ("cannot write s3://nobucket/5.mp4: it is not there; mend the name, or put it there"),
        ("cannot read nope://x/said.wav: Protocol not known: nope; mend the address"),
        ("cannot read gs://x/said.wav: pip install gcsfs for every worker"),
        (f'{s3}/who/track.npz is there already; add "start", "overwrite", or give another name'),
        ("cannot read ftp://127.0.0.1:", "just now (ConnectionRefusedError", "see whether its server answers"),
    )
    for result, reason in zip(results[3:], reasons, strict=True):
        assert all(part in result["error"] for part in ([reason] if isinstance(reason, str) else reason)), result
    assert results[2]["out"] == f"ftp://me:…@127.0.0.1:{ftp.port}/out/2.mp4"
    whole = (tmp_path / "0.mp4").read_bytes()
    assert fsspec.filesystem("s3").cat_file(f"{s3}/out/1.mp4") == whole == (ftp.root / "out" / "2.mp4").read_bytes()
    assert sorted(path.name for path in ftp.root.rglob("*")) == ["2.mp4", "out", "said.wav"]
    assert "word" not in jobs.path.with_name("jobs.journal.jsonl").read_text() + json.dumps(results)
    assert not list(Path(tempfile.gettempdir()).glob(f"udh-batch-{os.getuid()}-*/*/who"))
