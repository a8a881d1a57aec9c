"""What is wrong with the picture: faces, angles, cuts, size, sharpness, light, motion, frozen frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import binary_dilation

from ..avatar.folder import Avatar
from ..face.crop import CropSpec, eye_distance, hidden, mouth_window, shrinks
from ..face.detector import MIN_SCORE, FaceDetector, FaceMesh, box_of
from ..face.topology import CANONICAL_PLACES, MOUTH_LEFT, MOUTH_RIGHT, STABLE_POINTS
from ..face.tracking import FaceTrack
from ..intervals import runs
from ..media.video import read_frames
from ..progress import Progress
from .finding import Finding, by_figure, by_share, grade
from .visibility import visibility_findings

# In brackets: what the development clips measure (GRID, two news clips, three web clips).
SAMPLES_PER_S, MAX_SAMPLES = 4, 2000  # crops looked at closely; a longer clip is sampled thinner
COMPARABLE = 0.5  # a second face counts from this share of the speaker's size on
YAW_DEG = 30.0  # beyond it the far corner of the mouth begins to hide [GRID ≤ 13.5, others ≤ 17.6]
DOUBT_S = 0.5  # so long a face must be unlike the person's to be named [GRID: 0.48 s of damaged pictures]
SHORT_SHOT_S = 1.0  # a shorter shot has no room for a SyncNet window and its shifted neighbours [GRID: 3 s a shot]
MOUTH_PX = (34.0, 20.0)  # corner to corner, median; yellow and red below [GRID 40, trains well; others 43–100]
DETAIL_PX = 64.0  # distance of the eyes' outer corners at which sharpness is measured [GRID 70, others 77–180]
# Fine (σ < 1 px) over coarse (σ < 4 px) contrast of the mouth region [0.26–0.31; blurred by σ = 1 px: 0.19–0.22, by
# 1.5 px: 0.16–0.19]. skimage's blur_effect overlaps: 0.44–0.53 sharp, 0.51–0.59 with σ = 1 px.
SHARPNESS = (0.22, 0.18)
DARK_LEVEL = 90  # of 255: the mouth region's brightest 5 % lie below it [170–237]
BLOWN_LEVEL, BLOWN_SHARE = 250, 0.05  # so much of the mouth region is this bright [≤ 0.005]
FAST = 0.1  # eye distances a frame: 6 px at DETAIL_PX, half of it smeared [GRID ≤ 0.04; a restless web clip 0.18]
FAST_AROUND_S = 0.08  # on either side suffers, too: landmarks and crops are smoothed over it
# Mean difference from the first frame of a stretch, of 255, within FROZEN_S. [One picture over and over, x264 at crf
# 12–30: ≤ 0.28, at crf 38: ≤ 0.38; with noise of σ = 2, at crf 16: 0.30–0.53. A silent man who holds still: ≥ 0.48]
STILL_LEVEL = 0.4
# The same of a crop that is averaged down from a larger face: every frame is averaged in other squares. [One picture
# over and over: ≤ 0.46. People who speak or listen: ≥ 1.2]
SHRUNK_STILL_LEVEL = 0.6
FROZEN_S = 0.4  # so long nobody holds still who speaks
_STILL_CELLS = 20  # squares a crop's side is divided into: their means hardly know the noise of sensor and codec


@dataclass(frozen=True)
class Samples:
    """What crops at regular distances look like; NaN where the face is lost."""

    edges_s: np.ndarray  # (n + 1,) float64: where one sample's part of the clip ends and the next begins
    sharpness: np.ndarray  # (n,) float64: fine over coarse contrast of the mouth region
    bright: np.ndarray  # (n,) float64, 0..255: level of its brightest 5 %
    blown: np.ndarray  # (n,) float64, 0..1: share of it that is over-exposed
    yaw_deg: np.ndarray  # (n,) float64: how far the head is turned; positive: its nose points to the image's right


def video_findings(
    avatar: Avatar, track: FaceTrack, speaks: np.ndarray, models: Path | None
) -> Generator[Progress, None, list[Finding]]:
    """All findings about the picture; speaks (N,) bool says at which frames somebody speaks."""
    samples = yield from _sample(avatar, track)
    hidden = yield from visibility_findings(avatar, track)
    seconds = yield from _count_faces(avatar, track, models)
    stretches = yield from _stretches(avatar, track)
    fps = float(avatar.info.fps)
    frame_edges_s = np.arange(avatar.info.frame_count + 1) / fps
    return [
        _face(track, frame_edges_s),
        _second_face(seconds, avatar.info.duration_s),
        _other_person(track, frame_edges_s),
        *hidden,
        _profile(samples),
        _cuts(track, frame_edges_s),
        _mouth_size(track),
        *_sharpness_and_light(samples),
        _motion(track, frame_edges_s, fps),
        _frozen(stretches, speaks, frame_edges_s, fps),
    ]


def yaw_deg(landmarks: np.ndarray, width: int, height: int) -> float:
    """How far a head is turned to the side, degrees, from landmarks (468, 2) in px of a frame of this size."""
    focal = float(max(width, height))  # a usual lens; the angle hardly depends on it
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    places = np.array(list(CANONICAL_PLACES.values())) * (1, -1, -1)
    points = landmarks[list(CANONICAL_PLACES)].astype(np.float64)
    _, turn, _ = cv2.solvePnP(places, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    nose = cv2.Rodrigues(turn)[0] @ (0.0, 0.0, -1.0)
    return float(np.degrees(np.arctan2(nose[0], -nose[2])))


def sharpness(mouth: np.ndarray) -> float:
    """Fine over coarse contrast of a mouth region (h, w) uint8 at the scale of DETAIL_PX."""
    grey = mouth.astype(np.float32)
    fine, coarse = (float(cv2.subtract(grey, cv2.GaussianBlur(grey, (0, 0), sigma)).std()) for sigma in (1.0, 4.0))
    return fine / max(coarse, 1e-6)


def _sample(avatar: Avatar, track: FaceTrack) -> Generator[Progress, None, Samples]:
    total, fps = avatar.info.frame_count, float(avatar.info.fps)
    count = min(max(1, round(avatar.info.duration_s * SAMPLES_PER_S)), MAX_SAMPLES, total)
    edges = np.linspace(0, total, count + 1)
    crops, eyes = avatar.crops(), eye_distance(track.landmarks)
    figures = np.full((count, 4), np.nan)
    for k, (first, stop) in enumerate(zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True)):
        there = first + np.flatnonzero(track.present[first:stop])
        if len(there):
            i = there[len(there) // 2]
            yaw = yaw_deg(track.landmarks[i], avatar.info.width, avatar.info.height)
            figures[k] = (*_crop_figures(crops[i], float(eyes[i]), avatar.crop), yaw)
        if k % 50 == 0:
            yield Progress("audit picture", k, count)
    return Samples(edges / fps, *figures.T)


def _crop_figures(crop: np.ndarray, eye_px: float, spec: CropSpec) -> tuple[float, float, float]:
    """Sharpness, bright level and blown share of a crop (S, S, 3) whose source had this distance of the eyes."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    region, mouth = grey[hidden(spec)], grey[mouth_window(spec)]
    # A face smaller than that was enlarged for its crop: such blur is a matter of size, not of focus.
    shrink = min(1.0, min(DETAIL_PX, eye_px) / spec.px_per_unit)
    small = cv2.resize(mouth, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return sharpness(small), float(np.percentile(region, 95)), float((region >= BLOWN_LEVEL).mean())


def _count_faces(avatar: Avatar, track: FaceTrack, models: Path | None) -> Generator[Progress, None, list[bool]]:
    """For every second, whether its middle shows another face about as large as the speaker's."""
    detector, mesh = FaceDetector(models), FaceMesh(models)
    fps, total = float(avatar.info.fps), max(1, int(avatar.info.duration_s))
    others: list[bool] = []
    for frame in read_frames(avatar.video, fps=Fraction(1), threads=1):
        index = min(int((len(others) + 0.5) * fps), len(track.valid) - 1)  # as the fps filter of ffmpeg chooses
        faces = [box for box in detector.find(frame) if mesh.locate(frame, box)[1] >= MIN_SCORE]
        own = box_of(track.landmarks[index]) if track.present[index] else None
        if own is not None:
            faces = [box for box in faces if np.hypot(box.x - own.x, box.y - own.y) > own.side / 2]
            others.append(any(box.side > COMPARABLE * own.side for box in faces))
        else:
            others.append(len(faces) > 1)
        yield Progress("audit faces", min(len(others), total), total)
    return others


def _face(track: FaceTrack, edges_s: np.ndarray) -> Finding:
    figure = f"found in {track.valid.mean():.1%} of the frames"
    remedy = "cut those stretches away, or record again with the face always in the picture"
    lost = ~track.valid & ~track.others
    stretches = sorted(runs(lost), key=lambda stretch: stretch[1] - stretch[0])
    worst = sum(stretches[-1]) // 2 if stretches else None
    return by_share("face", figure, lost, edges_s, remedy, worst)


def _second_face(seconds: list[bool], duration_s: float) -> Finding:
    bad = np.array(seconds, bool)
    edges_s = np.minimum(np.arange(len(bad) + 1.0), duration_s)
    figure = f"another face of similar size in {int(bad.sum())} of {len(bad)} frames, one a second"
    remedy = "crop or trim the video to one person: the face may be mixed up, and the voice may be the other's"
    return by_share("second face", figure, bad, edges_s, remedy, int(bad.argmax()) if bad.any() else None)


def _other_person(track: FaceTrack, edges_s: np.ndarray) -> Finding:
    """Frames that show somebody else are left out by themselves; those that perhaps do are not."""
    bad = _lasting(track.others, edges_s)
    others = bad.any()
    bad = bad if others else _lasting(track.doubtful, edges_s)
    figure, remedy = (
        "nobody else is followed",
        "trim the clip to one person, or choose whom to follow by the face's place",
    )
    if others:
        figure = "another person is shown; such frames are not trained on"
    elif bad.any():
        figure = "perhaps another person is shown: the face is not much like that of the rest"
    found = by_share("other person", figure, bad, edges_s, remedy, int(bad.argmax()))
    if found.level == "green" and bad.any():
        return replace(found, level="yellow", sentence=f"{found.sentence}; {remedy}")
    return replace(found, level="yellow") if found.level == "red" and not others else found


def _lasting(flags: np.ndarray, edges_s: np.ndarray) -> np.ndarray:
    """(N,) bool without stretches shorter than DOUBT_S: a blink or a blur, at which anybody looks unlike himself."""
    kept = np.zeros_like(flags)
    for start, stop in runs(flags):
        kept[start:stop] = edges_s[stop] - edges_s[start] >= DOUBT_S
    return kept


def _profile(samples: Samples) -> Finding:
    turned = np.nan_to_num(np.abs(samples.yaw_deg))
    figure = f"the head turns up to {turned.max():.0f}° to the side"
    remedy = f"use footage that looks at the camera: beyond {YAW_DEG:.0f}° half of the mouth is hidden"
    return by_share("profile", figure, turned > YAW_DEG, samples.edges_s, remedy, int(turned.argmax()))


def _cuts(track: FaceTrack, edges_s: np.ndarray) -> Finding:
    starts = np.flatnonzero(track.shot_starts)
    lengths_s = np.diff(edges_s[np.append(starts, len(track.valid))])
    short = np.repeat(lengths_s < SHORT_SHOT_S, np.diff(np.append(starts, len(track.valid))))
    figure = f"{len(starts)} shots of {np.median(lengths_s):.1f} s (median)"
    remedy = f"use longer takes: shots under {SHORT_SHOT_S:g} s are too short to learn from"
    if len(starts) == 1:  # the clip itself may be this short
        figure, short = "none", np.zeros_like(short)
    return by_share("cuts", figure, short, edges_s, remedy, int(short.argmax()))


def _mouth_size(track: FaceTrack) -> Finding:
    corners = track.landmarks[track.valid][:, (MOUTH_RIGHT, MOUTH_LEFT)]
    wide_px = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    px = float(np.median(wide_px))
    remedy = "use a closer shot or a higher resolution, or the mouth will be soft"
    return by_figure("mouth size", f"{px:.0f} px from corner to corner", grade(px, *MOUTH_PX), remedy)


def _sharpness_and_light(samples: Samples) -> Iterator[Finding]:
    typical = float(np.nanmedian(samples.sharpness))
    figure = f"sharpness {typical:.2f} (good: over {SHARPNESS[0]:.2f})"
    remedy = "focus on the face, use more light and a faster shutter, and the camera's original file"
    blurred = samples.sharpness < SHARPNESS[0]
    found = by_share("blur", figure, blurred, samples.edges_s, remedy, _least(samples.sharpness))
    slightly = found.level == "red" and typical > SHARPNESS[1]  # all of the clip may be, and yet be of use
    yield replace(found, level="yellow") if slightly else found
    bright = samples.bright
    figure = f"the bright parts of the mouth region have level {np.nanmedian(bright):.0f} of 255"
    remedy = "put a light before the person, or brighten the video before it is imported"
    yield by_share("dark", figure, bright < DARK_LEVEL, samples.edges_s, remedy, _least(bright))
    blown = np.nan_to_num(samples.blown)
    figure = f"{blown.mean():.1%} of the mouth region is burnt out"
    remedy = "expose for the face: burnt-out skin has no shape left"
    worst = int(blown.argmax())
    yield by_share("over-exposed", figure, blown > BLOWN_SHARE, samples.edges_s, remedy, worst)


def _least(values: np.ndarray) -> int:
    return int(np.nanargmin(values))


def _motion(track: FaceTrack, edges_s: np.ndarray, fps: float) -> Finding:
    """Positions are the landmarks' own: the crops' smoothed path would hide a jump."""
    place = track.landmarks[:, STABLE_POINTS].mean(1)
    moved = np.linalg.norm(np.diff(place, axis=0), axis=1) / eye_distance(track.landmarks)[1:]
    moved = np.concatenate([[0.0], np.where(track.shot_starts[1:], 0.0, np.nan_to_num(moved))])
    around = 2 * round(FAST_AROUND_S * fps) + 1
    fast = binary_dilation(moved > FAST, np.ones(around, bool))
    figure = f"the head moves by up to {moved.max():.2f} eye distances from frame to frame (good: under {FAST:g})"
    remedy = "let the person sit calmly, use a faster shutter and no digital zoom or dropped frames"
    return by_share("motion", figure, fast, edges_s, remedy, int(moved.argmax()))


def _frozen(stretches: list[tuple[int, int]], speaks: np.ndarray, edges_s: np.ndarray, fps: float) -> Finding:
    frozen = np.zeros(len(speaks), bool)
    longest = (0, 0)
    for start, stop in stretches:
        if stop - start >= FROZEN_S * fps and speaks[start:stop].mean() > 0.5:
            frozen[start:stop] = True
            longest = max(longest, (start, stop), key=lambda stretch: stretch[1] - stretch[0])
    figure = f"the picture stands still for {frozen.sum() / fps:.1f} s while somebody speaks"
    remedy = "cut that away, or record again: the recorder stopped writing pictures"
    return by_share("frozen", figure, frozen, edges_s, remedy, sum(longest) // 2)


def _stretches(avatar: Avatar, track: FaceTrack) -> Generator[Progress, None, list[tuple[int, int]]]:
    """[start, stop) of the stretches whose frames all show what the first of them shows; they fill the clip."""
    crops, total = avatar.crops(), avatar.info.frame_count
    apart = track.shot_starts | ~track.present
    apart[1:] |= ~track.present[:-1]
    starts, first = [0], cv2.cvtColor(crops[0], cv2.COLOR_RGB2GRAY)
    levels = np.where(shrinks(track.transforms), SHRUNK_STILL_LEVEL, STILL_LEVEL)
    for i in range(1, total):
        grey = cv2.cvtColor(crops[i], cv2.COLOR_RGB2GRAY)
        places = track.transforms[starts[-1]], track.transforms[i]
        if apart[i] or difference(first, grey, *places) > levels[i]:
            starts.append(i)
            first = grey
        if i % 50 == 0:
            yield Progress("audit frames", i, total)
    return list(zip(starts, [*starts[1:], total], strict=True))


def difference(before: np.ndarray, after: np.ndarray, transform: np.ndarray, transform_after: np.ndarray) -> float:
    """Mean difference, 0..255, of what two grey crops (S, S) uint8 show, wherever their transforms (2, 3) put it.

    A crop follows the landmarks, and those wander by some tenths of a px on a picture that stands still: the rounding
    of one frame moves where the mesh looks in the next. So one crop is laid upon the other before they are compared.
    """
    back = cv2.invertAffineTransform(transform.astype(np.float64))
    linear = transform_after[:, :2].astype(np.float64)
    moved = np.column_stack([linear @ back[:, :2], linear @ back[:, 2] + transform_after[:, 2]])
    there = cv2.warpAffine(
        before.astype(np.float32), moved, before.shape, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cells = cv2.resize(after - there, (_STILL_CELLS, _STILL_CELLS), interpolation=cv2.INTER_AREA)
    return float(np.abs(cells[1:-1, 1:-1]).mean())  # the crop's border came from another place
