"""Pictures in and out: on real clips, and on a clip whose every frame shows its own number."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from udh_core.errors import FileError, MediaError
from udh_core.media import ffmpeg, video
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video, mux
from udh_core.media.video import VideoWriter, read_frames

FPS = Fraction(25)
NUMBERS = list(range(75))


def plain(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def numbers(path: Path, **options: object) -> list[int]:
    """Which frame of the numbered clip each frame is."""
    return [round((float(frame.mean()) - 20) / 3) for frame in read_frames(path, **options)]  # type: ignore[arg-type]


def convert(source: Path, target: Path, *arguments: str, before: tuple[str, ...] = ()) -> Path:
    run([*before, "-i", url(source), *arguments, "-y", url(target)], "the test's own conversion failed")
    return target


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """75 frames at 25 fps; frame i is grey 20 + 3 i."""
    path = tmp_path_factory.mktemp("numbered") / "n.mp4"
    with VideoWriter(path, width=64, height=48, fps=FPS) as writer:
        for i in NUMBERS:
            writer.write(plain(20 + 3 * i))
    return path


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s, in which at 2 s a click sounds and one frame is white."""
    folder = tmp_path_factory.mktemp("flash")
    click = np.zeros(64000, np.float32)
    click[32000:32160] = 0.9
    write_wave(folder / "click.wav", click)
    with VideoWriter(folder / "flash.mp4", width=64, height=48, fps=FPS, audio=folder / "click.wav") as writer:
        for i in range(100):
            writer.write(plain(255 if i == 50 else 0))
    return folder / "flash.mp4"


def flash_s(path: Path) -> float:
    fps = float(probe(path).video.fps)  # type: ignore[union-attr]
    return int(np.argmax([frame.mean() for frame in read_frames(path)])) / fps


def click_s(path: Path) -> float:
    return int(np.argmax(np.abs(load_waveform(path)) > 0.3)) / 16000


# --- reading


@pytest.mark.parametrize(
    ("name", "codec", "size", "count"),
    [
        ("grid_s1_train_5min.mp4", "h264", (360, 288), 7500),
        ("latentsync_demo2.mp4", "hevc", (1080, 1920), 502),
        ("sadtalker_WDA_AOC_000.mp4", "mpeg4", (512, 512), 200),
        ("musetalk_sun.mp4", "h264", (576, 768), 550),
    ],
)
def test_probe_of_real_clips(clips: Path, name: str, codec: str, size: tuple[int, int], count: int) -> None:
    info = probe(clips / "video" / name)
    assert info.video is not None and info.constant_rate and not info.rotated
    assert (info.video_codec, info.video.width, info.video.height) == (codec, *size)
    assert (info.video.fps, info.video.frame_count) == (FPS, count)
    assert info.has_audio == (name != "musetalk_sun.mp4")
    assert info.video.duration_s == count / 25


@pytest.mark.parametrize("name", ["sadtalker_WDA_AOC_000.mp4", "videoretalking_face3.mp4"])
def test_seeking_equals_the_tail_of_a_full_read(clips: Path, name: str) -> None:
    path = clips / "video" / name
    whole = list(read_frames(path, count=125))
    for start in (1, 24, 61, 97, 118):
        part = list(read_frames(path, start=start, count=3))
        assert all(np.array_equal(a, b) for a, b in zip(part, whole[start : start + 3], strict=True)), start


def test_seeking_in_hevc_and_in_a_long_file(clips: Path) -> None:
    for name, start in (("latentsync_demo2.mp4", 47), ("grid_s1_train_5min.mp4", 3333)):
        early = list(
            read_frames(clips / "video" / name, start=start - 30, count=32)
        )  # opens at another keyframe or byte
        late = list(read_frames(clips / "video" / name, start=start, count=2))
        assert np.array_equal(early[30], late[0]) and np.array_equal(early[31], late[1])


def test_the_end_of_the_file_ends_the_frames(numbered: Path) -> None:
    assert numbers(numbered) == NUMBERS
    assert numbers(numbered, start=70, count=50) == [70, 71, 72, 73, 74]
    assert numbers(numbered, start=75) == [] and numbers(numbered, count=0) == []


def test_another_rate_repeats_or_skips(numbered: Path) -> None:
    assert numbers(numbered, fps=Fraction(50)) == [i for i in NUMBERS for _ in (0, 1)]
    assert np.abs(np.diff(numbers(numbered, fps=Fraction(10))) - 2.5).max() == 0.5


def test_closing_early_ends_ffmpeg(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children = []
    real = ffmpeg.process

    def spy(*arguments: object) -> object:
        context = real(*arguments)  # type: ignore[arg-type]
        children.append(context)
        return context

    monkeypatch.setattr(video, "process", spy)
    frames: Iterator[np.ndarray] = read_frames(clips / "video" / "grid_s1_train_5min.mp4")
    next(frames)
    process = children[0].gen.gi_frame.f_locals["child"]
    assert process.poll() is None
    frames.close()  # type: ignore[attr-defined]
    assert process.poll() is not None


# --- difficult sources: read, and imported


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


def test_import_of_a_part_at_another_rate(numbered: Path, tmp_path: Path) -> None:
    made = import_video(numbered, tmp_path / "part.mp4", start_s=1.2, duration_s=0.8).run()
    assert made.frame_count == 20 and numbers(tmp_path / "part.mp4") == NUMBERS[30:50]
    made = import_video(numbered, tmp_path / "slow.mp4", fps=Fraction(30000, 1001)).run()
    assert (made.fps, made.frame_count) == (Fraction(30000, 1001), 90)


# --- writing


def test_length_and_start_of_sound_and_picture(flash: Path) -> None:
    info = probe(flash)
    assert info.video is not None and info.has_audio and info.video.frame_count == 100
    assert abs(flash_s(flash) - click_s(flash)) < 0.04
    assert len(load_waveform(flash)) / 16000 == pytest.approx(4.0, abs=0.04)


@pytest.mark.parametrize("frames", [20, 150])
def test_sound_keeps_its_length_beside_a_shorter_or_longer_picture(flash: Path, tmp_path: Path, frames: int) -> None:
    audio = flash.with_name("click.wav")
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, fps=FPS, audio=audio) as writer:
        for _ in range(frames):
            writer.write(plain(90))
    assert len(load_waveform(tmp_path / "a.mp4")) / 16000 == pytest.approx(4.0, abs=0.04)
    assert len(numbers(tmp_path / "a.mp4")) == frames


def test_mux_copies_the_picture(clips: Path, flash: Path, tmp_path: Path) -> None:
    silent = clips / "video" / "musetalk_sun.mp4"
    mux(silent, flash.with_name("click.wav"), tmp_path / "a.mp4").run()
    assert np.array_equal(next(read_frames(silent, start=77)), next(read_frames(tmp_path / "a.mp4", start=77)))
    assert click_s(tmp_path / "a.mp4") == pytest.approx(2.0, abs=0.01)
    assert probe(tmp_path / "a.mp4").video == probe(silent).video


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


@pytest.mark.parametrize("size", [(64, 64), (63, 61)])
def test_colours_survive_and_odd_sizes_are_padded(tmp_path: Path, size: tuple[int, int]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    chart = colours.repeat(64, 0).repeat(64, 1)[: size[0] * 4 - size[0] % 2, : size[1] * 4 - size[1] % 2]
    height, width = chart.shape[:2]
    with VideoWriter(tmp_path / "a.mp4", width=width, height=height, fps=FPS) as writer:
        for _ in range(3):
            writer.write(chart)
    back = list(read_frames(tmp_path / "a.mp4"))[2]
    assert back.shape == (height + height % 2, width + width % 2, 3)
    difference = np.abs(back[:height, :width].astype(int) - chart)
    assert difference.mean() < 3 and difference[8:56, 8:56].max() <= 2  # at the edges, 4:2:0 halves the colour
    assert np.abs(back[-1].astype(int) - back[-2]).mean() < 6


def test_a_failing_block_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        VideoWriter(tmp_path / "a.mp4", width=64, height=48, fps=FPS) as writer,
    ):
        writer.write(plain(1))
        raise ZeroDivisionError
    with (
        pytest.raises(MediaError, match="no frame was written"),
        VideoWriter(tmp_path / "a.mp4", width=4, height=4, fps=FPS),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_dies_is_reported_with_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(MediaError, match=r"a\.mp4: encoding stopped at frame \d+: .*nonsense"),
        VideoWriter(tmp_path / "a.mp4", width=640, height=480, fps=FPS, encoder="x264", preset="nonsense") as writer,
    ):
        for _ in range(50):
            writer.write(plain(1, 480, 640))
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="frame 0"),
        VideoWriter(tmp_path / "a.mp4", width=64, height=48, fps=FPS) as writer,
    ):
        writer.write(plain(1, 50, 64))


def test_nvenc_is_tried_before_it_is_used(tmp_path: Path) -> None:
    if video.nvenc_works():
        with VideoWriter(tmp_path / "a.mp4", width=256, height=256, fps=FPS, encoder="nvenc") as writer:
            writer.write(plain(100, 256, 256))
        assert abs(float(next(read_frames(tmp_path / "a.mp4")).mean()) - 100) < 2
    else:
        with pytest.raises(MediaError, match="NVENC does not work"):
            VideoWriter(tmp_path / "a.mp4", width=256, height=256, fps=FPS, encoder="nvenc")
        assert list(tmp_path.iterdir()) == []


# --- the user's mistakes


def test_impossible_outputs(numbered: Path, flash: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "a.mp4"
    for attempt in (
        lambda: VideoWriter(missing, width=4, height=4, fps=FPS),
        lambda: import_video(numbered, missing).run(),
        lambda: mux(numbered, flash, missing).run(),
    ):
        with pytest.raises(FileError, match=r"cannot write a\.mp4: there is no folder .*nowhere"):
            attempt()


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 300, bytes(9999)])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt"])
def test_not_a_video(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for attempt in (
        probe,
        lambda path: next(read_frames(path)),
        lambda path: import_video(path, tmp_path / "o.mp4").run(),
    ):
        with pytest.raises(MediaError, match="is not an audio or video file") as caught:
            attempt(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_missing_files_folders_and_wrong_kinds(clips: Path, numbered: Path, tmp_path: Path) -> None:
    sound = clips / "audio" / "piper_joe.wav"
    with pytest.raises(MediaError, match=r"no such file: .*x\.mp4"):
        probe(tmp_path / "x.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)
    assert probe(sound).video is None and probe(sound).has_audio
    with pytest.raises(MediaError, match="has sound but no picture"):
        read_frames(sound)
    with pytest.raises(MediaError, match="no sound"):
        mux(numbered, numbered, tmp_path / "o.mp4").run()
    with pytest.raises(MediaError, match=r"ends at 3\.00 s"):
        import_video(numbered, tmp_path / "o.mp4", start_s=9).run()
    assert list(tmp_path.iterdir()) == []


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
