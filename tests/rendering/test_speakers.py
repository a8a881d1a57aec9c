"""Two people in one frame, each with a sound of their own: what is drawn, what is heard, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import prepare
from udh_core.cli import app
from udh_core.demo.clip import make_clip
from udh_core.errors import MismatchError, OptionError
from udh_core.media.audio import SAMPLE_RATE_HZ, load_sound, load_waveform, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.mixing import mixed_sound
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import load, save
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.places import places_of
from udh_core.rendering.render import render
from udh_core.rendering.speakers import Speaker
from udh_core.training.generator import train_generator
from udh_core.training.options import GeneratorOptions

FRAMES = 30
PLACES = ((256.0, 270.0), (768.0, 270.0))  # of the two faces, px
WHOLE = RenderOptions(crf=10)


class Two(NamedTuple):
    clip: Path
    left: Speaker
    right: Speaker


def moving(trained: Path, seed: int) -> Path:
    """The generator in its place, with a mouth that moves widely."""
    info, tensors = load(trained, "generator")
    torch.manual_seed(seed)
    for name in [name for name in tensors if "head.weight" in name or "output_proj.weight" in name]:
        tensors[name] += 0.1 * torch.randn_like(tensors[name])
    tensors["mouth_amplitude"].zero_()
    save(trained, info, tensors)
    return trained


@pytest.fixture(scope="module")
def two(person: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Two puppets side by side, six seconds at 15 fps, each prepared and barely trained; they say different things."""
    folder = tmp_path_factory.mktemp("two")
    make_clip(folder / "other", seconds=6, seed=23).run()
    beside = "[0:v]fps=15[a];[1:v]fps=15,hue=h=40[b];[a][b]hstack"
    both = ["-i", url(person / "person.mp4"), "-i", url(folder / "other" / "person.mp4"), "-filter_complex", beside]
    codecs = ["-map", "0:a", "-t", "6", "-c:v", "libx264", "-crf", "12", "-c:a", "aac"]
    run([*both, *codecs, url(folder / "both.mp4")], "no clip of two people")
    speech = load_waveform(person / "speech.wav")
    speakers = []
    for k, (place, seconds) in enumerate(zip(PLACES, (1.4, 2.0), strict=True)):
        options = PrepareOptions(96, "mel80", face_point=place)
        avatar = prepare(folder / "both.mp4", folder / f"avatar{k}", options, models=models).run()
        small = GeneratorOptions(steps=2, motion_steps=1, batch=4, model_size="small")
        train_generator(avatar, folder / f"g{k}.safetensors", small, encoder="mel80").run()
        begin = k * 3 * SAMPLE_RATE_HZ
        write_wave(folder / f"{k}.wav", speech[begin : begin + round(seconds * SAMPLE_RATE_HZ)])
        speakers.append(Speaker(avatar, moving(folder / f"g{k}.safetensors", k), folder / f"{k}.wav"))
    return Two(folder / "both.mp4", *speakers)


def drawn(speaker: Speaker, others: list[Speaker], out: Path, options: RenderOptions = WHOLE) -> np.ndarray:
    """(FRAMES, H, W, 3) uint8 RGB, as drawn before they are encoded."""
    kept: list[np.ndarray] = []

    def space(shape: tuple[int, ...]) -> np.ndarray:
        kept.append(np.empty(shape, np.float32))
        return kept[0]

    render(*speaker, out, options, others=others, space=space).run()
    return np.rint(kept[0] * 255).astype(np.uint8)


def clip_frames(avatar: Avatar) -> np.ndarray:
    return np.stack(list(read_frames(avatar.video, count=FRAMES)))


def test_both_mouths_are_those_of_each_alone(two: Two, models: Path, tmp_path: Path) -> None:
    """Where each was drawn; all else is the clip, to the byte. The video lasts as long as the longer sound.

    A voice is adapted to by what is said up to the video's last frame, so the shorter one differs by a trace.
    """
    both = drawn(two.left, [two.right], tmp_path / "both.mp4")
    right = drawn(two.right, [], tmp_path / "right.mp4")
    short = drawn(two.left, [], tmp_path / "left.mp4")
    assert len(both) == len(right) == FRAMES and len(short) == 21
    clip = clip_frames(two.left.avatar)
    masks = [
        np.stack([places.mask(k) for k in range(FRAMES)]) > 0
        for places in (places_of(one.avatar, FRAMES, WHOLE) for one in (two.left, two.right))
    ]
    assert all(0.002 < mask.mean() < 0.1 for mask in masks) and not (masks[0] & masks[1]).any()
    trace = np.abs(both[:21].astype(int) - short)[masks[0][:21]]
    assert trace.mean() < 0.2 and np.array_equal(both, drawn(two.right, [two.left], tmp_path / "turned.mp4"))
    assert np.array_equal(both[masks[1]], right[masks[1]])
    assert np.array_equal(both[~(masks[0] | masks[1])], clip[~(masks[0] | masks[1])])
    for mask in masks:
        assert np.abs(both[mask].astype(int) - clip[mask]).mean() > 2  # both are drawn, indeed


def test_the_sound_is_that_of_both(two: Two, models: Path, tmp_path: Path) -> None:
    render(*two.left, tmp_path / "both.mp4", others=[two.right]).run()
    heard = load_waveform(tmp_path / "both.mp4")
    said = [load_waveform(Path(one.audio)) for one in (two.left, two.right)]
    assert abs(len(heard) / SAMPLE_RATE_HZ - 2.0) < 0.05
    rows = np.zeros((2, len(heard)), np.float32)
    for row, sound in zip(rows, said, strict=True):
        row[: len(sound)] = sound[: len(heard)]
    weights, *_ = np.linalg.lstsq(rows.T, heard, rcond=None)
    assert np.allclose(weights, weights[0], rtol=0.05) and 0.5 < weights[0] <= 1.02
    assert np.corrcoef(rows.sum(0), heard)[0, 1] > 0.98


def test_sounds_that_are_too_loud_together_are_made_quieter_by_one_factor(tmp_path: Path) -> None:
    times_s = np.arange(48000) / 48000
    tone = (0.8 * np.sin(2 * np.pi * 200 * times_s)).astype(np.float32)
    for name, sound in (("a", np.stack([tone, tone], 1)), ("b", np.stack([tone, tone], 1)[:24000])):
        soundfile.write(tmp_path / f"{name}.wav", sound, 48000)
    with mixed_sound([(tmp_path / "a.wav", 1), (tmp_path / "b.wav", 1)]) as mixed:
        sound, rate_hz = load_sound(mixed)
    assert (sound.shape, rate_hz) == ((48000, 2), 48000)
    assert np.abs(sound[:24000, 0] - tone[:24000] / 0.8).max() < 0.001  # twice 0.8 becomes 1
    assert np.abs(sound[24000:, 0] - tone[24000:] / 1.6).max() < 0.001


def held_back(avatar: Avatar, root: Path, first: int, last: int) -> Avatar:
    """The same avatar elsewhere, whose face is lost in these frames."""
    shutil.copytree(avatar.root, root)
    with np.load(root / "track.npz") as stored:
        track = dict(stored)
    track["transforms"][first:last] = np.nan
    track["valid"][first:last] = False
    np.savez(root / "track.npz", **track)
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    state.pop("marks", None)
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    return open_avatar(root)


def test_a_frame_is_held_for_all_of_them(two: Two, models: Path, tmp_path: Path) -> None:
    lost = two.right._replace(avatar=held_back(two.right.avatar, tmp_path / "lost", 20, 26))
    options = RenderOptions(crf=10, lost="hold")
    frames = drawn(two.left, [lost], tmp_path / "held.mp4", options)
    assert all(np.array_equal(frames[19], frames[k]) for k in range(20, 26))
    assert not np.array_equal(frames[19], frames[26])
    places = places_of(two.left.avatar, FRAMES, options, [lost.avatar])
    assert places.numbers[18:28].tolist() == [18, 19, 19, 19, 19, 19, 19, 19, 26, 27]


def test_what_does_not_go_together_is_refused(
    two: Two, person_avatar: Path, generator_file: Path, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(MismatchError, match=r"in frame 0 \(0.0 s\) of the clip: it is the same face"):
        render(*two.left, out, others=[two.left._replace(audio=two.right.audio)]).run()
    stranger = Speaker(open_avatar(person_avatar), generator_file, two.left.audio)
    with pytest.raises(MismatchError, match="is not made of the same frames as"):
        render(*two.left, out, others=[stranger]).run()
    part = PrepareOptions(96, "mel80", face_point=PLACES[1], duration_s=5.0)
    shorter = two.right._replace(avatar=prepare(two.clip, tmp_path / "part", part, models=models).run())
    with pytest.raises(MismatchError, match="another part of it"):
        render(*two.left, out, others=[shorter]).run()
    with pytest.raises(MismatchError, match="was trained with avatar"):
        render(*two.left, out, others=[two.right._replace(generator=two.left.generator)]).run()
    with pytest.raises(OptionError, match="are those of one person"):
        render(*two.left, tmp_path / "out.mov", RenderOptions(overlay=True), others=[two.right]).run()
    with pytest.raises(OptionError, match="are those of one person"):
        render(*two.left, out, others=[two.right], mouths=lambda shape: np.empty(shape, np.float32)).run()
    assert not out.exists()


def test_the_command_draws_both(two: Two, models: Path, tmp_path: Path) -> None:
    left, right = (tuple(map(str, (one.avatar.root, one.generator, one.audio))) for one in (two.left, two.right))
    out = tmp_path / "both.mp4"
    given = ["--out", str(out), "--avatar", left[0], "--generator", left[1], "--audio", left[2], "--also", *right]
    said = CliRunner().invoke(app, ["render", *given])
    assert said.exit_code == 0, said.output
    assert len(list(read_frames(out))) == FRAMES
