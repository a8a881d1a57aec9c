"""Recordings whose clock, size or tracks are not what the header says: one time line, in step to its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from numbered import FPS, NUMBERS, convert, flash_s, numbers, plain

from udh_core.errors import MediaError
from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video
from udh_core.media.video import VideoWriter, read_frames

SIZED = "-c:v libx264 -crf 4 -bf 0 -an"
JUMPING = ("-enc_time_base", "1/1000", "-fps_mode", "passthrough", "-c:v", "libx264", "-crf", "4")


def imported(source: Path, **options: object) -> tuple[Path, list[int]]:
    """The import of a file, and the numbers of its frames."""
    target = source.with_name("made.mp4")
    made = import_video(source, target, **options).run()  # type: ignore[arg-type]
    found = numbers(target)
    assert made.frame_count == len(found)
    return target, found


def names_of(path: Path) -> list[str]:
    return [note.name for note in probe(path).notes]


def concatenated(parts: list[Path], target: Path) -> Path:
    """Parts put one behind the other without decoding them, each with its own size and codec parameters."""
    table = target.with_suffix(".txt")
    table.write_text("".join(f"file '{part}'\n" for part in parts))
    run(["-f", "concat", "-safe", "0", "-i", url(table), "-c", "copy", "-y", url(target)], "concatenation failed")
    return target


def glued(parts: list[Path], target: Path) -> Path:
    """Parts joined by their bytes."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


# The size changes on the way


@pytest.mark.parametrize(
    ("suffix", "scale", "codec"),
    [
        ("mkv", "48:36", SIZED),  # in-band parameter sets
        ("mp4", "96:72", SIZED),
        ("ts", "80:60", SIZED),
        ("webm", "48:36", "-c:v libvpx-vp9 -b:v 0 -crf 4 -deadline realtime -an"),
    ],
)
def test_a_change_of_size_is_scaled_to_the_size_that_lasts_longer(
    numbered: Path, tmp_path: Path, suffix: str, scale: str, codec: str
) -> None:
    kind = "webm" if suffix == "webm" else "mp4"
    first = convert(numbered, tmp_path / f"1.{kind}", "-t", "2", *codec.split())
    second = convert(numbered, tmp_path / f"2.{kind}", "-vf", f"scale={scale}", *codec.split(), before=("-ss", "2"))
    source = concatenated([first, second], tmp_path / f"q.{suffix}")
    target, found = imported(source)
    assert found == NUMBERS
    made = probe(target).video
    assert made is not None and (made.width, made.height, made.fps) == (64, 48, FPS)
    assert names_of(source) == ["picture size"] and names_of(target) == []
    assert numbers(source) == NUMBERS and numbers(source, start=60, count=3) == [60, 61, 62]


def test_the_size_that_lasts_longer_may_come_second_and_have_another_shape(numbered: Path, tmp_path: Path) -> None:
    first = convert(numbered, tmp_path / "1.mp4", "-t", "1", *SIZED.split())
    second = convert(numbered, tmp_path / "2.mp4", "-vf", "scale=48:64", *SIZED.split(), before=("-ss", "1"))
    source = concatenated([first, second], tmp_path / "q.mkv")
    target, found = imported(source)
    frames = list(read_frames(target))
    assert [frame.shape for frame in frames] == [(64, 48, 3)] * 75
    assert found[25:] == NUMBERS[25:]
    early = frames[10].astype(int)  # the wide frame lies in the middle, black above and below it
    assert early[:8].max() < 20 and early[-8:].max() < 20 and abs(early[20:44].mean() - 50) < 4


# Time stamps jump


@pytest.mark.parametrize("jump_s", [60, 600, 36000])
def test_a_time_stamp_that_jumps_is_named_at_once(flash: Path, tmp_path: Path, jump_s: int) -> None:
    jumps = f"settb=1/1000,setpts='if(gte(N,98),PTS+{jump_s * 1000},PTS)'"
    source = convert(
        flash,
        tmp_path / "jump.mkv",
        "-vf",
        jumps,
        "-enc_time_base",
        "1/1000",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
    )
    begin = time.monotonic()
    for attempt in (lambda: import_video(source, tmp_path / "made.mp4").run(), lambda: list(read_frames(source))):
        with pytest.raises(
            MediaError, match=rf"jump\.mkv: the picture stands still from 3\.9 s to {jump_s + 3}\.9 s.*trim"
        ):
            attempt()
    assert time.monotonic() - begin < 5
    _, found = imported(source, duration_s=3.8)
    assert len(found) == 95 and flash_s(tmp_path / "made.mp4") == 2.0


def test_a_shorter_stillness_is_kept_and_named(numbered: Path, tmp_path: Path) -> None:
    jumps = "settb=1/1000,setpts='if(gte(N,50),PTS+3000,PTS)'"
    source = convert(
        numbered, tmp_path / "jump.mkv", "-vf", jumps, "-enc_time_base", "1/1000", "-fps_mode", "passthrough"
    )
    _, found = imported(source)
    assert found == [*range(50), *[49] * 75, *range(50, 75)]
    assert names_of(source) == ["stills"] and "2.0–5.0 s" in probe(source).notes[0].sentence


def test_a_picture_that_comes_far_too_late_is_named(flash: Path, tmp_path: Path) -> None:
    late = ["-itsoffset", "20", "-i", url(flash), "-i", url(flash), "-map", "0:v", "-map", "1:a", "-c", "copy", "-y"]
    run([*late, url(tmp_path / "late.mkv")], "")
    with pytest.raises(MediaError, match=r"stands still from 0\.0 s to 20\.0 s"):
        import_video(tmp_path / "late.mkv", tmp_path / "made.mp4").run()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float, float], Path]:
    """Makes a picture of 15 s that cannot be decoded from one time to another."""
    folder = tmp_path_factory.mktemp("damaged")
    with VideoWriter(folder / "whole.mp4", width=64, height=48, fps=Fraction(5), gop=1) as writer:
        for i in NUMBERS:
            writer.write(plain(20 + 3 * i))

    def make(begin_s: float, end_s: float) -> Path:
        content, made = bytearray((folder / "whole.mp4").read_bytes()), folder / f"{begin_s:g}_{end_s:g}.mp4"
        with av.open(str(folder / "whole.mp4")) as container:
            for packet in container.demux(video=0):
                if packet.size and begin_s <= float(packet.pts * packet.time_base) < end_s:
                    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
        made.write_bytes(content)
        return made

    return make


@pytest.mark.parametrize(("begin_s", "end_s", "words"), [(0, 12, "0.0 s to 12.0 s"), (2, 14, "1.8 s to 14.0 s")])
def test_a_long_part_that_cannot_be_decoded_is_named(damaged, tmp_path: Path, begin_s, end_s, words: str) -> None:
    source, half = damaged(begin_s, end_s), Fraction(5, 2)
    for attempt in (
        lambda: import_video(source, tmp_path / "made.mp4", fps=half).run(),
        lambda: list(read_frames(source)),
    ):
        with pytest.raises(MediaError, match=f"no frame can be decoded from {re.escape(words)}; .*trim"):
            attempt()
    assert numbers(source, start=72) == [72, 73, 74]  # what comes after it


def test_a_short_part_that_cannot_be_decoded_stands_still(damaged) -> None:
    assert numbers(damaged(1, 2), count=12) == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 10, 11]


def test_a_rate_of_less_than_a_frame_in_100_s_is_none(numbered: Path, tmp_path: Path) -> None:
    source = convert(numbered, tmp_path / "slide.mkv", "-frames:v", "1", "-r", "1/1000", "-c:v", "libx264")
    assert float(probe(source).video.fps) == 25  # type: ignore[union-attr]


def test_a_gap_in_all_streams_is_a_joint(flash: Path, tmp_path: Path) -> None:
    """A recorder that was paused for ten minutes."""
    later = convert(flash, tmp_path / "2.ts", "-c", "copy", "-output_ts_offset", "600")
    source = glued([convert(flash, tmp_path / "1.ts", "-c", "copy"), later], tmp_path / "paused.ts")
    _, found = imported(source)
    assert 200 <= len(found) <= 202
    assert names_of(source) == ["joined recordings"]


# Recordings joined by their bytes


@pytest.mark.parametrize("offsets", [(0, 0), (100, 0)])
def test_recordings_joined_by_their_bytes(flash: Path, tmp_path: Path, offsets: tuple[int, int]) -> None:
    parts = [
        convert(flash, tmp_path / f"{i}.ts", "-c", "copy", "-output_ts_offset", str(offset))
        for i, offset in enumerate(offsets)
    ]
    source = glued(parts, tmp_path / "joined.ts")
    _, found = imported(source)
    bright = [i for i, number in enumerate(found) if number > 60]
    alone = round(flash_s(parts[0]) * 25)
    assert 200 <= len(found) <= 203  # the sound of the first one is a little longer than its picture
    assert bright[0] == alone and len(bright) == 2
    info = probe(source)
    sound = next(stream for stream in info.streams if stream.kind == "audio")
    assert len(sound.joints) == 1
    shift_s = float(sound.joints[0].shift_s) - float(info.streams[0].joints[0].shift_s)
    assert shift_s == 0.0  # sound and picture move alike
    assert bright[1] - bright[0] == pytest.approx(4.0 * 25, abs=2.5)
    assert "joined recordings" in names_of(source)


@pytest.mark.parametrize("suffix", ["mp4", "flv", "avi", "mkv"])
def test_a_recording_that_cannot_be_reached_is_named(flash: Path, tmp_path: Path, suffix: str) -> None:
    one = convert(flash, tmp_path / f"1.{suffix}", "-c:v", "copy", "-c:a", "aac")
    source = glued([one, one], tmp_path / f"joined.{suffix}")
    video = probe(source).video
    said = [note.sentence for note in probe(source).notes if "cannot be read" in note.sentence]
    assert names_of(one) == [] and video is not None
    assert len(said) == (0 if video.frame_count >= 200 else 1)


def test_joined_recordings_of_different_size(numbered: Path, tmp_path: Path) -> None:
    first = convert(numbered, tmp_path / "1.ts", *SIZED.split())
    second = convert(numbered, tmp_path / "2.ts", "-t", "2", "-vf", "scale=48:36", *SIZED.split())
    source = glued([first, second], tmp_path / "joined.ts")
    _, found = imported(source)
    assert found == [*NUMBERS, *range(50)]
    assert sorted(names_of(source)) == ["joined recordings", "picture size"]


# Time stamps that are missing, negative, cut by an edit list


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("negative.mkv", "-c copy -output_ts_offset -0.2 -avoid_negative_ts disabled"),
        ("bframes.avi", "-c:v mpeg4 -q:v 2 -bf 2"),
        ("bframes.h264", "-c:v libx264 -crf 4 -bf 3"),
        ("late.mp4", "-c copy -output_ts_offset 100"),
    ],
)
def test_every_frame_has_its_place(numbered: Path, tmp_path: Path, name: str, arguments: str) -> None:
    source = convert(numbered, tmp_path / name, *arguments.split())
    assert numbers(source) == NUMBERS
    assert imported(source)[1] == NUMBERS


def test_what_an_edit_list_cuts_away_is_not_shown(numbered: Path, tmp_path: Path) -> None:
    whole = convert(numbered, tmp_path / "gop.mp4", "-c:v", "libx264", "-crf", "4", "-g", "25")
    source = convert(whole, tmp_path / "cut.mp4", "-c", "copy", before=("-ss", "1.4"))
    assert numbers(source) == NUMBERS[35:]
    assert imported(source)[1] == NUMBERS[35:]


# Several tracks


def with_tracks(numbered: Path, target: Path, *tracks: str) -> Path:
    """A file with one picture per track, each made by these options."""
    parts = [convert(numbered, target.with_name(f"{i}.mkv"), *track.split()) for i, track in enumerate(tracks)]
    inputs = [argument for part in parts for argument in ("-i", url(part))]
    maps = [argument for i in range(len(parts)) for argument in ("-map", str(i))]
    run([*inputs, *maps, "-c", "copy", "-y", url(target)], "")
    return target


@pytest.mark.parametrize(
    ("tracks", "size"),
    [
        (("-t 1 -vf scale=128:96", "-c:v copy"), (64, 48)),  # the longest
        (("-vf scale=32:24", "-vf scale=128:96"), (128, 96)),  # of the same length the largest
        (("-c:v copy", "-t 1 -vf scale=128:96 -c:v mpeg4"), (64, 48)),
        (("-vf fps=1,scale=128:96 -c:v mjpeg", "-c:v copy"), (64, 48)),  # a cover is as long, but does not move
    ],
)
def test_the_longest_and_largest_picture_is_taken(
    numbered: Path, tmp_path: Path, tracks: tuple[str, str], size: tuple[int, int]
) -> None:
    source = with_tracks(numbered, tmp_path / "two.mkv", *tracks)
    target, found = imported(source)
    made = probe(target).video
    assert made is not None and (made.width, made.height) == size and found == NUMBERS
    assert names_of(source) == ["video tracks"] and "`video_track` chooses another" in probe(source).notes[0].sentence


def test_the_user_chooses_the_picture(numbered: Path, tmp_path: Path) -> None:
    source = with_tracks(numbered, tmp_path / "two.mkv", "-t 1 -vf scale=128:96", "-c:v copy")
    made = import_video(source, tmp_path / "made.mp4", video_track=1).run()
    assert (made.width, made.height, made.frame_count) == (128, 96, 25)
    with pytest.raises(MediaError, match=r"two\.mkv: there is no video track 3; the file has 2"):
        probe(source, 3)


@pytest.mark.parametrize(("maps", "frames"), [("0 1", 100), ("0 1:a", None)])
def test_a_cover_is_no_picture(flash: Path, tmp_path: Path, maps: str, frames: int | None) -> None:
    cover = convert(flash, tmp_path / "cover.png", "-frames:v", "1", "-vf", "scale=512:512")
    source = tmp_path / "song.mp4"
    mapped = [argument for one in maps.split() for argument in ("-map", one)]
    inputs = ["-i", url(cover), "-i", url(flash), *mapped, "-c", "copy", "-disposition:v:0", "attached_pic"]
    run([*inputs, "-y", url(source)], "")
    info = probe(source)
    assert (None if info.video is None else info.video.frame_count) == frames and info.has_audio
    assert info.notes == () and [stream.is_cover for stream in info.streams].count(True) == 1


def test_a_picture_that_cannot_be_decoded_is_not_taken(numbered: Path, tmp_path: Path) -> None:
    source = with_tracks(numbered, tmp_path / "two.mkv", "-c:v libx264 -vf scale=128:96", "-c:v mpeg4 -q:v 2")
    data = source.read_bytes()
    for packet in packets_of(source, 0):
        data = data.replace(packet, bytes(len(packet)))
    (tmp_path / "broken.mkv").write_bytes(data)
    info = probe(tmp_path / "broken.mkv")
    assert info.video is not None and (info.video.width, info.video_codec) == (64, "mpeg4")


def packets_of(path: Path, index: int) -> list[bytes]:
    import av

    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[index]) if packet.size]
