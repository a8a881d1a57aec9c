"""What is found in a file, before anything of it is read."""

from pathlib import Path

import pytest
from numbered import FPS

from udh_core.errors import MediaError
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video, mux
from udh_core.media.video import read_frames


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


SUBTITLES = b"1\n00:00:00,000 --> 00:00:02,000\nnothing but words\n"


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 300, bytes(9999), SUBTITLES])
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
