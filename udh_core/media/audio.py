"""Sound files: any of them to a mono waveform at 16 kHz, and wav files of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import MediaError
from ..files import atomic_write
from .ffmpeg import QUIET, check_readable, container_zero_s, describe, process, url

SAMPLE_RATE_HZ = 16000
MIN_DURATION_S = 0.1
HEADER_BYTES = 44  # of a wav file that write_wave wrote
CHUNK_SAMPLES = 1 << 18  # decoded at a time: 1 MB


def load_waveform(path: Path, *, start_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
    """(n,) float32 mono [-1, 1] at SAMPLE_RATE_HZ; sample 0 is the container's zero plus `start_s`.

    A sound stream that starts later than the picture begins with silence here, so that both share one clock.
    MediaError: no such file, no sound, shorter than MIN_DURATION_S, or samples that are not finite numbers.
    """
    path = check_readable(path)
    begin = round(start_s * SAMPLE_RATE_HZ)
    count = None if duration_s is None else round(duration_s * SAMPLE_RATE_HZ)
    read = _read_own if _is_own(path) else _decode_resampled
    waveform = read(path, begin, count)
    if len(waveform) < MIN_DURATION_S * SAMPLE_RATE_HZ:
        least = f"{MIN_DURATION_S * 1000:g} ms are the least"
        raise MediaError(f"{path}: {_milliseconds(waveform)} of sound from {start_s:g} s on; {least}")
    return np.clip(waveform, -1.0, 1.0, out=waveform)


def _is_own(path: Path) -> bool:
    """Whether a file is laid out as `write_wave` does at SAMPLE_RATE_HZ, mono: it can be read as it is."""
    import soundfile

    if path.suffix.lower() != ".wav":
        return False
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError:
        return False
    form = (info.format, info.subtype, info.samplerate, info.channels)
    return form == ("WAV", "PCM_16", SAMPLE_RATE_HZ, 1) and path.stat().st_size == HEADER_BYTES + 2 * info.frames


def _read_own(path: Path, begin: int, count: int | None) -> np.ndarray:
    """`count` samples from `begin` on, (n,) float32; fewer where the file ends."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        file.seek(min(max(0, begin), file.frames))
        return file.read(-1 if count is None else count, dtype="float32")


def _decode_resampled(path: Path, begin: int, count: int | None) -> np.ndarray:
    """The same of any file that ffmpeg reads, resampled to SAMPLE_RATE_HZ."""
    import soxr

    rate_hz, zero_s = _clock(path)
    until_s = None if count is None else (begin + count) / SAMPLE_RATE_HZ + MIN_DURATION_S
    resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
    parts: list[np.ndarray] = []
    done = 0
    for chunk in _decode(path, round(zero_s * rate_hz), until_s):
        part = resampler.resample_chunk(chunk)
        parts.append(part[max(0, begin - done) :])
        done += len(part)
    parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True)[max(0, begin - done) :])
    return np.concatenate(parts)[:count]


def load_sound(path: Path, *, start_s: float = 0.0, duration_s: float | None = None) -> tuple[np.ndarray, int]:
    """((n, 2) float32 [-1, 1], rate in Hz): stereo at the file's own rate, on the clock of `load_waveform`.

    MediaError: no such file, no sound in it or in the part asked for, or samples that are not finite numbers.
    """
    rate_hz, zero_s = _clock(check_readable(path))
    end_s = None if duration_s is None else start_s + duration_s
    parts = list(_decode(path, round(zero_s * rate_hz), end_s, channels=2))
    begin, end = round(start_s * rate_hz), None if end_s is None else round(end_s * rate_hz)
    sound = np.concatenate([part.reshape(-1, 2) for part in parts] or [np.empty((0, 2), np.float32)])[begin:end]
    if len(sound) == 0:
        raise MediaError(f"{path}: there is no sound from {start_s:g} s on")
    return np.clip(sound, -1.0, 1.0), rate_hz


def write_wave(path: Path, waveform: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write a waveform (n,) or (n, channels), [-1, 1], as 16-bit PCM, whole or not at all.

    MediaError: samples that are not finite numbers. FileError: the file cannot be written.
    """
    import soundfile

    if not np.isfinite(waveform).all():
        raise MediaError(f"cannot write {path}: the waveform has samples that are not numbers")
    samples = np.rint(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
    with atomic_write(path) as temporary:
        soundfile.write(temporary, samples, rate_hz, subtype="PCM_16", format="WAV")


def _milliseconds(waveform: np.ndarray) -> str:
    return f"{len(waveform) * 1000 / SAMPLE_RATE_HZ:.1f} ms"


def _clock(path: Path) -> tuple[int, float]:
    """The sound's own rate, and the container's zero on the file's own clock."""
    text = describe(path)
    found = re.search(r"Stream #\S+ Audio: [^\n]*?(\d+) Hz", text)
    if found:
        return int(found[1]), container_zero_s(text)
    if re.search(r"Stream #\S+ Video: ", text):
        raise MediaError(f"{path} has no sound; give a separate audio file")
    raise MediaError(f"{path} is not an audio or video file, or it is empty or damaged")


def _decode(path: Path, first_sample: int, until_s: float | None, channels: int = 1) -> Iterator[np.ndarray]:
    """(n,) float32 chunks, channels interleaved, at the file's own rate, from the container's zero."""
    # One resampler does it all: pads a late start, and folds the channels without exceeding full scale.
    layout = "mono" if channels == 1 else "stereo"
    filters = (
        f"aresample=async=1:first_pts={first_sample}:rematrix_maxval=1,aformat=sample_fmts=flt:channel_layouts={layout}"
    )
    limit = [] if until_s is None else ["-t", f"{until_s:.6f}"]
    arguments = ["-copyts", "-i", url(path), "-map", "0:a:0", *limit, "-af", filters, "-f", "f32le", "pipe:1"]
    position = 0
    with process([*QUIET, *arguments], "stdout") as child:
        while data := child.stdout.read(CHUNK_SAMPLES * 4):
            chunk = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
            if not np.isfinite(chunk).all():
                raise MediaError(f"{path}: samples that are not numbers (NaN or infinite) near sample {position}")
            position += len(chunk) // channels
            yield chunk
        child.finish(f"{path}: the sound cannot be decoded")
