"""SIGKILL at any moment: what is on disk is whole, and running it again ends as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import children
import numpy as np
import pytest
from machine import Forks, Made, contents, leftovers, repetitions, wait_for_orphans

from udh_core.avatar.folder import FEATURES, FILES, MARKS, STATE
from udh_core.errors import UdhError
from udh_core.files import ends_hash
from udh_core.models.checkpoint import load, load_resume, read_info, resume_path
from udh_core.speech import features
from udh_core.training.run_log import open_log

KILLS = repetitions(2, 30)


def kill_often(
    forks: Forks, folder: Path, begin: Callable[[Path], tuple], takes_s: float, check: Callable[[Path], None]
) -> Iterator[Path]:
    """Start `begin(place)` and kill it at KILLS random moments, going on until a place is finished, then in the next.

    begin: function of children.py and its arguments. check: asserts that nothing in a place is torn. Yields the
    finished places.
    """
    moments_s = iter(np.random.default_rng(5).uniform(0, takes_s, 20 * KILLS))
    killed = number = 0
    while killed < KILLS:
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        process = forks.start(*begin(place))
        process.join(next(moments_s))
        if process.exitcode is None:
            process.kill()
            process.join()
            wait_for_orphans(place)
            check(place)
            killed += 1
        else:
            assert process.exitcode == 0
            yield place
            number += 1
    last = folder / str(number)
    last.mkdir(exist_ok=True)
    forks.run(*begin(last))
    yield last


def check_avatar(root: Path) -> None:
    """What avatar.json calls finished is there as it was written."""
    if not (root / STATE).is_file():
        return
    state = json.loads((root / STATE).read_text(encoding="utf-8"))
    assert {stage: ends_hash(root / FILES[stage]) for stage in state["stages"]}.items() <= state.get(MARKS, {}).items()


def test_prepare(forks: Forks, clip: Path, tmp_path: Path) -> None:
    takes_s = forks.run(children.prepare_avatar, clip, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    places = kill_often(
        forks,
        tmp_path / "killed",
        lambda place: (children.prepare_avatar, clip, place / "avatar"),
        takes_s,
        lambda place: check_avatar(place / "avatar"),
    )
    (tmp_path / "killed").mkdir()
    for place in places:
        assert contents(place / "avatar") == whole
        assert not leftovers(place)


def check_checkpoints(kind: str) -> Callable[[Path], None]:
    def check(place: Path) -> None:
        out = place / "out.safetensors"
        if out.exists():
            load(out, kind)  # type: ignore[arg-type]
        if resume_path(out).exists():
            load_resume(out)

    return check


@pytest.mark.parametrize("kind", ["generator", "syncnet"])
def test_training(forks: Forks, made: Made, tmp_path: Path, kind: str) -> None:
    steps = children.TRAIN.steps
    assert steps == children.TRAIN_SYNCNET.steps
    function = children.train if kind == "generator" else children.train_expert
    takes_s = forks.run(function, made.avatar, tmp_path / "out.safetensors")
    whole = load(tmp_path / "out.safetensors", kind)[1]  # type: ignore[arg-type]
    (tmp_path / "killed").mkdir()
    places = kill_often(
        forks,
        tmp_path / "killed",
        lambda place: (function, made.avatar, place / "out.safetensors"),
        takes_s,
        check_checkpoints(kind),
    )
    for place in places:
        out = place / "out.safetensors"
        found = load(out, kind)[1]  # type: ignore[arg-type]
        assert all(bool((found[name] == tensor).all()) for name, tensor in whole.items())
        assert read_info(resume_path(out)).step == steps
        assert open_log(out).reports[-1].step == steps
        assert sorted(path.name for path in place.iterdir()) == sorted(
            path.name for path in tmp_path.iterdir() if path.is_file()
        )


def test_features_that_training_adds(forks: Forks, made: Made, avatar: Path) -> None:
    """They are made by the first training of an avatar, and outlast it."""
    added = [path for path in (avatar / FEATURES).iterdir() if path.is_dir()]
    wanted = contents(avatar / FEATURES)
    for folder in added:
        for path in folder.iterdir():
            path.unlink()
    process = forks.start(children.add_features, avatar)
    while not list(added[1].glob("*.npy")):  # it is writing the second of them, or the third
        assert process.is_alive()
    process.kill()
    process.join()
    for folder in added:
        try:
            features.load(folder, "mel80")
        except UdhError as error:
            assert "has no audio features" in str(error)
    forks.run(children.add_features, avatar)
    assert contents(avatar / FEATURES) == wanted
    assert not leftovers(avatar)


def test_render(forks: Forks, made: Made, tmp_path: Path) -> None:
    arguments = (made.avatar, made.generator, made.speech)
    takes_s = forks.run(children.render_video, *arguments, tmp_path / "talk.mp4")
    whole = (tmp_path / "talk.mp4").read_bytes()
    (tmp_path / "killed").mkdir()

    def check(place: Path) -> None:
        assert not (place / "talk.mp4").exists() or (place / "talk.mp4").read_bytes() == whole

    places = kill_often(
        forks,
        tmp_path / "killed",
        lambda place: (children.render_video, *arguments, place / "talk.mp4"),
        takes_s,
        check,
    )
    for place in places:
        assert contents(place) == {"talk.mp4": whole}
