"""An evaluation in words: what is good, fair or poor, by named thresholds, and the remedies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..inference.sync_scorer import SyncReport
from .result import GENERATED, OTHER, OTHER_PASTED, PASTED, REAL, SILENCE_PREDICTED, UNCHANGED, VOICE, Evaluation

Grade = Literal["good", "fair", "poor"]
MARKS: dict[Grade, str] = {"good": "✔", "fair": "●", "poor": "✘"}
INKS: dict[Grade, str] = {"good": "#12753f", "fair": "#8a5d00", "poor": "#b3261e"}  # on white, as in page.css
TERMINAL_INKS: dict[Grade, str] = {"good": "green", "fair": "yellow", "poor": "red"}


@dataclass(frozen=True)
class Limits:
    """Up to where a value is good and fair; `higher` values are better, or lower ones."""

    good: float
    fair: float
    higher: bool = True

    def grade(self, value: float) -> Grade:
        """Of a value; NaN is poor."""
        if self._reaches(value, self.good):
            return "good"
        return "fair" if self._reaches(value, self.fair) else "poor"

    def rule(self, what: str) -> str:
        """In words, for what is shown beside a verdict."""
        word = "from" if self.higher else "up to"
        return f"{what}: good {word} {self.good:g}, fair {word} {self.fair:g}"

    def _reaches(self, value: float, limit: float) -> bool:
        return value >= limit if self.higher else value <= limit


# Thresholds: set by looking at renders, with the figures of a good clip after four minutes of training in view.
FOLLOWS = Limits(0.8, 0.6)  # correlation of the mouth opening with the true one
OTHER_SPEECH = Limits(0.8, 0.6)  # likewise for another passage, as a share of that of that passage's own mouths
COPIES = Limits(0.2, 0.4, higher=False)  # correlation with the source frames, over that of the passage's own mouths
AMPLITUDE = Limits(0.25, 0.45, higher=False)  # of the opening's std: distance from the real one
VOICE_MOVES = Limits(0.5, 0.3)  # likewise with another voice: share of the real one
RESTS = Limits(0.35, 0.6, higher=False)  # likewise in silence, as predicted
CLOSES = Limits(0.6, 1.0, higher=False)  # gap on p, b, m, as a share of that of mouths of another time
PICTURE = Limits(0.6, 0.9, higher=False)  # LPIPS, likewise
SHARP = Limits(0.8, 0.5)  # Laplacian variance, share of the real one
SEAM = Limits(0.1, 0.25, higher=False)  # gradient along the border: distance from the real one
STEADY_SKIN = Limits(1.2, 1.6, higher=False)  # flicker of the skin, share of the real one
COLOUR = Limits(2.3, 4.0, higher=False)  # CIEDE2000; 2.3 is just noticeable
STEADY_CROPS = Limits(0.005, 0.012, higher=False)  # jitter of the crops, eye distances
IN_SYNC = Limits(1, 2, higher=False)  # frames
CONFIDENT = Limits(0.6, 0.35)  # LSE-C, share of that of the real mouths
DISCRIMINATES = Limits(0.9, 0.8)  # AUC of the SyncNet on real mouths
ENOUGH_S = Limits(8, 3)  # of held-out frames
ANY_OFFSET = "any A/V offset is reported"  # it is not graded


@dataclass(frozen=True)
class Verdict:
    """One sentence about the result."""

    grade: Grade
    words: str
    rule: str  # which value was compared with which thresholds
    remedy: str = ""  # for what is not good

    def line(self) -> str:
        """As plain text, with the remedy."""
        remedy = f" — {self.remedy}" if self.remedy and self.grade != "good" else ""
        return f"{MARKS[self.grade]} {self.words}{remedy}"


def verdicts(evaluation: Evaluation) -> list[Verdict]:
    """All that can be said of what was measured."""
    return [verdict for check in _CHECKS for verdict in check(evaluation)]


def summary(found: list[Verdict]) -> str:
    """How many of each grade."""
    counts = {grade: sum(verdict.grade == grade for verdict in found) for grade in MARKS}
    return ", ".join(f"{count} {grade}" for grade, count in counts.items() if count)


def _follows(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "opening_correlation"
    value = rows[GENERATED][name]
    grade = FOLLOWS.grade(value)
    says = {"good": "follows the audio", "fair": "follows the audio roughly", "poor": "hardly follows the audio"}[grade]
    yield Verdict(
        grade,
        f"The mouth {says}: {value:.2f} (another frame pasted: {rows[PASTED][name]:.2f}, real: 1)",
        FOLLOWS.rule("correlation"),
        "train longer; use a longer clip with clear speech, in sync",
    )


def _other_speech(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "opening_correlation"
    value, ceiling = rows[OTHER][name], rows[OTHER_PASTED][name]
    limits = f"that passage's own mouths: {ceiling:.2f}, source unchanged: {rows[UNCHANGED][name]:.2f}"
    grade = OTHER_SPEECH.grade(value / max(ceiling, 1e-9))
    says = {"good": "drives it well", "fair": "drives it roughly", "poor": "does not drive it"}[grade]
    rule = OTHER_SPEECH.rule("share of those mouths")
    yield Verdict(
        grade, f"Another passage of speech {says}: {value:.2f} ({limits})", rule, "train longer; use a longer clip"
    )


def _copies(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "source_correlation"
    value, chance = rows[OTHER][name], rows[OTHER_PASTED][name]
    grade = COPIES.grade(value - chance)
    says = {"good": "does not copy", "fair": "partly copies", "poor": "copies"}[grade]
    words = f"It {says} the mouth of the source frames: correlation {value:.2f} (chance: {chance:.2f}, copied: 1)"
    yield Verdict(
        grade, words, COPIES.rule("correlation above chance"), "the audio has too little influence: see the line above"
    )


def _amplitude(evaluation: Evaluation) -> Iterator[Verdict]:
    value = evaluation.rows[GENERATED]["opening_std_ratio"]
    grade = AMPLITUDE.grade(abs(value - 1))
    says = "about as much as"
    if grade != "good":
        says = "less than" if value < 1 else "more than"
    words = f"The mouth moves {says} the real one: {value:.2f} of its amplitude"
    yield Verdict(grade, words, AMPLITUDE.rule("distance from 1"), "train longer")


def _other_voice(evaluation: Evaluation) -> Iterator[Verdict]:
    if VOICE in evaluation.rows:
        value = evaluation.rows[VOICE]["opening_std_ratio"]
        grade = VOICE_MOVES.grade(value)
        says = {"good": "drives it, too", "fair": "drives it a little", "poor": "hardly drives it"}[grade]
        words = f"Another voice {says}: {value:.2f} of the real amplitude"
        yield Verdict(grade, words, VOICE_MOVES.rule("share"), "use a voice that is more like that of the clip")


def _silence(evaluation: Evaluation) -> Iterator[Verdict]:
    """Of the network's own prediction: with the rest rule on, silence gives the rest pose by construction."""
    value = evaluation.rows[SILENCE_PREDICTED]["opening_std_ratio"]
    spoken = evaluation.rows[GENERATED]["opening_std_ratio"]
    if spoken < 1 and AMPLITUDE.grade(1 - spoken) == "poor":
        return  # the amplitude is too small to say anything about silence
    grade = RESTS.grade(value)
    says = {"good": "the mouth rests", "fair": "the mouth moves a little", "poor": "the mouth does not rest"}[grade]
    words = f"In silence, with the rest rule off, {says}: {value:.2f} of the real amplitude"
    yield Verdict(
        grade, words, RESTS.rule("share"), "leave the rest rule on; use a clip with pauses in which the mouth is closed"
    )


def _closes(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "closure_gap"
    if name in rows[GENERATED]:
        value, floor = rows[GENERATED][name], rows[PASTED][name]
        grade = CLOSES.grade(value / max(floor, 1e-9))
        says = {"good": "close", "fair": "nearly close", "poor": "do not close"}[grade]
        words = f"The lips {says} on p, b and m: gap {value:.2f} (another frame pasted: {floor:.2f}, real: 0)"
        yield Verdict(
            grade, words, CLOSES.rule("share of the pasted frame's"), "train longer; check that the clip is in sync"
        )


def _picture(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "lpips"
    value, floor = rows[GENERATED][name], rows[PASTED][name]
    grade = PICTURE.grade(value / max(floor, 1e-9))
    says = {"good": "close to", "fair": "not very close to", "poor": "far from"}[grade]
    words = f"The picture is {says} the true one: LPIPS {value:.3f} (another frame pasted: {floor:.3f}, real: 0)"
    yield Verdict(grade, words, PICTURE.rule("share of the pasted frame's"), "train longer")


def _sharp(evaluation: Evaluation) -> Iterator[Verdict]:
    value = evaluation.rows[GENERATED]["sharpness_ratio"]
    grade = SHARP.grade(value)
    says = {"good": "about as sharp as", "fair": "softer than", "poor": "much softer than"}[grade]
    remedy = "train longer; choose a crop size closer to the width of the face"
    yield Verdict(
        grade, f"The picture is {says} the source: {value:.2f} of its fine detail", SHARP.rule("share"), remedy
    )


def _clean(evaluation: Evaluation) -> Iterator[Verdict]:
    """Seam, skin and colour against the source, and how steadily the crops are placed."""
    row = evaluation.rows[GENERATED]
    seam, skin, colour = row["seam_ratio"], row["skin_jitter_ratio"], row["colour_drift"]
    jitter = evaluation.clip["crop_jitter"]
    grade = SEAM.grade(abs(seam - 1))
    says = {"good": "No seam shows", "fair": "A faint seam shows", "poor": "A seam shows"}[grade]
    words = f"{says} at the mask's border: {seam:.2f} of the source's gradient"
    yield Verdict(grade, words, SEAM.rule("distance from 1"), "raise the feather of the render; train longer")
    grade = STEADY_SKIN.grade(skin)
    says = {"good": "is steady", "fair": "flickers a little", "poor": "flickers"}[grade]
    words = f"The skin beside the mouth {says}: {skin:.2f} of the source's flicker"
    yield Verdict(grade, words, STEADY_SKIN.rule("share"), "train longer; even light helps")
    grade = COLOUR.grade(colour)
    says = {"good": "is kept", "fair": "drifts a little", "poor": "drifts"}[grade]
    words = f"The colour {says}: CIEDE2000 {colour:.1f} (2.3 is just noticeable)"
    yield Verdict(grade, words, COLOUR.rule("CIEDE2000"), "train longer; even light and fixed exposure help")
    grade = STEADY_CROPS.grade(jitter)
    says = {"good": "steadily", "fair": "a little unsteadily", "poor": "unsteadily"}[grade]
    words = f"The face is tracked {says}: jitter {jitter:.4f} eye distances"
    yield Verdict(grade, words, STEADY_CROPS.rule("jitter"), "a larger, sharper face in the clip is tracked better")


def _sync(evaluation: Evaluation) -> Iterator[Verdict]:
    if GENERATED not in evaluation.sync or REAL not in evaluation.sync:
        return
    own, real = evaluation.sync[GENERATED], evaluation.sync[REAL]
    expert = _discriminates(real)
    yield expert
    if expert.grade == "poor":
        return
    offset, confident = IN_SYNC.grade(abs(own.offset)), CONFIDENT.grade(own.lse_c / max(real.lse_c, 1e-9))
    grade = max(offset, confident, key=list(MARKS).index)
    says = {"good": "in sync", "fair": "nearly in sync", "poor": "out of sync"}[grade]
    words = f"By the SyncNet mouth and audio are {says}: offset {abs(own.offset)} frames, LSE-C {own.lse_c:.2f}"
    floor = f", another frame pasted: {evaluation.sync[PASTED].lse_c:.2f}" if PASTED in evaluation.sync else ""
    rule = f"{IN_SYNC.rule('frames')}; {CONFIDENT.rule('LSE-C, share of the real')}"
    yield Verdict(grade, f"{words} (real: {real.lse_c:.2f}{floor})", rule, "train with a SyncNet, or longer")


def _discriminates(real: SyncReport) -> Verdict:
    grade = DISCRIMINATES.grade(real.auc)
    says = {
        "good": "tells in-sync from off-sync",
        "fair": "roughly tells in-sync from off-sync",
        "poor": "cannot tell in-sync from off-sync, ignore its figures",
    }[grade]
    words = f"The SyncNet {says}: AUC {real.auc:.2f} on real mouths (chance: 0.5)"
    return Verdict(
        grade,
        words,
        DISCRIMINATES.rule("AUC"),
        "train the SyncNet longer, or start from one that was trained on more people",
    )


def _enough(evaluation: Evaluation) -> Iterator[Verdict]:
    seconds = len(evaluation.frames) / evaluation.fps
    grade = ENOUGH_S.grade(seconds)
    says = {"good": "enough", "fair": "few, the figures are rough", "poor": "too few for reliable figures"}
    words = f"{len(evaluation.frames)} frames ({seconds:.1f} s) that were never trained on: {says[grade]}"
    yield Verdict(grade, words, ENOUGH_S.rule("seconds"), "a longer clip leaves more held-out frames")


def _shifted(evaluation: Evaluation) -> Iterator[Verdict]:
    shift = evaluation.clip["sound_shift"]
    if shift:
        when, ms = "late" if shift > 0 else "early", abs(shift) / evaluation.fps * 1000
        words = (
            f"The clip's audio is {abs(shift):.1f} frames ({ms:.0f} ms) {when}; training and evaluation correct that"
        )
        yield Verdict("fair", words, ANY_OFFSET, "check it at a clear p or b in the clip")


_CHECKS: tuple[Callable[[Evaluation], Iterator[Verdict]], ...] = (
    *(_follows, _other_speech, _copies, _amplitude, _other_voice, _silence, _closes),
    *(_sync, _picture, _sharp, _clean, _enough, _shifted),
)
