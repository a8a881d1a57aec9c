"""Whether a generator may draw into a clip: its own one, or with `another_clip` another one of the same person."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..avatar.folder import Avatar
from ..errors import MismatchError, NoFaceError
from ..face import crop
from ..face.crop import to_face_units
from ..face.identity import OTHER, SURE
from ..face.likeness import unlikeness
from ..face.mask import Reach
from ..face.topology import JAW
from ..inference.tint import Tint, fit_tint
from ..media.video import read_frames
from ..models import checkpoint
from ..models.checkpoint import Checkpoint
from ..models.generator import Generator
from .options import RenderOptions
from .places import lost_frames

_log = logging.getLogger(__name__)
_FURTHER = 0.08  # face units by which a jaw may go further: the soft border of the mask; chosen
FACES = 8  # of the clip, evenly spread, that are compared with the generator's references


def check_clip(
    avatar: Avatar, info: Checkpoint, network: Generator, options: RenderOptions, models: Path | None = None
) -> Tint | None:
    """The colours of an avatar that is another clip of the generator's person; None: it is the one it was trained on.

    MismatchError where the clip is another one and `options` do not say so, where the person or the size of the crop is
    another one; a warning where that cannot be said for sure.
    """
    if not options.another_clip or info.made_from == avatar.identity:
        _check_own(avatar, info)
        return None
    if info.crop.view != avatar.crop.view:
        raise MismatchError(
            f"the generator draws crops of {info.crop.size} px, those of {avatar.root} have {avatar.crop.size} px; "
            f"prepare that clip with `crop_px` {info.crop.size}"
        )
    references = network.warp.references.permute(0, 2, 3, 1).cpu().numpy()
    faces = _faces(avatar)
    _check_person(avatar, info, unlikeness(references, faces, models))
    _check_jaw(avatar, info)
    return fit_tint(references.mean(0), np.mean(faces, 0), info.crop)


def _check_own(avatar: Avatar, info: Checkpoint) -> None:
    try:
        checkpoint.check_match(info, avatar=avatar.identity, person=avatar.person, crop=avatar.crop)
    except MismatchError as error:
        if info.crop.view != avatar.crop.view:
            raise
        raise MismatchError(f"{error}, or choose `another_clip` if it is another clip of the same person") from error


def _check_person(avatar: Avatar, info: Checkpoint, distance: float) -> None:
    trained = info.config.get(checkpoint.PERSON) or "another clip"
    if distance > OTHER:
        raise MismatchError(
            f"{avatar.person or avatar.root} shows another person than {trained}, which the generator was trained on "
            f"(distance of the faces {distance:.2f}, over {OTHER:g} is somebody else); give a clip of that person, or "
            "train a generator on this one"
        )
    if math.isnan(distance):
        _log.warning("whether %s shows the person of %s could not be checked: no face was found", avatar.root, trained)
    elif distance > SURE:
        _log.warning("%s may show another person than %s (distance %.2f)", avatar.root, trained, distance)


def _check_jaw(avatar: Avatar, info: Checkpoint) -> None:
    track = avatar.track()
    jaw, transforms = track.landmarks[track.present][:, JAW], track.transforms[track.present]
    needed, own = (
        asdict(reach) for reach in (Reach.of_jaw(to_face_units(jaw, transforms, info.crop)), info.crop.reach)
    )
    if any(needed[side] > own[side] + _FURTHER for side in own):
        _log.warning(
            "the jaw in %s goes further than in the clip that the generator was trained on, and may be cut off; train "
            "on a clip in which the person turns the head and opens the mouth as far",
            avatar.root,
        )


def _faces(avatar: Avatar) -> list[np.ndarray]:
    """Face crops (S, S, 3) uint8 RGB of the avatar's clip, FACES at most; NoFaceError where it has none."""
    present = np.flatnonzero(~lost_frames(avatar))
    if not len(present):
        raise NoFaceError(f"there is no face in {avatar.root}; prepare another clip")
    transforms = avatar.track().transforms
    numbers = present[np.unique(np.linspace(0, len(present) - 1, FACES).round().astype(int))]
    frames = [frame for number in numbers for frame in read_frames(avatar.video, start=int(number), count=1)]
    return [crop.crop(frame, transforms[number], avatar.crop) for number, frame in zip(numbers, frames, strict=True)]
