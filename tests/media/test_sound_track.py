"""Sound whose time stamps, rate or layout are not what the file's header says, or which is damaged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from udh_core.errors import MediaError
from udh_core.media.audio import SAMPLE_RATE_HZ, load_sound, load_waveform, plain_sound, write_wave
from udh_core.media.ffmpeg import run, url
from udh_core.media.sound_track import sound_tracks

PIECE_S = 0.1
PIECE = round(PIECE_S * SAMPLE_RATE_HZ)


def clicking(path: Path, seconds: float, at_s: float, rate_hz: int = 48000) -> Path:
    """Faint noise with a short loud tone."""
    waveform = np.random.default_rng(0).normal(0, 0.003, round(seconds * rate_hz))
    first, count = round(at_s * rate_hz), round(0.05 * rate_hz)
    waveform[first : first + count] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(count) / rate_hz)
    write_wave(path, waveform, rate_hz)
    return path


def clicks_s(waveform: np.ndarray) -> list[float]:
    """When loud tones begin."""
    loud = np.flatnonzero(np.abs(waveform) > 0.3) / SAMPLE_RATE_HZ
    return loud[np.diff(loud, prepend=-1.0) > 0.2].tolist()


def piece(number: int) -> np.ndarray:
    """(PIECE,) int16 that can be told from every other piece."""
    return np.full(PIECE, 100 * (number + 1), np.int16)


def recording(path: Path, starts_s: Sequence[float]) -> Path:
    """Pieces of 0.1 s with these time stamps."""
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        for number, start_s in enumerate(starts_s):
            packet = av.Packet(piece(number).tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = round(start_s * 1000)
            packet.duration = round(PIECE_S * 1000)
            out.mux(packet)
    return path


def stamp(path: Path, number: int, relative_ms: int) -> None:
    """Give a piece another time stamp, which matroska writes three bytes before its content."""
    data = bytearray(path.read_bytes())
    at = data.index(piece(number).tobytes()) - 3
    data[at : at + 2] = relative_ms.to_bytes(2, "big", signed=True)
    path.write_bytes(data)


def spoil(path: Path, number: int) -> None:
    """Overwrite the content of a packet."""
    with av.open(str(path)) as container:
        content = bytes([bytes(packet) for packet in container.demux(audio=0)][number])
    path.write_bytes(path.read_bytes().replace(content, bytes([255]) * len(content)))


def pieces(path: Path) -> list[int]:
    """Number of the piece in every tenth of a second; -1 for silence."""
    middles = load_waveform(path)[PIECE // 2 :: PIECE]
    return [round(float(value) * 32768 / 100) - 1 for value in middles]


# Joined recordings


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp3", "libmp3lame"), ("aac", "aac"), ("ts", "aac"), ("ogg", "libopus"), ("ac3", "ac3")],
)
def test_recordings_of_two_rates_joined_by_their_bytes(tmp_path: Path, suffix: str, codec: str) -> None:
    source = clicking(tmp_path / "a.wav", 2.0, 1.0)
    low, high = ("32000", "48000") if suffix == "ac3" else ("24000", "48000" if suffix == "ogg" else "44100")
    parts = []
    for rate, channels in ((low, "1"), (high, "1" if suffix == "ogg" else "2")):
        part = tmp_path / f"{rate}.{suffix}"
        run(["-i", url(source), "-ar", rate, "-ac", channels, "-c:a", codec, url(part)], "test")
        parts.append(part.read_bytes())
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(b"".join(parts))
    waveform = load_waveform(joined)
    assert len(waveform) / SAMPLE_RATE_HZ == pytest.approx(4.0, abs=0.2)
    assert clicks_s(waveform) == pytest.approx([1.0, 3.0], abs=0.12)
    with plain_sound(joined) as plain:
        assert clicks_s(load_waveform(plain)) == pytest.approx([1.0, 3.0], abs=0.12)


def test_a_joined_recording_that_cannot_be_read_on_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = clicking(tmp_path / "a.wav", 1.0, 0.5)
    parts = []
    for channels in ("1", "2"):  # libav reads no ogg file whose channels change
        run(["-i", url(source), "-ac", channels, "-c:a", "libopus", url(tmp_path / f"{channels}.ogg")], "test")
        parts.append((tmp_path / f"{channels}.ogg").read_bytes())
    joined = tmp_path / "joined.ogg"
    joined.write_bytes(b"".join(parts))
    assert clicks_s(load_waveform(joined)) == pytest.approx([0.5], abs=0.02)
    assert f"{joined}: the file is damaged; its sound is read as far as it goes, to 1.0 s" in caplog.text


# Time stamps


def test_a_gap_is_silent_and_what_follows_is_where_it_belongs(tmp_path: Path) -> None:
    starts_s = [0.0, 0.1, 0.2, 0.7, 0.8]
    assert pieces(recording(tmp_path / "a.mkv", starts_s)) == [0, 1, 2, -1, -1, -1, -1, 3, 4]


def test_what_comes_twice_is_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.mkv", [0.0, 0.1, 0.2, 0.3, 0.4])
    stamp(path, 2, 100)  # the same time as piece 1
    stamp(path, 3, 200)
    stamp(path, 4, 300)
    assert pieces(path) == [0, 1, 3, 4]


def test_jitter_moves_nothing(tmp_path: Path) -> None:
    starts_s = [k * PIECE_S + (0.02 if k % 2 else 0.0) for k in range(9)]
    assert pieces(recording(tmp_path / "a.mkv", starts_s)) == list(range(9))


@pytest.mark.parametrize("wrong_ms", [30_000, -30_000])
def test_one_wrong_time_stamp_moves_nothing(tmp_path: Path, wrong_ms: int) -> None:
    path = recording(tmp_path / "a.mkv", [k * PIECE_S for k in range(8)])
    stamp(path, 4, wrong_ms)
    assert pieces(path) == list(range(8))


def test_a_jump_of_hours_is_refused_with_its_times(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.mkv", [0.0, 0.1, 0.2, 36000.3, 36000.4])
    with pytest.raises(MediaError, match=r"a\.mkv: .*pauses from 0\.3 s to 36000\.3 s; trim"):
        load_waveform(path)
    assert len(load_waveform(path, duration_s=0.2)) == 2 * PIECE


# Damage


@pytest.mark.parametrize(("suffix", "codec"), [("mp3", "libmp3lame"), ("mp4", "aac"), ("ogg", "libvorbis")])
def test_damage_in_the_middle_moves_nothing(tmp_path: Path, suffix: str, codec: str) -> None:
    source = clicking(tmp_path / "a.wav", 4.0, 3.0)
    path = tmp_path / f"a.{suffix}"
    run(["-i", url(source), "-c:a", codec, url(path)], "test")
    data = bytearray(path.read_bytes())
    first = len(data) // 3
    data[first : first + 600] = np.random.default_rng(1).bytes(600)
    path.write_bytes(data)
    waveform = load_waveform(path)
    assert len(waveform) / SAMPLE_RATE_HZ == pytest.approx(4.0, abs=0.15)
    assert any(abs(time_s - 3.0) < 0.12 for time_s in clicks_s(waveform))


def test_packets_that_are_left_out_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mka"
    run(["-i", url(clicking(tmp_path / "a.wav", 3.0, 2.0)), "-c:a", "libmp3lame", url(path)], "test")
    for number in (20, 30, 31):
        spoil(path, number)
    with caplog.at_level(logging.WARNING):
        waveform = load_waveform(path)
    assert clicks_s(waveform) == pytest.approx([2.0], abs=0.03)
    assert "damaged, and silent now (3 packets)" in caplog.text


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    run(["-i", url(clicking(tmp_path / "a.wav", 3.0, 1.0)), "-c:a", "libmp3lame", url(path)], "test")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    waveform = load_waveform(path)
    assert len(waveform) / SAMPLE_RATE_HZ == pytest.approx(1.5, abs=0.1)
    assert clicks_s(waveform) == pytest.approx([1.0], abs=0.02)


def test_sound_that_cannot_be_decoded_at_all_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    run(["-i", url(clicking(tmp_path / "a.wav", 1.0, 0.5)), "-c:a", "flac", url(path)], "test")
    data = bytearray(path.read_bytes())
    data[1000:] = np.random.default_rng(0).bytes(len(data) - 1000)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.mka") as caught:
        load_waveform(path)
    assert "\n" not in str(caught.value)


# Tracks and formats


def test_tracks_are_counted_from_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    inputs = ["-i", url(clicking(tmp_path / "a.wav", 1.0, 0.2)), "-i", url(clicking(tmp_path / "b.wav", 1.0, 0.6))]
    named = ["-metadata:s:a:1", "title=Commentary", "-metadata:s:a:1", "language=eng"]
    run([*inputs, "-map", "0", "-map", "1", "-ar:a:1", "32000", *named, url(path)], "test")
    assert [(track.number, track.rate_hz) for track in sound_tracks(path)] == [(1, 48000), (2, 32000)]
    assert "Commentary" in sound_tracks(path)[1].name
    assert clicks_s(load_waveform(path)) == pytest.approx([0.2], abs=0.02)
    assert clicks_s(load_waveform(path, track=2)) == pytest.approx([0.6], abs=0.02)
    assert load_sound(path, track=2)[1] == 32000
    for track in (0, 3):
        with pytest.raises(MediaError, match=rf"no sound track {track}; choose 1 or 2"):
            load_waveform(path, track=track)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw", "flac"])
def test_every_sample_format_has_the_same_level(tmp_path: Path, codec: str) -> None:
    source = clicking(tmp_path / "a.wav", 1.0, 0.5, SAMPLE_RATE_HZ)
    run(["-i", url(source), "-c:a", codec, url(tmp_path / "b.mkv")], "test")
    difference = np.abs(load_waveform(tmp_path / "b.mkv") - load_waveform(source))
    assert difference.max() < {"pcm_u8": 0.01, "pcm_mulaw": 0.03}.get(codec, 1e-4)
