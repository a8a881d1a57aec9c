"""Frames in and out: on real clips, and on a clip whose every frame shows its own number."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from needs import unavailable
from numbered import FPS, NUMBERS, click_s, flash_s, numbers, plain

from udh_core.errors import MediaError
from udh_core.media import video
from udh_core.media.audio import load_waveform
from udh_core.media.probe import probe
from udh_core.media.video import VideoWriter, read_frames


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


def test_frames_are_freed_at_once(numbered: Path) -> None:
    """One of 4K has 12 MB, and Python's garbage collector comes after hundreds of them."""
    gc.collect()
    gc.disable()
    try:
        count = sum(1 for _ in read_frames(numbered))
        left = sum(type(one) is VideoFrame for one in gc.get_objects())  # isinstance would ask what proxies stand for
    finally:
        gc.enable()
    assert count == len(NUMBERS) and left < 5


def open_files(path: Path) -> int:
    """How often this process has the file open."""
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        unavailable("only Linux lists the open files of a process")
    return sum(one.exists() and one.resolve() == path.resolve() for one in opened.iterdir())


def test_closing_early_closes_the_file(clips: Path) -> None:
    path = clips / "video" / "grid_s1_train_5min.mp4"
    frames: Iterator[np.ndarray] = read_frames(path)
    next(frames)
    assert open_files(path) == 1
    frames.close()  # type: ignore[attr-defined]
    assert open_files(path) == 0


# --- writing


STOP_EARLY = """
import sys
from pathlib import Path
import av
from udh_core.media.decode import shown_frames
from udh_core.media.probe import inspect

av.logging.set_level(av.logging.VERBOSE)  # so that every thread of the decoder logs, as it does of damaged frames
path = Path(sys.argv[1])
source = inspect(path)[1]
for _ in range(20):
    next(shown_frames(path, source, source.step_s, threads=4))
"""


def test_a_decoder_that_logs_is_left_early(person: Path) -> None:
    """Freed while its threads still worked, it waited for them, and they for the interpreter, in order to log."""
    command = [sys.executable, "-c", STOP_EARLY, str(person / "person.mp4")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


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
