"""What a job is: a render, a preparation or a training, with all that a line of a jobs file or a command may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias, get_args

from ..avatar.options import PrepareOptions
from ..errors import OptionError
from ..options import check, option, required
from ..rendering.options import RenderOptions
from ..training.options import GeneratorOptions
from .addresses import shown

Engine = Literal["local", "ray"]
Start = Literal["new", "resume", "set aside", "overwrite"]
DEVICE = "cpu, cuda, cuda:1, mps …"


@dataclass(frozen=True, kw_only=True)
class _Places:
    """What all jobs have: files that lie at addresses."""

    makes: ClassVar[str]  # the field of its output
    addresses: Mapping[str, str] = field(default_factory=dict)  # by field, whose path stands for it

    @property
    def makes_new(self) -> bool:
        """Whether an output that is there already is a mistake."""
        return False

    @property
    def output(self) -> Path:
        """What it makes."""
        path: Path = getattr(self, self.makes)
        return path

    def is_here(self, path: Path) -> bool:
        """Whether one of its files is one of this machine."""
        return all(getattr(self, name) != path for name in self.addresses)

    def called(self, path: Path) -> str:
        """One of its files, for people: the address where it lies at one."""
        return next((shown(text) for name, text in self.addresses.items() if getattr(self, name) == path), str(path))


@dataclass(frozen=True)
class RenderJob(_Places):
    """A video of a person who says something. OptionError: person or speech is given twice, or not at all."""

    makes: ClassVar[str] = "out"
    out: Path = required("The mp4 to write; with `overlay` a .mov, or a new folder.")
    avatar: Path | None = option(None, "Folder of the prepared avatar.")
    generator: Path | None = option(None, "The trained generator.")
    bundle: Path | None = option(None, "Both in one file, a bundle of udh export.")
    audio: Path | None = option(None, "What the person shall say.")
    text: str | None = option(None, "English text to speak instead (needs hibari-tts).")
    device: str = option("cpu", DEVICE)
    options: RenderOptions = RenderOptions()

    def __post_init__(self) -> None:
        if (self.audio is None) == (self.text is None):
            raise OptionError("give either `audio` or `text`")
        check_person(self.avatar, self.generator, self.bundle)

    @property
    def inputs(self) -> list[Path]:
        """Files and folders that have to be there."""
        return [path for path in (self.avatar, self.generator, self.bundle, self.audio) if path is not None]


@dataclass(frozen=True)
class PrepareJob(_Places):
    """An avatar of a clip."""

    makes: ClassVar[str] = "avatar"
    video: Path = required("The clip.")
    avatar: Path = required("Folder of the prepared avatar.")
    audio: Path | None = option(None, "Speech that belongs to the video, instead of its own sound.")
    device: str = option("cpu", DEVICE)
    options: PrepareOptions = PrepareOptions()

    @property
    def inputs(self) -> list[Path]:
        """Files that have to be there."""
        return [path for path in (self.video, self.audio) if path is not None]


@dataclass(frozen=True)
class TrainJob(_Places):
    """A generator of an avatar. OptionError: an earlier training lies at an address, where it cannot go on."""

    makes: ClassVar[str] = "out"
    avatar: Path = required("Folder of the prepared avatar.")
    out: Path = required("Where the generator goes (.safetensors).")
    syncnet: Path | None = option(None, "A SyncNet whose loss is added late in training; for clips of several minutes.")
    encoder: str = PrepareOptions.encoder
    start: Start = option("new", "What becomes of an earlier training into the same file.", choices=get_args(Start))
    device: str = option("cpu", DEVICE)
    options: GeneratorOptions = GeneratorOptions()

    def __post_init__(self) -> None:
        check(self)
        if self.makes in self.addresses and self.start not in ("new", "overwrite"):
            raise OptionError(f"`start` {self.start} needs the earlier files: copy them, and give `out` their path")

    @property
    def makes_new(self) -> bool:
        """Whether an output that is there already is a mistake."""
        return self.start == "new"

    @property
    def inputs(self) -> list[Path]:
        """Files and folders that have to be there."""
        return [path for path in (self.avatar, self.syncnet) if path is not None]


def check_person(avatar: Path | None, generator: Path | None, bundle: Path | None) -> None:
    """OptionError unless a person is given whole, and once."""
    apart = avatar is not None and generator is not None
    if apart == (bundle is not None) or (avatar is None) != (generator is None):
        raise OptionError("give either `avatar` and `generator`, or `bundle`")


AnyJob: TypeAlias = RenderJob | PrepareJob | TrainJob
KINDS: dict[str, type[AnyJob]] = {"render": RenderJob, "prepare": PrepareJob, "train": TrainJob}


@dataclass(frozen=True)
class BatchOptions:
    """What a user may choose when many jobs are done."""

    workers: int | None = option(
        None, "Jobs at a time; as many as there are processors, here or in the cluster, if not given.", least=1
    )
    retries: int = option(2, "How often a job is tried again whose worker died.", least=0, most=100)
    engine: Engine = option(
        "local", "Where: in processes of this machine, or on a Ray cluster.", choices=get_args(Engine)
    )
    address: str | None = option(None, "The cluster, host:port; the one that Ray finds, or starts, if not given.")

    def __post_init__(self) -> None:
        check(self)
        if self.address is not None and self.engine != "ray":
            raise OptionError("`address` is that of a Ray cluster; give `engine` ray with it, or leave it out")
