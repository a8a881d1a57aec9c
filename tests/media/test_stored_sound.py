"""Sound that is taken over as it is stored, and where it is encoded instead; clicks do not move against the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import FPS, NUMBERS, convert, plain

from udh_core.media.audio import write_wave
from udh_core.media.probe import VideoInfo, probe
from udh_core.media.sound_track import decode, sound_tracks
from udh_core.media.stored_sound import sound_for_mp4
from udh_core.media.transcode import mux
from udh_core.rendering.output import write_video

RATE_HZ = 48000
CLICKS_S = (0.5, 1.5, 2.5)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clicks of 2 ms in faint noise, 3.017 s: no whole number of packets of any codec."""
    samples = np.random.default_rng(0).normal(0, 0.01, round(3.017 * RATE_HZ)).astype(np.float32)
    for click_s in CLICKS_S:
        samples[round(click_s * RATE_HZ) :][:96] = 0.9
    path = tmp_path_factory.mktemp("clicks") / "clicks.wav"
    write_wave(path, samples, RATE_HZ)
    return path


def places_s(path: Path, around: tuple[float, ...] = CLICKS_S) -> np.ndarray:
    """(clicks,) the middle of each one's energy, on the clock that it shares with the picture."""
    blocks = list(decode(path))
    rate_hz, samples = blocks[0].rate_hz, np.concatenate([block.samples[:, 0] for block in blocks])
    found = []
    for click_s in around:
        first = round((click_s - 0.2) * rate_hz)
        energy = np.cumsum(np.square(samples[first : first + round(0.4 * rate_hz)], dtype=np.float64))
        found.append((first + np.searchsorted(energy, energy[-1] / 2)) / rate_hz)
    return np.array(found)


def packets(path: Path) -> list[bytes]:
    """Of the first sound track, without the headers that raw AAC has before each."""
    with av.open(str(path)) as container:
        found = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    return [packet[7:] if packet.startswith(b"\xff\xf1") else packet for packet in found]


def written(sound: Path, out: Path, **options: bool) -> Path:
    """A video with this sound, as a render writes it."""
    frames = (plain(20 + 3 * k) for k in NUMBERS)
    list(write_video(out, VideoInfo(64, 48, FPS, len(NUMBERS)), frames, len(NUMBERS), sound, **options))
    return out


STORED = [
    ("iphone.m4a", "-c:a aac -b:a 96k"),
    ("raw.aac", "-c:a aac"),
    ("slow.m4a", "-c:a aac -ar 16000 -ac 1"),
    ("camera.mov", "-c:a aac -ar 44100 -ac 2"),
    ("programme.mkv", "-c:a aac"),
    ("programme.ts", "-c:a aac"),
    ("podcast.mp3", "-c:a libmp3lame"),
    ("without_header.mp3", "-c:a libmp3lame -write_xing 0"),
    ("low_rate.mp3", "-c:a libmp3lame -ar 22050"),
    ("variable.mp3", "-c:a libmp3lame -q:a 4"),
    ("mp3.mkv", "-c:a libmp3lame"),
    ("lossless.m4a", "-c:a alac"),
    ("film.ac3", "-c:a ac3 -ac 2"),
    ("film.mkv", "-c:a ac3"),
    ("stream.eac3", "-c:a eac3"),
]


@pytest.mark.parametrize(("name", "arguments"), STORED)
def test_what_an_mp4_holds_is_not_encoded_and_does_not_move(
    clicks: Path, tmp_path: Path, name: str, arguments: str
) -> None:
    source = convert(clicks, tmp_path / name, *arguments.split())
    out = written(source, tmp_path / "out.mp4")
    assert packets(out) == packets(source)
    muxed = mux(out, source, tmp_path / "muxed.mp4").run()
    assert packets(muxed) == packets(source)
    convert(source, tmp_path / "plain.wav", "-c:a", "pcm_s16le")
    encoded = written(tmp_path / "plain.wav", tmp_path / "encoded.mp4")
    assert sound_tracks(encoded)[0].codec == "aac" and packets(encoded) != packets(source)
    assert np.abs(places_s(out) - places_s(encoded)).max() <= 0.001
    assert np.abs(places_s(muxed) - places_s(encoded)).max() <= 0.001
    assert probe(out).video == probe(encoded).video


def test_the_edit_list_of_a_cut_recording_is_kept(clicks: Path, tmp_path: Path) -> None:
    """Cut without encoding: its first packets are only decoded, and do not sound."""
    whole = convert(clicks, tmp_path / "whole.m4a", "-c:a", "aac")
    cut = convert(whole, tmp_path / "cut.m4a", "-c", "copy", before=("-ss", "0.777"))
    after = (CLICKS_S[1] - 0.777, CLICKS_S[2] - 0.777)
    out = written(cut, tmp_path / "out.mp4")
    assert np.abs(places_s(out, after) - places_s(cut, after)).max() <= 0.001


def test_the_chosen_track_is_taken_over(clicks: Path, tmp_path: Path) -> None:
    second = convert(clicks, tmp_path / "second.m4a", "-c:a", "aac", "-af", "volume=0.5")
    both = ["-i", str(second), "-map", "0:a", "-map", "1:a", "-c:a:0", "libmp3lame", "-c:a:1", "copy"]
    source = convert(clicks, tmp_path / "both.mp4", *both)
    with sound_for_mp4(source, 2) as sound:
        assert sound.as_stored and packets(sound.path) == packets(second)


ENCODED = [
    ("a.flac", "-c:a flac"),
    ("a.opus", "-c:a libopus"),
    ("a.wav", "-c:a pcm_s16le"),
    ("surround.m4a", "-c:a aac -ac 6"),  # is mixed to stereo
    ("late.mkv", "-itsoffset 0.5 -f lavfi -i color=size=32x32:rate=25:duration=2 -map 0:a -map 1:v -c:a aac"),
]


@pytest.mark.parametrize(("name", "arguments"), ENCODED)
def test_what_has_to_change_is_encoded(clicks: Path, tmp_path: Path, name: str, arguments: str) -> None:
    late = "-itsoffset" in arguments
    source = convert(
        clicks,
        tmp_path / name,
        *arguments.removeprefix("-itsoffset 0.5 ").split(),
        before=("-itsoffset", "0.5") if late else (),
    )
    out = written(source, tmp_path / "out.mp4")
    assert sound_tracks(out)[0].codec == "aac" and sound_tracks(out)[0].rate_hz == RATE_HZ
    due = np.array(CLICKS_S) + (0.5 if late else 0.0)
    assert np.abs(places_s(out, tuple(due)) - due - 0.001).max() < 0.008  # the middle of a click


def test_joined_and_damaged_sound_is_encoded(clicks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [convert(clicks, tmp_path / f"{hz}.mp3", "-ar", hz, "-c:a", "libmp3lame") for hz in ("24000", "44100")]
    (tmp_path / "joined.mp3").write_bytes(b"".join(part.read_bytes() for part in parts))
    source = convert(clicks, tmp_path / "a.m4a", "-c:a", "aac")
    content, spoilt = source.read_bytes(), packets(source)[70]
    (tmp_path / "spoilt.m4a").write_bytes(content.replace(spoilt, b"\xff" * len(spoilt)))
    for name, least_s in (("joined.mp3", 6.0), ("spoilt.m4a", 3.0)):
        with sound_for_mp4(tmp_path / name) as sound:
            assert not sound.as_stored and probe(sound.path).duration_s >= least_s
    assert "spoilt.m4a: parts of its sound are damaged, and silent now (1 packets)" in caplog.text


def test_time_stamps_that_drift_from_the_samples_are_not_kept(clicks: Path, tmp_path: Path) -> None:
    """Each packet 0.1 ms later than the samples say: after an hour that would be 17 s."""
    source, drifting = convert(clicks, tmp_path / "a.mp3", "-c:a", "libmp3lame"), tmp_path / "drifting.mp4"
    with av.open(str(source)) as read, av.open(str(drifting), "w") as out:
        stream = out.add_stream_from_template(read.streams.audio[0])
        for k, packet in enumerate(one for one in read.demux(audio=0) if one.size):
            packet.stream, packet.time_base = stream, Fraction(1, RATE_HZ)
            packet.pts = packet.dts = k * (1152 + 5)
            out.mux(packet)
    with sound_for_mp4(drifting) as sound:
        assert not sound.as_stored


def test_only_what_browsers_play_where_that_is_asked_for(clicks: Path, tmp_path: Path) -> None:
    film = convert(clicks, tmp_path / "film.ac3", "-c:a", "ac3")
    podcast = convert(clicks, tmp_path / "podcast.mp3", "-c:a", "libmp3lame")
    assert sound_tracks(written(film, tmp_path / "a.mp4", plays_everywhere=True))[0].codec == "aac"
    assert packets(written(podcast, tmp_path / "b.mp4", plays_everywhere=True)) == packets(podcast)
