"""A full disk: exit code 2 and one line; what was there is whole, nothing half-written is left, and it can go on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from machine import FEW, Disk, Forks, Made, contents, leftovers

from udh_core.avatar.crops import check_crops_fit, crops_bytes
from udh_core.avatar.folder import open_avatar
from udh_core.errors import FileError
from udh_core.face.crop import CropSpec
from udh_core.files import atomic_write, check_room
from udh_core.models.checkpoint import load, read_info, resume_path

PREPARE = ("--encoder", "mel80", "--crop-px", 96)
TRAIN = ("--encoder", "mel80", *FEW, "--steps", 1, "--no-report")
FULL = r"No space left|File too large|free|SIGXFSZ"


def refused(forks: Forks, folder: Path, *arguments: object, **limits: object) -> str:
    """The one line of a command for which the disk is full."""
    ended = forks.udh(folder / "log", *arguments, **limits)
    assert ended.code == 2, ended.text
    assert ended.lines[-1].startswith("error: "), ended.text
    assert "Traceback" not in ended.text
    assert arguments[0] == "evaluate" or len(ended.lines) == 1, ended.text  # which prints its tables before
    assert re.search(FULL, ended.lines[-1]), ended.text
    return ended.lines[-1]


# Prepare


@pytest.mark.parametrize("largest", [20_000, 100_000, 200_000, 1_000_000])
def test_no_file_of_an_avatar_fits(forks: Forks, clip: Path, made: Made, tmp_path: Path, largest: int) -> None:
    """By size: the first that does not fit is video.mp4, audio.wav, track.npz, crops.npy."""
    root = tmp_path / "avatar"
    refused(forks, tmp_path, "prepare", clip, "--avatar", root, *PREPARE, file_bytes=largest)
    assert not leftovers(tmp_path)
    assert forks.udh(tmp_path / "log", "prepare", clip, "--avatar", root, *PREPARE).code == 0
    assert contents(root).keys() >= {"avatar.json", "crops.npy", "track.npz"}
    assert contents(root)["crops.npy"] == contents(made.avatar)["crops.npy"]


def test_the_need_of_the_crops_is_known_before(forks: Forks, clip: Path, disk: Disk, tmp_path: Path) -> None:
    limits, root = disk.leave(1_000_000), disk.folder / "avatar"
    line = refused(forks, tmp_path, "prepare", clip, "--avatar", root, *PREPARE, **limits)
    if disk.mounted:
        assert "the crops of 75 frames at 96 px take 2.1 MB" in line
        assert "1.0 MB free" in line
        assert not (root / "video.mp4").exists()  # before the work
    disk.clear()
    assert forks.udh(tmp_path / "log", "prepare", clip, "--avatar", root, *PREPARE).code == 0
    assert not leftovers(disk.folder)


def test_features_do_not_fit(forks: Forks, clip: Path, made: Made, disk: Disk, tmp_path: Path) -> None:
    """All but the last stage has room."""
    root = disk.folder / "avatar"
    names = ("video.mp4", "audio.wav", "track.npz", "crops.npy")
    needed = sum((made.avatar / name).stat().st_size for name in names)
    limits = disk.leave(needed + 100_000) if disk.mounted else {"file_bytes": 150_000}
    refused(forks, tmp_path, "prepare", clip, "--avatar", root, *PREPARE, **limits)
    assert not leftovers(disk.folder)
    disk.clear()
    assert forks.udh(tmp_path / "log", "prepare", clip, "--avatar", root, *PREPARE).code == 0
    assert contents(root / "features").items() <= contents(made.avatar / "features").items()


def test_half_an_hour_in_512_px_is_42_gigabytes(tmp_path: Path) -> None:
    assert crops_bytes(30 * 60 * 30, CropSpec(512)) == pytest.approx(42.5e9, rel=0.01)
    assert check_crops_fit(tmp_path, 1000, CropSpec(96)) == "its crops take 27.6 MB"
    with pytest.raises(FileError, match=r"the crops of \d+ frames at 512 px take .* GB, the disk of .* has .* free"):
        check_crops_fit(tmp_path, 10**10, CropSpec(512))
    check_room(tmp_path, 0, "nothing")


# Train


def test_training(forks: Forks, made: Made, disk: Disk, tmp_path: Path) -> None:
    out = disk.folder / "g.safetensors"
    command = ("train", "--avatar", made.avatar, "--out", out, *TRAIN)
    size = resume_path(made.generator).stat().st_size
    refused(forks, tmp_path, *command, **disk.leave(size // 2))
    assert not leftovers(disk.folder)
    assert not out.exists()
    disk.clear()
    if disk.mounted:  # one state fits, but not two
        refused(forks, tmp_path, *command, "--resume", **disk.leave(size + size // 8))
        assert not leftovers(disk.folder)
        load(resume_path(out), "resume")
        disk.clear()
    assert forks.udh(tmp_path / "log", *command, "--resume").code == 0
    assert read_info(out).step == 1


def test_training_keeps_what_it_had(forks: Forks, made: Made, disk: Disk, tmp_path: Path) -> None:
    out = disk.folder / "s.safetensors"
    command = ("train-syncnet", "--avatar", made.avatar, "--out", out, "--encoder", "mel80")
    assert forks.udh(tmp_path / "log", *command, "--steps", 1).code == 0
    before = {name: content for name, content in contents(disk.folder).items() if name.endswith(".safetensors")}
    refused(forks, tmp_path, *command, "--steps", 2, "--resume", **disk.leave(100_000))
    assert before.items() <= contents(disk.folder).items()
    assert not leftovers(disk.folder)
    disk.clear()
    assert forks.udh(tmp_path / "log", *command, "--steps", 2, "--resume").code == 0
    assert read_info(resume_path(out), "resume").step == 2  # `out` is the step that did best


# Render, evaluate, export


@pytest.mark.parametrize("name", ["render", "evaluate", "export"])
def test_outputs(forks: Forks, made: Made, disk: Disk, tmp_path: Path, name: str) -> None:
    both = ("--avatar", made.avatar, "--generator", made.generator)
    outs = {"render": "talk.mp4", "evaluate": "page.html", "export": "b.safetensors"}
    flags = {"render": ("--audio", made.speech, "--out"), "evaluate": ("--html",), "export": ("--bundle",)}
    out, room = disk.folder / outs[name], 8192 if name == "render" else 16384  # more than what a command prints
    out.write_bytes(b"from before")
    refused(forks, tmp_path, name, *both, *flags[name], out, **disk.leave(room))
    assert out.read_bytes() == b"from before"
    assert not leftovers(disk.folder)
    disk.clear()
    assert forks.udh(tmp_path / "log", name, *both, *flags[name], out).code == 0
    assert out.stat().st_size > 1000


def test_a_full_disk_is_said_whoever_writes(disk: Disk) -> None:
    if not disk.mounted:
        return  # the commands above have shown it with a limit
    disk.leave(8192)
    words = r"cannot write .*a\.bin: No space left on device; free some space"
    with pytest.raises(FileError, match=words), atomic_write(disk.folder / "a.bin") as temporary:
        temporary.write_bytes(bytes(1 << 20))
    assert [path.name for path in disk.folder.iterdir()] == ["ballast"]


def test_what_was_prepared_opens_on_a_full_disk(made: Made, disk: Disk) -> None:
    disk.leave(0)
    assert open_avatar(made.avatar).crops().shape[0] == 75
