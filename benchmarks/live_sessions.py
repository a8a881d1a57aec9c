"""How many live sessions a machine serves: `python -m benchmarks.live_sessions AVATAR GENERATOR [--sessions 1 2 4]`.

All visitors speak all the time: the sound of the clip, each from another place on. First as fast as it goes, in turn,
so that other load on the machine falls on both: sessions one by one, each with the network to itself, and the same ones
drawn together. Then in real time, as `udh serve` draws them: how many frames are drawn late. The table goes to
benchmarks/results/.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.avatar.folder import open_avatar
from udh_core.live.capacity import measured_capacity
from udh_core.live.frame_loop import FrameLoop
from udh_core.live.session import Session
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.rendering.live_person import LivePerson
from udh_core.rendering.stream import SpeechStream

APART_S = 7.0  # in the sound, from one visitor to the next
SPEECH_S = 60.0
console = Console(stderr=True)


class Rates(NamedTuple):
    """What so many sessions take."""

    alone: float  # frames a second of all together, drawn one by one
    together: float  # the same frames, as `FrameLoop` draws those of all sessions
    late: float  # 0..1 of the frames in real time
    memory_mb: float  # of each, with the process that decodes its frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--frames", type=int, default=100, help="of each session and way, in rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="in real time")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, in one session alone")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    person = LivePerson(open_avatar(chosen.avatar), chosen.generator, device=chosen.device)
    sound = load_waveform(person.avatar.audio, duration_s=SPEECH_S)
    lines = [
        "| sessions | one by one, frames/s | together, frames/s | ratio | of real time | drawn late | memory each |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in chosen.sessions:
        found = measured(person, sound, count, chosen)
        needed = count * float(person.fps)
        ratio = f"{found.together / found.alone:.2f} | {found.together / needed:.2f}"
        shown = f"{found.alone:.1f} | {found.together:.1f} | {ratio} | {found.late:.0%} | {found.memory_mb:.0f} MB"
        lines.append(f"| {count} | {shown} |")
        console.print(lines[-1])
    about = (
        f"{person.avatar.info.width}×{person.avatar.info.height}, crop {person.avatar.crop.size} px, "
        f"{float(person.fps):g} frames/s; everybody speaks. Of real time: 1 = as fast as all sessions are shown. "
        f"`udh serve` would let in {measured_capacity(person)}."
    )
    command = (
        f"python -m benchmarks.live_sessions {chosen.avatar.name} {chosen.generator.name} --threads {chosen.threads}"
    )
    write_table(f"live_sessions_{chosen.avatar.name}", "Live sessions", about, lines, command, chosen.device)


def measured(person: LivePerson, sound: np.ndarray, count: int, chosen: argparse.Namespace) -> Rates:
    loop, before_mb = FrameLoop(person), resident_mb()
    sessions = [speaking(person, sound, k) for k in range(count)]
    loop.draw(sessions)  # what is loaded at first
    memory_mb = (resident_mb() - before_mb) / count
    frames = max(1, chosen.frames // chosen.rounds)
    alone_s, together_s = [], []
    for _ in range(chosen.rounds):
        alone_s.append(seconds(lambda: [loop.draw([one]) for one in sessions for _ in range(frames)]))
        together_s.append(seconds(lambda: [loop.draw(sessions) for _ in range(frames)]))
    rates = [count * frames / statistics.median(found) for found in (alone_s, together_s)]
    loop.frames = loop.late = 0
    for session in sessions:
        loop.add(session)
    time.sleep(chosen.seconds)
    late = loop.late / loop.frames
    for session in sessions:
        session.close()
    loop.close()
    return Rates(rates[0], rates[1], late, memory_mb)


def speaking(person: LivePerson, sound: np.ndarray, number: int) -> Session:
    """Somebody who speaks for SPEECH_S, from their own place in the sound on."""
    session = Session(SpeechStream.of(person), lambda message: True)
    session.push(np.roll(sound, -round(number * APART_S * SAMPLE_RATE_HZ)))
    return session


def seconds(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


def resident_mb() -> float:
    """Of this process and those it has begun, which decode; from Linux's /proc."""
    begun = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    states = [Path("/proc", pid, "status").read_text() for pid in ("self", *begun)]
    return sum(int(found[1]) for state in states if (found := re.search(r"VmRSS:\s*(\d+) kB", state))) / 1000


if __name__ == "__main__":
    main()
