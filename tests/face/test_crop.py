"""Crops, masks and pasting: aligned by what speech does not move, and nothing outside the mask ever changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError, OptionError
from udh_core.face import crop as crop_module
from udh_core.face import mouth, topology
from udh_core.face.crop import CropSpec
from udh_core.face.mask import Reach
from udh_core.media.video import read_frames

ROOT = Path(__file__).resolve().parents[2]
SPEC = CropSpec(160)
EDGES = {"left": (-80, 0), "right": (80, 0), "top": (0, -115), "bottom": (0, 60), "corner": (90, 90), "gone": (900, 0)}


def similarity(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    """(2, 3): turn and scale, then shift."""
    angle = np.radians(degrees)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(2, 3): `second` applied to what `first` gives."""
    return second @ np.vstack([first, [0, 0, 1]])


def centred(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    """Source px → crop px of a crop around (x, y)."""
    transform = similarity(scale, degrees, 0, 0)
    transform[:, 2] = SPEC.size / 2 - transform @ [x, y, 0]
    return transform


def noise(height: int = 200, width: int = 240, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def face(person_avatar: Path) -> tuple[np.ndarray, np.ndarray]:
    """A frame of the built-in person and its transform to a 160 px crop."""
    avatar = open_avatar(person_avatar)
    transforms = crop_module.align(avatar.track().landmarks[40:41], SPEC)
    return next(read_frames(avatar.video, start=40, count=1)), transforms[0]


FPS = 25.0


# Alignment


@pytest.mark.parametrize("degrees", [0, -35, 120])
def test_align_recovers_a_known_similarity(degrees: float) -> None:
    to_crop = similarity(0.6, degrees, -40, 22)
    landmarks = np.random.default_rng(1).uniform(0, 500, (1, 468, 2)).astype(np.float32)
    ideal = crop_module.to_crop_px(crop_module._STABLE_PLACES, SPEC)
    landmarks[0, topology.STABLE_POINTS] = (ideal - to_crop[:, 2]) @ np.linalg.inv(to_crop[:, :2]).T
    np.testing.assert_allclose(crop_module.align(landmarks, SPEC)[0], to_crop, atol=2e-3)


def test_align_follows_the_head() -> None:
    landmarks = np.random.default_rng(2).uniform(0, 300, (5, 468, 2)).astype(np.float32)
    move = similarity(1.7, 25, 30, -80)
    still = crop_module.align(landmarks, SPEC)
    moved = crop_module.align(apply(move, landmarks).astype(np.float32), SPEC)
    np.testing.assert_allclose(np.stack([after(t, move) for t in moved]), still, atol=1e-3)


def test_mouth_and_jaw_have_no_say_in_the_alignment() -> None:
    landmarks = np.random.default_rng(3).uniform(0, 300, (1, 468, 2)).astype(np.float32)
    talking = landmarks.copy()
    talking[:, topology.LIPS + topology.JAW] += 25
    assert np.array_equal(crop_module.align(landmarks, SPEC), crop_module.align(talking, SPEC))


def test_align_keeps_missing_rows_missing() -> None:
    landmarks = np.random.default_rng(4).uniform(0, 300, (3, 468, 2)).astype(np.float32)
    landmarks[1] = np.nan
    assert np.isfinite(crop_module.align(landmarks, SPEC)).all((1, 2)).tolist() == [True, False, True]


# Smoothing over time


def starts(count: int, *cuts: int) -> np.ndarray:
    flags = np.zeros(count, bool)
    flags[[0, *cuts]] = True
    return flags


def test_smoothing_leaves_a_constant_track_unchanged() -> None:
    track = np.repeat(similarity(0.7, 178, 120, 60)[None], 30, 0).astype(np.float32)
    np.testing.assert_allclose(crop_module.smooth(track, starts(30), SPEC, FPS), track, rtol=1e-5, atol=1e-4)


def test_smoothing_never_crosses_a_cut() -> None:
    before, after_cut = similarity(0.7, 5, 10, 20), similarity(1.1, -9, -60, 45)
    track = np.stack([before] * 12 + [after_cut] * 12).astype(np.float32)
    np.testing.assert_allclose(crop_module.smooth(track, starts(24, 12), SPEC, FPS), track, rtol=1e-5, atol=1e-4)
    assert np.abs(crop_module.smooth(track, starts(24), SPEC, FPS) - track).max() > 5  # without the cut it blends


def test_smoothing_takes_jitter_away() -> None:
    jitter = np.random.default_rng(5).normal(0, 1, 200)
    track = np.stack([similarity(1, 0, x, 0) for x in jitter]).astype(np.float32)
    assert crop_module.smooth(track, starts(200), SPEC, FPS)[:, 0, 2].std() < 0.6 * jitter.std()


def test_smoothing_turns_the_short_way_round() -> None:
    degrees = np.linspace(170, 190, 21)  # arctan2 jumps in the middle
    track = np.stack([centred(1, d, 50, 50) for d in degrees]).astype(np.float32)
    smoothed = crop_module.smooth(track, starts(21), SPEC, FPS)
    np.testing.assert_allclose(smoothed[5:-5], track[5:-5], atol=0.02)


def test_smoothing_keeps_missing_rows_missing_and_their_neighbours_whole() -> None:
    track = np.repeat(similarity(0.7, 3, 12, 6)[None], 20, 0).astype(np.float32)
    whole = track.copy()
    track[8:11] = np.nan
    smoothed = crop_module.smooth(track, starts(20), SPEC, FPS)
    missing = np.isin(np.arange(20), (8, 9, 10))
    assert np.isnan(smoothed[missing]).all()
    np.testing.assert_allclose(smoothed[~missing], whole[~missing], rtol=1e-5, atol=1e-4)


# Crop and paste


@pytest.mark.parametrize("size", [256, 512])
def test_crop_pasted_back_changes_nothing_outside_and_little_inside(
    face: tuple[np.ndarray, np.ndarray], size: int, paste_area: Callable[..., np.ndarray]
) -> None:
    frame, transform = face
    spec, transform = CropSpec(size), transform * (size / SPEC.size)
    result = crop_module.paste(frame, crop_module.crop(frame, transform, spec), transform, spec)
    area = paste_area(frame.shape, transform, spec)
    assert np.array_equal(result[~area], frame[~area])
    assert np.abs(result[area].astype(int) - frame[area]).mean() < (3.0 if size == 256 else 0.7)


@pytest.mark.parametrize("name", ["grid_s1_train_5min", "musetalk_sun"])
def test_crop_pasted_back_on_real_frames(
    clips: Path, models: Path, name: str, paste_area: Callable[..., np.ndarray]
) -> None:
    from udh_core.face.tracking import detect

    frames = list(read_frames(clips / "video" / f"{name}.mp4", count=3))
    landmarks = np.stack([f.landmarks for f in detect(frames, models=models) if f.landmarks is not None])
    for frame, transform in zip(frames, crop_module.align(landmarks, SPEC), strict=True):
        result = crop_module.paste(frame, crop_module.crop(frame, transform, SPEC), transform, SPEC)
        area = paste_area(frame.shape, transform, SPEC)
        assert np.array_equal(result[~area], frame[~area])
        assert np.abs(result[area].astype(int) - frame[area]).mean() < 0.6


@pytest.mark.parametrize(
    "transform",
    [
        centred(0.9, 12, 121.3, 101.8),
        centred(1.6, -30, 60.5, 90.25),
        centred(2.0, 8, 120.2, 99.7),
        centred(2.9, -20, 118.4, 100.6),  # by 3, which the crop's size is no multiple of
        centred(4.3, 15, 121.3, 101.8),
    ],
)
def test_paste_is_sub_pixel_accurate(transform: np.ndarray) -> None:
    place = np.array([84.0, 118.0])  # inside the mask, where it is 1
    y, x = np.mgrid[: SPEC.size, : SPEC.size]
    blob = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 4.0**2))
    patch = np.repeat(np.rint(250 * blob)[..., None], 3, 2).astype(np.uint8)
    result = crop_module.paste(np.zeros((200, 240, 3), np.uint8), patch, transform, SPEC)[..., 0].astype(float)
    y, x = np.mgrid[:200, :240]
    centre = np.array([(result * x).sum(), (result * y).sum()]) / result.sum()
    expected = (place - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    np.testing.assert_allclose(centre, expected, atol=0.05)


def pasted_plainly(frame: np.ndarray, patch: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(H, W, 3) float64: blended in as it is, without averaging."""
    size, flags = frame.shape[1::-1], cv2.WARP_INVERSE_MAP
    alpha = cv2.warpAffine(crop_module.mask(SPEC), transform, size, flags=flags | cv2.INTER_LINEAR)[..., None]
    drawn = cv2.warpAffine(patch, transform, size, flags=flags | cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return frame + alpha * (drawn.astype(np.float64) - frame)


def pasted_std(scale: float) -> tuple[float, float]:
    """Of noise, where it covers the frame: as pasted, and without averaging."""
    grey, grain = np.full((200, 240, 3), 128, np.uint8), np.random.default_rng(3).normal(128, 55, (160, 160, 3))
    patch, transform = np.clip(grain, 0, 255).astype(np.uint8), centred(scale, 0, 120, 100)
    whole = cv2.warpAffine(crop_module.mask(SPEC), transform, (240, 200), flags=cv2.WARP_INVERSE_MAP) > 0.99
    found = crop_module.paste(grey, patch, transform, SPEC), pasted_plainly(grey, patch, transform)
    return float(found[0][whole].std()), float(found[1][whole].std())


@pytest.mark.parametrize(("scale", "most"), [(2.25, 0.55), (3.2, 0.4), (4.0, 0.3)])
def test_a_crop_that_is_finer_than_the_frame_is_averaged(scale: float, most: float, figure) -> None:
    std, plain = pasted_std(scale)
    figure(f"noise pasted at scale {scale}: std {std:.1f}, {plain:.1f} without averaging")
    assert std < most * plain


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5, 1.7])
def test_a_crop_that_is_hardly_finer_than_the_frame_is_pasted_as_it_is(scale: float) -> None:
    frame, patch, transform = noise(), noise(160, 160, 1), centred(scale, 5, 120.3, 100.8)
    apart = np.abs(crop_module.paste(frame, patch, transform, SPEC) - pasted_plainly(frame, patch, transform))
    assert apart.max() <= 4  # the region's own rounding of places


@pytest.mark.parametrize("scale", [2.25, 3.0])
def test_averaging_changes_nothing_outside_the_mask(scale: float, paste_area: Callable[..., np.ndarray]) -> None:
    frame, transform = noise(), centred(scale, -11, 118.4, 97.7)
    result = crop_module.paste(frame, noise(160, 160, 2), transform, SPEC)
    area = paste_area(frame.shape, transform, SPEC)
    assert np.array_equal(result[~area], frame[~area])
    assert not np.array_equal(result[area], frame[area])


@pytest.mark.parametrize("scale", [0.5, 2.25])
def test_a_part_of_a_frame_is_pasted_into_as_the_whole(scale: float) -> None:
    frame, patch, transform = noise(), noise(160, 160, 1), centred(scale, 5, 120.3, 100.8)
    rows, columns = slice(11, 190), slice(17, 230)
    there = crop_module.seen_from(transform, np.array([columns.start, rows.start]))
    part = crop_module.paste(frame[rows, columns], patch, there, SPEC).astype(int)
    assert np.abs(part - crop_module.paste(frame, patch, transform, SPEC)[rows, columns]).max() <= 4


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.3])
def test_paste_area_is_where_paste_changes(scale: float, paste_area: Callable[..., np.ndarray]) -> None:
    transform = centred(scale, 7, 118.4, 97.7)
    black, white = np.zeros((200, 240, 3), np.uint8), np.full((SPEC.size, SPEC.size, 3), 255, np.uint8)
    changed = (crop_module.paste(black, white, transform, SPEC) > 0).any(-1)
    area = paste_area(black.shape, transform, SPEC)
    assert not (changed & ~area).any()
    side = 2 * int(np.ceil(1 / scale)) + 1  # the outermost pixel of the mask may carry less than half a grey level
    inside = cv2.erode(area.astype(np.uint8), np.ones((side, side), np.uint8), borderValue=1) > 0
    assert inside.any() and changed[inside].all()


@pytest.mark.parametrize("shift", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("scale", [0.3, 1.2])
def test_face_at_the_edge_of_the_frame(
    shift: tuple[int, int], scale: float, paste_area: Callable[..., np.ndarray]
) -> None:
    frame = noise()
    transform = centred(scale, -8, 120 + shift[0], 100 + shift[1])
    crop = crop_module.crop(frame, transform, SPEC)
    assert (crop.shape, crop.dtype) == ((160, 160, 3), np.uint8)
    result = crop_module.paste(frame, 255 - crop, transform, SPEC)
    area = paste_area(frame.shape, transform, SPEC)
    assert (result.shape, result.dtype) == (frame.shape, np.uint8)
    assert np.array_equal(result[~area], frame[~area])


def test_paste_leaves_its_input_alone() -> None:
    frame = noise()
    before = frame.copy()
    crop_module.paste(frame, noise(160, 160, 1), centred(1, 0, 120, 100), SPEC)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_crop_of_a_large_frame_neither_aliases_nor_shifts(face: tuple[np.ndarray, np.ndarray], factor: int) -> None:
    frame, _ = face
    small = cv2.resize(frame, (240, 240), interpolation=cv2.INTER_AREA) // 2 + 64
    large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(int)
    stripes = np.resize(np.linspace(-60, 60, factor), large.shape[1])[None, :, None]  # averages to nothing
    large = np.clip(large + stripes, 0, 255).astype(np.uint8)
    to_crop = centred(1.0, 6, 118, 110)
    to_small = np.array([[1 / factor, 0, (1 / factor - 1) / 2], [0, 1 / factor, (1 / factor - 1) / 2]])
    difference = crop_module.crop(large, after(to_crop, to_small), SPEC).astype(int) - crop_module.crop(
        small, to_crop, SPEC
    )
    assert np.abs(difference).mean() < 0.9


# The mask


@pytest.mark.parametrize("size", crop_module.SIZES)
def test_hidden_area_covers_the_mask_with_a_margin(size: int) -> None:
    spec = CropSpec(size)
    mask, hidden = crop_module.mask(spec), crop_module.hidden(spec)
    assert mask.min() == 0 and mask.max() == 1
    widened = cv2.dilate((mask > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert hidden[widened].all()
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()  # no seam where the crop ends


@pytest.mark.parametrize("size", crop_module.SIZES)
def test_mask_box_holds_the_hidden_area(size: int) -> None:
    spec = CropSpec(size)
    rows, columns = crop_module.mask_box(spec, 16)
    outside = crop_module.hidden(spec).copy()
    outside[rows, columns] = False
    assert not outside.any()
    assert [n % 16 for n in (rows.start, rows.stop, columns.start, columns.stop)] == [0] * 4


def hidden_share(landmarks: np.ndarray, points: tuple[int, ...]) -> float:
    """How many of these points lie inside the hidden area of the widest and the person's own mask, over all frames."""
    transforms = crop_module.align(landmarks, SPEC)
    x, y = np.floor(crop_module.in_crop(landmarks[:, points], transforms)).astype(int).clip(0, SPEC.size - 1).T
    reach = Reach.of_jaw(crop_module.to_face_units(landmarks[:, topology.JAW], transforms, SPEC))
    return min(float(crop_module.hidden(spec)[y, x].mean()) for spec in (SPEC, CropSpec(SPEC.size, reach=reach)))


def found_in(path: Path, start: int, count: int, models: Path) -> np.ndarray:
    from udh_core.face.tracking import detect

    found = detect(read_frames(path, start=start, count=count), models=models)
    return np.stack([face.landmarks for face in found if face.landmarks is not None])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("grid_s1_train_5min", 0),
        ("dfrf_cnn2_25fps", 150),
        ("sadtalker_WDA_AOC_000", 0),
        ("videoretalking_face3", 0),
        ("musetalk_sun", 0),
        ("latentsync_demo2", 17),  # head far back: the upper lip is high
    ],
)
def test_mouth_and_jaw_are_hidden_on_real_faces(clips: Path, models: Path, name: str, start: int) -> None:
    landmarks = found_in(clips / "video" / f"{name}.mp4", start, 5 if start == 17 else 75, models)
    assert hidden_share(landmarks, topology.LIPS) >= 0.99
    assert hidden_share(landmarks, topology.JAW) >= 0.99


def test_mouth_and_jaw_are_hidden_on_the_built_in_person(person_avatar: Path) -> None:
    landmarks = open_avatar(person_avatar).track().landmarks
    assert hidden_share(landmarks, topology.LIPS) == 1
    assert hidden_share(landmarks, topology.JAW) >= 0.99


def test_eyes_and_nose_bridge_stay_visible(person_avatar: Path) -> None:
    landmarks = open_avatar(person_avatar).track().landmarks
    assert hidden_share(landmarks, topology.STABLE_POINTS) == 0


def test_mouth_window_shows_the_lips(person_avatar: Path) -> None:
    landmarks = open_avatar(person_avatar).track().landmarks
    transforms = crop_module.align(landmarks, SPEC)
    lips = np.einsum("nij,nkj->nki", transforms[:, :, :2], landmarks[:, topology.LIPS]) + transforms[:, None, :, 2]
    rows, columns = crop_module.mouth_window(SPEC)
    assert columns.start < lips[..., 0].min() and lips[..., 0].max() < columns.stop
    assert rows.start < lips[..., 1].min() and lips[..., 1].max() < rows.stop


def test_mouth_shape_does_not_depend_on_where_the_head_is(person_avatar: Path) -> None:
    landmarks = open_avatar(person_avatar).track().landmarks[:10]
    moved = apply(similarity(0.5, 20, 300, -10), landmarks).astype(np.float32)
    shape, same = (mouth.mouth_shape(p, crop_module.align(p, SPEC), SPEC) for p in (landmarks, moved))
    np.testing.assert_allclose(shape, same, atol=2e-3)
    large = CropSpec(320)
    np.testing.assert_allclose(
        shape, mouth.mouth_shape(landmarks, crop_module.align(landmarks, large), large), atol=1e-4
    )


# CropSpec


@pytest.mark.parametrize("size", [0, -32, 64, 100, 161, 544])
def test_wrong_crop_size(size: int) -> None:
    with pytest.raises(OptionError, match=f"crop size {size}: choose a multiple of 32"):
        CropSpec(size)


def test_crop_of_a_newer_version() -> None:
    with pytest.raises(FormatError, match="layout 2 is of a newer version"):
        CropSpec(160, layout=2)


@pytest.mark.parametrize("size", crop_module.SIZES)
def test_crop_spec_round_trip(size: int) -> None:
    assert CropSpec.from_dict(CropSpec(size).to_dict()) == CropSpec(size)


def test_geometry_needs_no_torch() -> None:
    code = "import sys, udh_core.face.crop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
