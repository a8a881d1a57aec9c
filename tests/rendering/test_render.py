"""Rendering: the order in which frames are played, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.errors import MismatchError, OptionError
from udh_core.inference.compositor import Compositor
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.sound_track import sound_tracks
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import Checkpoint, save_generator
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.playback import play, stretches
from udh_core.rendering.render import render
from udh_core.speech.features import AudioFeatures


def played(available: int, wanted: int, when_longer: str, first: int = 0) -> list[int]:
    plan = stretches(available, wanted, when_longer, "remap" if when_longer == "remap" else "cut", first)  # type: ignore[arg-type]
    return [number for stretch in plan for number in stretch.numbers()]


@pytest.mark.parametrize(
    ("available", "wanted", "when_longer", "expected"),
    [
        (4, 11, "bounce", [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]),
        (4, 11, "loop", [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]),
        (4, 7, "hold", [0, 1, 2, 3, 3, 3, 3]),
        (2, 5, "bounce", [0, 1, 0, 1, 0]),
        (1, 3, "bounce", [0, 0, 0]),
        (1, 3, "loop", [0, 0, 0]),
        (4, 4, "bounce", [0, 1, 2, 3]),
        (9, 3, "loop", [0, 1, 2]),
        (4, 8, "remap", [0, 0, 1, 1, 2, 2, 3, 3]),
        (3, 7, "remap", [0, 0, 1, 1, 1, 2, 2]),
        (9, 3, "remap", [1, 4, 7]),
        (4, 4, "remap", [0, 1, 2, 3]),
        (1, 3, "remap", [0, 0, 0]),
    ],
)
def test_frame_by_frame(available: int, wanted: int, when_longer: str, expected: list[int]) -> None:
    assert played(available, wanted, when_longer) == expected


@pytest.mark.parametrize(
    ("when_longer", "wanted", "expected"),
    [
        ("bounce", 9, [2, 3, 2, 1, 0, 1, 2, 3, 2]),
        ("loop", 7, [2, 3, 0, 1, 2, 3, 0]),
        ("hold", 4, [2, 3, 3, 3]),
        ("remap", 4, [2, 2, 3, 3]),
        ("remap", 1, [3]),
        ("bounce", 2, [2, 3]),
        ("bounce", 1, [2]),
    ],
)
def test_from_another_frame_on(when_longer: str, wanted: int, expected: list[int]) -> None:
    assert played(4, wanted, when_longer, first=2) == expected


@pytest.mark.parametrize("when_longer", ["bounce", "loop", "hold", "remap"])
def test_every_length_is_filled_with_frames_that_exist(when_longer: str) -> None:
    for available in (1, 2, 3, 5, 24, 25, 75):
        for wanted in (1, 2, 4, 24, 49, 75, 76, 149, 200):
            frames = played(available, wanted, when_longer)
            assert len(frames) == wanted, (available, wanted)
            assert min(frames) >= 0 and max(frames) < available, (available, wanted)
            if when_longer != "loop" and (when_longer != "remap" or wanted >= available):
                assert np.abs(np.diff(frames)).max(initial=0) <= 1, (available, wanted)


@pytest.mark.parametrize("when_longer", ["bounce", "loop", "hold", "remap"])
def test_frames_played_are_the_frames_of_the_video(person_avatar: Path, when_longer: str) -> None:
    avatar = open_avatar(person_avatar)
    plan = stretches(150, 205, when_longer)  # type: ignore[arg-type]
    every = list(read_frames(avatar.video))
    numbers = []
    for number, frame in play(avatar, plan):
        assert np.array_equal(frame, every[number]), f"{number} as number {len(numbers)}"
        numbers.append(number)
    assert numbers == played(150, 205, when_longer)


def test_fewer_frames_are_played_evenly(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    every, shown = list(read_frames(avatar.video)), list(play(avatar, stretches(150, 40, "bounce", "remap", 30)))
    assert [number for number, _ in shown] == [30 + 3 * k + 1 for k in range(40)]
    assert all(np.array_equal(frame, every[number]) for number, frame in shown)


def test_a_render_begins_in_the_clip_where_it_is_asked_to(
    person_avatar: Path, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    avatar = open_avatar(person_avatar)
    kept = np.empty((50, avatar.info.height, avatar.info.width, 3), np.float32)
    options = RenderOptions(start_s=5.0, when_audio_longer="loop")
    render(avatar, generator_file, speech, tmp_path / "o.mp4", options, space=lambda _: kept).run()
    every = list(read_frames(avatar.video))
    top = slice(0, every[0].shape[0] // 8)  # above the mouth
    for k, frame in enumerate(kept):
        assert np.array_equal(np.rint(frame[top] * 255).astype(np.uint8), every[(125 + k) % 150][top]), k
    with pytest.raises(OptionError, match=r"`start_s` = 6: the clip .* ends at 6\.0 s; start before that"):
        render(avatar, generator_file, speech, tmp_path / "o.mp4", RenderOptions(start_s=6)).run()


def test_render_that_fails_leaves_the_old_output(person: Path, person_avatar: Path, tmp_path: Path) -> None:
    avatar = open_avatar(person_avatar)
    config = GeneratorConfig(MotionConfig(80, members=1), WarpConfig(96, references=1, widths=(16, 24)), 53)
    info = Checkpoint("generator", {"model": config.to_dict()}, 1, "mel80", avatar.crop, avatar.identity)
    model, speech = tmp_path / "g.safetensors", person / "speech.wav"
    save_generator(model, info, Generator(config, avatar.crop))
    (tmp_path / "out.mp4").write_text("from before", encoding="utf-8")
    wrong = AudioFeatures(np.zeros((100, 80), np.float32), 100.0, "mel80")
    for name in ("out.mp4", "new.mp4"):
        with pytest.raises(MismatchError, match=r"the features last 1\.0 s, .*speech\.wav 6\.0 s"):
            render(avatar, model, speech, tmp_path / name, driving=wrong).run()
    assert (tmp_path / "out.mp4").read_text(encoding="utf-8") == "from before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.safetensors", "out.mp4"]


@pytest.mark.parametrize("wrong", [{"when_audio_longer": "stop"}, {"when_audio_shorter": "bounce"}])
def test_wrong_render_options(wrong: dict) -> None:
    with pytest.raises(OptionError, match="choose"):
        RenderOptions(**wrong)


def test_render_compiles_where_it_is_asked_to(person_avatar, generator_file, speech, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Compositor, "compile", lambda _, batch: asked.append(batch))
    steps = list(
        render(open_avatar(person_avatar), generator_file, speech, tmp_path / "o.mp4", RenderOptions(compiled=True))
    )
    assert asked == [RenderOptions.batch]
    assert [step.done for step in steps if step.stage == "compile"] == [0]
    assert steps[-1].done == 50


def hum(path: Path, seconds: float) -> Path:
    write_wave(path, 0.3 * np.sin(2 * np.pi * 50 * np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ))
    return path


def test_audio_without_speech_is_said_and_leaves_the_mouth_at_rest(
    person_avatar: Path, generator_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wave(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE_HZ // 2))
    pictures = []
    for audio in (tmp_path / "silence.wav", hum(tmp_path / "hum.wav", 0.5)):
        caplog.clear()
        out = render(open_avatar(person_avatar), generator_file, audio, tmp_path / f"{audio.stem}.mp4").run()
        assert f"there is no speech in {audio}: the mouth keeps its rest pose" in caplog.text
        pictures.append(np.stack(list(read_frames(out))))
    assert np.array_equal(*pictures)


def test_the_sound_track_that_drives_the_mouth_is_in_the_video(
    person_avatar: Path, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two.mka"
    inputs = ["-i", url(hum(tmp_path / "hum.wav", 2.0)), "-i", url(speech)]
    run([*inputs, "-map", "0", "-map", "1", "-c:a", "flac", url(two)], "test")
    out = render(open_avatar(person_avatar), generator_file, two, tmp_path / "o.mp4").run()
    said, given = load_waveform(out), load_waveform(speech)
    assert np.corrcoef(said[: len(given)], given[: len(said)])[0, 1] > 0.95
    with pytest.raises(OptionError, match="`audio_track` = 3: choose 1 or 2"):
        render(open_avatar(person_avatar), generator_file, two, out, RenderOptions(audio_track=3)).run()


@pytest.mark.parametrize(
    ("name", "codec", "options", "kept"),
    [
        ("a.m4a", "aac", RenderOptions(), "aac"),
        ("a.ac3", "ac3", RenderOptions(), "ac3"),
        ("a.ac3", "ac3", RenderOptions(codec="h264"), "aac"),  # plays everywhere
    ],
)
def test_sound_that_an_mp4_holds_is_taken_over(
    person_avatar: Path,
    generator_file: Path,
    speech: Path,
    tmp_path: Path,
    name: str,
    codec: str,
    options: RenderOptions,
    kept: str,
) -> None:
    run(["-i", url(speech), "-c:a", codec, url(tmp_path / name)], "test")
    out = render(open_avatar(person_avatar), generator_file, tmp_path / name, tmp_path / "o.mp4", options).run()
    with av.open(str(tmp_path / name)) as given, av.open(str(out)) as made:
        packets = [[bytes(one) for one in file.demux(audio=0) if one.size] for file in (given, made)]
    assert sound_tracks(out)[0].codec == kept
    assert (packets[0] == packets[1]) == (kept == codec)


HEAVY = "scipy librosa transformers sympy matplotlib skimage torch._dynamo torch.fx.experimental.symbolic_shapes"
WHOLE_RENDER = f"""
import sys
from udh_core.avatar.folder import open_avatar
from udh_core.rendering.render import render
render(open_avatar(sys.argv[1]), *sys.argv[2:]).run()
print([one for one in "{HEAVY}".split() if one in sys.modules])
"""


def test_a_render_imports_nothing_that_it_can_do_without(
    person_avatar: Path, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", WHOLE_RENDER, person_avatar, generator_file, speech, tmp_path / "o.mp4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
