"""Two processes on one avatar or one output: the second is refused in one line, or comes after; nothing is torn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import children
import pytest
from machine import FEW, Forks, Made, contents, leftovers

from udh_core.avatar.folder import FEATURES, open_avatar
from udh_core.avatar.prepare import prepare
from udh_core.errors import FileError
from udh_core.export.bundle import export_bundle
from udh_core.files import atomic_folder, exclusive_lock, output_lock
from udh_core.progress import Job
from udh_core.rendering.render import render
from udh_core.training.generator import train_generator
from udh_core.training.syncnet import train_syncnet


@contextmanager
def half_done(job: Job, stage: str) -> Iterator[Job]:
    """The job, stopped when it is in this stage."""
    with closing(job):
        assert any(step.stage == stage for step in job)
        yield job


def refused(forks: Forks, folder: Path, *arguments: object) -> str:
    ended = forks.udh(folder / "log", *arguments)
    assert (ended.code, len(ended.lines)) == (2, 1), ended
    return ended.lines[0]


def test_prepare(forks: Forks, clip: Path, made: Made, tmp_path: Path) -> None:
    root = tmp_path / "avatar"
    command = ("prepare", clip, "--avatar", root, "--encoder", "mel80", "--crop-px", 96)
    with half_done(prepare(clip, root, children.PREPARE), "landmarks") as first:
        assert f"another run is working in {root}; wait until it ends" in refused(forks, tmp_path, *command)
        first.run()
    assert contents(root)["crops.npy"] == contents(made.avatar)["crops.npy"]
    assert forks.udh(tmp_path / "log", *command).code == 0


def test_train(forks: Forks, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "g.safetensors"
    command = ("train", "--avatar", made.avatar, "--encoder", "mel80", "--out", out, *FEW)
    training = train_generator(open_avatar(made.avatar), out, children.TRAIN, encoder="mel80")
    with half_done(training, "warp") as first:
        for start in ("--resume", "--overwrite", "--set-aside"):
            assert f"another run is writing {out}; wait until it ends" in refused(forks, tmp_path, *command, start)
        first.run()
    assert "is there already" in refused(forks, tmp_path, *command)


def test_train_syncnet(forks: Forks, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    command = ("train-syncnet", "--avatar", made.avatar, "--encoder", "mel80", "--out", out, "--resume")
    training = train_syncnet(open_avatar(made.avatar), out, children.TRAIN_SYNCNET, encoder="mel80")
    with half_done(training, "syncnet"):
        assert f"another run is writing {out}" in refused(forks, tmp_path, *command)


def test_two_trainings_of_one_avatar(made: Made, avatar: Path, tmp_path: Path) -> None:
    """They share its features: while one makes them, the other is not let in; then both go on."""
    for path in (avatar / FEATURES).rglob("silence-*/*"):
        path.unlink()
    first, second = (
        train_generator(open_avatar(avatar), tmp_path / name, children.TRAIN, encoder="mel80")
        for name in ("a.safetensors", "b.safetensors")
    )
    with half_done(first, "features of silence"), closing(second):
        with pytest.raises(FileError, match=r"another run is working in .*avatar"):
            second.run()
        assert any(step.stage == "motion" for step in first)
    again = train_generator(
        open_avatar(avatar), tmp_path / "b.safetensors", children.TRAIN, encoder="mel80", start="resume"
    )
    with half_done(again, "motion"):
        assert leftovers(tmp_path) == []
    assert contents(avatar / FEATURES) == contents(made.avatar / FEATURES)


def test_render_and_export(forks: Forks, made: Made, tmp_path: Path) -> None:
    opened, both = open_avatar(made.avatar), ("--avatar", made.avatar, "--generator", made.generator)
    talk, bundle = tmp_path / "talk.mp4", tmp_path / "b.safetensors"
    with half_done(render(opened, made.generator, made.speech, talk), "frames") as first:
        line = refused(forks, tmp_path, "render", *both, "--audio", made.speech, "--out", talk)
        assert f"another run is writing {talk}; wait until it ends, or give another name" in line
        first.run()
    with half_done(export_bundle(opened, made.generator, bundle, duration_s=2.0), "frames") as first:
        assert "another run is writing" in refused(forks, tmp_path, "export", *both, "--bundle", bundle)
        first.run()
    assert bundle.stat().st_size > 10_000
    assert not leftovers(tmp_path)


def test_at_the_same_moment(forks: Forks, made: Made, tmp_path: Path) -> None:
    arguments = (made.avatar, made.generator, made.speech, tmp_path / "talk.mp4")
    forks.run(children.render_video, *arguments)
    whole = (tmp_path / "talk.mp4").read_bytes()
    both = [forks.start(children.render_video, *arguments) for _ in range(2)]
    for process in both:
        process.join()
    assert 0 in [process.exitcode for process in both]
    assert contents(tmp_path) == {"talk.mp4": whole}


# The locks themselves


def test_a_lock_ends_with_its_block_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    for _ in range(2):
        with output_lock(out):
            with pytest.raises(FileError, match=r"another run is writing .*a\.mp4"), output_lock(out):
                pytest.fail("two are let in")
            with output_lock(tmp_path / "b.mp4"):
                assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_same_file_by_another_name_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    second = output_lock(tmp_path / "link" / "a.mp4")
    with output_lock(tmp_path / "a.mp4"), pytest.raises(FileError, match="another run is writing"), second:
        pytest.fail("two are let in")


def test_leftovers_of_this_file_are_removed_and_those_of_others_are_not(tmp_path: Path) -> None:
    own, other = tmp_path / ".me.0123abcd.part.mp4", tmp_path / ".me.b.0123abcd.part.mp4"
    user = tmp_path / ".me.part.mp4"
    for path in (own, other, user):
        path.write_bytes(b"half")
    with output_lock(tmp_path / "me.mp4"):
        assert set(tmp_path.iterdir()) == {other, user}


def test_leftovers_in_a_folder_are_removed_but_not_where_another_works(tmp_path: Path) -> None:
    for name in ("features", "avatar"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".x.0123abcd.part.npy").write_bytes(b"half")
    with exclusive_lock(tmp_path / "avatar"):
        (tmp_path / "avatar" / ".y.0123abcd.part.npy").write_bytes(b"being written")
        with exclusive_lock(tmp_path):
            assert leftovers(tmp_path) == [tmp_path / "avatar" / ".y.0123abcd.part.npy"]


def test_a_folder_that_two_make(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as first:
        with pytest.raises(FileError, match="another run is writing"), atomic_folder(tmp_path / "a"):
            pytest.fail("two are let in")
        (first / "x").touch()
    assert contents(tmp_path) == {"a/x": b""}
