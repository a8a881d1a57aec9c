"""ComfyUI's AUDIO as samples: whatever other packs hand out is read rightly, or refused in words that say its shape."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...udh_core.errors import MediaError

MOST_CHANNELS = 8  # 7.1; a longer dimension is time; chosen
LOUDEST = 10.0  # 20 dB above full scale: more is no AUDIO of −1..1, but whole numbers written as floats; chosen
RATES_HZ = (1_000, 1_000_000)  # least and most; chosen
_INTEGERS = {torch.uint8: (128, 128), torch.int8: (0, 128), torch.int16: (0, 2**15), torch.int32: (0, 2**31)}  # zero, 1


def samples_of(audio: object, what: str) -> tuple[np.ndarray, int]:
    """((n, channels) float32 −1..1, rate in Hz) of an AUDIO; a mapping of any class, its waveform a tensor or an array.

    MediaError, which names `what` takes the sound and says the shape, where it is not one sound.
    """
    waveform, rate = _parts(audio, what)
    rate_hz = _checked_rate(rate, what)
    wave = _as_tensor(waveform, what)
    samples = _one_sound(wave, what)
    if samples.numel() == 0:
        raise MediaError(f"{what} got no sound: the AUDIO is 0 samples long ({_shape(wave)}); connect another")
    return _full_scale(samples, wave, what).T.contiguous().numpy(), rate_hz


def _parts(audio: Any, what: str) -> tuple[object, object]:  # noqa: ANN401 (whatever another pack hands out)
    """Waveform and rate."""
    try:
        return audio["waveform"], audio["sample_rate"]
    except (KeyError, TypeError, IndexError) as error:
        raise MediaError(
            f"{what} got no AUDIO with waveform and sample_rate, but a {type(audio).__name__}{_length(audio)}; link an "
            "AUDIO output to it"
        ) from error


def _length(value: object) -> str:
    return f" of {len(value)} items" if isinstance(value, list | tuple | dict) else ""


def _checked_rate(rate: object, what: str) -> int:
    """A whole number of Hz."""
    try:
        number = float(rate)  # pyright: ignore[reportArgumentType] (a number, or a tensor that holds one)
    except (TypeError, ValueError):
        number = math.nan
    if not RATES_HZ[0] <= number <= RATES_HZ[1]:
        raise MediaError(f"the AUDIO for {what} has the sample rate {rate!r}; give it in Hz, such as 44100")
    return round(number)


def _as_tensor(waveform: object, what: str) -> Tensor:
    """Of floats, or of whole numbers whose full scale is known."""
    found = waveform
    if isinstance(waveform, np.ndarray):
        with suppress(TypeError, ValueError):  # a kind of number that torch does not have
            found = torch.from_numpy(np.array(waveform))
    if isinstance(found, Tensor) and (found.layout is not torch.strided or found.is_nested or found.is_meta):
        raise MediaError(f"the waveform of the AUDIO for {what} is a sparse, nested or meta tensor; give a dense one")
    if isinstance(found, Tensor) and (found.is_floating_point() or found.dtype in _INTEGERS):
        return found.detach().cpu()
    kind = getattr(waveform, "dtype", type(waveform).__name__)
    raise MediaError(
        f"the waveform of the AUDIO for {what} is {kind}, its shape {_shape(waveform)}; give a tensor of floats −1..1"
    )


def _one_sound(wave: Tensor, what: str) -> Tensor:
    """(channels, n) of (1, channels, n), (channels, n), (n, channels) or (n,)."""
    sound = wave[0] if wave.ndim == 3 and len(wave) == 1 else wave[None] if wave.ndim == 1 else wave
    if sound.ndim == 2 and 0 < len(sound) <= MOST_CHANNELS:
        return sound
    if sound.ndim == 2 and 0 < sound.shape[1] <= MOST_CHANNELS < len(sound):
        return sound.T
    count = f", {len(wave)} sounds" if wave.ndim == 3 else ""
    raise MediaError(f"the AUDIO for {what} has the shape {_shape(wave)}{count}; give one sound, 1×channels×samples")


def _shape(waveform: object) -> str:
    """2×1×16000"""
    return "×".join(map(str, getattr(waveform, "shape", ()))) or "none"


def _full_scale(samples: Tensor, wave: Tensor, what: str) -> Tensor:
    """Float32 −1..1, clipped where floats are a little too loud."""
    if wave.dtype in _INTEGERS:
        zero, one = _INTEGERS[wave.dtype]
        return (samples.float() - zero) / one
    samples = samples.float()
    if not bool(torch.isfinite(samples).all()):
        raise MediaError(f"samples of the AUDIO for {what} ({_shape(wave)}) are not numbers; give another sound")
    peak = float(samples.abs().max())
    if peak > LOUDEST:
        raise MediaError(f"samples of the AUDIO for {what} ({_shape(wave)}) reach {peak:.0f}; give floats −1..1")
    return samples.clamp(-1.0, 1.0)
