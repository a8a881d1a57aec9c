"""The voice of a file: of several sound tracks and channels those that hold speech."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import MediaError, OptionError
from ..media.audio import SAMPLE_RATE_HZ, Channels, limited, load_channels
from ..media.channels import ALIKE, described, fold, relation
from ..media.note import Note
from ..media.probe import probe
from ..media.sound_track import SoundTrack, one_of, sound_tracks
from .activity import HOP_SAMPLES, speech_share

LOOKED_AT_S = 300.0  # of every sound track, to choose one; the whole where nobody speaks in it
CLEARLY_MORE = 2.0  # times as much speech must be in a later track than in an earlier one
HARDLY = 0.25  # of the speech in the best channel: one with less holds music or noise
AUDIBLE = 10 ** (-70 / 10)  # mean square of full scale: below, a channel is silent
OFFSET = 0.01  # of full scale: pauses further from zero are a fault of the recorder; others have a tenth of that
QUIET_SHARE = 0.1  # the pauses: the tenth of all 20 ms in which a channel moves least
HOPS_AT_ONCE = 3000  # that their loudness is computed of: a minute
OVERSHOOT = 1.5  # times full scale: codecs do not overshoot by so much

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voice:
    """Sound to train on or to drive a mouth with, and how it came about."""

    waveform: np.ndarray  # (n,) float32 mono [-1, 1] at SAMPLE_RATE_HZ
    track: int  # of the file's sound tracks, counted from 1
    notes: tuple[Note, ...]  # one for every choice that was made

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return len(self.waveform) / SAMPLE_RATE_HZ


def load_voice(
    path: Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    track: int = 0,
    models: Path | None = None,
) -> Voice:
    """The speech in a file, on the clock of `load_waveform`. `track` 0: the sound track that holds speech.

    Of channels that differ, those without speech are left out. `models`: the folder of the weight files. OptionError:
    no such track. Other errors as in `load_waveform` and `speech_mask`.
    """
    path = Path(path)
    number, choice = _choose_track(path, start_s, duration_s, track, models)
    channels = load_channels(path, start_s=start_s, duration_s=duration_s, track=number)
    centred = _centred(channels)
    waveform, left_out = _spoken(centred, models)
    media = probe(path)
    notes = list(media.notes) if media.video is None else []  # those about a picture belong to that
    notes += [Note("sound tracks", choice)] if choice else []
    if centred is not channels:
        notes.append(Note("sound offset", "the sound had a DC offset, which has been taken away", serious=False))
    notes += [Note("sound channels", remark) for remark in left_out]
    peak = max(float(waveform.max()), -float(waveform.min()))
    if peak > OVERSHOOT:
        waveform = waveform / peak
        notes.append(
            Note(
                "sound level",
                f"it goes up to {peak:.1f} times full scale, and players cut it off there; save it with less gain",
            )
        )
    return Voice(limited(waveform), number, tuple(notes))


def log_notes(path: Path, voice: Voice) -> None:
    """Say what was chosen where nobody looks at the notes."""
    for note in voice.notes:
        _log.warning("%s: %s", path, note.sentence)


def _choose_track(
    path: Path, start_s: float, duration_s: float | None, track: int, models: Path | None
) -> tuple[int, str]:
    """(number of the track, how it was chosen; "" where there was no choice)."""
    tracks = sound_tracks(path)
    numbers = [one.number for one in tracks]
    if track and track not in numbers:
        raise OptionError(f"`audio_track` = {track}: choose {one_of(numbers)}, the sound tracks of {path}")
    if track or len(tracks) == 1:
        return track or numbers[0], ""
    looked_at_s = LOOKED_AT_S if duration_s is None else min(LOOKED_AT_S, duration_s)
    speech = [_speech_in(path, one, start_s, looked_at_s, models) for one in tracks]
    if not any(speech) and looked_at_s != duration_s:
        speech = [_speech_in(path, one, start_s, duration_s, models) for one in tracks]
    best = 0
    for k, share in enumerate(speech):
        if share > CLEARLY_MORE * speech[best]:
            best = k
    why = "the one with speech" if sum(share > 0 for share in speech) == 1 else "the first with much speech"
    why = why if any(speech) else "the first: there is no speech in any"
    remark = f"of {len(tracks)} sound tracks {_named(tracks[best])} is taken, {why}; `audio_track` chooses another"
    return numbers[best], remark


def _speech_in(path: Path, track: SoundTrack, start_s: float, duration_s: float | None, models: Path | None) -> float:
    """Share of the time in which somebody speaks on a track; 0 where it cannot be decoded."""
    try:
        channels = load_channels(path, start_s=start_s, duration_s=duration_s, track=track.number)
    except MediaError:  # said if it is the one that is taken
        return 0.0
    return speech_share(_spoken(_centred(channels), models)[0], models=models)


def _named(track: SoundTrack) -> str:
    return f"{track.number} ({track.name})" if track.name else str(track.number)


def _centred(found: Channels) -> Channels:
    """Channels around zero: beside an offset no pause is silent, and no voice is loud."""
    offsets = np.array([_offset(column) for column in found.samples.T], np.float32)
    return found if np.abs(offsets).max() <= OFFSET else Channels(found.samples - offsets, found.names)


def _offset(column: np.ndarray) -> float:
    """Where the pauses of a channel (n,) lie, -1..1; what is clipped on one side has another mean than they."""
    hops = column[: len(column) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    blocks = [hops[first : first + HOPS_AT_ONCE] for first in range(0, len(hops), HOPS_AT_ONCE)]
    recorded = [block.any(1) for block in blocks]  # nothing in the others
    means, moves = (
        np.concatenate([figure(block[kept], 1) for block, kept in zip(blocks, recorded, strict=True)] or [np.empty(0)])
        for figure in (np.mean, np.std)
    )
    return float(means[moves <= np.quantile(moves, QUIET_SHARE)].mean()) if len(means) else 0.0


def _spoken(found: Channels, models: Path | None) -> tuple[np.ndarray, list[str]]:
    """(waveform (n,) of the channels with speech, remarks)."""
    kept, remarks = list(range(len(found.names))), []
    if _differ(found):
        speech = [speech_share(column, models=models) if _is_audible(column) else 0.0 for column in found.samples.T]
        with_speech = [k for k in kept if speech[k] > HARDLY * max(speech)]
        silent = [k for k in kept if not _is_audible(found.samples[:, k])]
        if with_speech and len(with_speech) + len(silent) < len(kept):
            rest = [k for k in kept if k not in (*with_speech, *silent)]
            remarks.append(
                f"speech is on {described(found.names, with_speech)} only; {described(found.names, rest)} "
                f"{'is' if len(rest) == 1 else 'are'} not used"
            )
        kept = with_speech or kept
    samples = found.samples if len(kept) == len(found.names) else found.samples[:, kept]
    folded = fold(samples, [found.names[k] for k in kept], SAMPLE_RATE_HZ)
    return folded.waveform, remarks + ([folded.remark] if folded.remark else [])


def _differ(found: Channels) -> bool:
    """Whether an audible channel holds anything else than the first audible one."""
    audible = [column for column in found.samples.T if _is_audible(column)]
    return any(relation(audible[0], other, SAMPLE_RATE_HZ).correlation < ALIKE for other in audible[1:])


def _is_audible(column: np.ndarray) -> bool:
    return float(np.dot(column, column)) > AUDIBLE * len(column)
