"""Sound in and out, on real recordings and on files made to be difficult."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from udh_core.errors import MediaError
from udh_core.media import sound_track
from udh_core.media.audio import SAMPLE_RATE_HZ, load_channels, load_waveform, write_wave
from udh_core.media.ffmpeg import run, url


def tone(seconds: float = 1.0, hz: float = 440.0, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def float_wave(path: Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> Path:
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate_hz, rate_hz * 4, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("audio/piper_joe.wav", 10.832),  # 22 050 Hz
        ("audio/sadtalker_fayu.wav", 6.723),  # 24 bit, 48 kHz, stereo
        ("video/sadtalker_WDA_AOC_000.mp4", 8.0),  # AAC beside a picture
    ],
)
def test_real_files_become_mono_16_khz(clips: Path, name: str, seconds: float) -> None:
    waveform = load_waveform(clips / name)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert len(waveform) / SAMPLE_RATE_HZ == pytest.approx(seconds, abs=0.002)
    assert 0.01 < waveform.std() < 0.5 and np.abs(waveform).max() <= 1.0


def test_16_khz_mono_pcm_comes_back_bit_for_bit(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone())
    with wave.open(str(tmp_path / "a.wav")) as file:
        stored = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.array_equal(load_waveform(tmp_path / "a.wav"), stored.astype(np.float32) / 32768)


def foreign(path: Path) -> Path:
    """The same sound with one more chunk before it, as other programs write."""
    raw = path.read_bytes()
    copy = path.with_name(f"foreign_{path.name}")
    copy.write_bytes(raw[:4] + struct.pack("<I", len(raw) - 8 + 12) + raw[8:36] + b"note\x04\0\0\0abcd" + raw[36:])
    return copy


@pytest.mark.parametrize("part", [{}, {"start_s": 0.31}, {"start_s": 0.2, "duration_s": 0.4}, {"duration_s": 9.0}])
def test_own_wav_is_not_decoded_and_gives_the_same_samples(
    tmp_path: Path, part: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wave(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, 16001))
    decoded = load_waveform(foreign(tmp_path / "a.wav"), **part)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no decoder")

    monkeypatch.setattr(sound_track.av, "open", refuse)
    assert np.array_equal(load_waveform(tmp_path / "a.wav", **part), decoded)
    with pytest.raises(OSError, match="no decoder"):
        load_waveform(tmp_path / "foreign_a.wav", **part)


@pytest.mark.parametrize("lost", [1000, 1001])
def test_own_wav_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, lost: int) -> None:
    write_wave(tmp_path / "a.wav", tone())
    whole = load_waveform(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-lost])
    assert np.array_equal(load_waveform(tmp_path / "a.wav"), whole[: -((lost + 1) // 2)])


@pytest.mark.parametrize(
    ("form", "subtype", "bytes_each"),
    [("WAV", "PCM_16", 2), ("WAV", "PCM_24", 3), ("WAV", "FLOAT", 4), ("AIFF", "PCM_24", 3), ("W64", "PCM_16", 2)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_that_ends_within_a_sample_has_all_before(
    tmp_path: Path, form: str, subtype: str, bytes_each: int, channels: int
) -> None:
    """Its header says that there are more."""
    path, sample_bytes = tmp_path / "a.sound", bytes_each * channels
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (16000, channels))
    soundfile.write(path, noise, SAMPLE_RATE_HZ, subtype=subtype, format=form)
    whole = load_channels(path).samples
    assert whole.shape == noise.shape
    content = path.read_bytes()
    for left in {1, sample_bytes - 1}:  # bytes of the last sample
        path.write_bytes(content[: left - sample_bytes * 300])
        np.testing.assert_array_equal(load_channels(path).samples, whole[:-300])


def test_a_part_equals_the_slice_of_the_whole(clips: Path) -> None:
    path = clips / "audio" / "piper_joe.wav"
    whole, part = load_waveform(path), load_waveform(path, start_s=2.5, duration_s=1.25)
    assert np.array_equal(part, whole[40000:60000])


def test_resampling_keeps_the_pitch_and_drops_what_does_not_fit(tmp_path: Path) -> None:
    both = tone(1, 1000, 48000) + tone(1, 11003, 48000)  # 11 kHz lies above the new Nyquist limit
    write_wave(tmp_path / "a.wav", both / 1.1, 48000)
    spectrum = np.abs(np.fft.rfft(load_waveform(tmp_path / "a.wav")))
    assert np.argmax(spectrum) == 1000
    assert spectrum[1100:].max() < spectrum[1000] / 1000


def test_stereo_is_averaged_not_summed(tmp_path: Path) -> None:
    write_wave(tmp_path / "mono.wav", 1.8 * tone())
    run(["-i", url(tmp_path / "mono.wav"), "-af", "pan=stereo|c0=c0|c1=c0", url(tmp_path / "st.wav")], "test")
    assert np.abs(load_waveform(tmp_path / "st.wav") - load_waveform(tmp_path / "mono.wav")).max() < 1e-3


def test_sound_that_starts_late_begins_with_silence(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone())
    picture = ["-f", "lavfi", "-i", "color=size=32x32:rate=25:duration=2"]
    late = ["-itsoffset", "0.5", "-i", url(tmp_path / "a.wav"), "-c:a", "aac"]
    for name in ("late.mkv", "late.ts"):  # two clocks: from 0, and from 1.4 s
        run([*picture, *late, url(tmp_path / name)], "test")
        loud = np.flatnonzero(np.abs(load_waveform(tmp_path / name)) > 0.1)
        assert loud[0] / SAMPLE_RATE_HZ == pytest.approx(0.5, abs=0.04)


def test_video_without_sound(clips: Path) -> None:
    with pytest.raises(MediaError, match=r"musetalk_sun\.mp4 has no sound; give a separate audio file"):
        load_waveform(clips / "video" / "musetalk_sun.mp4")


@pytest.mark.parametrize("samples", [0, 1, 1000])
def test_too_short(tmp_path: Path, samples: int) -> None:
    write_wave(tmp_path / "short.wav", tone()[:samples])
    with pytest.raises(MediaError, match=r"short\.wav"):
        load_waveform(tmp_path / "short.wav")


def test_nothing_left_after_the_start(tmp_path: Path) -> None:
    write_wave(tmp_path / "a.wav", tone())
    with pytest.raises(MediaError, match=r"a\.wav has 0\.0 ms of sound from 5 s on"):
        load_waveform(tmp_path / "a.wav", start_s=5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path: Path, bad: float) -> None:
    samples = tone()
    samples[5000] = bad
    with pytest.raises(MediaError, match=r"bad\.wav: samples that are not numbers"):
        load_waveform(float_wave(tmp_path / "bad.wav", samples))
    with pytest.raises(MediaError, match="not numbers"):
        write_wave(tmp_path / "out.wav", samples)
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 200, bytes(5000)])
def test_not_a_sound_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.wav is not an audio or video file") as caught:
        load_waveform(tmp_path / "a.wav")
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no such file: .*nothing\.wav"):
        load_waveform(tmp_path / "nothing.wav")
