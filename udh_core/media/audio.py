"""Sound files: any of them to a mono waveform at 16 kHz, and wav files of our own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MediaError
from ..files import atomic_write, scratch_folder
from .channels import fold, loud_by_power, to_stereo
from .ffmpeg import check_readable
from .sound_track import Block, decode, one_of, sound_tracks

SAMPLE_RATE_HZ = 16000
PLAIN_HZ = 48000  # of the sound of a finished video
MIN_DURATION_S = 0.1
HEADER_BYTES = 44  # of a wav file that write_wave wrote


class Channels(NamedTuple):
    """Sound as it was recorded, at SAMPLE_RATE_HZ."""

    samples: np.ndarray  # (n, channels) float32
    names: tuple[str, ...]  # "FL", "FR", "FC" …


class _Piece(NamedTuple):
    """Resampled sound; it follows directly on the piece before."""

    samples: np.ndarray  # (n, channels) float32
    names: tuple[str, ...]


class _WaveForm(NamedTuple):
    """How a wav file is laid out."""

    subtype: str  # libsndfile's name, "PCM_16"
    rate_hz: int
    channels: int
    frames: int


def load_waveform(path: Path, *, start_s: float = 0.0, duration_s: float | None = None, track: int = 1) -> np.ndarray:
    """(n,) float32 mono [-1, 1] at SAMPLE_RATE_HZ; sample 0 is the container's zero plus `start_s`.

    A sound track that starts later than the picture begins with silence here, so that both share one clock. `track`
    counts the file's sound tracks from 1. Channels are folded, see `channels.fold`; what holds speech is chosen by
    `speech.voice.load_voice`. MediaError: no such file or track, no sound, shorter than MIN_DURATION_S, or samples that
    are not finite numbers.
    """
    found = load_channels(path, start_s=start_s, duration_s=duration_s, track=track)
    return limited(fold(found.samples, found.names, SAMPLE_RATE_HZ).waveform)


def load_channels(path: Path, *, start_s: float = 0.0, duration_s: float | None = None, track: int = 1) -> Channels:
    """As `load_waveform`, every channel by itself, 64 kB a second each.

    Where the channels change in mid-file, every part is folded to one.
    """
    path = check_readable(path)
    begin = round(start_s * SAMPLE_RATE_HZ)
    count = None if duration_s is None else round(duration_s * SAMPLE_RATE_HZ)
    if track == 1 and _is_own(path):
        found = Channels(_read_own(path, begin, count)[:, None], ("FC",))
    else:
        until_s = None if count is None else (begin + count) / SAMPLE_RATE_HZ + MIN_DURATION_S
        found = _joined(_cut(_resampled(decode(path, track=track, until_s=until_s), SAMPLE_RATE_HZ), begin, count))
    if len(found.samples) < MIN_DURATION_S * SAMPLE_RATE_HZ:
        least, there = f"{MIN_DURATION_S * 1000:g} ms", _milliseconds(found.samples)
        raise MediaError(f"{path} has {there} of sound from {start_s:g} s on; give at least {least}")
    return found


def load_sound(
    path: Path, *, start_s: float = 0.0, duration_s: float | None = None, track: int = 1
) -> tuple[np.ndarray, int]:
    """((n, 2) float32 [-1, 1], rate in Hz): stereo at the track's own rate, on the clock of `load_waveform`.

    MediaError: no such file or track, no sound in it or in the part asked for, or samples that are not finite numbers.
    """
    rate_hz = own_rate_hz(path, track)
    end_s = None if duration_s is None else start_s + duration_s
    begin, end = round(start_s * rate_hz), None if end_s is None else round(end_s * rate_hz)
    pieces = _resampled(decode(path, track=track, until_s=end_s), rate_hz)
    cut = _cut(pieces, begin, None if end is None else end - begin)
    parts = list(_as_stereo(cut, path, track))
    if not parts:
        raise MediaError(f"{path} has no sound from {start_s:g} s on; give an earlier start")
    return limited(np.concatenate(parts)), rate_hz


@contextmanager
def plain_sound(path: Path, track: int = 1) -> Iterator[Path]:
    """A file with nothing but a sound track, on its clock, at one rate and in one layout; while the block lasts.

    That is the file itself where it is a wav file, else a temporary one: stereo, 16 bits, 11.5 MB a minute. Errors as
    in `load_sound`.
    """
    if is_wave(path):
        yield path
        return
    with scratch_folder() as folder:
        write_plain(path, track, Path(folder) / "sound.wav")
        yield Path(folder) / "sound.wav"


def is_wave(path: Path) -> bool:
    """Whether a file is a wav file of one or two channels."""
    form = _wave_form(path)
    return form is not None and form.channels <= 2


def write_plain(path: Path, track: int, target: Path) -> None:
    """A sound track as a wav file: stereo, 16 bits, PLAIN_HZ."""
    import soundfile

    with soundfile.SoundFile(target, "w", PLAIN_HZ, 2, subtype="PCM_16", format="RF64") as file:  # more than 4 GB, too
        for samples in _as_stereo(_resampled(decode(path, track=track), PLAIN_HZ), path, track):
            file.write(np.rint(limited(samples) * 32767.0).astype(np.int16))


def _as_stereo(pieces: Iterator[_Piece], path: Path, track: int) -> Iterator[np.ndarray]:
    """(n, 2) float32 each. Channels of surround sound that are silent all the time would make the others quiet."""
    first = next(pieces, None)
    if first is None:
        return
    loud = _loud_channels(path, track) if len(first.names) > 2 else {}
    for samples, names in chain([first], pieces):
        yield to_stereo(samples, names, loud.get(names))


def _loud_channels(path: Path, track: int) -> dict[tuple[str, ...], list[int]]:
    """Numbers of the channels that are loud, in each layout that a sound track has in the course of the file."""
    power: dict[tuple[str, ...], np.ndarray] = {}
    for samples, _, names in decode(path, track=track):
        power[names] = power.get(names, np.zeros(len(names))) + np.square(samples, dtype=np.float64).sum(0)
    return {names: loud_by_power(found.tolist(), names) for names, found in power.items()}


def own_rate_hz(path: Path, track: int = 1) -> int:
    """The rate at which a sound track begins. MediaError: no such file or track, no sound."""
    rates_hz = {one.number: one.rate_hz for one in sound_tracks(path)}
    if track not in rates_hz:
        raise MediaError(f"{path} has no sound track {track}; choose {one_of(rates_hz)}")
    return rates_hz[track]


def limited(samples: np.ndarray) -> np.ndarray:
    """The same array, cut off at full scale."""
    return np.clip(samples, -1.0, 1.0, out=samples)


def _is_own(path: Path) -> bool:
    """Whether a file is laid out as `write_wave` does at SAMPLE_RATE_HZ, mono: it can be read as it is."""
    form = _wave_form(path)
    if form is None or form[:3] != ("PCM_16", SAMPLE_RATE_HZ, 1):
        return False
    return path.stat().st_size == HEADER_BYTES + 2 * form.frames


def _wave_form(path: Path) -> _WaveForm | None:
    """What libsndfile says of a wav file; None when it is another."""
    import soundfile

    if path.suffix.lower() != ".wav":
        return None
    try:
        with path.open("rb") as file:  # libsndfile itself takes no name that is no text
            info = soundfile.info(file)
    except soundfile.LibsndfileError:
        return None
    if info.format != "WAV":
        return None
    return _WaveForm(info.subtype, info.samplerate, info.channels, info.frames)


def _read_own(path: Path, begin: int, count: int | None) -> np.ndarray:
    """`count` samples from `begin` on, (n,) float32; fewer where the file ends."""
    import soundfile

    with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
        file.seek(min(max(0, begin), file.frames))
        return file.read(-1 if count is None else count, dtype="float32")


def _resampled(blocks: Iterator[Block], rate_hz: int) -> Iterator[_Piece]:
    """The same sound at another rate; where its own rate or layout changes, a new resampler goes on."""
    import soxr

    for (own_hz, names), same in groupby(blocks, key=lambda block: (block.rate_hz, block.channels)):
        resampler = soxr.ResampleStream(own_hz, rate_hz, len(names), dtype="float32", quality="HQ")
        for block in same:
            yield _Piece(resampler.resample_chunk(block.samples), names)
        yield _Piece(resampler.resample_chunk(np.empty((0, len(names)), np.float32), last=True), names)


def _cut(pieces: Iterator[_Piece], begin: int, count: int | None) -> Iterator[_Piece]:
    """What of the pieces lies in `count` samples from `begin` on."""
    position = 0
    for samples, names in pieces:
        kept = samples[max(0, begin - position) : None if count is None else max(0, begin + count - position)]
        position += len(samples)
        if len(kept):
            yield _Piece(kept, names)


def _joined(pieces: Iterator[_Piece]) -> Channels:
    """Pieces as one array; each part is folded to one channel where there are several layouts."""
    parts = [
        Channels(_collected((piece.samples for piece in same), len(names)), names)
        for names, same in groupby(pieces, key=lambda piece: piece.names)
    ]
    if len(parts) == 1:
        return parts[0]
    folded = [fold(*part, SAMPLE_RATE_HZ).waveform for part in parts]
    return Channels(np.concatenate(folded or [np.empty(0, np.float32)])[:, None], ("FC",))


def _collected(parts: Iterator[np.ndarray], channels: int) -> np.ndarray:
    """(n, channels) float32: the parts one after the other. An array that grows: they never lie in memory beside it."""
    found, count = np.empty((60 * SAMPLE_RATE_HZ, channels), np.float32), 0
    for part in parts:
        if count + len(part) > len(found):
            found.resize((len(found) * 5 // 4 + len(part), channels), refcheck=False)
        found[count : count + len(part)] = part
        count += len(part)
    found.resize((count, channels), refcheck=False)
    return found


def write_wave(path: Path, waveform: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write a waveform (n,) or (n, channels), [-1, 1], as 16-bit PCM, whole or not at all.

    MediaError: samples that are not finite numbers. FileError: the file cannot be written.
    """
    import soundfile

    if not np.isfinite(waveform).all():
        raise MediaError(f"cannot write {path}: the waveform has samples that are not numbers")
    samples = np.rint(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
    content = io.BytesIO()  # libsndfile does not say that a disk is full
    soundfile.write(content, samples, rate_hz, subtype="PCM_16", format="WAV")
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def _milliseconds(samples: np.ndarray) -> str:
    return f"{len(samples) * 1000 / SAMPLE_RATE_HZ:.1f} ms"
