"""What lies before the face stays there; frames in which nothing can be drawn are passed, held, or refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from udh_core.avatar.folder import Avatar
from udh_core.errors import NoFaceError
from udh_core.inference.compositor import Compositor
from udh_core.media.video import read_frames
from udh_core.models.checkpoint import open_generator
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.rendering.stream import SpeechStream


def rendered(avatar: Avatar, generator: Path, audio: Path, out: Path, **options: str) -> np.ndarray:
    render(avatar, generator, audio, out, RenderOptions(crf=0, **options)).run()  # type: ignore[arg-type]
    return np.stack(list(read_frames(out))).astype(np.int16)


def test_an_occluder_keeps_its_pixels(covered_avatar: Avatar, generator_file: Path) -> None:
    """The mouth beside the rod is redrawn; the rod's own pixels are the source's, bit for bit."""
    network = open_generator(generator_file)[1].warp
    track, numbers = covered_avatar.track(), [95, 96, 100]
    frames = [next(read_frames(covered_avatar.video, start=number, count=1)) for number in numbers]
    inverted = Compositor(network, covered_avatar.crop, track.transforms, occlusion=covered_avatar.occlusion())
    inverted.generate = lambda crops, shapes, chosen: 255 - crops  # type: ignore[method-assign]
    for frame, drawn in zip(frames, inverted.composite(frames, numbers, torch.zeros(3, 3, 12)), strict=True):
        rod = (np.abs(frame.astype(int) - (30, 30, 40)).max(-1) < 12).astype(np.uint8)
        rod = cv2.morphologyEx(rod, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0
        assert rod.sum() > 400
        assert np.array_equal(drawn[rod], frame[rod])
        assert (drawn != frame).any(-1).sum() > 1200


@pytest.mark.parametrize("lost", ["pass", "hold"])
def test_a_covered_mouth_is_passed_or_held(
    lost: str, covered_avatar: Avatar, generator_file: Path, speech: Path, tmp_path: Path
) -> None:
    got = rendered(covered_avatar, generator_file, speech, tmp_path / "out.mp4", lost=lost)
    source = np.stack(list(read_frames(covered_avatar.video, count=50))).astype(np.int16)
    wanted = source[30:45] if lost == "pass" else np.repeat(got[29:30], 15, axis=0)
    assert np.abs(got[30:45] - wanted).max() <= 10  # coding
    assert np.abs(got[[29, 45]] - source[[29, 45]]).max() > 12


def test_a_stream_refuses_a_covered_mouth_at_once(covered_avatar: Avatar, generator_file: Path) -> None:
    with pytest.raises(NoFaceError, match="choose pass or hold as `lost`"):
        SpeechStream(covered_avatar, generator_file, RenderOptions(lost="fail"))


def test_a_covered_mouth_is_refused(covered_avatar: Avatar, generator_file: Path, speech: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"frame 30 \(1\.2 s\) .* at 1\.2–1\.8 s; .* choose pass or hold as `lost`"):
        rendered(covered_avatar, generator_file, speech, tmp_path / "out.mp4", lost="fail")
    assert not (tmp_path / "out.mp4").exists()
    late = RenderOptions(lost="fail", start_s=2.0, when_audio_longer="hold")  # from the last covered frame on
    render(covered_avatar, generator_file, speech, tmp_path / "out.mp4", late).run()
