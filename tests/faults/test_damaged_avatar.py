"""Avatar folders with files missing, cut off or edited: named with the remedy, and preparing again mends them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import children
import numpy as np
import pytest
from machine import Made, contents

from udh_core.avatar.dataset import load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.avatar.prepare import prepare
from udh_core.errors import UdhError
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.transcode import import_video
from udh_core.rendering.render import render

FEATURES = "features/mel80"
FILES = ("avatar.json", "video.mp4", "audio.wav", "track.npz", "crops.npy", f"{FEATURES}.npy", f"{FEATURES}.json")
NOT_RENDERED = ("audio.wav", "crops.npy", f"{FEATURES}.npy", f"{FEATURES}.json")  # a render needs none of them


def train(root: Path, made: Made, out: Path) -> None:
    load_training_data(open_avatar(root), "mel80")


def draw(root: Path, made: Made, out: Path) -> None:
    render(open_avatar(root), made.generator, made.speech, out).run()


def gone(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 10])


def rubbish(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


DAMAGES = (gone, empty, cut_off, rubbish)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage(made: Made, avatar: Path, clip: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(avatar / name)
    uses = [train, draw]
    if name in NOT_RENDERED and (damage is not gone or name.startswith(FEATURES)):
        uses = [train]
    if name == "video.mp4" and damage is not gone:
        uses = [draw]  # training reads the crops
    for use in uses:
        with pytest.raises(UdhError) as caught:
            use(avatar, made, avatar.parent / "talk.mp4")
        line = str(caught.value)
        assert Path(name).stem in line or "features" in line, line
        assert "prepare" in line or "extract" in line, line
        assert "\n" not in line
    assert not (avatar.parent / "talk.mp4").exists()
    if name == "avatar.json" and damage is not gone:
        (avatar / name).unlink()  # as the line says
    prepare(clip, avatar, children.PREPARE).run()
    assert prepared(avatar) == prepared(made.avatar)


def prepared(root: Path) -> dict[str, object]:
    """What `prepare` writes: all but the features that training adds."""
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    return {**{name: raw for name, raw in contents(root).items() if "-" not in name}, "avatar.json": state}


# Edited: whole files, but not those that belong together


def edit_state(root: Path, **values: object) -> None:
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    state["video"] |= values
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")


def edit_track(root: Path, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(root / "track.npz") as data:
        track = dict(data)
    np.savez(root / "track.npz", **{**track, **{name: change(track[name]) for name, change in changes.items()}})


def other_crops(root: Path) -> None:
    np.save(root / "crops.npy", np.load(root / "crops.npy")[:-1])


def other_features(root: Path) -> None:
    path = root / f"{FEATURES}.npy"
    values = np.load(path)
    values[3, 3] = np.nan
    np.save(path, values)


def other_sound(root: Path) -> None:
    waveform = load_waveform(root / "audio.wav")
    waveform[16000:20000] = 0
    write_wave(root / "audio.wav", waveform)


def other_video(root: Path) -> None:
    import cv2

    from udh_core.media.video import VideoWriter, read_frames

    info = open_avatar(root).info
    small = [cv2.resize(frame, (64, 64)) for frame in read_frames(root / "video.mp4")]
    with VideoWriter(root / "video.mp4", width=64, height=64, fps=info.fps, encoder="x264") as writer:
        for frame in small:
            writer.write(frame)


EDITS = {
    "more frames": (lambda root: edit_state(root, frame_count=76), train, r"track\.npz is damaged"),
    "another size": (lambda root: edit_state(root, width=100), draw, r"video\.mp4 is not as it was prepared"),
    "fewer landmarks": (lambda root: edit_track(root, landmarks=lambda x: x[:-1]), train, r"track\.npz is damaged"),
    "other landmarks": (lambda root: edit_track(root, landmarks=lambda x: x[:, :68]), train, r"track\.npz is damaged"),
    "fewer transforms": (lambda root: edit_track(root, transforms=lambda x: x[9:]), draw, r"track\.npz is damaged"),
    "fewer crops": (other_crops, train, r"crops\.npy is damaged"),
    "features that are not finite": (other_features, train, "mel80 features .* are damaged; delete"),
    "another sound": (other_sound, train, r"audio\.wav is not the sound that the mel80 features were made of"),
    "another video": (other_video, draw, r"video\.mp4 is not as it was prepared"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited(made: Made, avatar: Path, edit: str) -> None:
    change, use, words = EDITS[edit]
    change(avatar)
    with pytest.raises(UdhError, match=rf"{words}.*prepare.* again"):
        use(avatar, made, avatar.parent / "talk.mp4")
    assert not (avatar.parent / "talk.mp4").exists()


def test_a_video_that_became_shorter(made: Made, avatar: Path) -> None:
    short = import_video(avatar / "video.mp4", avatar.parent / "short.mp4", duration_s=0.2).run()
    assert short.frame_count == 2
    (avatar.parent / "short.mp4").replace(avatar / "video.mp4")
    with pytest.raises(UdhError, match=r"video\.mp4 is cut off; delete it and .*prepare.* again"):
        draw(avatar, made, avatar.parent / "talk.mp4")


def test_an_object_array_is_no_track(made: Made, avatar: Path) -> None:
    content = io.BytesIO()
    np.savez(content, landmarks=np.array([{}], object))
    (avatar / "track.npz").write_bytes(content.getvalue())
    with pytest.raises(UdhError, match=r"track\.npz is damaged"):
        train(avatar, made, avatar)
