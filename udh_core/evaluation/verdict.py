"""An evaluation in words: what is good, fair or poor, by named thresholds, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..inference.sync_scorer import SyncReport
from .result import GENERATED, OTHER, OTHER_PASTED, PASTED, REAL, SILENCE, UNCHANGED, VOICE, Evaluation

Grade = Literal["good", "fair", "poor"]
MARKS: dict[Grade, str] = {"good": "✔", "fair": "●", "poor": "✘"}


@dataclass(frozen=True)
class Limits:
    """Up to where a value is good and fair; `higher` values are better, or lower ones."""

    good: float
    fair: float
    higher: bool = True

    def grade(self, value: float) -> Grade:
        sign = 1 if self.higher else -1
        return "good" if sign * value >= sign * self.good else "fair" if sign * value >= sign * self.fair else "poor"

    def rule(self, what: str) -> str:
        word = "from" if self.higher else "up to"
        return f"{what}: green {word} {self.good:g}, yellow {word} {self.fair:g}"


# Thresholds: set by looking at renders, with the figures of a good clip after four minutes of training in view.
FOLLOWS = Limits(0.8, 0.6)  # correlation of the mouth's opening with the true one
OTHER_SPEECH = Limits(0.8, 0.6)  # likewise for another passage, as a share of what that passage's own mouths reach
COPIES = Limits(0.2, 0.4, higher=False)  # correlation with the frames below, over that of the passage's own mouths
AMPLITUDE = Limits(0.25, 0.45, higher=False)  # of the opening's std: distance from the real one
VOICE_MOVES = Limits(0.5, 0.3)  # likewise with another voice: share of the real one
RESTS = Limits(0.35, 0.6, higher=False)  # likewise in silence
CLOSES = Limits(0.6, 1.0, higher=False)  # gap on p, b, m, as a share of that of mouths of another time
PICTURE = Limits(0.6, 0.9, higher=False)  # LPIPS, likewise
SHARP = Limits(0.8, 0.5)  # Laplacian variance, share of the real one
SEAM = Limits(0.1, 0.25, higher=False)  # gradient along the border: distance from the real one
CALM = Limits(1.2, 1.6, higher=False)  # flicker of the skin, share of the real one
COLOUR = Limits(2.3, 4.0, higher=False)  # CIEDE2000; 2.3 is just noticeable
STEADY = Limits(0.005, 0.012, higher=False)  # jitter of the crops, eye distances
IN_STEP = Limits(1, 2, higher=False)  # frames
SURE = Limits(0.6, 0.35)  # LSE-C, share of that of the real mouths
CAN_JUDGE = Limits(0.9, 0.8)  # AUC of the SyncNet on real mouths
ENOUGH_S = Limits(8, 3)  # of held-out frames


@dataclass(frozen=True)
class Verdict:
    """One sentence about the result."""

    grade: Grade
    words: str
    rule: str  # which value was compared with which thresholds
    remedy: str = ""  # for what is not good

    def line(self) -> str:
        """For the terminal and other plain text."""
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
    says = {"good": "follows its sound", "fair": "follows its sound roughly", "poor": "hardly follows its sound"}[grade]
    yield Verdict(
        grade,
        f"The mouth {says}: {value:.2f} (another frame pasted: {rows[PASTED][name]:.2f}, real: 1)",
        FOLLOWS.rule("correlation"),
        "train longer; give a longer clip with clear speech, in sync",
    )


def _other_speech(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "opening_correlation"
    value, ceiling = rows[OTHER][name], rows[OTHER_PASTED][name]
    limits = f"that passage's own mouths: {ceiling:.2f}, frames as they are: {rows[UNCHANGED][name]:.2f}"
    grade = OTHER_SPEECH.grade(value / max(ceiling, 1e-9))
    says = {"good": "moves it as it should", "fair": "moves it roughly right", "poor": "does not move it right"}[grade]
    rule = OTHER_SPEECH.rule("share of those mouths")
    yield Verdict(grade, f"Other speech {says}: {value:.2f} ({limits})", rule, "train longer, on a longer clip")


def _copies(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "source_correlation"
    value, chance = rows[OTHER][name], rows[OTHER_PASTED][name]
    grade = COPIES.grade(value - chance)
    says = {"good": "does not copy", "fair": "copies something of", "poor": "copies"}[grade]
    words = f"It {says} the mouth of the frames it is drawn on: {value:.2f} (chance: {chance:.2f}, copied: 1)"
    yield Verdict(
        grade, words, COPIES.rule("correlation above chance"), "the sound says too little: see the line above"
    )


def _amplitude(evaluation: Evaluation) -> Iterator[Verdict]:
    value = evaluation.rows[GENERATED]["opening_std_ratio"]
    grade = AMPLITUDE.grade(abs(value - 1))
    says = "about as much as" if grade == "good" else "less than" if value < 1 else "more than"
    words = f"It opens and closes {says} the real mouth: {value:.2f} of its movement"
    yield Verdict(grade, words, AMPLITUDE.rule("distance from 1"), "train longer")


def _other_voice(evaluation: Evaluation) -> Iterator[Verdict]:
    if VOICE in evaluation.rows:
        value = evaluation.rows[VOICE]["opening_std_ratio"]
        grade = VOICE_MOVES.grade(value)
        says = {"good": "moves it, too", "fair": "moves it a little", "poor": "hardly moves it"}[grade]
        words = f"Another voice {says}: {value:.2f} of the real movement"
        yield Verdict(grade, words, VOICE_MOVES.rule("share"), "use a voice more like the clip's own")


def _silence(evaluation: Evaluation) -> Iterator[Verdict]:
    value, spoken = (evaluation.rows[row]["opening_std_ratio"] for row in (SILENCE, GENERATED))
    if spoken < 1 and AMPLITUDE.grade(1 - spoken) == "poor":
        return  # a mouth that never moves deserves no praise for resting
    grade = RESTS.grade(value)
    says = {"good": "the mouth rests", "fair": "the mouth moves a little", "poor": "the mouth does not rest"}[grade]
    words = f"In silence {says}: {value:.2f} of the real movement is left"
    yield Verdict(grade, words, RESTS.rule("share"), "the clip should have pauses with a closed mouth")


def _closes(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "closure_gap"
    if name in rows[GENERATED]:
        value, floor = rows[GENERATED][name], rows[PASTED][name]
        grade = CLOSES.grade(value / max(floor, 1e-9))
        says = {"good": "close", "fair": "nearly close", "poor": "do not close"}[grade]
        words = f"The lips {says} on p, b and m: gap {value:.2f} (another frame pasted: {floor:.2f}, real: 0)"
        yield Verdict(grade, words, CLOSES.rule("share of the pasted frame's"), "train longer; check the clip's sync")


def _picture(evaluation: Evaluation) -> Iterator[Verdict]:
    rows, name = evaluation.rows, "lpips"
    value, floor = rows[GENERATED][name], rows[PASTED][name]
    grade = PICTURE.grade(value / max(floor, 1e-9))
    says = {"good": "near", "fair": "not very near", "poor": "far from"}[grade]
    words = f"The picture is {says} the true one: LPIPS {value:.3f} (another frame pasted: {floor:.3f}, real: 0)"
    yield Verdict(grade, words, PICTURE.rule("share of the pasted frame's"), "train longer")


def _sharp(evaluation: Evaluation) -> Iterator[Verdict]:
    value = evaluation.rows[GENERATED]["sharpness_ratio"]
    grade = SHARP.grade(value)
    says = {"good": "about as sharp as", "fair": "softer than", "poor": "much softer than"}[grade]
    remedy = "train longer, or take a crop size nearer to the width of the face"
    yield Verdict(grade, f"It is {says} the source: {value:.2f} of its detail", SHARP.rule("share"), remedy)


def _clean(evaluation: Evaluation) -> Iterator[Verdict]:
    """Seam, skin and colour against the source, and how steadily the crops are placed."""
    row, jitter = evaluation.rows[GENERATED], evaluation.clip["crop_jitter"]
    seam, calm, colour = row["seam_ratio"], row["skin_jitter_ratio"], row["colour_drift"]
    grade = SEAM.grade(abs(seam - 1))
    says = {"good": "No seam shows", "fair": "A faint seam shows", "poor": "A seam shows"}[grade]
    words = f"{says} at the mask's border: {seam:.2f} of the source's gradient"
    yield Verdict(grade, words, SEAM.rule("distance from 1"), "raise the render's blend; train longer")
    grade = CALM.grade(calm)
    says = {"good": "is calm", "fair": "flickers a little", "poor": "flickers"}[grade]
    words = f"The skin beside the mouth {says}: {calm:.2f} of the source's flicker"
    yield Verdict(grade, words, CALM.rule("share"), "train longer; even light helps")
    grade = COLOUR.grade(colour)
    says = {"good": "is kept", "fair": "drifts a little", "poor": "drifts"}[grade]
    words = f"The colour {says}: CIEDE2000 {colour:.1f} (2.3 is just noticeable)"
    yield Verdict(grade, words, COLOUR.rule("CIEDE2000"), "train longer; even light and fixed exposure help")
    grade = STEADY.grade(jitter)
    says = {"good": "steadily", "fair": "a little unsteadily", "poor": "unsteadily"}[grade]
    words = f"The face is followed {says}: jitter {jitter:.4f} of the eyes' distance"
    yield Verdict(grade, words, STEADY.rule("jitter"), "a larger, sharper face in the clip is followed better")


def _sync(evaluation: Evaluation) -> Iterator[Verdict]:
    if GENERATED not in evaluation.sync or REAL not in evaluation.sync:
        return
    own, real = evaluation.sync[GENERATED], evaluation.sync[REAL]
    judge = _can_judge(real)
    yield judge
    if judge.grade == "poor":
        return
    step, sure = IN_STEP.grade(abs(own.offset)), SURE.grade(own.lse_c / max(real.lse_c, 1e-9))
    grade = max(step, sure, key=list(MARKS).index)
    says = {"good": "in step", "fair": "nearly in step", "poor": "out of step"}[grade]
    words = f"The SyncNet finds mouth and sound {says}: {abs(own.offset)} frames apart, LSE-C {own.lse_c:.2f}"
    floor = f", another frame pasted: {evaluation.sync[PASTED].lse_c:.2f}" if PASTED in evaluation.sync else ""
    rule = f"{IN_STEP.rule('frames')}; {SURE.rule('LSE-C, share of the real')}"
    yield Verdict(grade, f"{words} (real: {real.lse_c:.2f}{floor})", rule, "train with a SyncNet, or longer")


def _can_judge(real: SyncReport) -> Verdict:
    grade = CAN_JUDGE.grade(real.auc)
    says = {"good": "can judge", "fair": "judges roughly", "poor": "cannot judge: leave its figures aside"}[grade]
    words = f"The SyncNet {says}: AUC {real.auc:.2f} on real mouths, in-sync against off-sync (chance: 0.5)"
    return Verdict(grade, words, CAN_JUDGE.rule("AUC"), "train the SyncNet longer, or start it from one of more people")


def _enough(evaluation: Evaluation) -> Iterator[Verdict]:
    seconds = len(evaluation.frames) / evaluation.fps
    grade = ENOUGH_S.grade(seconds)
    says = {"good": "enough to judge by", "fair": "few, the figures are rough", "poor": "too few for reliable figures"}
    words = f"{len(evaluation.frames)} frames ({seconds:.1f} s) that were never trained on: {says[grade]}"
    yield Verdict(grade, words, ENOUGH_S.rule("seconds"), "a longer clip leaves more to judge by")


def _shifted(evaluation: Evaluation) -> Iterator[Verdict]:
    shift = evaluation.clip["sound_shift"]
    if shift:
        when, ms = "late" if shift > 0 else "early", abs(shift) / evaluation.fps * 1000
        words = f"The clip's sound comes {abs(shift):.1f} frames ({ms:.0f} ms) {when}; that is corrected here"
        yield Verdict("fair", words, "any shift is told", "check it in a hard p or b of the clip")


_CHECKS: tuple[Callable[[Evaluation], Iterator[Verdict]], ...] = (
    *(_follows, _other_speech, _copies, _amplitude, _other_voice, _silence, _closes),
    *(_sync, _picture, _sharp, _clean, _enough, _shifted),
)
