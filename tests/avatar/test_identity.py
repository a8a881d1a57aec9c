"""Who an avatar is: another face or another sound is another avatar, whose generator is refused by name."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar import identity
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip, prepare, track_face
from udh_core.errors import MismatchError, NoFaceError, OptionError
from udh_core.face.crop import CropSpec
from udh_core.media.audio import write_wave
from udh_core.media.video import VideoWriter
from udh_core.models.checkpoint import PERSON, Checkpoint, check_match, resume_path, save_generator, save_resume
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig
from udh_core.rendering.render import render
from udh_core.training import run_log

FPS = 10
OPTIONS = PrepareOptions(96, "mel80")
RIGHT, LEFT = PrepareOptions(96, face_point=(384.0, 140.0)), PrepareOptions(96, face_point=(128.0, 140.0))


def noise(path: Path, seed: int) -> Path:
    write_wave(path, np.random.default_rng(seed).normal(0, 0.1, 6 * 16000).clip(-1, 1).astype(np.float32))
    return path


def write_clip(path: Path, frames: list[np.ndarray], sound: Path) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width=width, height=height, fps=FPS, audio=sound, encoder="x264") as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture(scope="module")
def pair(two_people: tuple[list[np.ndarray], list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of two people beside each other, five seconds."""
    folder = tmp_path_factory.mktemp("pair")
    rows = [np.hstack([a[:, 128:384], b[:, 128:384]]) for a, b in zip(*two_people, strict=True)]
    return write_clip(folder / "pair.mp4", [*rows, *rows[:-11:-1]], noise(folder / "own.wav", 0))


@pytest.fixture(scope="module")
def on_the_left(pair: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The avatar of the left one."""
    root = tmp_path_factory.mktemp("avatars") / "anna"
    prepare(pair, root, PrepareOptions(96, "mel80", face_point=LEFT.face_point), models=models).run()
    return root


@pytest.fixture
def anna(on_the_left: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(on_the_left, tmp_path / "anna"))


def generator_of(avatar: Avatar, path: Path) -> Path:
    """An untrained one that says it was trained on this avatar."""
    config = GeneratorConfig(MotionConfig(80, members=1), WarpConfig(96, references=1, widths=(16, 24)), 53)
    described = {"model": config.to_dict(), "options": {}, PERSON: avatar.person}
    save_generator(path, _info(avatar, described), Generator(config, avatar.crop))
    return path


def _info(avatar: Avatar, config: dict) -> Checkpoint:
    return Checkpoint("generator", config, 1, "mel80", avatar.crop, avatar.identity)


def as_made_before(root: Path) -> Avatar:
    """The avatar in the form of an earlier version."""
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    for name in ("identity", "face", "sound", "marks"):
        state.pop(name, None)
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    with np.load(root / "track.npz") as stored:
        track = {name: stored[name] for name in stored if name != "distance"}
    np.savez(root / "track.npz", **track)
    return open_avatar(root)


# What is part of it


def test_another_face_is_another_avatar(anna: Path, models: Path) -> None:
    before = open_avatar(anna)
    assert before.track().landmarks[0, :, 0].mean() < 256
    after = track_face(anna, RIGHT, models=models).run()
    assert after.track().landmarks[0, :, 0].mean() > 256
    assert after.clip == before.clip and after.identity != before.identity


def test_how_the_face_was_chosen_does_not_matter(anna: Path, models: Path) -> None:
    """Nor does what was done about gaps."""
    before = open_avatar(anna).identity
    for options in (PrepareOptions(96, face_point=(100.0, 150.0), max_gap_s=0.5), PrepareOptions(96, skip_lost=True)):
        after = track_face(anna, options, models=models).run()
        left = after.track().landmarks[0, :, 0].mean() < 256
        assert (after.identity == before) == left


@pytest.mark.parametrize("moved_px", [-3.0, 0.4, 7.0])
def test_landmarks_that_differ_a_little_are_the_same_face(anna: Path, moved_px: float) -> None:
    """As they do between processors."""
    avatar, state = open_avatar(anna), json.loads((anna / "avatar.json").read_text(encoding="utf-8"))
    track = avatar.track()
    moved = identity.settle(state, replace(track, landmarks=track.landmarks + np.float32(moved_px)))
    assert moved["identity"] == avatar.identity
    assert identity.settle(state | {"face_rank": 1}, track)["identity"] != avatar.identity
    later = replace(track, valid=track.valid & (np.arange(len(track.valid)) >= 2.5 * FPS))
    assert identity.settle(state, later)["identity"] != avatar.identity


def test_another_sound_is_another_avatar(anna: Path, pair: Path, tmp_path: Path) -> None:
    before, sounds = open_avatar(anna), [noise(tmp_path / f"{seed}.wav", seed) for seed in (1, 2)]
    seen = {before.identity}
    for sound in sounds:
        import_clip(pair, anna, OPTIONS, audio=sound).run()
        seen.add(open_avatar(anna).identity)
    assert len(seen) == 3
    assert open_avatar(anna).person.endswith("the sound of 2.wav)")
    import_clip(pair, anna, OPTIONS).run()
    assert open_avatar(anna).identity == before.identity


# Who is refused


def test_a_generator_of_another_face_is_refused_by_name(anna: Path, models: Path, tmp_path: Path) -> None:
    left = generator_of(open_avatar(anna), tmp_path / "g.safetensors")
    other = track_face(anna, RIGHT, models=models).run()
    words = (
        r"generator was trained with avatar anna \(pair\.mp4, the face at 1.*here is avatar anna \(pair.*the face at 3"
    )
    with pytest.raises(MismatchError, match=words):
        render(other, left, tmp_path / "own.wav", tmp_path / "out.mp4").run()


def test_a_run_of_another_sound_is_set_aside_and_named(
    anna: Path, pair: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, out = open_avatar(anna), generator_of(open_avatar(anna), tmp_path / "g.safetensors")
    begun = _info(before, {"model": {}, "options": {}, PERSON: before.person})
    save_resume(out, begun, {})
    kept = out.read_bytes()
    import_clip(pair, anna, OPTIONS, audio=noise(tmp_path / "voice.wav", 1)).run()
    own = _info(open_avatar(anna), {"model": {}, "options": {}, PERSON: open_avatar(anna).person})
    with pytest.raises(MismatchError, match=r"with avatar anna \(pair\.mp4, the face at .* the sound of voice\.wav\)"):
        run_log.begin(out, "resume", own, lambda *_: None)
    with caplog.at_level(logging.WARNING):
        assert not run_log.begin(out, "auto", own, lambda *_: None)
    assert "begins anew: the resume was trained with avatar anna" in caplog.text
    assert not out.exists() and not resume_path(out).exists()
    assert [path.read_bytes() for path in tmp_path.glob("g (*.safetensors") if "resume" not in path.name] == [kept]


@pytest.mark.parametrize(
    ("sound", "words"), [("voice.wav", "the sound of voice.wav"), ("0123456789abcdef-44100.wav", "a sound given apart")]
)
def test_nobody_is_called_by_a_number(sound: str, words: str) -> None:
    state = {"source": "kind.mp4", "face": [12, 34], "sound": sound}
    assert identity.in_words("anna", state) == f"anna (kind.mp4, the face at 12 34, {words})"
    trained = Checkpoint("generator", {PERSON: "anna (kind.mp4)"}, 1, "mel80", CropSpec(96), "0123456789abcdef")
    with pytest.raises(
        MismatchError, match=r"of the same name, but of another clip, face or sound, here is avatar anna"
    ):
        check_match(trained, avatar="fedcba9876543210", person="anna (kind.mp4)")


# Earlier versions


def test_an_avatar_and_a_generator_of_an_earlier_version_fit(anna: Path, pair: Path, models: Path) -> None:
    avatar = as_made_before(anna)
    generator = Checkpoint("generator", {}, 1, "mel80", avatar.crop, avatar.clip)
    options = PrepareOptions(96, "mel80", face_point=LEFT.face_point)
    for _ in range(2):
        work = {step.stage for step in prepare(pair, anna, options, models=models)}
        assert not work & {"video", "audio", "landmarks", "crops"}
        check_match(generator, avatar=open_avatar(anna).identity, person=open_avatar(anna).person)
    assert open_avatar(anna).identity == avatar.clip
    assert not open_avatar(anna).track().others.any()


def test_an_earlier_generator_does_not_meet_another_face_or_sound(
    anna: Path, pair: Path, models: Path, tmp_path: Path
) -> None:
    avatar = as_made_before(anna)
    generator = Checkpoint("generator", {}, 1, "mel80", avatar.crop, avatar.clip)
    import_clip(pair, anna, OPTIONS, audio=noise(tmp_path / "voice.wav", 1)).run()
    for now in (open_avatar(anna), track_face(anna, RIGHT, models=models).run()):
        with pytest.raises(MismatchError, match=r"of another person, face or sound .*here is avatar anna \(pair\.mp4"):
            check_match(generator, avatar=now.identity, person=now.person)


# Which face


def test_a_face_that_is_not_there(pair: Path, models: Path, tmp_path: Path) -> None:
    root = tmp_path / "avatar"
    import_clip(pair, root, OPTIONS).run()
    for options, error, words in (
        (PrepareOptions(96, face_index=3), NoFaceError, "there are 2 faces; `face_index` 3 asks for a fourth"),
        (PrepareOptions(96, face_point=(256.0, 5.0)), NoFaceError, "no face at `face_at` 256 5 in any of 50 frames"),
        (PrepareOptions(96, face_point=(600.0, 5.0)), OptionError, "`face_at` 600 5 lies outside of the picture"),
    ):
        with pytest.raises(error, match=words):
            track_face(root, options, models=models).run()


def test_shots_of_another_person_are_left_out(
    two_people: tuple[list[np.ndarray], list[np.ndarray]],
    models: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, other = two_people
    clip = write_clip(tmp_path / "talk.mp4", [*own[:30], *other[:12], *own[30:40]], noise(tmp_path / "s.wav", 0))
    with caplog.at_level(logging.WARNING):
        avatar = prepare(clip, tmp_path / "avatar", PrepareOptions(96, "mel80", max_gap_s=0.5), models=models).run()
    track = avatar.track()
    assert np.flatnonzero(track.others).tolist() == list(range(30, 42))
    assert np.array_equal(track.valid, ~track.others) and np.array_equal(track.present, ~track.others)
    assert not avatar.crops()[30:42].any()
    assert "avatar: another person is shown at 3.0–4.2 s" in caplog.text
