"""Whole files: every frame of a difficult source survives its import, and stays in step with the sound."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numbered import FPS, NUMBERS, click_s, convert, flash_s, numbers, plain

from udh_core.errors import FileError, MediaError
from udh_core.media.audio import write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video, mux
from udh_core.media.video import VideoWriter, read_frames


@pytest.mark.parametrize(
    ("suffix", "arguments"),
    [
        ("hevc10.mp4", "-c:v libx265 -x265-params log-level=none -crf 4 -pix_fmt yuv420p10le"),
        ("vp9odd.webm", "-vf scale=63:47 -c:v libvpx-vp9 -b:v 0 -crf 4 -deadline realtime"),
        ("vp8.webm", "-c:v libvpx -b:v 1M -auto-alt-ref 1 -lag-in-frames 16"),
        ("mpeg4.mp4", "-c:v mpeg4 -q:v 2 -bf 2"),
        ("prores.mov", "-c:v prores_ks"),
        ("stream.ts", "-c copy"),
        ("raw.h264", "-c copy"),
        ("anamorphic.mp4", "-vf setsar=4/3 -c:v libx264 -crf 4"),
        ("jitter.mkv", "-vf settb=1/1000,setpts='PTS+3*sin(N)' -enc_time_base 1/1000 -c:v libx264 -crf 4"),
    ],
)
def test_every_frame_of_a_difficult_source_survives_import(
    numbered: Path, tmp_path: Path, suffix: str, arguments: str
) -> None:
    source = convert(numbered, tmp_path / suffix, *arguments.split())
    made = import_video(source, tmp_path / "made.mp4").run()
    info = probe(tmp_path / "made.mp4")
    assert numbers(source) == NUMBERS and numbers(tmp_path / "made.mp4") == NUMBERS
    assert (made.fps, made.frame_count) == (FPS, 75) and made == info.video
    assert info.constant_rate and info.video_codec == "h264" and not info.has_audio
    assert (made.width, made.height) == ((86, 48) if suffix == "anamorphic.mp4" else (64, 48))


def test_variable_frame_rate_becomes_constant(numbered: Path, tmp_path: Path) -> None:
    drop = "select='not(eq(mod(n,7),3))',settb=1/1000"
    source = convert(numbered, tmp_path / "vfr.mkv", "-vf", drop, "-enc_time_base", "1/1000", "-c:v", "libx264")
    assert not probe(source).constant_rate
    made = import_video(source, tmp_path / "made.mp4").run()
    expected = [i - 1 if i % 7 == 3 else i for i in NUMBERS]
    assert numbers(source) == expected and numbers(tmp_path / "made.mp4") == expected
    assert (made.fps, made.frame_count) == (FPS, 75)


def test_rotation_is_applied(tmp_path: Path) -> None:
    frame = plain(0, 48, 96)
    frame[:, :48] = 255  # the left half is bright
    with VideoWriter(tmp_path / "a.mp4", width=96, height=48, fps=FPS) as writer:
        for _ in range(5):
            writer.write(frame)
    turned = convert(tmp_path / "a.mp4", tmp_path / "b.mp4", "-c", "copy", before=("-display_rotation", "90"))
    info = probe(turned)
    assert info.rotated and info.video is not None and (info.video.width, info.video.height) == (48, 96)
    made = import_video(turned, tmp_path / "made.mp4").run()
    first = next(read_frames(turned))
    assert (made.width, made.height) == (48, 96) and not probe(tmp_path / "made.mp4").rotated
    assert abs(float(first[:40].mean()) - float(first[56:].mean())) > 250  # now one above the other
    assert np.abs(next(read_frames(tmp_path / "made.mp4")).astype(int) - first).mean() < 2


@pytest.mark.parametrize(("asked", "off"), [(45, 45), (-80, 10), (183, None), (90, None)])
def test_a_turn_that_is_no_quarter_is_said(numbered: Path, tmp_path: Path, asked: int, off: int | None) -> None:
    turned = convert(numbered, tmp_path / "a.mp4", "-c", "copy", before=("-display_rotation", str(asked)))
    said = [note.sentence for note in probe(turned).notes]
    assert len(said) == (off is not None)
    assert off is None or (f"by {abs(asked)}°" in said[0] and f"is {off}° off" in said[0])


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_late_picture_stays_in_step_with_its_sound(flash: Path, tmp_path: Path, suffix: str) -> None:
    late = ("-itsoffset", "0.7", "-i", url(flash))
    source = tmp_path / f"late.{suffix}"
    convert(flash, source, "-map", "0:v", "-map", "1:a", "-af", "adelay=700", "-c:v", "copy", before=late)
    run(
        [*late, "-i", url(flash), "-map", "0:v", "-map", "1:a", "-af", "adelay=700", "-c:v", "copy", "-y", url(source)],
        "",
    )
    import_video(source, tmp_path / "made.mp4").run()
    assert click_s(source) == pytest.approx(2.7, abs=0.02)
    assert flash_s(source) == pytest.approx(2.7, abs=0.04) == flash_s(tmp_path / "made.mp4")


def test_what_is_ready_is_copied_without_loss(clips: Path, tmp_path: Path) -> None:
    source = clips / "video" / "videoretalking_face3.mp4"
    made = import_video(source, tmp_path / "made.mp4").run()
    assert made == probe(source).video
    assert all(
        np.array_equal(a, b) for a, b in zip(read_frames(source), read_frames(tmp_path / "made.mp4"), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "arguments"), [("cut.mp4", "-movflags +faststart"), ("cut.mkv", ""), ("cut.ts", "-bf 3")]
)
def test_a_ready_file_that_was_cut_off_has_all_the_frames_it_counts(
    noisy: Path, tmp_path: Path, name: str, arguments: str
) -> None:
    """The last packets refer to ones that are gone."""
    source = convert(noisy, tmp_path / name, "-c:v", "libx264", "-crf", "12", *arguments.split())
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 4 // 10])
    made = import_video(source, tmp_path / "made.mp4").run()
    assert 20 < made.frame_count < 40
    assert len(list(read_frames(tmp_path / "made.mp4"))) == made.frame_count
    said = [note.sentence for note in probe(source).notes]
    assert name == "cut.ts" or (
        len(said) == 1 and re.search(r"holds [12]\.\d s less than it should; .*cut off", said[0])
    )


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Three seconds whose packets are of about the same size."""
    random = np.random.default_rng(0)
    with VideoWriter(tmp_path / "noisy.mp4", width=64, height=48, fps=FPS) as writer:
        for _ in NUMBERS:
            writer.write(random.integers(0, 255, (48, 64, 3), np.uint8))
    return tmp_path / "noisy.mp4"


def test_import_of_a_part_at_another_rate(numbered: Path, tmp_path: Path) -> None:
    made = import_video(numbered, tmp_path / "part.mp4", start_s=1.2, duration_s=0.8).run()
    assert made.frame_count == 20 and numbers(tmp_path / "part.mp4") == NUMBERS[30:50]
    made = import_video(numbered, tmp_path / "slow.mp4", fps=Fraction(30000, 1001)).run()
    assert (made.fps, made.frame_count) == (Fraction(30000, 1001), 90)


def test_mux_copies_the_picture(clips: Path, flash: Path, tmp_path: Path) -> None:
    silent = clips / "video" / "musetalk_sun.mp4"
    mux(silent, flash.with_name("click.wav"), tmp_path / "a.mp4").run()
    assert np.array_equal(next(read_frames(silent, start=77)), next(read_frames(tmp_path / "a.mp4", start=77)))
    assert click_s(tmp_path / "a.mp4") == pytest.approx(2.0, abs=0.01)
    assert probe(tmp_path / "a.mp4").video == probe(silent).video


@pytest.mark.parametrize(("samples", "milliseconds"), [(1, "0.062"), (8, "0.5"), (150, "9.4")])
def test_a_sound_too_short_for_a_sound_track_is_refused(
    numbered: Path, tmp_path: Path, samples: int, milliseconds: str
) -> None:
    """An mp4 without any came of it."""
    write_wave(tmp_path / "click.wav", np.full(samples, 0.5, np.float32))
    said = rf"click\.wav has {milliseconds} ms of sound; give at least 10 ms"
    with pytest.raises(MediaError, match=said):
        mux(numbered, tmp_path / "click.wav", tmp_path / "a.mp4").run()
    with pytest.raises(MediaError, match=said):
        VideoWriter(tmp_path / "b.mp4", width=4, height=4, fps=FPS, audio=tmp_path / "click.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["click.wav"]
    write_wave(tmp_path / "click.wav", np.full(200, 0.5, np.float32))
    mux(numbered, tmp_path / "click.wav", tmp_path / "a.mp4").run()
    assert probe(tmp_path / "a.mp4").has_audio


def test_impossible_outputs(numbered: Path, flash: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "a.mp4"
    for attempt in (
        lambda: VideoWriter(missing, width=4, height=4, fps=FPS),
        lambda: import_video(numbered, missing).run(),
        lambda: mux(numbered, flash, missing).run(),
    ):
        with pytest.raises(FileError, match=r"cannot write a\.mp4: there is no folder .*nowhere"):
            attempt()


def test_a_damaged_file_gives_an_error_or_frames_but_never_hangs(clips: Path, tmp_path: Path) -> None:
    data = bytearray((clips / "video" / "videoretalking_face3.mp4").read_bytes())
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[:200000])
    noise = tmp_path / "noise.mp4"
    data[60000:300000] = np.random.default_rng(0).bytes(240000)
    noise.write_bytes(data)
    for path in (cut, noise):
        try:
            assert 0 < sum(1 for _ in read_frames(path)) <= 126
        except MediaError as error:
            assert path.name in str(error) and "\n" not in str(error)


def test_mux_encodes_what_an_mp4_does_not_hold(numbered: Path, flash: Path, tmp_path: Path) -> None:
    """Motion JPEG on a clock that begins late; texts are kept as they are."""
    source = convert(numbered, tmp_path / "a.mkv", "-c:v", "mjpeg", "-q:v", "2", "-output_ts_offset", "1.4")
    texts = {"prompt": '{"1": "a=b; #c \\\\ d"}', "two": "lines\nof it"}
    mux(source, flash.with_name("click.wav"), tmp_path / "a.mp4", texts).run()
    assert numbers(tmp_path / "a.mp4") == NUMBERS
    assert probe(tmp_path / "a.mp4").video_codec == "h264"
    assert click_s(tmp_path / "a.mp4") == pytest.approx(2.0, abs=0.01)
    run(["-i", url(tmp_path / "a.mp4"), "-f", "ffmetadata", url(tmp_path / "notes")], "no metadata")
    notes = re.sub(r"\\(.)", r"\1", (tmp_path / "notes").read_text("utf-8"), flags=re.DOTALL)
    assert all(f"{name}={text}\n" in notes for name, text in texts.items())
