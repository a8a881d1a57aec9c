"""Data folders of the published system: opened, rendered, refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from making import FRAMES, Trap
from typer.testing import CliRunner

from udh_core.avatar.folder import open_avatar
from udh_core.cli import app
from udh_core.errors import FileError, MismatchError, UdhError
from udh_core.media.audio import SAMPLE_RATE_HZ, write_wave
from udh_core.media.probe import picture_info, probe
from udh_core.media.video import read_frames
from udh_core.published import rules
from udh_core.published.dataset import load_rows, mesh_squares, open_dataset
from udh_core.published.model import PublishedCompositor, open_published
from udh_core.published.render import render_published


def test_data_folder_opens(data_folder: Path, person_avatar: Path) -> None:
    dataset = open_dataset(data_folder)
    assert dataset.squares == tuple(mesh_squares(open_avatar(person_avatar))[:FRAMES])
    assert dataset.shape == dataset.frame(3).shape == (512, 512, 3)
    assert dataset.info("hubert").fps == 25
    assert dataset.features("hubert").shape == (FRAMES, 2, 1024)


def test_render_changes_only_the_crop_and_follows_the_audio(data_folder: Path, model: Path, tmp_path: Path) -> None:
    dataset, compositor = open_dataset(data_folder), PublishedCompositor(open_published(model)[1])
    *_, last = render_published(dataset, model, tmp_path / "out.mp4")
    assert (last.done, last.total) == (FRAMES, FRAMES)
    drawn = list(read_frames(tmp_path / "out.mp4"))
    assert len(drawn) == FRAMES
    for i in (0, 4):
        frame, place = dataset.frame(i), dataset.squares[i]
        wanted = compositor.composite([frame], [place], dataset.features("hubert"), np.array([i]))[0]
        assert np.abs(drawn[i].astype(int) - wanted).mean() < 3  # what the file shows, up to its compression
        rows, columns = rules.inside(frame.shape, place)
        assert np.abs(wanted[rows, columns].astype(int) - frame[rows, columns]).mean() > 10
        wanted[rows, columns] = frame[rows, columns]
        assert (wanted == frame).all()


def test_longer_audio_plays_the_frames_to_and_fro(data_folder: Path, model: Path, tmp_path: Path) -> None:
    dataset, count = open_dataset(data_folder), FRAMES + 2
    write_wave(tmp_path / "long.wav", np.zeros(count * SAMPLE_RATE_HZ // 25, np.float32))
    rows = np.zeros((count, 2, 1024), np.float32)
    render_published(dataset, model, tmp_path / "o.mp4", audio=tmp_path / "long.wav", driving=rows).run()
    assert picture_info(tmp_path / "o.mp4").frame_count == count


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def test_command_line(data_folder: Path, pth: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    assert "a hubert model" in run("import", pth, "--out", model)
    run("import", data_folder, "--out", tmp_path / "clip.mp4")
    assert probe(tmp_path / "clip.mp4").has_audio
    assert picture_info(tmp_path / "clip.mp4").frame_count == FRAMES
    sound = ["--audio", data_folder / "aud.wav", "--features", data_folder / "aud_hu.npy"]
    common = ["render-published", "--dataset", data_folder, "--model", model]
    run(*common, "--out", tmp_path / "own.mp4")
    run(*common, "--out", tmp_path / "given.mp4", *sound)
    frames = [list(read_frames(tmp_path / f"{name}.mp4")) for name in ("own", "given")]
    assert np.array_equal(*frames)


# What is refused


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: shutil.rmtree(f / "landmarks"), "has no folder landmarks"),
        (lambda f: [p.unlink() for p in (f / "full_body_img").iterdir()], r"full_body_img holds no \.jpg"),
        (lambda f: (f / "full_body_img/4.jpg").unlink(), r"4\.jpg is missing"),
        (lambda f: (f / "landmarks/4.lms").unlink(), r"4\.lms cannot be read"),
        (lambda f: (f / "landmarks/4.lms").write_text("1 2\n3 4\n"), r"4\.lms holds 2 points instead of 110"),
        (lambda f: (f / "landmarks/4.lms").write_text("a b\n" * 110), r"4\.lms holds something other than numbers"),
        (lambda f: (f / "landmarks/4.lms").write_text("nan 1\n" * 110), r"4\.lms holds something other than numbers"),
        (lambda f: (f / "landmarks/4.lms").write_text("7 7\n" * 110), r"4\.lms: its face contour has no width"),
        (lambda f: (f / "landmarks/4.lms").write_bytes(b"\xff\xfe\x00" * 50), r"4\.lms holds something other"),
        (lambda f: (f / "full_body_img/0.jpg").write_bytes(b"x"), r"0\.jpg is no picture"),
        (lambda f: (f / "full_body_img/0.jpg").write_bytes(b""), r"0\.jpg cannot be read"),
    ],
)
def test_damaged_data_folder_names_the_file(folder: Path, damage, words: str) -> None:
    damage(folder)
    with pytest.raises(UdhError, match=words):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda f: cv2.imwrite(str(f / "full_body_img/4.jpg"), np.zeros((9, 7, 3), np.uint8)),
            r"4\.jpg is 7×9, the fir",
        ),
        (lambda f: cut_to(f / "full_body_img/4.jpg", 30), r"4\.jpg is no picture"),
        (lambda f: (f / "aud.wav").unlink(), r"no such file: .*aud\.wav"),
        (lambda f: (f / "aud.wav").write_text("words"), r"aud\.wav"),
        (lambda f: (f / "aud_hu.npy").unlink(), r"no such file: .*aud_hu\.npy"),
        (lambda f: cut_to(f / "aud_hu.npy", 5000), r"aud_hu\.npy is damaged"),
        (lambda f: np.save(f / "aud_hu.npy", np.zeros((6, 1024))), r"aud_hu\.npy has the shape \(6, 1024\)"),
        (
            lambda f: np.save(f / "aud_hu.npy", np.full((6, 2, 1024), np.inf)),
            r"aud_hu\.npy holds values that are no num",
        ),
        (lambda f: np.save(f / "aud_hu.npy", np.zeros((99, 2, 1024))), r"the features last 4\.0 s, .*aud\.wav 0\.2 s"),
        (lambda f: np.save(f / "aud_hu.npy", np.array([Trap(f)], object)), r"aud_hu\.npy is damaged"),
    ],
)
def test_damaged_input_of_a_render_names_the_file(
    folder: Path, model: Path, tmp_path: Path, damage, words: str
) -> None:
    damage(folder)
    with pytest.raises(UdhError, match=words):
        render_published(open_dataset(folder), model, tmp_path / "out.mp4").run()
    assert not (tmp_path / "out.mp4").exists()


def cut_to(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_features_of_the_other_kind(folder: Path) -> None:
    with pytest.raises(MismatchError, match=r"a wenet model needs \(frames, 16, 512\)"):
        load_rows(folder / "aud_hu.npy", "wenet")


@pytest.mark.parametrize("out", ["anna/out.mp4", "model.mov", "nowhere/out.mp4"])
def test_render_into_a_bad_place(folder: Path, model: Path, tmp_path: Path, out: str) -> None:
    with pytest.raises(FileError, match=Path(out).name):
        render_published(open_dataset(folder), model, tmp_path / out).run()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "{pth}", "--out", "x.mp4"], ".safetensors file"),
        (["import", "{data}", "--out", "x.safetensors"], ".mp4 file"),
        (["import", "{data}", "--out", "{data}/x.mp4"], "lies in the data folder"),
        (["render-published", "--dataset", "{data}", "--model", "{pth}", "--out", "x.mp4"], "convert it once"),
        (
            ["render-published", "--dataset", "{data}", "--model", "{pth}", "--out", "x.mp4", "--audio", "a.wav"],
            "either",
        ),
    ],
)
def test_command_line_refuses(data_folder: Path, pth: Path, arguments: list[str], words: str) -> None:
    filled = [argument.format(pth=pth, data=data_folder) for argument in arguments]
    result = CliRunner().invoke(app, filled)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
