"""How far the mask reaches: over a person's jaw wherever it goes, and no further than over any jaw."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from udh_core.avatar.folder import open_avatar
from udh_core.errors import OptionError
from udh_core.face import crop as crop_module
from udh_core.face.crop import CropSpec, to_face_units
from udh_core.face.mask import FEATHER, Reach
from udh_core.face.topology import JAW

WIDEST = Reach()


def jaws(left: float, right: float, chin: float, frames: int = 200) -> np.ndarray:
    """(frames, 13, 2) half ellipses in face units from the left over the chin to the right; open and shut, turn."""
    along = np.linspace(np.pi, 0, 13)
    random = np.random.default_rng(0)
    low, turn = random.uniform(0.9, 1.0, frames), random.uniform(-0.03, 0, frames)
    x = np.where(np.cos(along) < 0, left, right) * np.cos(along)
    y = 0.75 + (chin * low[:, None] - 0.75) * np.sin(along)
    return np.stack([x[None] + np.sign(x) * turn[:, None], y], -1)


@pytest.mark.parametrize(("left", "right", "chin"), [(0.45, 0.45, 1.2), (0.25, 0.48, 1.1), (0.48, 0.3, 1.3)])
def test_jaw_lies_inside_and_the_collar_outside(left: float, right: float, chin: float) -> None:
    places = jaws(left, right, chin)
    reach = Reach.of_jaw(places)
    depth = reach.depth(places[..., 0], places[..., 1])
    assert (depth > 0.6 * FEATHER).mean() > 0.98  # nearly all of the drawn crop counts there
    assert reach.bottom < chin + 0.2
    assert reach.depth(np.array(0.0), np.array(chin + 0.2)) < 0
    assert WIDEST.depth(np.array(0.0), np.array(chin + 0.2)) > 0
    assert (reach.left < WIDEST.left) == (left < 0.49)


def test_stray_landmarks_do_not_widen_it() -> None:
    places = jaws(0.4, 0.4, 1.1, 1000)
    strayed = places.copy()
    strayed[::300] += 0.3
    assert asdict(Reach.of_jaw(strayed)) == pytest.approx(asdict(Reach.of_jaw(places)), abs=0.005)


def test_it_reaches_no_further_than_over_any_jaw_and_not_into_the_mouth() -> None:
    assert Reach.of_jaw(jaws(2, 2, 4)) == WIDEST
    least = Reach.of_jaw(jaws(0.05, 0.05, 0.8))
    assert (least.left, least.right) == (WIDEST.left / 2, WIDEST.right / 2)


def test_mask_of_a_person_lies_inside_the_widest_and_holds_the_chin(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    track = avatar.track()
    places = to_face_units(track.landmarks[:, JAW], track.transforms, avatar.crop)
    own = replace(avatar.crop, reach=Reach.of_jaw(places))
    mask, widest = crop_module.mask(own), crop_module.mask(avatar.crop)
    assert 0.5 < mask.sum() / widest.sum() < 0.97
    assert crop_module.hidden(own)[~crop_module.hidden(avatar.crop)].mean() < 0.01
    x, y = np.moveaxis(np.rint(crop_module.in_crop(track.landmarks[:, JAW[3:-3]], track.transforms)).astype(int), -1, 0)
    assert np.percentile(mask[y, x], 1) > 0.9


@pytest.mark.parametrize("size", crop_module.SIZES)
def test_round_trip_and_what_was_kept_before_there_was_a_reach(size: int) -> None:
    spec = CropSpec(size, reach=Reach(0.5, 0.6, 1.4))
    assert CropSpec.from_dict(spec.to_dict()) == spec
    assert CropSpec.from_dict({"size": size, "layout": 1}) == CropSpec(size)
    assert spec != CropSpec(size)
    assert spec.view == CropSpec(size).view != CropSpec(96).view


@pytest.mark.parametrize("wrong", [{"left": 0.1}, {"right": 0.7}, {"bottom": 3.0}, {"bottom": float("nan")}])
def test_impossible_reach_is_named(wrong: dict[str, float]) -> None:
    (side,) = wrong
    with pytest.raises(OptionError, match=f"mask {side} .*: a number from"):
        CropSpec.from_dict({"size": 160, "layout": 1, "reach": wrong})
