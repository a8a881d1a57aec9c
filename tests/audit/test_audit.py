"""Dataset audit of whole clips: one built to deserve a finding gets it, and no other; a good clip gets none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from udh_core.audit import audit, video
from udh_core.audit.finding import Audit
from udh_core.audit.plot import draw_audit
from udh_core.audit.video import Samples, yaw_deg
from udh_core.avatar.folder import Avatar, open_avatar, read_state
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip, track_face
from udh_core.avatar.source import video_stage_keys
from udh_core.cli import app
from udh_core.cli.prepare import _prepared
from udh_core.face.topology import CANONICAL_PLACES
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.media.video import VideoWriter, read_frames

RATE = SAMPLE_RATE_HZ
SHORT = "amount of speech"  # clips of six seconds all have too little
Change = Callable[[np.ndarray, int], np.ndarray]


def audited(avatar: Avatar, models: Path) -> Audit:
    return audit(avatar, models=models).run()


def flags(result: Audit) -> dict[str, str]:
    return {finding.name: finding.level for finding in result.findings if finding.level != "green"}


def sentence(result: Audit, name: str) -> str:
    return next(finding.sentence for finding in result.findings if finding.name == name)


@pytest.fixture(scope="module")
def person_audit(small: Avatar, models: Path) -> Audit:
    return audited(small, models)


def with_picture(
    avatar: Avatar, change: Change, folder: Path, models: Path, moved: bool = True, crf: int = 16
) -> Avatar:
    """The avatar with frames changed by change(frame, number); where nothing `moved`, its landmarks still hold."""
    root = folder / "avatar"
    shutil.copytree(avatar.root, root, ignore=shutil.ignore_patterns("features", "crops.npy", "video.mp4"))
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    frames = read_frames(avatar.video)
    first = change(next(frames), 0)
    height, width = first.shape[:2]
    size = {"width": width, "height": height}
    with VideoWriter(root / "video.mp4", **size, fps=avatar.info.fps, crf=crf, encoder="x264") as writer:
        writer.write(first)
        for number, frame in enumerate(frames, 1):
            writer.write(change(frame, number))
    state["video"] |= size
    for stage in ("crops", "track") if moved else ("crops",):
        del state["stages"][stage]
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    for _ in track_face(root, PrepareOptions(160, skip_lost=moved), models=models):
        pass
    return open_avatar(root)


def forget_offset(source: Path, target: Path) -> None:
    """Write an avatar.json without the offset of the sound that was replaced."""
    state = json.loads(source.read_text(encoding="utf-8"))
    state.pop("av_offset", None)
    target.write_text(json.dumps(state), encoding="utf-8")


def with_sound(avatar: Avatar, waveform: np.ndarray, folder: Path) -> Avatar:
    """The same picture with another sound."""
    root = folder / "avatar"
    root.mkdir()
    for file in avatar.root.iterdir():
        if file.is_file() and file.name not in ("audio.wav", "avatar.json"):
            (root / file.name).symlink_to(file)
    forget_offset(avatar.root / "avatar.json", root / "avatar.json")
    write_wave(root / "audio.wav", waveform)
    return replace(avatar, root=root)


# Good clips


def test_a_real_good_clip_raises_no_flag(grid: Avatar, models: Path) -> None:
    result = audited(grid, models)
    assert flags(result) == {}
    assert result.level == "green"
    assert len(result.findings) == 22


def test_the_built_in_person_is_only_short(person_audit: Audit) -> None:
    assert flags(person_audit) == {SHORT: "red"}


# The picture


def blurred(frame: np.ndarray, number: int) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), 4.5)


def darkened(frame: np.ndarray, number: int) -> np.ndarray:
    return (frame * 0.3).astype(np.uint8)


def burnt_out(frame: np.ndarray, number: int) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=1.7)


def faceless(frame: np.ndarray, number: int) -> np.ndarray:
    return np.full_like(frame, 90) if 50 <= number < 90 else frame


def shaken(frame: np.ndarray, number: int) -> np.ndarray:
    shift = np.array([[1, 0, 30 * np.sin(2.2 * number)], [0, 1, 12 * np.cos(1.7 * number)]])
    return cv2.warpAffine(frame, shift, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def shrunk(frame: np.ndarray, number: int) -> np.ndarray:
    canvas = np.full((400, 400, 3), 90, np.uint8)
    canvas[100:250, 120:270] = cv2.resize(frame, (150, 150), interpolation=cv2.INTER_AREA)
    return canvas


def doubled(frame: np.ndarray, number: int) -> np.ndarray:
    guest = cv2.resize(frame, (410, 512))[:, ::-1] if number > 75 else np.full((512, 410, 3), 90, np.uint8)
    return np.hstack([frame, guest])


def chopped(frame: np.ndarray, number: int) -> np.ndarray:
    """Another framing and another light every half second."""
    take = number // 12 % 3
    zoomed = cv2.resize(frame, None, fx=1 + 0.2 * take, fy=1 + 0.2 * take)
    corner = (zoomed.shape[0] - 512) // 2
    return cv2.convertScaleAbs(zoomed[corner : corner + 512, corner : corner + 512], alpha=1 - 0.12 * take)


PICTURES: dict[str, tuple[Change, set[str], bool]] = {  # with its levels, and whether the face must be found anew
    "blur": (blurred, {"red", "yellow"}, False),
    "dark": (darkened, {"red"}, False),
    "over-exposed": (burnt_out, {"red"}, False),
    "face": (faceless, {"red"}, True),
    "motion": (shaken, {"red"}, True),
    "mouth size": (shrunk, {"yellow"}, True),
    "second face": (doubled, {"red"}, True),
    "cuts": (chopped, {"red"}, True),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_bad_picture_raises_its_flag_and_no_other(
    name: str, small: Avatar, models: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    change, levels, moved = PICTURES[name]
    result = audited(with_picture(small, change, tmp_path, models, moved), models)
    figure(f"audit, {name}: {sentence(result, name)}")
    assert flags(result).keys() == {name, SHORT}
    assert flags(result)[name] in levels


@pytest.mark.parametrize(
    ("first", "stop", "noise", "crf"),
    [(50, 100, 0, 16), (60, 75, 0, 16), (30, 110, 0, 34), (50, 100, 2, 23)],
    ids=["two seconds", "hardly longer than a pause", "long and strongly compressed", "under noise"],
)
def test_a_frozen_picture_is_found_with_its_time(
    first: int, stop: int, noise: float, crf: int, small: Avatar, models: Path, tmp_path: Path
) -> None:
    kept: list[np.ndarray] = []
    rng = np.random.default_rng(0)

    def frozen(frame: np.ndarray, number: int) -> np.ndarray:
        if number == first:
            kept.append(frame)
        shown = kept[0] if first <= number < stop else frame
        return np.clip(shown + rng.normal(0, noise, (*shown.shape[:2], 1)), 0, 255).astype(np.uint8)

    result = audited(with_picture(small, frozen, tmp_path, models, crf=crf), models)
    assert flags(result).keys() == {"frozen", SHORT}
    (found,) = (finding for finding in result.findings if finding.name == "frozen")
    ((start_s, stop_s),) = found.ranges_s
    assert (start_s, stop_s) == (pytest.approx(first / 25, abs=0.5), pytest.approx(stop / 25, abs=0.5))
    assert found.worst_s is not None and first / 25 < found.worst_s < stop / 25


def test_a_person_who_holds_still_is_not_frozen(small: Avatar, models: Path, tmp_path: Path) -> None:
    """One picture for two seconds, swaying by a px as a head does that nobody moves on purpose."""
    kept: list[np.ndarray] = []

    def held(frame: np.ndarray, number: int) -> np.ndarray:
        if number == 50:
            kept.append(frame)
        turn = 2 * np.pi * 0.3 * (number - 50) / 25
        sway = np.array([[1, 0, np.cos(turn) - 1], [0, 1, np.sin(turn)]])
        moved = cv2.warpAffine(kept[0], sway, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE) if kept else frame
        return moved if 50 <= number < 100 else frame

    assert flags(audited(with_picture(small, held, tmp_path, models), models)) == {SHORT: "red"}


def test_a_real_person_who_holds_still_is_not_frozen(clips: Path, models: Path, tmp_path: Path) -> None:
    """Somebody who says nothing, and hardly moves, while a voice is heard all the time."""
    root = tmp_path / "avatar"
    voice = clips / "audio" / "musetalk_eng.wav"
    options = PrepareOptions(160, duration_s=10)
    list(import_clip(clips / "video" / "musetalk_sun.mp4", root, options, audio=voice))
    list(track_face(root, options, models=models))
    assert "frozen" not in flags(audited(open_avatar(root), models))


@pytest.mark.parametrize("turn_deg", [-50, -20, 0, 35])
def test_yaw_of_a_turned_face(turn_deg: float, small: Avatar) -> None:
    points = np.zeros((468, 2), np.float32)
    places = np.array(list(CANONICAL_PLACES.values())) * (1, -1, -1)
    turn = cv2.Rodrigues(np.array([0.0, -np.radians(turn_deg), 0.0]))[0]
    there = places @ turn.T + (0, 0, 60)
    points[list(CANONICAL_PLACES)] = 512 * there[:, :2] / there[:, 2:] + 256
    assert yaw_deg(points, 512, 512) == pytest.approx(turn_deg, abs=1.0)


def test_profile_views_raise_their_flag() -> None:
    edges_s, plain = np.arange(41) / 4, np.ones(40)
    turned = np.where(np.arange(40) < 12, 40.0, 5.0)
    found = video._profile(Samples(edges_s, plain, plain, plain, turned))
    assert found.level == "red"
    assert found.ranges_s == ((0.0, 3.0),)
    assert "40°" in found.sentence
    assert video._profile(Samples(edges_s, plain, plain, plain, np.full(40, 20.0))).level == "green"


def test_a_clip_with_hardly_a_face_is_audited(small: Avatar, models: Path, tmp_path: Path) -> None:
    root = tmp_path / "avatar"
    shutil.copytree(small.root, root)
    with np.load(root / "track.npz") as stored:
        track = dict(stored)
    lost = np.arange(len(track["valid"])) != 40
    track["valid"] = ~lost
    for name in ("landmarks", "transforms"):
        track[name][lost] = np.nan
    np.savez(root / "track.npz", **track)
    assert flags(audited(replace(small, root=root), models)) == {"face": "red", SHORT: "red"}


# Sound that does not belong to the picture


def test_late_sound_raises_its_flag_and_says_by_how_much(grid: Avatar, models: Path, tmp_path: Path) -> None:
    late = np.roll(load_waveform(grid.audio), round(5 / 25 * RATE))
    result = audited(with_sound(grid, late, tmp_path), models)
    assert flags(result) == {"offset": "yellow"}
    assert "later than the mouth" in sentence(result, "offset")
    assert float(sentence(result, "offset").split("comes ")[1].split()[0]) == pytest.approx(5, abs=1)


def test_foreign_sound_raises_its_flag(grid: Avatar, clips: Path, models: Path, tmp_path: Path) -> None:
    other = load_waveform(clips / "audio" / "musetalk_eng.wav")
    other = np.resize(other, len(load_waveform(grid.audio)))
    assert flags(audited(with_sound(grid, other, tmp_path), models)) == {"own sound": "red"}


# What is made of it


def test_words_and_json_name_the_worst_first(person_audit: Audit) -> None:
    lines = person_audit.to_text().splitlines()
    assert lines[0].startswith("RED    amount of speech: ") and "give a longer clip" in lines[0]
    assert all(line.startswith("GREEN") for line in lines[1:])
    known = json.loads(json.dumps(person_audit.to_dict()))
    assert known["level"] == "red"
    assert len(known["findings"]) == len(lines)


def test_the_picture_shows_the_colours(small: Avatar, person_audit: Audit) -> None:
    picture = draw_audit(small, person_audit)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    bluish, greenish, reddish = picture[..., 2], picture[..., 1], picture[..., 0]
    assert ((reddish > 180) & (greenish < 160) & (bluish < 160)).any(axis=1).sum() > 5
    assert ((greenish > 180) & (reddish < 180) & (bluish < 200)).any(axis=1).sum() > 50


def test_command_line(person: Path, models: Path, tmp_path: Path) -> None:
    shutil.copy(person / "person.mp4", tmp_path / "clip.mp4")
    outputs = ["--picture", str(tmp_path / "a.png"), "--json", str(tmp_path / "a.json")]
    result = CliRunner().invoke(
        app, ["audit", str(tmp_path / "clip.mp4"), "--avatar", str(tmp_path / "kept"), *outputs]
    )
    assert result.exit_code == 0, result.output
    assert "amount of speech" in result.output and "red" in result.output
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["level"] == "red"
    assert open_avatar(tmp_path / "kept").crop.size == PrepareOptions.crop_px


def test_an_avatar_of_a_part_of_the_clip_is_audited_as_it_is(person: Path, person_avatar: Path, tmp_path: Path) -> None:
    """It has its own options, and perhaps a generator."""
    shutil.copytree(person_avatar, tmp_path / "av")
    state = read_state(tmp_path / "av")
    state["stages"]["video"] = video_stage_keys(person / "person.mp4", PrepareOptions(96, duration_s=5.5))[0]
    (tmp_path / "av" / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    _prepared(person / "person.mp4", tmp_path / "av").run()
    assert read_state(tmp_path / "av") == state
