"""AudioFeatures: the rows an encoder makes of a waveform, in memory or as one cache file per audio and encoder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, MediaError, MismatchError, UdhError
from ..files import atomic_write
from ..media.audio import SAMPLE_RATE_HZ
from ..progress import Progress, job
from .chunking import row_count
from .encoders import Encoder, canonical_name, open_encoder

FORMAT = 2  # of the cache files; raise it when an encoder's rows change


@dataclass(frozen=True)
class AudioFeatures:
    """Row k describes the moment (k + 0.5) / rate_hz seconds."""

    values: np.ndarray  # (T, D) float32, possibly a read-only memmap
    rate_hz: float
    encoder: str

    @property
    def duration_s(self) -> float:
        """Seconds that the rows cover; at least as long as the audio."""
        return len(self.values) / self.rate_hz

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.values.shape[1]

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """(n,) seconds → (n, D) float32: linear between rows, the first and last row beyond the ends."""
        position = np.clip(np.asarray(times_s, np.float64) * self.rate_hz - 0.5, 0, len(self.values) - 1)
        before = np.floor(position).astype(np.int64)
        after = np.minimum(before + 1, len(self.values) - 1)
        weight = (position - before).astype(np.float32)[:, None]
        return self.values[before] * (1 - weight) + self.values[after] * weight


def extract(
    waveform: np.ndarray, encoder: str = "whisper-tiny", *, device: str = "cpu", models: Path | None = None
) -> AudioFeatures:
    """Features of an (n,) float32 16 kHz waveform, all in memory. `models`: the folder of weight files.

    MediaError: no usable waveform. OptionError, WeightsError, FormatError: the encoder cannot be opened.
    """
    samples = _checked(waveform)
    opened = open_encoder(encoder, device=device, models=models)
    return AudioFeatures(np.concatenate(list(opened.blocks(samples))), opened.rate_hz, opened.name)


@job
def extract_to(
    folder: Path,
    waveform: np.ndarray,
    encoder: str = "whisper-tiny",
    *,
    device: str = "cpu",
    models: Path | None = None,
) -> Generator[Progress, None, AudioFeatures]:
    """Write the features of an (n,) float32 16 kHz waveform into `folder`, block by block; the result is memory-mapped.

    The same audio and encoder a second time does nothing. Closed early, it leaves what was there before. Progress
    counts rows. MediaError: no usable waveform. OptionError, WeightsError, FormatError: the encoder cannot be opened.
    """
    samples = _checked(waveform)
    name = canonical_name(encoder)
    stamp = _stamp(name, samples)
    if not _is_current(folder, name, stamp):
        yield from _write(folder, samples, open_encoder(name, device=device, models=models), stamp)
    found = load(folder, name)
    yield Progress("features", len(found.values), len(found.values))
    return found


def load(folder: Path, encoder: str = "whisper-tiny") -> AudioFeatures:
    """The features that extract_to wrote, memory-mapped; UdhError when there are none, FormatError when damaged."""
    name = canonical_name(encoder)
    rows_path, facts_path = _paths(folder, name)
    facts = _read_facts(facts_path)
    if not facts or not rows_path.is_file():
        raise UdhError(f"{folder} has no audio features of {name}; prepare the avatar with the `encoder` {name}")
    try:
        values = np.load(rows_path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as e:
        raise FormatError(f"{rows_path} is damaged: delete it and extract the audio features again") from e
    if facts.get("format") != FORMAT or [*values.shape] != [facts.get("rows"), facts.get("width")]:
        raise FormatError(f"{rows_path} is damaged or of another version; delete it and extract them again")
    return AudioFeatures(values, float(facts["rate_hz"]), name)


def are_of(folder: Path, encoder: str, waveform: np.ndarray) -> bool:
    """Whether whole features of this encoder and of this waveform (n,) float32 lie in `folder`."""
    name = canonical_name(encoder)
    return _is_current(folder, name, _stamp(name, _checked(waveform)))


def copy(source: Path, folder: Path, encoder: str) -> None:
    """Put features that `extract_to` wrote into `source` into another folder; does nothing when they are there.

    UdhError when there are none, FormatError when damaged.
    """
    name = canonical_name(encoder)
    (rows, facts), (own_rows, own_facts) = _paths(source, name), _paths(folder, name)
    load(source, name)
    if own_rows.is_file() and _read_facts(own_facts) == _read_facts(facts):
        return
    folder.mkdir(parents=True, exist_ok=True)
    own_facts.unlink(missing_ok=True)  # never old facts beside new rows
    for path, own in ((rows, own_rows), (facts, own_facts)):
        with atomic_write(own) as temporary:
            shutil.copyfile(path, temporary)


def check_match(features: AudioFeatures, encoder: str) -> None:
    """MismatchError unless the features come from `encoder`."""
    wanted = canonical_name(encoder)
    if features.encoder != wanted:
        raise MismatchError(f"the audio features are of {features.encoder}, {wanted} is needed; extract them again")


def _checked(waveform: np.ndarray) -> np.ndarray:
    """(n,) float32, not empty, finite; MediaError otherwise."""
    samples = np.ascontiguousarray(waveform, dtype=np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise MediaError(f"the waveform is empty or not mono: its shape is {samples.shape}")
    finite = np.isfinite(samples)
    if not finite.all():
        bad_s = int(np.argmin(finite)) / SAMPLE_RATE_HZ
        raise MediaError(f"the waveform has a sample that is no number at {bad_s:.2f} s: export the sound again")
    return samples


def _stamp(name: str, samples: np.ndarray) -> dict[str, Any]:
    """What the facts say of features of this encoder and these samples (n,)."""
    return {"format": FORMAT, "encoder": name, "audio_sha256": hashlib.sha256(samples.data).hexdigest()}


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The rows and the facts about them; a name with a path in it becomes its end and a short hash."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name)[-40:].strip("-")
    if slug != name:
        slug += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return folder / f"{slug}.npy", folder / f"{slug}.json"


def _read_facts(path: Path) -> dict[str, Any]:
    """{} when the file is missing or damaged, which is cured by extracting again."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_current(folder: Path, name: str, stamp: dict[str, Any]) -> bool:
    facts = _read_facts(_paths(folder, name)[1])
    if any(facts.get(key) != value for key, value in stamp.items()):
        return False
    try:
        load(folder, name)
    except UdhError:  # the rows are missing or cut off: they are made again
        return False
    return True


def _write(
    folder: Path, samples: np.ndarray, encoder: Encoder, stamp: dict[str, Any]
) -> Generator[Progress, None, None]:
    rows_path, facts_path = _paths(folder, encoder.name)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (row_count(len(samples), encoder.rate_hz), encoder.width)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    done = 0
    with atomic_write(rows_path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in encoder.blocks(samples):
            file.write(np.ascontiguousarray(block, "<f4").data)
            done += len(block)
            if done < shape[0]:  # the whole number of rows is for the finished file
                yield Progress("features", done, shape[0])
        facts_path.unlink(missing_ok=True)  # never old facts beside new rows
    facts = stamp | {"rate_hz": encoder.rate_hz, "rows": shape[0], "width": shape[1]}
    with atomic_write(facts_path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
