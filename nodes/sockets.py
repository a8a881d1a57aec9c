"""What travels on the wires between our nodes: small frozen handles that point at files, never the data itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io

from ..udh_core.avatar.folder import Avatar, open_avatar
from ..udh_core.errors import MismatchError
from ..udh_core.models import checkpoint
from ..udh_core.models.checkpoint import Checkpoint, Kind
from ..udh_core.speech.features import AudioFeatures
from . import host

CATEGORY = "Ultralight Digital Human"
AVATAR = io.Custom("UDH_AVATAR")  # an Avatar
FEATURES = io.Custom("UDH_FEATURES")  # a Features
GENERATOR = io.Custom("UDH_GENERATOR")  # a Trained
SYNCNET = io.Custom("UDH_SYNCNET")  # a Trained
LOSS_MAP = io.Custom("LOSS_MAP")  # {"loss": [float, …]}, as core's training nodes give it
FACE_LANDMARKS = io.Custom("FACE_LANDMARKS")  # of core's MediaPipe nodes, where ComfyUI has them
BOUNDING_BOX = io.Custom("BOUNDING_BOX")


@dataclass(frozen=True)
class Features:
    """Audio features, the folder they lie in, and the sound they were made of."""

    values: AudioFeatures
    folder: Path
    sound: Path  # wav


@dataclass(frozen=True)
class Trained:
    """A checkpoint on disk and what it says of itself."""

    path: Path
    info: Checkpoint


def open_trained(path: Path, kind: Kind) -> Trained:
    """The handle of a checkpoint file; errors as in `checkpoint.read_info`."""
    return Trained(path, checkpoint.read_info(path, kind))


def reopened(avatar: Avatar, *stages: str) -> Avatar:
    """The avatar as it is on disk now, with these stages (default: all); MismatchError when it is another by now."""
    host.settle()
    now = open_avatar(avatar.root, stages) if stages else open_avatar(avatar.root)
    if (now.identity, now.crop) != (avatar.identity, avatar.crop):
        raise MismatchError(
            f"the avatar {avatar.root.name} has been made anew from another clip or in another size since this graph "
            "read it; give the two different names, or change a setting of Load Avatar Video and run again"
        )
    return now
