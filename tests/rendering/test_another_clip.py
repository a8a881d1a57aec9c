"""A generator in another clip of its person: in that clip's colours, and never in somebody else's face."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.errors import MismatchError
from udh_core.face.crop import CropSpec, mask
from udh_core.face.likeness import unlikeness
from udh_core.inference.tint import fit_tint
from udh_core.media.audio import load_waveform, write_wave
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import open_generator, read_info
from udh_core.rendering.another_clip import check_clip
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.places import places_of
from udh_core.rendering.render import render

OTHER_CLIP = RenderOptions(crf=4, another_clip=True)


@pytest.fixture(scope="module")
def warm(repainted: Callable[..., Avatar]) -> Avatar:
    """The built-in person in the light of a lamp, which stands on the right."""

    def change(frame: np.ndarray, _: int) -> np.ndarray:
        side = np.linspace(0.8, 1.0, frame.shape[1])[:, None]
        return np.clip(frame * side * np.array([0.9, 0.7, 0.5]) + 10, 0, 255).astype(np.uint8)

    return replace(repainted(change, 40), identity="that of another clip")


@pytest.fixture(scope="module")
def few_words(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "short.wav"
    write_wave(path, load_waveform(speech, duration_s=0.4))
    return path


def test_the_tint_of_a_clip_is_found(training_data) -> None:
    spec, crops = CropSpec(96), np.asarray(training_data.crops[:8])
    gain, offset = np.array([0.8, 1.1, 0.6]), np.linspace(-15, 25, 96)[:, None] + np.array([5, -8, 12])
    others = np.clip(crops * gain + offset, 0, 255).astype(np.uint8)
    tint = fit_tint(crops.mean(0), others.mean(0), spec)
    inside = mask(spec) > 0
    assert np.abs(tint.to_clips(crops).astype(int) - others)[:, inside].mean() < 4
    assert np.abs(tint.to_generators(others).astype(int) - crops)[:, inside].mean() < 6
    assert np.abs(crops.astype(int) - others)[:, inside].mean() > 20


def test_the_mouth_has_the_colours_of_the_other_clip(
    warm: Avatar, generator_file: Path, few_words: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        MismatchError, match=r"was trained with avatar .*or choose `another_clip` if it is another clip"
    ):
        render(warm, generator_file, few_words, tmp_path / "no.mp4").run()
    out = render(warm, generator_file, few_words, tmp_path / "out.mp4", OTHER_CLIP).run()
    places = places_of(warm.redrawn_in(read_info(generator_file).crop), 10, OTHER_CLIP)
    for k, (drawn, real) in enumerate(zip(read_frames(out), read_frames(warm.video), strict=False)):
        mouth = places.mask(k) > 0.9
        differences = drawn[mouth].mean(0) - real[mouth].mean(0)
        assert np.abs(differences).max() < 12, k
        assert (drawn[mouth] != real[mouth]).any(), k


def test_a_crop_of_another_size_is_refused_with_the_remedy(warm: Avatar, generator_file: Path) -> None:
    info, network = open_generator(generator_file)
    small = replace(warm, crop=CropSpec(160))
    with pytest.raises(
        MismatchError, match=r"draws crops of 96 px, .* have 160 px; prepare that clip with `crop_px` 96"
    ):
        check_clip(small, info, network, OTHER_CLIP)


def test_somebody_else_is_refused_and_nobody_is_said(
    warm: Avatar,
    generator_file: Path,
    two_people: tuple[list[np.ndarray], list[np.ndarray]],
    models: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    info, network = open_generator(generator_file)
    one, other = ([cv2.resize(frame[:, 112:400], (256, 256)) for frame in frames[::13]] for frames in two_people)
    assert unlikeness(one, one[1:], models) < 0.4 < 0.7 < unlikeness(one, other, models)
    small = np.stack([cv2.resize(one[0], (96, 96), interpolation=cv2.INTER_AREA)] * len(network.warp.references))
    network.warp.references.copy_(torch.from_numpy(small).permute(0, 3, 1, 2))
    with pytest.raises(
        MismatchError, match=r"shows another person than person \(person\.mp4.*\(distance of the faces 0"
    ):
        check_clip(warm, info, network, OTHER_CLIP, models)
    network.warp.references.zero_()
    with caplog.at_level(logging.WARNING):
        assert check_clip(warm, info, network, OTHER_CLIP, models) is not None
    assert "could not be checked: no face was found" in caplog.text


def test_its_own_clip_is_not_another_one(person_avatar: Path, generator_file: Path) -> None:
    info, network = open_generator(generator_file)
    assert check_clip(open_avatar(person_avatar), info, network, OTHER_CLIP) is None


def test_a_jaw_that_goes_further_than_the_mask_is_told(
    warm: Avatar, generator_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    info, network = open_generator(generator_file)
    check_clip(warm, info, network, OTHER_CLIP)
    assert "goes further" not in caplog.text
    low = replace(info.crop.reach, bottom=info.crop.reach.bottom - 0.15)
    check_clip(warm, replace(info, crop=replace(info.crop, reach=low)), network, OTHER_CLIP)
    assert "the jaw in" in caplog.text
    assert "goes further than in the clip that the generator was trained on" in caplog.text
