"""What many workers do: `python -m benchmarks.scaling AVATAR GENERATOR AUDIO [--gigabit 10]`.

One worker of `udh batch` is measured: renders of two lengths of the audio, which give the cost of a job and of a frame,
and the journal, which every job passes twice. From these figures a simulation of the whole follows: workers in
parallel, the program that hands out jobs and the network to the shared disk one thing at a time. The table goes to
benchmarks/results/scaling.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.avatar.folder import open_avatar
from udh_core.batch.jobs import BatchOptions
from udh_core.batch.journal import Journal
from udh_core.batch.run import run_batch
from udh_core.media.audio import load_waveform, write_wave

LENGTHS_S = (2.0, 10.0)  # of the audio of a measured job
ROUNDS = 3
SPEECH_S = 30.0  # of a simulated job, on average
WORKERS = (1, 10, 100, 1000)
JOBS_EACH = 20  # simulated jobs for each worker
NOTES = 500  # journal entries measured
console = Console(stderr=True)


@dataclass(frozen=True)
class Figures:
    """What one worker and one journal take."""

    start_s: float  # of a worker: its first job takes so much longer
    job_s: float  # of a job, whatever its length
    frame_s: float
    note_s: float  # of an entry in the journal
    fps: float  # of the video
    job_bytes: float  # that a job of SPEECH_S reads and writes


def measure(avatar: Path, generator: Path, audio: Path) -> Figures:
    """One worker does jobs of both lengths in turn; the first job is left out of the figures but for `start_s`."""
    person = open_avatar(avatar)
    fps = float(person.info.fps)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seconds in LENGTHS_S:
            write_wave(folder / f"{seconds}.wav", load_waveform(audio, duration_s=seconds))
        common = {"command": "render", "avatar": str(avatar.absolute()), "generator": str(generator.absolute())}
        order = [LENGTHS_S[0], *LENGTHS_S * ROUNDS]
        lines = [{**common, "audio": f"{one}.wav", "out": f"{k}.mp4"} for k, one in enumerate(order)]
        (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, lines)))
        begun_s = time.monotonic()
        run_batch(folder / "jobs.jsonl", BatchOptions(workers=1)).run()
        whole_s = time.monotonic() - begun_s
        results = [json.loads(line) for line in (folder / "jobs.results.jsonl").read_text().splitlines()]
        taken = [one["seconds"] for one in sorted(results, key=lambda one: one["line"])]
        short, long = (
            statistics.median(taken[k] for k in range(1, len(order)) if order[k] == one) for one in LENGTHS_S
        )
        frame_s = (long - short) / ((LENGTHS_S[1] - LENGTHS_S[0]) * fps)
        written = (folder / f"{order.index(LENGTHS_S[1])}.mp4").stat().st_size / LENGTHS_S[1] * SPEECH_S
        read = person.video.stat().st_size * min(1.0, SPEECH_S * fps / person.info.frame_count)
        read += generator.stat().st_size
        start_s = whole_s - sum(taken) + taken[0] - short
        return Figures(start_s, short - LENGTHS_S[0] * fps * frame_s, frame_s, _note_s(folder), fps, written + read)


def _note_s(folder: Path) -> float:
    with Journal(folder / "other.journal.jsonl") as journal:
        begun_s = time.monotonic()
        for k in range(NOTES):
            journal.begin(f"{k:016x}", k, 1)
        return (time.monotonic() - begun_s) / NOTES


@dataclass
class Server:
    """Does one thing at a time."""

    free_s: float = 0.0
    busy_s: float = 0.0

    def serve(self, asked_s: float, takes_s: float) -> float:
        """When what was asked for is done."""
        self.free_s = max(self.free_s, asked_s) + takes_s
        self.busy_s += takes_s
        return self.free_s


def simulate(figures: Figures, workers: int, bytes_per_s: float, seed: int = 0) -> tuple[float, dict[str, float]]:
    """Jobs an hour, and the share of the time that workers, hand-out and network are busy."""
    speech_s = np.random.default_rng(seed).gamma(4.0, SPEECH_S / 4.0, workers * JOBS_EACH)
    handing_out, network = Server(), Server()
    ready = [(figures.start_s, k) for k in range(workers)]
    busy_s = end_s = 0.0
    for seconds in speech_s:
        now_s, worker = heapq.heappop(ready)
        begun_s = handing_out.serve(now_s, 2 * figures.note_s)
        there_s = network.serve(begun_s, figures.job_bytes * seconds / SPEECH_S / bytes_per_s)
        takes_s = figures.job_s + seconds * figures.fps * figures.frame_s
        busy_s += takes_s
        end_s = max(end_s, there_s + takes_s)
        heapq.heappush(ready, (there_s + takes_s, worker))
    shares = {"workers": busy_s / workers, "hand-out": handing_out.busy_s, "network": network.busy_s}
    return len(speech_s) / end_s * 3600, {name: spent_s / end_s for name, spent_s in shares.items()}


def main() -> None:
    """Measure, simulate, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("avatar", "generator", "audio"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--gigabit", type=float, default=10.0, help="bandwidth of the shared disk, Gbit/s")
    given = parser.parse_args()
    figures = measure(given.avatar, given.generator, given.audio)
    console.print(figures)
    lines = [
        "| workers | jobs/h | hours of video/h | hours of work/hour of video | busy: workers | hand-out | network |",
        "|---|" + "---|" * 6,
    ]
    for workers in WORKERS:
        jobs, shares = simulate(figures, workers, given.gigabit * 1e9 / 8)
        video = jobs * SPEECH_S / 3600  # hours in an hour
        cells = [str(workers), f"{jobs:.0f}", f"{video:.1f}", f"{workers / video:.2f}"]
        lines.append(f"| {' | '.join([*cells, *(f'{share:.1%}' for share in shares.values())])} |")
    about = (
        f"One worker, measured: start {figures.start_s:.1f} s, a job {figures.job_s:.2f} s and "
        f"{1 / figures.frame_s:.0f} frames/s; an entry of the journal {figures.note_s * 1e3:.2f} ms; a job of "
        f"{SPEECH_S:g} s of speech moves {figures.job_bytes / 1e6:.1f} MB. Simulated: {JOBS_EACH} jobs a worker, "
        f"{given.gigabit:g} Gbit/s to the shared disk."
    )
    write_table("scaling", "Many workers", about, lines, "python -m benchmarks.scaling …")


if __name__ == "__main__":
    main()
