"""Types of the wires between our nodes, small frozen handles that point at files; and widgets made of declared options.

The data themselves (frames, features, weights) never travel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io

from ..udh_core.avatar.folder import Avatar, open_avatar
from ..udh_core.errors import FormatError, MismatchError, UdhError
from ..udh_core.models import checkpoint
from ..udh_core.models.checkpoint import Checkpoint, Kind
from ..udh_core.options import Option, described
from ..udh_core.rendering.options import RenderOptions
from ..udh_core.speech import features as feature_files
from ..udh_core.speech.features import AudioFeatures
from .host import made, worker

CATEGORY = "Ultralight Digital Human"
AVATAR = io.Custom("UDH_AVATAR")  # an Avatar
FEATURES = io.Custom("UDH_FEATURES")  # a Features
GENERATOR = io.Custom("UDH_GENERATOR")  # a Trained
SYNCNET = io.Custom("UDH_SYNCNET")  # a Trained
PLACED = io.Custom("UDH_PLACED")  # a Placed
OTHERS = io.Custom("UDH_OTHERS")  # of those who speak beside the avatar, a Beside each
LOSS_MAP = io.Custom("LOSS_MAP")  # {"loss": [float, …]}, as core's training nodes give it
FACE_LANDMARKS = io.Custom("FACE_LANDMARKS")  # of core's MediaPipe nodes, where ComfyUI has them
BOUNDING_BOX = io.Custom("BOUNDING_BOX")
UNLINKED = object()  # in `validate_inputs`: the default of an input that is not there; one that is linked is None
# Options whose widgets lie below "Show advanced inputs": what works for nearly everybody as it is
ADVANCED = {"steps", "motion_steps", "batch", "seed", "crf", "lost", "ends_at_rest", "another_clip", "codec"}
ADVANCED |= {"audio_track", "video_track", "mark", "sessions"}
MOST = 2**31 - 1  # of a number whose option has no upper bound


@dataclass(frozen=True)
class Features:
    """Audio features, the folder they lie in, and the audio file they were made of."""

    values: AudioFeatures
    folder: Path
    sound: Path  # wav

    def are_there(self) -> bool:
        """Whether the files are still on disk."""
        if not self.sound.is_file():
            return False
        try:
            feature_files.load(self.folder, self.values.encoder)
        except UdhError:
            return False
        return True


@dataclass(frozen=True)
class Trained:
    """A checkpoint on disk and its description."""

    path: Path
    info: Checkpoint


@dataclass(frozen=True)
class Beside:
    """Who speaks beside the avatar, in the same clip, and what they say."""

    avatar: Avatar
    generator: Trained
    sound: Path  # wav


@dataclass(frozen=True)
class Placed:
    """A render: where the mouth is in each of its frames, and what it was drawn from."""

    avatar: Avatar
    generator: Trained
    sound: Path  # wav
    options: RenderOptions
    frames: int
    others: tuple[Avatar, ...] = ()  # whose mouths are drawn, too


class MakesFiles(io.ComfyNode):
    """A node whose outputs point at files; it runs again when one that it noted (see `made`) is gone."""

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> str:
        return made.state()


def open_trained(path: Path, kind: Kind) -> Trained:
    """The handle of a checkpoint file; errors as in `checkpoint.read_info`."""
    return Trained(path, checkpoint.read_info(path, kind))


def reopened(avatar: Avatar, *stages: str) -> Avatar:
    """The avatar as it is on disk now, with these stages (default: all); MismatchError when it is another by now.

    Without the stage "track" the face is still to be chosen: then only the clip has to be the same.
    """
    worker.wait_for_worker()
    return on_disk(avatar, *stages)


def on_disk(avatar: Avatar, *stages: str) -> Avatar:
    """As `reopened`, from any thread: what a cancelled run still saves is not waited for."""
    now = open_avatar(avatar.root, stages) if stages else open_avatar(avatar.root)
    same = now.identity == avatar.identity if not stages or "track" in stages else now.clip == avatar.clip
    if not same or now.crop.view != avatar.crop.view:
        raise MismatchError(
            f"the avatar {avatar.root.name} has been made anew from another clip, face or sound, or in another size "
            "since this graph read it; give the two different names, or change a setting of Load Avatar Video and run "
            "again"
        )
    return now


def check_alone(placed: Placed, node: str) -> None:
    """MismatchError where several people speak in the render."""
    if placed.others:
        raise MismatchError(f"{node} takes the mouth of one person; unlink `others` of Lip Sync Render")


def still_on_disk(avatar: Avatar) -> Callable[[], bool]:
    """Asks whether the avatar, with all its stages, is still what lies in its folder."""

    def ask() -> bool:
        try:
            return _is_same(open_avatar(avatar.root), avatar)
        except FormatError:
            return False

    return ask


def _is_same(one: Avatar, other: Avatar) -> bool:
    return (one.identity, one.crop.view) == (other.identity, other.crop.view)


def widget(options: type, name: str, optional: bool = False, default: float | None = None) -> io.Input:
    """The widget of an option that a dataclass declares: its default, range, step, choices and help are quoted.

    `optional`: added to a node that saved workflows know without it.
    An option whose default is None, which means "not given", is a number whose 0 means that; see `given`. The widget
    may have another `default`.
    """
    said, advanced = described(options, name), name in ADVANCED
    if said.choices:
        return io.Combo.Input(
            name,
            options=list(said.choices),
            default=said.default,
            optional=optional,
            advanced=advanced,
            tooltip=said.help,
        )
    if isinstance(said.default, bool):
        return io.Boolean.Input(name, default=said.default, optional=optional, advanced=advanced, tooltip=said.help)
    if isinstance(said.default, str):
        return io.String.Input(name, default=said.default, optional=optional, advanced=advanced, tooltip=said.help)
    return _number(said, optional, advanced, default)


def _number(said: Option, optional: bool, advanced: bool, default: float | None) -> io.Input:
    most = MOST if said.most is None else said.most
    if isinstance(said.default, int):
        return io.Int.Input(
            said.name,
            default=said.default,
            min=int(said.least or 0),
            max=int(most),
            step=int(said.step or 1),
            optional=optional,
            advanced=advanced,
            control_after_generate=False,  # a seed that changes by itself would train anew with every Run
            tooltip=said.help,
        )
    value, least, tooltip = said.default, said.least or 0.0, said.help
    if value is None:
        value, least, tooltip = default or 0.0, 0.0, f"{said.help} 0 = not given."
    return io.Float.Input(
        said.name,
        default=value,
        min=least,
        max=float(most),
        step=said.step or 0.1,
        optional=optional,
        advanced=advanced,
        tooltip=tooltip,
    )


def given(value: float) -> float | None:
    """The value of a widget whose 0 means "not given"."""
    return value or None
