"""What is wrong with the sound, and whether it fits the picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..avatar.av_offset import AvOffset
from ..intervals import runs
from ..media.audio import SAMPLE_RATE_HZ
from ..speech.activity import excerpts, is_enough, levels_db
from .finding import Finding, Level, by_figure, grade

# In brackets: what the development clips measure (GRID, two news clips, three web clips, five speech recordings).
EXCERPTS, EXCERPT_S = 20, 3.0  # what of a longer recording is looked at: a minute, evenly spread
QUIETEST = 5  # percent of the time that shows the background: most speech pauses that often
BACKGROUND_DB = (26.0, 17.0)  # speech over background; yellow, red below [27–77; noise at 20 dB: 23–25, 10 dB: 14–15]
TONAL_FLATNESS = 0.15  # spectral flatness of the quiet parts; noise has more [0.36–0.56], music less [0.000–0.013]
TONAL_BAND_HZ = (100, 4000)
# Seconds for 60 dB, of the fastest fifth of all decays: no decay is faster than the room's. [0.10–0.20, a kitchen
# 0.41; with a synthetic room of 0.4 s: 0.31–0.32, of 0.8 s: 0.40–0.57, of 1.2 s: 0.60–0.92]
ECHO_S = (0.36, 0.6)
MIN_DECAYS = 10
DECAY_ROWS, DECAY_RATE_HZ = 10, 100  # 0.1 s of every band's level is fitted by a line
DECAY_MARGIN_DB = 6.0  # above the band's quietest parts: below, the background ends the decay
CLIPPED = (0.001, 0.02)  # of the samples within 5 % of the loudest [≤ 0.00024; a limited radio voice 0.002]
SILENT = (0.6, 0.8)  # share of the clip's time without speech [0.10–0.43]
LONG_PAUSE_S = 2.0
SPEECH_S = (25.0, 10.0)  # that there is to learn from; two to five minutes are better [the first minute of GRID: 27]


def audio_findings(waveform: np.ndarray, speaks: np.ndarray, fps: float) -> list[Finding]:
    """All findings about a waveform (n,); speaks (N,) bool says at which video frames somebody speaks."""
    excerpt = excerpts(waveform, EXCERPTS, EXCERPT_S)
    above_db = speech_over_background_db(excerpt) if speaks.any() else np.inf
    echo = _echo(decay_s(excerpt) if above_db >= BACKGROUND_DB[1] else np.nan)
    background = _background(above_db, flatness(excerpt), echo)
    return [*background, echo, _clipping(waveform), _silence(speaks, fps), _amount(speaks, fps)]


def sync_findings(found: AvOffset, fps: float) -> list[Finding]:
    """The findings about sound and picture together."""
    certain, shift = found.certain, found.corrected_frames(fps)
    measured = f"{abs(found.offset_frames):.1f} frames ({abs(found.offset_frames) / fps * 1000:.0f} ms)"
    which = "later" if found.offset_frames > 0 else "earlier"
    offset = f"the sound comes {measured} {which} than the mouth" if certain else "cannot be measured in this clip"
    remedy = "training corrects that; better give the clip in sync"
    explains = f"the sound explains the mouth by {found.correlation:.2f} (1 = entirely)"
    foreign: Level = "green" if found.belongs else "red"
    return [
        by_figure("offset", offset, "yellow" if shift else "green", remedy),
        by_figure("own sound", explains, foreign, "it seems to belong to another picture: give the clip's own sound"),
    ]


def speech_over_background_db(waveform: np.ndarray) -> float:
    """How far the loud parts of speech stand out from the quietest parts of the recording."""
    level = levels_db(waveform)
    return float(np.percentile(level, 90) - np.percentile(level, QUIETEST))


def flatness(waveform: np.ndarray) -> float:
    """Spectral flatness, 0 a tone to 1 white noise, of the quietest tenth of a waveform (n,)."""
    import librosa

    spectrum = np.abs(librosa.stft(waveform, n_fft=2048, hop_length=512))
    low, high = (round(hz * 2048 / SAMPLE_RATE_HZ) for hz in TONAL_BAND_HZ)
    power = np.square(spectrum[low:]).sum(0)
    quiet = spectrum[low:high, power <= np.percentile(power, 10)]
    return float(np.median(librosa.feature.spectral_flatness(S=quiet)))


def decay_s(waveform: np.ndarray) -> float:
    """Reverberation time measured where the level of a waveform's (n,) bands falls steadily; NaN: too seldom."""
    import librosa

    hop = SAMPLE_RATE_HZ // DECAY_RATE_HZ
    power = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE_HZ, n_fft=512, win_length=2 * hop, hop_length=hop, n_mels=8, fmin=200, fmax=6000
    )
    times_s = np.concatenate([_band_decays_s(band) for band in librosa.power_to_db(power, top_db=None)])
    return float(np.percentile(times_s, 20)) if len(times_s) >= MIN_DECAYS else float("nan")


def _band_decays_s(level: np.ndarray) -> np.ndarray:
    """(k,) seconds for 60 dB, of every window of a band's level (T,) dB that falls steadily."""
    windows = np.lib.stride_tricks.sliding_window_view(level, DECAY_ROWS)
    centred = windows - windows.mean(1, keepdims=True)
    x = np.arange(DECAY_ROWS) - (DECAY_ROWS - 1) / 2
    slope = centred @ x / (x @ x)
    left = np.square(centred - slope[:, None] * x).sum(1) / np.maximum(np.square(centred).sum(1), 1e-9)
    steady = (left < 0.1) & (np.diff(windows, axis=1) < 1).all(1) & (slope * DECAY_RATE_HZ < -30)
    steady &= windows.min(1) > np.percentile(level, QUIETEST) + DECAY_MARGIN_DB
    return -60 / (slope[steady] * DECAY_RATE_HZ)


def clipped_share(waveform: np.ndarray) -> float:
    """Share of samples at full deflection, whatever the level at which a recording was cut off."""
    size = np.abs(waveform)
    peak = float(np.percentile(size, 99.99))  # a single click does not count
    return float((size > 0.95 * peak).mean()) if peak > 0 else 0.0


def _background(above_db: float, flat: float, echo: Finding) -> Iterator[Finding]:
    """A loud background is noise, music, or the echo of the words."""
    figure = f"speech is {above_db:.0f} dB above the background (good: over {BACKGROUND_DB[0]:.0f})"
    figure = "nobody speaks" if np.isinf(above_db) else figure
    level = grade(above_db, *BACKGROUND_DB)
    kind = "echo" if flat < TONAL_FLATNESS and echo.level != "green" else "music" if flat < TONAL_FLATNESS else "noise"
    remedies = {
        "noise": "record in a quiet room, closer to the microphone, or denoise the sound",
        "music": "use a recording without music or other voices, or separate the voice first",
    }
    for name, remedy in remedies.items():
        if level == "green" or name == kind:
            yield by_figure(name, figure, level, remedy)
        else:
            yield by_figure(name, f"what sounds between the words is {kind} (flatness {flat:.2f})", "green", "")


def _echo(seconds: float) -> Finding:
    if np.isnan(seconds):
        return by_figure("echo", "cannot be measured in this clip", "green", "")
    figure = f"sounds fade within {seconds:.2f} s (60 dB; good: under {ECHO_S[0]:.2f})"
    remedy = "record closer to the microphone, in a room with curtains or carpets, or dereverberate the sound"
    return by_figure("echo", figure, grade(seconds, *ECHO_S), remedy)


def _clipping(waveform: np.ndarray) -> Finding:
    share = clipped_share(waveform)
    figure = f"{share:.2%} of the samples are at full deflection"
    return by_figure("clipping", figure, grade(share, *CLIPPED), "record with less gain, or declip the sound")


def _silence(speaks: np.ndarray, fps: float) -> Finding:
    share = 1.0 - float(speaks.mean())
    pauses = [(a / fps, b / fps) for a, b in runs(~speaks) if b - a > LONG_PAUSE_S * fps]
    figure = f"nobody speaks in {share:.0%} of the clip"
    remedy = "cut the long pauses away: a silent mouth teaches little"
    if not is_enough(float(speaks.sum()) / fps, len(speaks) / fps):
        figure = "there is no speech in the sound"
        remedy = "give the clip's own speech, or another sound track: nothing can be trained on this"
    found = by_figure("silence", figure, grade(share, *SILENT), remedy)
    return Finding(found.name, found.level, found.sentence, tuple(pauses))


def _amount(speaks: np.ndarray, fps: float) -> Finding:
    seconds = float(speaks.sum()) / fps
    remedy = "give a longer clip; two to five minutes are best"
    return by_figure("amount of speech", f"{seconds:.0f} s of speech", grade(seconds, *SPEECH_S), remedy)
