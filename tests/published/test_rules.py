"""The rules by which the published system crops, hides, reads audio features and pastes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import network

from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError, MismatchError
from udh_core.published import rules
from udh_core.published.dataset import mesh_squares, reference_crops, reference_inputs, rows_of
from udh_core.published.model import PublishedCompositor
from udh_core.published.rules import Square
from udh_core.speech.features import AudioFeatures


def test_square_is_where_the_three_points_say() -> None:
    points = np.zeros((110, 2), np.float32)
    points[1], points[31], points[52] = (100.9, 3), (220.2, 4), (5, 77.7)
    assert rules.square(points) == Square(100, 77, 120)  # whole px, cut off


def test_input_is_bgr_with_the_mouth_black_and_the_reference_whole() -> None:
    crops = np.random.default_rng(0).integers(1, 256, (2, 168, 168, 3), np.uint8)
    images = rules.network_input(crops, crops[::-1])
    assert images.shape == (2, 6, 160, 160)
    np.testing.assert_allclose(images[0, :3], rules.network_target(crops[1:])[0])
    np.testing.assert_allclose(images[0, 0] * 255, crops[1, 4:164, 4:164, 2], atol=1e-4)
    black = (images[0, 3:] == 0).all(0)
    assert black[5:150, 5:155].all()
    assert black.sum() == 145 * 150


def test_what_is_drawn_comes_back_where_it_was() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 168, 168, 3), np.uint8)
    same = rules.with_drawn(crops, rules.network_target(crops) + 1e-4)
    assert (same == crops).all()
    black = rules.with_drawn(crops, np.zeros((2, 3, 160, 160), np.float32))
    assert (black[:, 4:164, 4:164] == 0).all()
    assert (black[:, :4] == crops[:, :4]).all()


@pytest.mark.parametrize("shape", [(2, 1024), (16, 512)])
def test_audio_window_is_eight_frames_with_zeros_beyond_the_ends(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    window = rules.audio_windows(features, np.array([0, 10, 19])).reshape(3, 8, *shape)
    assert (window[1] == features[6:14]).all()
    assert (window[0, :4] == 0).all()
    assert (window[0, 4:] == features[:4]).all()
    assert (window[2, :5] == features[15:]).all()
    assert (window[2, 5:] == 0).all()


def test_window_of_other_features_is_refused() -> None:
    with pytest.raises(FormatError, match="768"):
        rules.audio_windows(np.zeros((5, 2, 768), np.float32), np.array([0]))


@pytest.mark.parametrize("place", [Square(10, 20, 50), Square(-20, -10, 60), Square(70, 60, 90)])
def test_paste_changes_its_square_only(place: Square) -> None:
    frame = np.random.default_rng(0).integers(0, 200, (100, 120, 3), np.uint8)
    result = rules.paste(frame, np.full((168, 168, 3), 255, np.uint8), place)
    rows, columns = rules.inside(frame.shape, place)
    assert (result[rows, columns] == 255).all()
    result[rows, columns] = frame[rows, columns]
    assert (result == frame).all()


def test_square_outside_the_frame_changes_nothing() -> None:
    frame = np.full((50, 50, 3), 9, np.uint8)
    assert (rules.paste(frame, np.zeros((168, 168, 3), np.uint8), Square(60, 10, 20)) == frame).all()
    assert not rules.crop(frame, Square(0, 0, 0)).any()


def test_our_avatars_are_seen_by_the_published_rule(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    crops, squares = reference_crops(avatar), mesh_squares(avatar)
    first, lips = next(crops), avatar.track().landmarks[0, [61, 291, 13, 14, 152]]
    assert first.shape == (168, 168, 3)
    place = (lips - squares[0][:2]) * 168 / squares[0].side
    assert (place > 0).all()
    assert (place < 168).all()  # lips and chin are in the crop
    assert 0.45 < place[:4, 1].mean() / 168 < 0.9
    images, audio = reference_inputs(first[None], np.zeros((9, 2, 1024), np.float32), np.array([3]))
    assert images.shape == (1, 6, 160, 160)
    assert audio.shape == (1, 16, 32, 32)


def test_frame_without_a_face_stays_as_it_is() -> None:
    frame = np.full((40, 40, 3), 50, np.uint8)
    square = rules.mesh_square(np.full((468, 2), np.nan, np.float32))
    drawn = PublishedCompositor(network()).composite(
        [frame], [square], np.zeros((9, 2, 1024), np.float32), np.array([0])
    )
    assert (drawn[0] == frame).all()


def test_own_features_in_the_published_shape() -> None:
    values = np.random.default_rng(0).normal(size=(11, 1024)).astype(np.float32)
    rows = rows_of(AudioFeatures(values, 50.0, "hubert"), "hubert")
    assert rows.shape == (5, 2, 1024)
    assert (rows[2, 1] == values[5]).all()
    assert rows_of(AudioFeatures(np.zeros((7, 8192), np.float32), 20.0, "wenet:x"), "wenet").shape == (7, 16, 512)
    with pytest.raises(MismatchError, match="not to those of whisper-tiny"):
        rows_of(AudioFeatures(np.zeros((7, 366), np.float32), 50.0, "whisper-tiny"), "hubert")
