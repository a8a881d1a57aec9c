"""What an audit says: one finding for every check, in words, with the times it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from ..intervals import describe_ranges, runs

Level = Literal["green", "yellow", "red"]
LEVELS: tuple[Level, ...] = ("red", "yellow", "green")  # the worst first
# Share of the clip's time with a fault. Training leaves bad frames out or outvotes them: 1 % of the GRID clip is
# destroyed and does no harm. A fifth of the frames does.
YELLOW_SHARE, RED_SHARE = 0.02, 0.2
Ranges = tuple[tuple[float, float], ...]  # [start, stop) in seconds


@dataclass(frozen=True)
class Finding:
    """What one check says."""

    name: str
    level: Level
    sentence: str  # with the measured figure; where the level is not green, with times and the remedy
    ranges_s: Ranges = ()  # where the fault is; empty: nowhere, or all over the clip
    worst_s: float | None = None  # a time at which the fault can be seen, where it can


@dataclass(frozen=True)
class Audit:
    """What is good and bad about a clip, as something to learn from."""

    findings: tuple[Finding, ...]
    speech_s: tuple[tuple[float, float], ...] = ()  # from where to where somebody speaks

    @property
    def level(self) -> Level:
        """The worst level of all findings."""
        return self.sorted()[0].level

    def sorted(self) -> list[Finding]:
        """The findings, the worst first."""
        return sorted(self.findings, key=lambda finding: LEVELS.index(finding.level))

    def summary(self) -> str:
        """How many faults there are, and what the worst are: "1 yellow: amount of speech, 11 s of speech"."""
        faults = [finding for finding in self.sorted() if finding.level != "green"]
        if not faults:
            return f"all {len(self.findings)} checks are green"
        counts = [f"{n} {level}" for level in LEVELS[:2] if (n := sum(one.level == level for one in faults))]
        worst = [f"{one.name}, {one.sentence.split('; ')[0]}" for one in faults if one.level == faults[0].level]
        return f"{', '.join(counts)}: {'; '.join(worst)}"

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"level": self.level, "findings": [asdict(finding) for finding in self.findings]}

    def to_text(self) -> str:
        """A line for every finding, the worst first."""
        return "\n".join(f"{finding.level.upper():6} {finding.name}: {finding.sentence}" for finding in self.sorted())


def grade(value: float, yellow: float, red: float) -> Level:
    """The level of a figure that is bad beyond `yellow`: above it, or below it where `red` is the smaller."""
    sign = 1 if red >= yellow else -1
    return "red" if sign * (value - red) > 0 else "yellow" if sign * (value - yellow) > 0 else "green"


def by_share(
    name: str, figure: str, bad: np.ndarray, edges_s: np.ndarray, remedy: str, worst: int | None = None
) -> Finding:
    """The finding of a fault that some of n equal parts of the clip have: bad (n,) bool, edges_s (n + 1,) seconds.

    `figure` says what was measured; `worst` is the part that shows the fault best.
    """
    share = float(bad.mean()) if len(bad) else 0.0
    level = grade(share, YELLOW_SHARE, RED_SHARE)
    ranges = tuple((float(edges_s[start]), float(edges_s[stop])) for start, stop in runs(bad))
    words = [figure]
    if ranges:
        words.append(f"{share:.1%} of the clip is affected ({describe_ranges(ranges, 1.0)})")
    seen_s = float(edges_s[worst] + edges_s[worst + 1]) / 2 if worst is not None and ranges else None
    return Finding(name, level, "; ".join([*words, *([remedy] if level != "green" else [])]), ranges, seen_s)


def by_figure(name: str, figure: str, level: Level, remedy: str, worst_s: float | None = None) -> Finding:
    """The finding of a fault that concerns the whole clip."""
    return Finding(name, level, figure if level == "green" else f"{figure}; {remedy}", (), worst_s)


def examples(findings: Sequence[Finding]) -> Iterator[tuple[Finding, float]]:
    """The findings that can be seen in a frame, and when."""
    for finding in findings:
        if finding.worst_s is not None and finding.level != "green":
            yield finding, finding.worst_s
