"""Files with bytes changed, cut out or put in, at random: they are read, or refused by an error of ours; never more.

No hang, no gigabyte, no other exception. `UDH_FAULTS=all` tries 300 of each kind.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import children
import numpy as np
import pytest
from machine import Forks, Made, repetitions

from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.ffmpeg import ffmpeg_path

EVERY = 300
MOST_BYTES = 1 << 30
LONGEST_S = 30.0
MEDIA = {  # container and codecs: what ffmpeg makes the clip into
    "mp4": ["-c", "copy"],
    "mkv": ["-c", "copy"],
    "avi": ["-c:v", "mpeg4", "-c:a", "mp3"],
    "ts": ["-c", "copy"],
    "webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"],
}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes; half of them in the first 4 KB, where what is declared stands."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 4096)
        at, length = int(rng.integers(0, max(1, reach))), int(2 ** rng.uniform(0, 7))
        match int(rng.integers(6)):
            case 0:
                changed[at : at + length] = rng.bytes(length)
            case 1:
                changed[at : at + 1] = bytes([changed[at] ^ (1 << int(rng.integers(8)))]) if changed else b""
            case 2:
                changed[at : at + length] = b""
            case 3:
                changed[at:at] = rng.bytes(length)
            case 4:
                changed[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][int(rng.integers(3))]
            case 5:
                del changed[max(1, at) :]
    return bytes(changed)


def mutations(source: Path, folder: Path, count: int, seed: int) -> list[Path]:
    """Files of `count` mutations; the first file is the source itself."""
    rng, content, paths = np.random.default_rng(seed), source.read_bytes(), []
    folder.mkdir()
    for number in range(1 + count):
        paths.append(folder / f"{number}{''.join(source.suffixes)}")
        paths[-1].write_bytes(mutated(content, rng) if number else content)
    return paths


def survives(forks: Forks, opener: str, paths: list[Path]) -> str:
    """Open all of them in one process; how many were opened and how many refused."""
    folder = paths[0].parent
    process = forks.start(children.open_all, opener, paths, folder / "log")
    seen = -1
    while process.exitcode is None:
        process.join(LONGEST_S)
        lines = (folder / "log").read_text(encoding="utf-8").splitlines()
        if process.exitcode is None and len(lines) == seen:
            process.kill()
            pytest.fail(f"{paths[seen]} takes more than {LONGEST_S} s")
        seen = len(lines)
    lines = (folder / "log").read_text(encoding="utf-8").splitlines()
    assert process.exitcode == 0, lines[-1]
    *opened, memory = lines
    assert [line for line in opened if line.startswith("FAULT")] == []
    assert len(opened) == len(paths)
    assert opened[0] == "opened"
    assert int(memory) <= MOST_BYTES
    return f"{opened.count('opened') - 1} of {len(paths) - 1} opened, {int(memory) / 1e6:.0f} MB at most"


@pytest.mark.parametrize("kind", ["generator", "resume", "syncnet", "bundle"])
def test_checkpoints(forks: Forks, made: Made, tmp_path: Path, figure, kind: str) -> None:
    resume = made.generator.with_suffix(".resume.safetensors")
    sources = {"generator": made.generator, "resume": resume, "syncnet": made.syncnet, "bundle": made.bundle}
    count = repetitions(10, EVERY)
    figure(f"mutated {kind}: {survives(forks, kind, mutations(sources[kind], tmp_path / 'm', count, seed=1))}")


@pytest.mark.parametrize("container", MEDIA)
def test_videos(forks: Forks, clip: Path, tmp_path: Path, figure, container: str) -> None:
    small = tmp_path / f"small.{container}"
    arguments = [ffmpeg_path(), "-v", "error", "-i", str(clip), "-t", "0.4", *MEDIA[container], str(small)]
    subprocess.run(arguments, check=True)
    paths = mutations(small, tmp_path / "m", repetitions(3, EVERY // len(MEDIA)), seed=2)
    figure(f"mutated {container}: {survives(forks, 'video', paths)}")


@pytest.mark.parametrize("name", ["own", "float"])
def test_sounds(forks: Forks, clip: Path, tmp_path: Path, figure, name: str) -> None:
    import soundfile

    small, waveform = tmp_path / "small.wav", load_waveform(clip, duration_s=0.3)
    write_wave(small, waveform)
    if name == "float":
        soundfile.write(small, np.stack([waveform, waveform], 1), 44100, subtype="FLOAT")
    paths = mutations(small, tmp_path / "m", repetitions(8, EVERY // 2), seed=3)
    figure(f"mutated wav, {name}: {survives(forks, 'sound', paths)}")


def test_the_fault_of_an_opener_is_seen(forks: Forks, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "0.mp4").write_bytes(b"")
    with pytest.raises(AssertionError, match=r"FAULT.*ZeroDivisionError"):
        survives(forks, "fault", [tmp_path / "m" / "0.mp4"])
