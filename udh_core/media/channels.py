"""Several channels to one, or to two, without exceeding full scale; and channels that do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

QUIET_DB = 30.0  # so far below the loudest a channel adds nothing; to average it in would only halve the level
INVERTED = -0.5  # correlation of two channels that, summed, lose half of their level and more
INVERTED_SHARE = 0.1  # of the seconds with sound in which two channels cancel: they do not go together
LATE = 0.6  # correlation of a channel with another's later copy; summed they are a comb filter
LATE_S = (0.0005, 0.1)  # how much later; a shorter delay dulls only what lies above speech
ALIKE = 0.9  # correlation of channels that hold the same
WINDOW_S, MAX_WINDOWS = 1.0, 60  # what two channels are compared by, evenly spread
LOW_FREQUENCY = "LFE"  # the channel of a subwoofer: no voice is in it
WORDS = {"FL": "left", "FR": "right", "FC": "centre"}  # what people call a channel


class Folded(NamedTuple):
    """One channel made of several."""

    waveform: np.ndarray  # (n,) float32
    remark: str  # which channels were left out, and why; "" where nothing is lost


class Relation(NamedTuple):
    """What one channel is to another."""

    correlation: float  # -1..1, at the same moment
    inverted: bool  # in a good part of the time one cancels the other
    late_s: float  # by which it comes later; 0 where it does not


def fold(samples: np.ndarray, channels: Sequence[str], rate_hz: int) -> Folded:
    """Average the channels of samples (n, channels) float32 that go together: the sum never exceeds full scale.

    Channels far below the loudest are left out, so is the subwoofer's; of two that cancel each other, or one of which
    is a later copy of the other, one is taken.
    """
    kept = loud_channels(samples, channels)
    reference = kept[0]
    dropped: dict[int, str] = {}
    for other in kept[1:]:
        found = relation(samples[:, reference], samples[:, other], rate_hz)
        if found.inverted and not found.late_s:
            one, two = described(channels, [reference]), described(channels, [other])
            dropped[other] = f"{two} is {one} inverted, so that their sum is silence"
        elif found.late_s:
            early, late = (reference, other) if found.late_s > 0 else (other, reference)
            milliseconds = round(abs(found.late_s) * 1000)
            one, two = described(channels, [early]), described(channels, [late])
            dropped[late] = f"{two} comes {milliseconds} ms later than {one}"
    kept = [k for k in kept if k not in dropped]
    remark = f"{'; '.join(dropped.values())}; only {described(channels, kept)} is used" if dropped else ""
    waveform = np.ascontiguousarray(samples[:, kept[0]]) if len(kept) == 1 else samples[:, kept].mean(1)
    return Folded(waveform, remark)


def loud_channels(samples: np.ndarray, channels: Sequence[str]) -> list[int]:
    """Numbers of the channels that are not far below the loudest, which comes first; never empty."""
    return loud_by_power([float(np.dot(column, column)) for column in samples.T], channels)


def loud_by_power(power: Sequence[float], channels: Sequence[str]) -> list[int]:
    """`loud_channels` of a sound whose channels have this power each, summed over the same time."""
    voices = [k for k, name in enumerate(channels) if name != LOW_FREQUENCY] or list(range(len(channels)))
    loudest = max(voices, key=power.__getitem__)
    floor = power[loudest] * 10 ** (-QUIET_DB / 10)
    return [loudest, *(k for k in voices if k != loudest and power[k] > floor)]


def described(channels: Sequence[str], chosen: Sequence[int]) -> str:
    """In words: "the left channel", "channel 7", "the channels left and centre"."""
    words = [WORDS.get(channels[k], channels[k]) for k in sorted(chosen)]
    if len(words) == 1:
        return f"channel {words[0]}" if words[0].isdecimal() else f"the {words[0]} channel"
    return f"the channels {', '.join(words[:-1])} and {words[-1]}"


def relation(one: np.ndarray, other: np.ndarray, rate_hz: int) -> Relation:
    """How two channels, (n,) float32 each, go together."""
    pairs = _windows(one, other, round(WINDOW_S * rate_hz))
    energy = np.sqrt(np.square(pairs).sum(2))  # (windows, 2)
    loud = energy.max(1) > energy.max() * 10 ** (-QUIET_DB / 20)
    at_once = np.einsum("wn,wn->w", pairs[:, 0], pairs[:, 1]) / np.maximum(energy.prod(1), 1e-12)
    inverted = bool((at_once[loud] < INVERTED).mean() > INVERTED_SHARE) if loud.any() else False
    total = max(float(np.sqrt(np.square(energy).sum(0).prod())), 1e-12)
    across = _correlation_by_lag(pairs, round(LATE_S[1] * rate_hz)) / total
    now = len(across) // 2
    best = int(np.abs(across).argmax())
    is_late = abs(across[best]) > max(LATE, abs(across[now]) + 0.1) and abs(best - now) > LATE_S[0] * rate_hz
    return Relation(float(across[now]), inverted, (best - now) / rate_hz if is_late else 0.0)


def _windows(one: np.ndarray, other: np.ndarray, length: int) -> np.ndarray:
    """(windows, 2, length) float64 without their means, evenly spread."""
    length = min(length, len(one))
    count = min(MAX_WINDOWS, max(1, len(one) // max(length, 1)))
    starts = np.linspace(0, len(one) - length, count).astype(int)
    pairs = np.stack([np.stack([x[k : k + length] for x in (one, other)]) for k in starts]).astype(np.float64)
    return pairs - pairs.mean(2, keepdims=True)


def _correlation_by_lag(pairs: np.ndarray, most: int) -> np.ndarray:
    """(2 most + 1,) sum of products of the first channels with the second, which come -most..most samples later."""
    size = pairs.shape[2] + most
    spectrum = np.fft.rfft(pairs, size)
    products = np.fft.irfft((spectrum[:, 0].conj() * spectrum[:, 1]).sum(0), size)
    return np.concatenate([products[-most:], products[: most + 1]])


def to_stereo(samples: np.ndarray, channels: Sequence[str], loud: Sequence[int] | None = None) -> np.ndarray:
    """(n, channels) → (n, 2) float32: what stands left, what stands right, and what is in the middle on both sides.

    loud: the channels that are averaged, where others are silent.
    """
    if samples.shape[1] <= 2:
        return np.repeat(samples, 2, axis=1) if samples.shape[1] == 1 else samples
    used = list(range(len(channels)) if loud is None else loud)
    sides = [[k for k in used if _stands(channels[k], side)] for side in "LR"]
    return np.stack([samples[:, side or used].mean(1) for side in sides], axis=1)


def _stands(name: str, side: str) -> bool:
    """Whether a channel is heard on a side: "FL" on the left, "FC" on both, a subwoofer's on none."""
    other = "R" if side == "L" else "L"
    return name != LOW_FREQUENCY and not name.endswith(other) and not name.endswith(f"{other}C")
