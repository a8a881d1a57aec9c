"""Checkpoints: safetensors with one JSON string of metadata; the resume state is a second file beside it.

Files of format 1 are read by today's names, see `renamed`; every file that is written has format 2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from ..errors import DivergedError, FileError, FormatError, MismatchError, OptionError
from ..face.crop import CropSpec
from ..files import atomic_write
from . import renamed
from .generator import Generator, GeneratorConfig

M = TypeVar("M", bound=nn.Module)
FORMAT = 2
_KEY = "udh"
BEGUN_FROM = "begun_from"  # the setting that names the file a run took its first weights from, by its fingerprint
PERSON = "person"  # in the config: who it was trained on, in words
_ANOTHER_STATE = "of the same name, but of another clip, face or sound"
_UNNAMED = "of another person, face or sound (an earlier version of this program did not note which)"
_NAMES = {BEGUN_FROM: "init"}  # of settings, for people
FREE_SETTINGS = ("steps", "minutes", "check_every", "save_every")  # may differ when a run goes on
BATCH_SETTINGS = ("batch", "neighbourhoods")  # may be lowered when a run goes on: what memory runs out for
Kind = Literal["syncnet", "generator", "published_model", "resume", "bundle"]

_TYPES = {"kind": str, "config": dict, "step": int, "encoder": str, "made_from": str, "metrics": dict, "format": int}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says of itself; rebuilds the model without further questions."""

    kind: Kind
    config: dict[str, Any]
    step: int
    encoder: str
    crop: CropSpec
    made_from: str  # identity of the avatar it was trained on
    metrics: dict[str, float] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """The description as it is written into the file."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Checkpoint:
        """From JSON; KeyError, TypeError or ValueError when it says something else."""
        info = Checkpoint(**{**values, "crop": CropSpec.from_dict(values["crop"])})
        for name, kind in _TYPES.items():
            if type(getattr(info, name)) is not kind:
                raise ValueError(f"{name} is no {kind.__name__}")
        if info.kind not in get_args(Kind):
            raise ValueError(f"there is no kind {info.kind}")
        return info


def save(path: Path, info: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint atomically. Tensors may be of any device and layout."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:  # not by `save_file`: it leaves a file of another name when it is killed
        temporary.write_bytes(serialised(plain, metadata={_KEY: info.to_json()}))


def read_info(path: Path, kind: Kind | None = None) -> Checkpoint:
    """What a checkpoint says of itself. FormatError when it is no checkpoint of ours, or not of the kind asked for."""
    return _open(Path(path), kind).info


def load(path: Path, kind: Kind) -> tuple[Checkpoint, dict[str, Tensor]]:
    """Description and tensors (on the CPU) of a checkpoint of the given kind; errors as in `read_info`.

    The tensors are copies: those of safetensors lie in the file, which Windows then lets nobody replace, and are other
    ones, or gone, when somebody writes over it. A resumed run keeps some of them, and replaces that file.
    """
    opened = _open(Path(path), kind)
    with safe_open(path, "pt") as file:
        return opened.info, {name: file.get_tensor(stored).clone() for name, stored in opened.tensors.items()}


def stored_format(path: Path) -> int:
    """The format a checkpoint is stored in; FormatError as in `read_info`."""
    return _open(Path(path), None).description["format"]


def load_as_stored(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors by the names the file itself uses, whatever its format; FormatError as in `read_info`.

    The tensors lie in the file: to look at them, not to keep them.
    """
    opened = _open(Path(path), None)
    with safe_open(path, "pt") as file:
        return opened.description, {stored: file.get_tensor(stored) for stored in opened.tensors.values()}


def build(path: Path, make: Callable[[], M], tensors: Mapping[str, Tensor]) -> M:
    """The network that `make` builds by a checkpoint's description, with its tensors.

    FormatError when `make` raises ValueError or RuntimeError, or when the tensors are not those of the network, or are
    not finite.
    """
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes are described
            described = {name: tensor.shape for name, tensor in make().state_dict().items()}
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"{path} is of another version of this program, or damaged ({reason}); train again"
        ) from error
    if described != {name: tensor.shape for name, tensor in tensors.items()}:
        raise FormatError(f"{path}: its tensors do not fit its description; train again")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise FormatError(f"{path} is damaged, it holds weights that are not finite; copy it again, or train again")
    network = make()
    network.load_state_dict(tensors)
    return network


class _Opened(NamedTuple):
    """What was read of a file before its tensors."""

    description: dict[str, Any]  # as it is stored
    info: Checkpoint
    tensors: dict[str, str]  # today's name → the name it is stored by


def _open(path: Path, kind: Kind | None) -> _Opened:
    if not path.is_file():
        raise FileError(f"no such file: {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
    except (SafetensorError, OSError) as error:
        hint = " (it is a pickle, which can run code and is not opened)" if _looks_pickled(path) else ""
        raise FormatError(
            f"{path} is not a safetensors file{hint}; give a checkpoint written by this program"
        ) from error
    if _KEY not in metadata:
        raise FormatError(f"{path} is a safetensors file of another program; give a checkpoint written by this one")
    try:
        description = json.loads(metadata[_KEY])
        _check_format(path, description)
        info = Checkpoint.from_dict(_with_todays_names(description))
    except (ValueError, TypeError, KeyError, OptionError) as error:
        raise FormatError(
            f"{path}: its description is damaged or of another version of this program; train again or update it"
        ) from error
    if kind is not None and info.kind != kind:
        raise FormatError(f"{path} holds a {_title(info.kind)}, where a {_title(kind)} is needed; give another file")
    stored = {renamed.tensor_name(info.kind, name) if description["format"] < FORMAT else name: name for name in names}
    stored |= {name: stored[other] for name, other in renamed.added_tensors(stored).items()}
    return _Opened(description, info, stored)


def _title(kind: str) -> str:
    return kind.replace("_", " ")


def _with_todays_names(description: dict[str, Any]) -> dict[str, Any]:
    if description["format"] == FORMAT:
        return description
    return {**renamed.description(description), "format": FORMAT}


def _check_format(path: Path, description: Mapping[str, Any]) -> None:
    """FormatError where another version says so; its description may be another one altogether."""
    found = description["format"]
    if type(found) is not int:
        raise ValueError("format is no whole number")
    if not renamed.OLDEST <= found <= FORMAT:
        raise FormatError(
            f"{path} has format {found}, this program reads {renamed.OLDEST} to {FORMAT}; train again or update"
        )


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2)
    return head[:2] == b"PK" or head[:1] == b"\x80"


def check_match(
    info: Checkpoint,
    *,
    avatar: str | None = None,
    person: str = "",
    crop: CropSpec | None = None,
    encoder: str | None = None,
) -> None:
    """MismatchError naming both values where a checkpoint does not belong to this avatar, crop or encoder.

    avatar: its identity; person: the same in words.
    """
    if avatar is not None and info.made_from != avatar:
        trained = info.config.get(PERSON) or (_UNNAMED if person else info.made_from)
        trained = _ANOTHER_STATE if trained == person else trained
        raise MismatchError(_mismatch(info, "avatar", trained, person or avatar))
    if crop is not None and info.crop.view != crop.view:
        raise MismatchError(_mismatch(info, "crop", info.crop, crop))
    if encoder is not None and info.encoder != encoder:
        raise MismatchError(_mismatch(info, "encoder", info.encoder, encoder))


def _mismatch(info: Checkpoint, what: str, own: object, other: object) -> str:
    return (
        f"the {_title(info.kind)} was trained with {what} {_brief(own)}, here is {what} {_brief(other)}; "
        "use files that belong together, or train again"
    )


def check_settings(info: Checkpoint, options: Mapping[str, object], model: Mapping[str, object]) -> None:
    """MismatchError naming the settings that differ from those with which the run of this resume state began.

    `model` is the configuration of the network that would go on: that of the run, or MismatchError, too. What an older
    file does not name goes on as it is here.
    """
    began = info.config.get("options")
    own = json.loads(json.dumps(model))
    if _completed(info.config.get("model"), own) != own or not isinstance(began, dict):
        raise MismatchError(
            "the run that would go on began with a network built otherwise; train anew, without `resume`"
        )
    began = {BEGUN_FROM: "", **began}
    other = [
        f"{_NAMES.get(name, name)} {_brief(began[name])}, here is {_NAMES.get(name, name)} {_brief(value)}"
        for name, value in options.items()
        if name not in FREE_SETTINGS and not _goes_on_with(name, began.get(name, value), value)
    ]
    if other:
        raise MismatchError(
            f"the run that would go on began with {'; '.join(other)}; give the settings it began with, "
            "or train anew, without `resume`"
        )


def _completed(found: object, own: object) -> object:
    """`found`, and what of `own` it does not name, tables in tables alike."""
    if not isinstance(found, dict) or not isinstance(own, dict):
        return found
    return found | {name: _completed(found.get(name, value), value) for name, value in own.items()}


def _goes_on_with(name: str, began: object, now: object) -> bool:
    """Whether a run that began with one value of a setting may go on with another."""
    if name in BATCH_SETTINGS and isinstance(began, int) and isinstance(now, int):
        return now <= began
    return began == now


def _brief(value: object) -> str:
    if isinstance(value, CropSpec):
        return f"of {value.size} px"
    return "nothing" if value == "" else str(value)


def check_tensors(path: Path, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """MismatchError when tensors of the resume state of `path` have other names or shapes than the run's own."""
    if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in found.items()}:
        raise MismatchError(f"{path}: begun by another version of this program; train anew, without `resume`")


def fingerprint(path: Path) -> str:
    """Of a file's content; FileError when it is not there."""
    if not Path(path).is_file():
        raise FileError(f"no such file: {path}")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def resume_path(path: Path) -> Path:
    """Where the resume state of a checkpoint lies."""
    return path.with_suffix(".resume.safetensors")


def flatten(prefix: str, value: object, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 (any JSON value)
    """Move the tensors of a nested state into `tensors`; returns the JSON-ready rest, naming them."""
    if isinstance(value, Tensor):
        tensors[prefix] = value
        return {"__tensor__": prefix}
    if isinstance(value, dict):
        return {"__items__": [[k, flatten(f"{prefix}.{k}", v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [flatten(f"{prefix}.{i}", v, tensors) for i, v in enumerate(value)]
    return value


def unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 (any JSON value)
    """The inverse of `flatten`; tuples come back as lists."""
    if isinstance(value, dict):
        if "__tensor__" in value:
            return tensors[value["__tensor__"]]
        return {k: unflatten(v, tensors) for k, v in value["__items__"]}
    if isinstance(value, list):
        return [unflatten(v, tensors) for v in value]
    return value


def save_resume(path: Path, info: Checkpoint, state: Mapping[str, object]) -> None:
    """Write the resume state (nested dicts of tensors and plain values) beside checkpoint `path`, atomically.

    DivergedError when a tensor is not finite: what is there stays.
    """
    tensors: dict[str, Tensor] = {}
    layout = flatten("state", dict(state), tensors)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise DivergedError(
            f"training diverged before step {info.step}; lower the learning rate (what was saved before is whole)"
        )
    save(resume_path(path), replace(info, kind="resume", config={**info.config, "layout": layout}), tensors)


def load_resume(path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The resume state of checkpoint `path`; FormatError when it is not one that this version wrote."""
    info, tensors = load(resume_path(path), "resume")
    try:
        state = unflatten(info.config["layout"], tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{resume_path(path)} is damaged or of another version; train without `resume`") from error
    if not isinstance(state, dict):
        raise FormatError(f"{resume_path(path)} is damaged or of another version; train without `resume`")
    if stored_format(resume_path(path)) < FORMAT:
        state = renamed.resume_state(state)
    return info, state


def open_generator(path: Path, device: str = "cpu") -> tuple[Checkpoint, Generator]:
    """The generator of a checkpoint, in eval mode on `device`; FormatError when the file is not one."""
    info, tensors = load(Path(path), "generator")
    floats = {name: t if t.dtype == torch.uint8 else t.float() for name, t in tensors.items()}
    generator = build(path, lambda: _as_described(info), floats)
    generator.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return info, generator.eval()


def _as_described(info: Checkpoint) -> Generator:
    """Without its tensors; ValueError when the description is none of this version."""
    config = GeneratorConfig.from_dict(info.config.get("model"))
    if config.warp.size != info.crop.size:
        raise ValueError(f"it draws {config.warp.size} px, its crop has {info.crop.size} px")
    return Generator(config, info.crop)


def held_out_share(path: Path, info: Checkpoint) -> float:
    """Which part of its clip a generator was not trained on; FormatError when its checkpoint does not say."""
    options = info.config.get("options")
    share = options.get("held_out") if isinstance(options, dict) else None
    if type(share) is not float or not 0 < share < 1:
        raise FormatError(f"{path} does not say which part of the clip it was not trained on; train again")
    return share


def save_generator(path: Path, info: Checkpoint, generator: Generator) -> None:
    """Write a generator's checkpoint atomically."""
    save(Path(path), info, generator.state_dict())
