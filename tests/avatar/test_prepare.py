"""Preparing a clip: done once, continued after a stop, redone when the source changed, refused with a clear reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from udh_core.avatar import reuse
from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import Avatar, check_features, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import _refuse_lost, prepare
from udh_core.errors import FileError, FormatError, MediaError, NoFaceError, UdhError
from udh_core.face import crop
from udh_core.face.crop import CropSpec
from udh_core.face.topology import LANDMARK_COUNT, LEFT_EYE_OUTER
from udh_core.face.tracking import FaceTrack
from udh_core.inference.compositor import Compositor
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import VideoWriter, read_frames
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig

OPTIONS = PrepareOptions(96, "mel80")
FIRST = ["video", "audio", "landmarks", "crops", "occlusion", "offset"]
SLOW = Fraction(10)  # fps of the small clips made here


def write_clip(path: Path, frames: Iterable[np.ndarray], *, sound: Path | None = None, fps: Fraction = SLOW) -> Path:
    pictures = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in frames]
    with VideoWriter(path, width=256, height=256, fps=fps, audio=sound, encoder="x264") as writer:
        for picture in pictures:
            writer.write(picture)
    return path


@pytest.fixture(scope="module")
def frames(person: Path) -> list[np.ndarray]:
    return list(read_frames(person / "person.mp4"))


@pytest.fixture(scope="module")
def long_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of noise."""
    path = tmp_path_factory.mktemp("sound") / "noise.wav"
    write_wave(path, np.random.default_rng(0).normal(0, 0.1, 12 * 16000).clip(-1, 1).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def mute(frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds without sound."""
    return write_clip(tmp_path_factory.mktemp("mute") / "mute.mp4", frames[:60])


@pytest.fixture(scope="module")
def losing(frames: list[np.ndarray], long_sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, the picture black from 3 to 5 s."""
    black = np.zeros_like(frames[0])
    pictures = [black if 30 <= i < 50 else frame for i, frame in enumerate(frames[:100])]
    return write_clip(tmp_path_factory.mktemp("losing") / "losing.mp4", pictures, sound=long_sound)


def stages(steps: Iterable) -> list[str]:
    """The stages that reported work, in order."""
    return list(dict.fromkeys(step.stage for step in steps))


def changed_at(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def small_generator(spec: CropSpec, points: int = 53) -> Generator:
    torch.manual_seed(0)
    warp = WarpConfig(spec.size, references=2, widths=(16, 24), condition=16)
    return Generator(GeneratorConfig(MotionConfig(80, members=1), warp, points), spec).eval()


# What is stored, and what is drawn


def test_stored_crops_are_the_crops_of_rendering(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    crops, transforms = avatar.crops(), avatar.track().transforms
    for i, frame in enumerate(read_frames(avatar.video)):
        assert np.array_equal(crops[i], crop.crop(frame, transforms[i], avatar.crop)), f"frame {i}"


def test_compositor_gives_the_network_the_stored_crops(
    person_avatar: Path, monkeypatch: pytest.MonkeyPatch, paste_area: Callable[..., np.ndarray]
) -> None:
    avatar = open_avatar(person_avatar)
    generator = small_generator(avatar.crop)
    seen: list[np.ndarray] = []

    def generate(compositor: Compositor, crops: np.ndarray, shapes: Tensor, chosen: Tensor | None) -> np.ndarray:
        seen.append(crops)
        return original(compositor, crops, shapes, chosen)

    original = Compositor.generate
    monkeypatch.setattr(Compositor, "generate", generate)
    frames = list(read_frames(avatar.video, start=70, count=3))
    compositor = Compositor(generator.warp, avatar.crop, avatar.track().transforms)
    painted = compositor.composite(frames, [70, 71, 72], torch.zeros(3, 3, 12))
    assert np.array_equal(np.concatenate(seen), avatar.crops()[70:73])
    for i, (frame, result) in enumerate(zip(frames, painted, strict=True)):
        area = paste_area(frame.shape, avatar.track().transforms[70 + i], avatar.crop)
        assert np.array_equal(result[~area], frame[~area])
        assert (result[area] != frame[area]).mean() > 0.5  # untrained: the mouth turns black


# Again, continued, changed


def test_preparing_twice_does_nothing(copy: Path, person: Path, models: Path) -> None:
    before = changed_at(copy)
    assert stages(prepare(person / "person.mp4", copy, OPTIONS, models=models)) == ["features"]
    assert changed_at(copy) == before


def test_changed_source_is_noticed(copy: Path, frames: list[np.ndarray], person: Path, models: Path) -> None:
    before = open_avatar(copy)
    other = write_clip(copy.parent / "person.mp4", frames[150:88:-1], sound=person / "speech.wav")
    assert stages(prepare(other, copy, OPTIONS, models=models)) == [*FIRST, "features"]
    after = open_avatar(copy)
    assert after.identity != before.identity
    assert len(after.crops()) == len(after.track().valid) == after.info.frame_count


def test_changed_sound_keeps_the_picture(copy: Path, person: Path, long_sound: Path, models: Path) -> None:
    before = open_avatar(copy)
    track = changed_at(copy)["track.npz"]
    steps = prepare(person / "person.mp4", copy, OPTIONS, audio=long_sound, models=models)
    assert stages(steps) == ["audio", "offset", "features"]
    assert changed_at(copy)["track.npz"] == track
    assert open_avatar(copy).clip == before.clip
    assert open_avatar(copy).identity != before.identity
    assert open_avatar(copy).features("mel80").duration_s == pytest.approx(12, abs=0.05)


def test_interrupted_preparation_is_refused_and_can_be_completed(
    person_avatar: Path, person: Path, models: Path, tmp_path: Path
) -> None:
    root = tmp_path / "new"
    steps = prepare(person / "person.mp4", root, OPTIONS, models=models)
    assert any(step.stage == "landmarks" and step.done == 20 for step in steps)
    steps.close()  # type: ignore[attr-defined]
    with pytest.raises(FormatError, match="stopped before track; prepare the avatar again"):
        open_avatar(root)
    assert stages(prepare(person / "person.mp4", root, OPTIONS, models=models)) == [
        "landmarks",
        "crops",
        "occlusion",
        "offset",
        "features",
    ]
    assert np.array_equal(open_avatar(root).crops(), open_avatar(person_avatar).crops())
    assert not list(root.rglob("*.part*"))


def test_two_preparations_of_one_folder_do_not_mix(person: Path, models: Path, tmp_path: Path) -> None:
    first, root = prepare(person / "person.mp4", tmp_path / "avatar", OPTIONS, models=models), tmp_path / "avatar"
    next(first)
    with pytest.raises(FileError, match=r"another run is working in .*avatar"):
        next(prepare(person / "person.mp4", root, OPTIONS, models=models))
    first.close()
    list(prepare(person / "person.mp4", root, OPTIONS, models=models))
    assert len(open_avatar(root).crops()) == 150


def test_other_crop_size_keeps_the_landmarks(copy: Path, person: Path, models: Path) -> None:
    before = open_avatar(copy).track()
    options = PrepareOptions(160, "mel80")
    assert stages(prepare(person / "person.mp4", copy, options, models=models)) == ["crops", "occlusion", "features"]
    avatar = open_avatar(copy)
    assert (avatar.crop, avatar.crops().shape) == (CropSpec(160), (150, 160, 160, 3))
    assert np.array_equal(avatar.track().landmarks, before.landmarks)
    np.testing.assert_allclose(avatar.track().transforms, before.transforms / 0.6, atol=1e-2)
    frame = next(read_frames(avatar.video, start=9, count=1))
    assert np.array_equal(avatar.crops()[9], crop.crop(frame, avatar.track().transforms[9], avatar.crop))


@pytest.mark.parametrize(
    ("options", "stage", "stopped"),
    [
        (PrepareOptions(160, "mel80"), "crops", "crops"),
        (PrepareOptions(160, "mel80"), "occlusion", "crops"),
        (PrepareOptions(96, "mel80", max_gap_s=0.5), "landmarks", "track"),
    ],
)
def test_a_change_that_was_interrupted_leaves_no_mixture(
    copy: Path, person: Path, models: Path, options: PrepareOptions, stage: str, stopped: str
) -> None:
    steps = prepare(person / "person.mp4", copy, options, models=models)
    assert any(step.stage == stage and step.done >= 5 for step in steps)
    steps.close()  # type: ignore[attr-defined]
    with pytest.raises(FormatError, match=f"stopped before {stopped}"):
        open_avatar(copy)


def test_trimmed(person: Path, models: Path, tmp_path: Path) -> None:
    options = PrepareOptions(96, "mel80", start_s=0.8, duration_s=5.0)
    steps = prepare(person / "person.mp4", tmp_path / "part", options, models=models)
    next(step for step in steps if step.stage == "landmarks")  # picture and sound are finished
    steps.close()  # type: ignore[attr-defined]
    state = json.loads((tmp_path / "part" / "avatar.json").read_text(encoding="utf-8"))
    assert state["video"]["frame_count"] == 125
    first = next(read_frames(tmp_path / "part" / "video.mp4"))
    source = next(read_frames(person / "person.mp4", start=20, count=1))
    assert np.abs(first.astype(int) - source).mean() < 2


# Sound


def test_sound_given_apart_is_trimmed_as_the_picture_is(person: Path, models: Path, tmp_path: Path) -> None:
    options, speech = PrepareOptions(96, "mel80", start_s=0.8, duration_s=5.0), person / "speech.wav"
    steps = prepare(person / "person.mp4", tmp_path / "part", options, audio=speech, models=models)
    next(step for step in steps if step.stage == "landmarks")
    steps.close()  # type: ignore[attr-defined]
    expected = load_waveform(speech)[12_800:92_800]
    assert np.abs(load_waveform(tmp_path / "part" / "audio.wav") - expected).max() < 1e-3
    assert reuse.is_import_of(tmp_path / "part", person / "person.mp4", options, speech, 0.8)
    assert not reuse.is_import_of(tmp_path / "part", person / "person.mp4", options, speech)


def test_video_without_sound(mute: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"mute\.mp4 has no sound.*as `audio`"):
        list(prepare(mute, tmp_path / "avatar", OPTIONS, models=models))
    assert not (tmp_path / "avatar").exists()


def test_video_without_sound_and_speech_given_apart(mute: Path, long_sound: Path, models: Path, tmp_path: Path) -> None:
    list(prepare(mute, tmp_path / "avatar", OPTIONS, audio=long_sound, models=models))
    avatar = open_avatar(tmp_path / "avatar")
    assert avatar.info.frame_count == 60
    assert check_features(avatar, "mel80").duration_s >= 6


def test_real_video_without_sound(clips: Path, models: Path, tmp_path: Path) -> None:
    source, options = clips / "video" / "musetalk_sun.mp4", PrepareOptions(160, "mel80", duration_s=5.0)
    with pytest.raises(MediaError, match=r"musetalk_sun\.mp4 has no sound"):
        list(prepare(source, tmp_path / "avatar", options, models=models))
    sound = clips / "audio" / "musetalk_eng.wav"
    list(prepare(source, tmp_path / "avatar", options, audio=sound, models=models))
    avatar = open_avatar(tmp_path / "avatar")
    assert avatar.track().valid.all()
    assert avatar.info.frame_count == 125


def test_sound_shorter_than_the_video(copy: Path, person: Path, models: Path, tmp_path: Path) -> None:
    write_wave(tmp_path / "short.wav", np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32))
    with pytest.raises(MediaError, match=r"lasts 3\.0 s, the picture 6\.0 s"):
        list(prepare(person / "person.mp4", copy, OPTIONS, audio=tmp_path / "short.wav", models=models))
    with pytest.raises(FormatError, match="stopped before audio"):
        open_avatar(copy)


def test_features_of_an_encoder_that_was_not_prepared(person_avatar: Path) -> None:
    with pytest.raises(UdhError, match="no audio features of hubert"):
        load_training_data(open_avatar(person_avatar), "hubert")


# Faces


def test_no_face(long_sound: Path, models: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(90, 160, (55, 64, 64, 3)).astype(np.uint8)
    source = write_clip(tmp_path / "empty.mp4", grey, sound=long_sound)
    with pytest.raises(NoFaceError, match="no face found in any of"):
        list(prepare(source, tmp_path / "avatar", OPTIONS, models=models))
    with pytest.raises(FormatError, match="stopped before track"):
        open_avatar(tmp_path / "avatar")


def test_lost_face_is_refused_with_its_time_range(losing: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"frame 30 \(3\.0 s\): no face .* lost at 3\.0–5\.0 s; trim the clip"):
        list(prepare(losing, tmp_path / "avatar", OPTIONS, models=models))


@pytest.mark.parametrize(
    ("eyes_px", "remedy"),
    [
        (
            38.0,
            "the eyes of the face are 38 px apart, 60 px are needed; use a closer shot, or the camera's original file",
        ),
        (66.0, r"trim the clip, raise .*, or use a closer shot: there are only 66 px between the eyes"),
        (95.0, r"trim the clip, raise `max_gap_s`, or skip lost stretches \(`skip_lost`\)"),
    ],
)
def test_what_is_said_of_a_lost_face_depends_on_its_size(eyes_px: float, remedy: str) -> None:
    landmarks = np.zeros((60, LANDMARK_COUNT, 2), np.float32)
    landmarks[:, LEFT_EYE_OUTER, 0] = eyes_px
    landmarks[30:50] = np.nan
    valid = np.isfinite(landmarks[:, 0, 0])
    transforms = np.where(valid[:, None, None], np.float32(1), np.float32(np.nan)) * np.ones((60, 2, 3), np.float32)
    track = FaceTrack(landmarks, transforms, valid, np.zeros(60, bool))
    with pytest.raises(NoFaceError, match=rf"longer than `max_gap_s` = 1\.0 s; lost at 3\.0–5\.0 s; {remedy}$"):
        _refuse_lost(track, 10.0, 1.0)


def test_lost_face_can_be_left_out(losing: Path, models: Path, tmp_path: Path) -> None:
    options = PrepareOptions(96, "mel80", skip_lost=True)
    list(prepare(losing, tmp_path / "avatar", options, models=models))
    avatar = open_avatar(tmp_path / "avatar")
    lost = np.zeros(avatar.info.frame_count, bool)
    lost[30:50] = True
    track = avatar.track()
    assert np.array_equal(~track.valid[:100], lost[:100])
    assert np.array_equal(~track.present[:100], lost[:100])
    assert not avatar.crops()[30:50].any()
    data = load_training_data(avatar, "mel80")
    assert not np.isin(np.concatenate([data.train_frames, data.held_out]), np.flatnonzero(lost)).any()
    _check_lost_frames_are_not_painted(avatar)


def _check_lost_frames_are_not_painted(avatar: Avatar) -> None:
    numbers = [28, 29, 30, 49, 50]
    frames = [next(read_frames(avatar.video, start=n, count=1)) for n in numbers]
    compositor = Compositor(small_generator(avatar.crop).warp, avatar.crop, avatar.track().transforms)
    painted = compositor.composite(frames, numbers, torch.zeros(5, 3, 12))
    same = [np.array_equal(a, b) for a, b in zip(frames, painted, strict=True)]
    assert same == [False, False, True, True, False]


# Wrong input


@pytest.mark.parametrize("options", [PrepareOptions(duration_s=4.0), PrepareOptions(start_s=1.5)])
def test_too_short(person: Path, tmp_path: Path, options: PrepareOptions) -> None:
    with pytest.raises(MediaError, match="too short; give at least 5 s"):
        list(prepare(person / "person.mp4", tmp_path / "avatar", options))
    assert list(tmp_path.iterdir()) == []


def test_clip_of_three_seconds(frames: list[np.ndarray], person: Path, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "short.mp4", frames[:30], fps=SLOW)
    with pytest.raises(MediaError, match=r"short\.mp4: 3\.0 s to learn from is too short"):
        list(prepare(source, tmp_path / "avatar", OPTIONS, audio=person / "speech.wav"))


def test_not_a_video(tmp_path: Path, person: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video " * 100, encoding="utf-8")
    with pytest.raises(MediaError, match=r"notes\.mp4"):
        list(prepare(tmp_path / "notes.mp4", tmp_path / "avatar"))
    with pytest.raises(MediaError, match=r"speech\.wav has no picture"):
        list(prepare(person / "speech.wav", tmp_path / "avatar"))
    assert not (tmp_path / "avatar").exists()


def test_no_such_file(tmp_path: Path, person: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        list(prepare(tmp_path / "gone.mp4", tmp_path / "avatar"))
    with pytest.raises(MediaError, match=r"gone\.wav"):
        list(prepare(person / "person.mp4", tmp_path / "avatar", OPTIONS, audio=tmp_path / "gone.wav"))


def test_folder_that_cannot_be_made(person: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for root in (tmp_path / "file", tmp_path / "file" / "avatar"):
        with pytest.raises(FileError, match=r"cannot make the folder .*choose another place"):
            list(prepare(person / "person.mp4", root, OPTIONS))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


def test_a_missing_file_is_noticed_and_made_again(copy: Path, person: Path, models: Path) -> None:
    (copy / "crops.npy").unlink()
    with pytest.raises(FormatError, match=r"crops.*prepare the avatar again"):
        open_avatar(copy)
    assert stages(prepare(person / "person.mp4", copy, OPTIONS, models=models)) == ["crops", "occlusion", "features"]
    assert open_avatar(copy).crops().any()
