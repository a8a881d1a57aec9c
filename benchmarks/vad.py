"""Which voice activity detector? `python -m benchmarks.vad --data DIR [--music FILE …]`: Silero VAD or loudness.

GRID's five minutes, whose words are timed, as they are, quiet, far, whispered, coded, and in noise, music and babble;
then sounds without speech; then other recordings, whose truth is the loudness rule on the recording as it is. Counted
are video frames at 25 fps. The table goes to benchmarks/results/vad.md.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import torch
from rich.console import Console

from benchmarks.sounds import COLOURS, babble, coloured_noise, in_room, music, whispered
from benchmarks.tables import write_table
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.speech.activity import AUDIBLE_DB, LEVEL_RATE_HZ, levels_db, loud_db, speech_mask
from udh_core.speech.augmentation import through_codec

FPS = 25
GRID, WORDS = "video/grid_s1_train_5min.mp4", "video/grid_s1_train_5min.words.tsv"
OTHERS = (  # without sounds of their own between the words
    "audio/musetalk_eng.wav",
    "audio/piper_joe.wav",
    "audio/sadtalker_RD_Radio31_000.wav",
    "audio/sadtalker_fayu.wav",
    "video/dfrf_cnn2_25fps.mp4",
    "video/interview_1080p_3min.mp4",
    "video/sadtalker_WDA_AOC_000.mp4",
    "video/latentsync_demo2.mp4",
    "video/videoretalking_face3.mp4",
)
BELOW_LOUD_DB, BRIDGED_S = 20.0, 0.2  # of the loudness rule: the best against the words of the clip as it is
STEADY_DB = 2.5  # what varies by less than this is noise: the guard of the loudness rule
SNR_DB = (20, 10, 5, 0)
console = Console(stderr=True)


class Sound(NamedTuple):
    """Something to find speech in."""

    name: str
    waveform: np.ndarray  # (n,) float32 at 16 kHz
    spoken: np.ndarray  # (frames,) bool, the truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of clips")
    parser.add_argument("--music", type=Path, nargs="*", default=[], help="instrumental recordings")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    detectors = {"loudness": loudness_rule, "loudness, with a guard": guarded_rule, "Silero VAD": speech_mask}
    lines = [f"| sound | {' | '.join(detectors)} |", "|---" * (len(detectors) + 1) + "|"]
    spent_s, minutes = dict.fromkeys(detectors, 0.0), 0.0
    for sounds in conditions(chosen.data, chosen.music):
        cells = []
        for name, detect in detectors.items():
            begun = time.process_time()
            found = [detect(sound.waveform, times_of(sound.waveform)) for sound in sounds]
            spent_s[name] += time.process_time() - begun
            cells.append(cell(np.concatenate(found), np.concatenate([sound.spoken for sound in sounds])))
        minutes += sum(len(sound.waveform) for sound in sounds) / SAMPLE_RATE_HZ / 60
        lines.append(f"| {sounds[0].name} | {' | '.join(cells)} |")
        console.print(lines[-1], soft_wrap=True)
    costs = [f"{spent_s[name] / minutes:.3f} s" for name in detectors]
    lines.append(f"| CPU time for a minute of sound | {' | '.join(costs)} |")
    write(lines, chosen.music)


def write(lines: list[str], recordings: list[Path]) -> None:
    about = (
        "Frames of 25 fps, percent: accuracy / F1 / false alarms (of the frames without speech) / missed (of those\n"
        "with speech). Where nobody speaks: false alarms alone. GRID's truth are its words' times; that of the other\n"
        "recordings is the loudness rule on them as they are, which makes the rule look better there than it is.\n"
        "Synthetic music: chords, bass, drums, a tune. The guard: what varies by less than 2.5 dB is no voice. The dB\n"
        "are those of the speech, where there is some, over the background."
    )
    names = "".join(f" {path.name}" for path in recordings)
    command = "python -m benchmarks.vad --data …" + (f" --music{names}" if recordings else "")
    console.print(write_table("vad", "Voice activity detection", about, lines, command))


def cell(found: np.ndarray, truth: np.ndarray) -> str:
    """The figures of these frames (n,) bool."""
    right, false, missed = (found & truth).sum(), (found & ~truth).sum(), (~found & truth).sum()
    alarms = 100 * false / max((~truth).sum(), 1)
    if not truth.any():
        return f"{alarms:.1f}"
    f1 = 200 * right / max(2 * right + false + missed, 1)
    return f"{100 * (found == truth).mean():.1f} / {f1:.1f} / {alarms:.1f} / {100 * missed / truth.sum():.1f}"


# The rule that Silero VAD replaced


def loudness_rule(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) bool: louder than 20 dB below the loud parts; shorter pauses than 0.2 s bridged."""
    level = levels_db(waveform)
    loud = level > max(loud_db(level) - BELOW_LOUD_DB, AUDIBLE_DB)
    reach = 2 * round(BRIDGED_S * LEVEL_RATE_HZ / 2) + 1
    bridged = scipy.ndimage.binary_closing(np.pad(loud, reach), np.ones(reach))[reach:-reach]
    return bridged[rows_of(level, times_s)]


def guarded_rule(waveform: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(n,) bool: as `loudness_rule`; nowhere when what is heard is steady, as noise is."""
    spoken, level = loudness_rule(waveform, times_s), levels_db(waveform)
    found = level[rows_of(level, times_s)][spoken]
    return spoken & (len(found) > 0 and found.std() >= STEADY_DB)


def rows_of(level: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    return np.clip((times_s * LEVEL_RATE_HZ).astype(int), 0, len(level) - 1)


# What is heard


def conditions(data: Path, recordings: list[Path]) -> Iterator[list[Sound]]:
    """Lines of the table: one sound, or several that are counted together."""
    waveform = load_waveform(data / GRID)
    spoken = word_mask(data / WORDS, times_of(waveform))
    for name, changed in speech_alone(waveform):
        yield [Sound(name, changed, spoken)]
    makers = backgrounds(data, recordings)
    for name, make in makers.items():
        for snr_db in SNR_DB:
            noisy = in_background(waveform, spoken, make(len(waveform)), snr_db)
            yield [Sound(f"words in {name}, {snr_db} dB", noisy, spoken)]
    for name, made in without_speech(makers, len(waveform)):
        yield [Sound(f"nobody: {name}", made, np.zeros(len(times_of(made)), bool))]
    yield from other_recordings(data, makers)


def speech_alone(waveform: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The words without any background."""
    yield "words", waveform
    for below_db in (30, 50):
        quiet = waveform * 10 ** (-below_db / 20)
        yield f"words, {below_db} dB quieter, 16 bits", (np.round(quiet * 32768) / 32768).astype(np.float32)
    yield "words, echo of 0.4 s as loud as they", in_room(waveform, 0.4, 0.0)
    yield "words, echo of 0.8 s, 6 dB louder, 30 dB quieter", in_room(waveform, 0.8, -6.0) * np.float32(10**-1.5)
    yield "words, whispered", whispered(waveform)
    yield "words, Opus at 12 kbit/s", through_codec(waveform, "libopus", "12k")


def backgrounds(data: Path, recordings: list[Path]) -> dict[str, Callable[[int], np.ndarray]]:
    """By name: what makes so many samples of standard deviation 1."""
    voices = sorted((data / "speakers/sound").glob("*.flac"))
    makers: dict[str, Callable[[int], np.ndarray]] = {
        f"{colour} noise": lambda count, colour=colour: coloured_noise(count, colour) for colour in COLOURS
    }
    makers["synthetic music"] = music
    if recordings:
        recorded = np.concatenate([part / part.std() for part in map(load_waveform, recordings)])
        makers["recorded music"] = lambda count: np.resize(recorded, count).astype(np.float32)
    makers["babble"] = lambda count: babble(count, voices)
    return makers


def without_speech(makers: dict[str, Callable[[int], np.ndarray]], count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Sounds in which nobody speaks, at -20 dB and faint."""
    yield "digital silence", np.zeros(count, np.float32)
    for name, make in makers.items():
        if name != "babble":
            yield name, make(count) * np.float32(0.1)
            yield f"{name}, faint", make(count) * np.float32(0.0005)


def other_recordings(data: Path, makers: dict[str, Callable[[int], np.ndarray]]) -> Iterator[list[Sound]]:
    """Nine recordings together, as they are and in backgrounds."""
    plain = [load_waveform(data / name) for name in OTHERS]
    truths = [loudness_rule(waveform, times_of(waveform)) for waveform in plain]
    yield [Sound("other recordings", *pair) for pair in zip(plain, truths, strict=True)]
    for name in ("pink noise", "synthetic music"):
        yield [
            Sound(f"other recordings in {name}, 5 dB", in_background(w, truth, makers[name](len(w)), 5), truth)
            for w, truth in zip(plain, truths, strict=True)
        ]


def word_mask(words: Path, times_s: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a word is spoken at these times (n,)."""
    spoken = np.zeros(len(times_s), bool)
    with words.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["word"] not in ("sil", "sp"):
                spoken |= (times_s >= float(row["start_s"])) & (times_s < float(row["end_s"]))
    return spoken


def in_background(waveform: np.ndarray, spoken: np.ndarray, background: np.ndarray, snr_db: float) -> np.ndarray:
    """(n,) float32: with a background (n,) of standard deviation 1, so far below the speech (frames,)."""
    speech = waveform[np.repeat(spoken, SAMPLE_RATE_HZ // FPS)[: len(waveform)].nonzero()[0]]
    return waveform + background * np.float32(np.sqrt(np.mean(speech**2)) * 10 ** (-snr_db / 20))


def times_of(waveform: np.ndarray) -> np.ndarray:
    """(frames,) seconds: the middles of the frames."""
    return (np.arange(len(waveform) * FPS // SAMPLE_RATE_HZ) + 0.5) / FPS


if __name__ == "__main__":
    main()
