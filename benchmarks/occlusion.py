"""Is what lies before a face found? `python -m benchmarks.occlusion --data DIR [--clip NAME …]`.

Clips are prepared as they are, and the first 24 s of some again with something drawn before the mouth for 0.8 s of
every 4.8, each kind in its turn; the drawing is the truth. In one clip a real hand comes before the chin; the frames
that show it were read off by eye. The table goes to benchmarks/results/occlusion.md, frames with their masks to
--pictures.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.avatar.options import PrepareOptions
from udh_core.avatar.prepare import import_clip, track_face
from udh_core.face.crop import eye_distance, mask
from udh_core.face.topology import LIPS
from udh_core.media.video import VideoWriter, read_frames

DRAWN_S, PERIOD_S, FIRST_S, LASTS_S, MOVES_S = 24.0, 4.8, 1.5, 0.8, 0.4
CROP_PX = 160
SEEN = 0.05  # of the redrawn area: what covers less need not be found
VOICE = "audio/musetalk_eng.wav"  # an avatar has to have a sound


class Clip(NamedTuple):
    """A part of one of the clips."""

    start_s: float
    duration_s: float
    is_drawn_on: bool = True
    hand: range | None = None  # the frames that show a real hand before the face; those of the part, from 0 on


CLIPS = {
    "grid_s1_train_5min": Clip(0.0, 60.0),
    "dfrf_cnn2_25fps": Clip(0.0, 60.0),
    "musetalk_sun": Clip(0.0, 22.0),
    "sadtalker_WDA_AOC_000": Clip(0.0, 8.0),
    "videoretalking_face3": Clip(0.0, 5.0),
    "latentsync_demo2": Clip(0.0, 8.0, is_drawn_on=False),
    "interview_1080p_3min": Clip(34.0, 12.0, is_drawn_on=False, hand=range(149, 162)),
}
Alpha = np.ndarray  # (H, W) float32 0..1: how much of the picture is covered
console = Console(stderr=True)


class Place(NamedTuple):
    """Where the mouth is, on average."""

    x: float
    y: float
    eyes: float  # px between the outer corners
    skin: np.ndarray  # (3,) float64 colour of the cheek


class Drawn(NamedTuple):
    """What is drawn into one frame."""

    alpha: Alpha
    colour: np.ndarray  # broadcasts to (H, W, 3)


# What is drawn; `into` is 0..1 of the way to its place


def box(shape: tuple[int, int], place: Place, into: float) -> Drawn:
    """A black box at once, as ffmpeg's drawbox."""
    alpha = np.zeros(shape, np.float32)
    half = np.array([0.5, 0.35]) * place.eyes
    low, high = (np.array([place.x, place.y]) + sign * half for sign in (-1, 1))
    cv2.rectangle(alpha, tuple(np.rint(low).astype(int)), tuple(np.rint(high).astype(int)), 1.0, -1)
    return Drawn(alpha, np.zeros(3))


def hand(shape: tuple[int, int], place: Place, into: float) -> Drawn:
    """An ellipse of the colour of the skin, a little darker towards its rim, that moves in from the side."""
    centre = np.array([place.x, place.y]) + (1 - into) * np.array([1.6, 1.0]) * place.eyes
    return _ellipse(shape, centre, (0.5 * place.eyes, 0.75 * place.eyes), 30.0, place.skin)


def cup(shape: tuple[int, int], place: Place, into: float) -> Drawn:
    """A photographed cup that moves up to the lips."""
    photo, outline = _photographed_cup()
    scale = 0.9 * place.eyes / np.ptp(outline[:, 0])
    centre = np.array([place.x, place.y + (0.45 + 1.6 * (1 - into)) * place.eyes])
    to_place = np.column_stack([np.eye(2) * scale, centre - scale * outline.mean(0)])
    alpha = np.zeros(photo.shape[:2], np.float32)
    cv2.fillPoly(alpha, [outline], 1.0)
    size = shape[::-1]
    return Drawn(cv2.warpAffine(alpha, to_place, size), cv2.warpAffine(photo, to_place, size).astype(np.float64))


@functools.cache
def _photographed_cup() -> tuple[np.ndarray, np.ndarray]:
    """A photograph (H, W, 3) uint8 and the outline (n, 2) int32 of the cup in it, px."""
    from skimage.data import coffee

    rim = [(174, 100), (180, 60), (215, 30), (290, 18), (360, 35), (400, 75), (408, 120)]
    body = [(398, 175), (370, 230), (330, 270), (280, 285), (230, 270), (190, 220), (174, 160)]
    return coffee(), np.array(rim + body, np.int32)


def microphone(shape: tuple[int, int], place: Place, into: float) -> Drawn:
    """A dark rod with a round head that comes up to the lower lip."""
    top = np.array([place.x + 0.05 * place.eyes, place.y + (0.15 + 1.5 * (1 - into)) * place.eyes])
    alpha = np.zeros(shape, np.float32)
    bottom = top + np.array([0.25, 2.5]) * place.eyes
    ends = [tuple(np.rint(point).astype(int)) for point in (top, bottom)]
    cv2.line(alpha, ends[0], ends[1], 1.0, max(2, round(0.16 * place.eyes)), cv2.LINE_AA)
    cv2.circle(alpha, ends[0], max(2, round(0.17 * place.eyes)), 1.0, -1, cv2.LINE_AA)
    return Drawn(alpha, np.array([32.0, 30.0, 34.0]))


def bubble(shape: tuple[int, int], place: Place, into: float) -> Drawn:
    """A white circle that lets half of the light through."""
    drawn = _ellipse(shape, np.array([place.x, place.y]), (0.6 * place.eyes,) * 2, 0.0, np.array([240.0, 245.0, 250.0]))
    return Drawn(drawn.alpha * 0.5, drawn.colour)


def _ellipse(
    shape: tuple[int, int], centre: np.ndarray, radii: tuple[float, float], angle: float, colour: np.ndarray
) -> Drawn:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u = (c * (x - centre[0]) + s * (y - centre[1])) / radii[0]
    v = (-s * (x - centre[0]) + c * (y - centre[1])) / radii[1]
    radius = np.hypot(u, v)
    alpha = np.clip((1 - radius) * min(radii), 0, 1).astype(np.float32)
    return Drawn(alpha, colour * (1.0 - 0.15 * np.minimum(radius, 1.0)[..., None] ** 4))


KINDS: dict[str, Callable[[tuple[int, int], Place, float], Drawn]] = {
    "box": box,
    "hand": hand,
    "cup": cup,
    "microphone": microphone,
    "bubble": bubble,
}


def way(time_s: float) -> float | None:
    """0..1: how far the occluder has come; None: it is away."""
    since_s = time_s % PERIOD_S - FIRST_S
    lasts_s = LASTS_S + 2 * MOVES_S
    if not 0 <= since_s <= lasts_s:
        return None
    return float(np.clip(min(since_s, lasts_s - since_s) / MOVES_S, 0.0, 1.0))


def parts(whole: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The whole cut into parts of that size, the last may be smaller."""
    return [whole[start : start + size] for start in range(0, len(whole), size)]


class Found(NamedTuple):
    """Per frame of a clip, or of a part of it."""

    drawn: np.ndarray  # (N,) float64 0..1: share of the redrawn area that is covered
    found: np.ndarray  # (N,) bool
    lost: np.ndarray  # (N,) bool: no face was found at all
    kept_px: np.ndarray  # (N,) of the redrawn px: those that are kept,
    right_px: np.ndarray  # (N,) those of them that are covered,
    true_px: np.ndarray  # (N,) and those that are covered

    def of(self, frames: np.ndarray) -> Found:
        """Of those frames (N,) bool."""
        return Found(*(values[frames] for values in self))

    def cell(self) -> str:
        """Precision and recall of frames, then of px in the frames that were found."""
        seen = self.drawn >= SEEN
        right = self.found & (self.drawn > 0)
        handled = (self.found | self.lost)[seen].mean()
        kept, inside, true = (values[self.found].sum() for values in (self.kept_px, self.right_px, self.true_px))
        shares = (right.sum() / max(self.found.sum(), 1), handled, inside / max(kept, 1), inside / max(true, 1))
        return " / ".join(f"{100 * share:.0f}" for share in shares)


class Example(NamedTuple):
    """A frame to look at."""

    name: str
    crop: np.ndarray  # (S, S, 3) uint8
    kept: np.ndarray  # (S, S) bool
    truth: np.ndarray  # (S, S) bool


def with_occluders(avatar: Avatar, kinds: Sequence[str], root: Path) -> tuple[Avatar, list[np.ndarray]]:
    """The avatar of the clip's beginning with something drawn in every period, each kind in its turn.

    And of every frame the alpha in the clean clip's crop, (S, S).
    """
    shutil.copytree(avatar.root, root, ignore=shutil.ignore_patterns("*.npy", "*.npz", "video.mp4"))
    place, transforms, info, truths = place_of(avatar), avatar.track().transforms, avatar.info, []
    size = {"width": info.width, "height": info.height}
    with VideoWriter(root / "video.mp4", **size, fps=info.fps, crf=18, encoder="x264") as writer:
        for number, frame in enumerate(read_frames(avatar.video, count=round(DRAWN_S * info.fps))):
            drawn = drawing(number / float(info.fps), kinds, frame.shape[:2], place)
            writer.write(frame if drawn is None else covered(frame, drawn))
            alpha = np.zeros(frame.shape[:2], np.float32) if drawn is None else drawn.alpha
            truths.append(cv2.warpAffine(alpha, transforms[number].astype(np.float64), (avatar.crop.size,) * 2))
    state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
    state["video"]["frame_count"] = len(truths)
    state["stages"] = {stage: state["stages"][stage] for stage in ("video", "audio")}
    (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
    return track_face(root, PrepareOptions(CROP_PX, skip_lost=True)).run(), truths


def drawing(time_s: float, kinds: Sequence[str], shape: tuple[int, int], place: Place) -> Drawn | None:
    into = way(time_s)
    return None if into is None else KINDS[kinds[int(time_s // PERIOD_S) % len(kinds)]](shape, place, into)


def covered(frame: np.ndarray, drawn: Drawn) -> np.ndarray:
    alpha = drawn.alpha[..., None]
    return np.rint(frame * (1 - alpha) + drawn.colour * alpha).astype(np.uint8)


def place_of(avatar: Avatar) -> Place:
    track = avatar.track()
    points = track.landmarks[track.valid]
    x, y = np.median(points[:, LIPS].mean(1), axis=0)
    eyes = float(np.median(eye_distance(points)))
    crop = np.median(avatar.crops()[track.valid][::10], axis=0)
    scale = avatar.crop.px_per_unit
    cheek = crop[round(0.85 * scale) : round(0.95 * scale), round(0.45 * scale) : round(0.6 * scale)]
    return Place(float(x), float(y), eyes, cheek.reshape(-1, 3).mean(0))


def kept_of(avatar: Avatar, number: int) -> np.ndarray:
    """(S, S) bool: the px of a crop that are left as they are."""
    opacity = avatar.occlusion().opacity(number, avatar.crop.size)
    redraw = mask(avatar.crop) > 0
    return np.zeros_like(redraw) if opacity is None else (opacity > 0.5) & redraw


def measured(avatar: Avatar, truths: Sequence[np.ndarray]) -> Found:
    redraw, found = mask(avatar.crop) > 0, avatar.occlusion().frames
    rows = []
    for number, truth in enumerate(truths):
        true, kept = (truth > 0.25) & redraw, kept_of(avatar, number)
        rows.append((true.sum() / redraw.sum(), kept.sum(), (kept & true).sum(), true.sum()))
    drawn, kept_px, right_px, true_px = (np.array(column) for column in zip(*rows, strict=True))
    return Found(drawn, np.isin(np.arange(len(rows)), found), ~avatar.track().present, kept_px, right_px, true_px)


def prepared(data: Path, name: str, root: Path) -> tuple[Avatar, str]:
    """The avatar, and CPU time of looking for occluders: ms of a frame, and percent of landmarks and crops."""
    clip = CLIPS[name]
    options = PrepareOptions(CROP_PX, start_s=clip.start_s, duration_s=clip.duration_s, skip_lost=True)
    import_clip(data / "video" / f"{name}.mp4", root, options, audio=data / VOICE).run()
    spent_s: Counter[str] = Counter()
    before_s = time.process_time()
    for step in track_face(root, options):
        now_s = time.process_time()
        spent_s[step.stage] += now_s - before_s
        before_s = now_s
    avatar, looked_s = open_avatar(root), spent_s["occlusion"]
    share = looked_s / (spent_s["landmarks"] + spent_s["crops"])
    return avatar, f"{1000 * looked_s / avatar.info.frame_count:.1f} ms, {100 * share:.0f} %"


def drawn_cells(clean: Avatar, scratch: Path, examples: list[Example]) -> list[str]:
    """A cell for every kind; frames that were found worst go to `examples`."""
    fps, cells = float(clean.info.fps), []
    per_run = max(1, int(min(DRAWN_S, clean.info.duration_s) // PERIOD_S))
    for run, kinds in enumerate(parts(list(KINDS), per_run)):
        avatar, truths = with_occluders(clean, kinds, scratch / f"{clean.root.name}-{run}")
        found = measured(avatar, truths)
        turns = (np.arange(len(truths)) / fps // PERIOD_S).astype(int) % len(kinds)
        for turn, kind in enumerate(kinds):
            cells.append(found.of(turns == turn).cell())
            examples += worst(avatar, truths, found, turns == turn, f"{clean.root.name} {kind}")
        shutil.rmtree(avatar.root)
    return cells


def worst(avatar: Avatar, truths: Sequence[np.ndarray], found: Found, among: np.ndarray, name: str) -> list[Example]:
    """The three frames with most px kept that are not covered, and the three with most px covered that are not kept."""
    wrong, missed = found.kept_px - found.right_px, (found.true_px - found.right_px) * ~found.lost
    numbers = [i for values in (wrong, missed) for i in np.argsort(np.where(among, values, -1))[:-4:-1]]
    return [Example(f"{name} {i}", avatar.crops()[i], kept_of(avatar, i), truths[i] > 0.25) for i in numbers]


def clean_cells(avatar: Avatar, hand: range | None, examples: list[Example]) -> list[str]:
    """Percent of the frames without anything before the face in which something was found, and the real hand."""
    found = avatar.occlusion().frames
    really = np.isin(np.arange(avatar.info.frame_count), hand or [])
    false = [int(i) for i in found if not really[i]]
    nothing = np.zeros((avatar.crop.size,) * 2, bool)
    for i in [*false[:: -(-len(false) // 12) or 1], *(hand or [])]:
        examples.append(Example(f"{avatar.root.name} clean {i}", avatar.crops()[i], kept_of(avatar, i), nothing))
    console.print(avatar.root.name, "found in the clean clip:", found.tolist(), soft_wrap=True)
    seen = f"{int(np.isin(hand, found).sum())} of {len(hand)} frames" if hand else "–"
    return [f"{100 * len(false) / int((~really).sum()):.2f}", seen]


def lines(data: Path, clips: Sequence[str], scratch: Path, examples: list[Example]) -> Iterator[str]:
    yield "| clip | frames | clean | real hand | " + " | ".join(KINDS) + " | CPU |"
    yield "|---" * (len(KINDS) + 5) + "|"
    for name in clips:
        clip = CLIPS[name]
        clean, cost = prepared(data, name, scratch / name)
        cells = [str(clean.info.frame_count), *clean_cells(clean, clip.hand, examples)]
        cells += drawn_cells(clean, scratch, examples) if clip.is_drawn_on else ["–"] * len(KINDS)
        yield f"| {name} | {' | '.join(cells)} | {cost} |"
        console.print(name, *cells, cost, soft_wrap=True)


def save_pictures(examples: Sequence[Example], folder: Path) -> None:
    """Twelve crops in a row: what is kept has a green outline, what is covered a red one."""
    folder.mkdir(parents=True, exist_ok=True)
    for page, part in enumerate(parts(examples, 48)):
        tiles = [_tile(one) for one in part]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 12)
        rows = [np.hstack(tiles[start : start + 12]) for start in range(0, len(tiles), 12)]
        cv2.imwrite(str(folder / f"occlusion_{page}.png"), np.vstack(rows)[..., ::-1])


def _tile(one: Example) -> np.ndarray:
    picture = one.crop.copy()
    for area, colour in ((one.truth, (255, 0, 0)), (one.kept, (0, 255, 0))):
        outlines = cv2.findContours(area.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, outlines, -1, colour, 1)
    cv2.putText(picture, one.name[-26:], (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 0), 1)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of clips")
    parser.add_argument("--clip", nargs="*", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--pictures", type=Path, help="a folder for the frames that were found worst")
    chosen = parser.parse_args()
    examples: list[Example] = []
    with tempfile.TemporaryDirectory() as scratch:
        table = list(lines(chosen.data, chosen.clip, Path(scratch), examples))
    if chosen.pictures:
        save_pictures(examples, chosen.pictures)
    about = (
        "Percent. Clean: the frames of the clip as it is in which something was found that is not there (GRID: 975 to\n"
        "986, which decoding damaged). Real hand: frames in which it was found. Then, with something drawn:\n"
        "precision / recall of frames (of those in which 5 % of the redrawn area or more are covered; a frame whose\n"
        "face is lost counts, nothing is drawn there) / precision / recall of px of the redrawn area, in the frames\n"
        "that were found (the mask is one of its px, 1/64 of the crop, wider than what was found). CPU: of looking\n"
        "for occluders, a frame, and in relation to landmarks and crops (without decoding), in the same run."
    )
    command = "python -m benchmarks.occlusion --data …"
    command += "" if chosen.clip == list(CLIPS) else f" --clip {' '.join(chosen.clip)}"
    write_table("occlusion", "What lies before the face", about, table, command)


if __name__ == "__main__":
    main()
