"""files.replacing: whole file or nothing."""

import errno
import os
from pathlib import Path

import pytest
from needs import unavailable

from udh_core.errors import FileError
from udh_core.files import atomic_write, os_error_line, output_lock, without_links


def test_success_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_text("old")
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".mp4"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["missing/a.mp4", "file/a.mp4", "folder"])
def test_an_impossible_target_fails_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match=r"cannot write") as caught, atomic_write(tmp_path / name):
        pytest.fail("the block must not start")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["pipe", "link to a pipe", "link to a device"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    """A rename would put a file in its place: with enough rights even in that of /dev/null."""
    if not hasattr(os, "mkfifo"):
        unavailable("this system has no pipes with names")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    (tmp_path / "link to a device").symlink_to(os.devnull)
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    with pytest.raises(FileError, match="a device or a pipe; give a file name"), output_lock(tmp_path / name):
        pytest.fail("the block must not start")
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before


def test_a_disk_that_fails_is_named() -> None:
    error = OSError(errno.EIO, "Input/output error", "a.mp4")
    assert os_error_line(error) == "cannot read or write a.mp4: Input/output error; check the disk, then run it again"


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert without_links(tmp_path / "circle").name == "circle"
    with output_lock(tmp_path / "circle"), atomic_write(tmp_path / "circle") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "circle").read_text() == "new"
