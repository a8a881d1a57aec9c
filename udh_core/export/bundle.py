"""Bundles: an avatar as one file that renders without the data it was trained on.

A safetensors file with the generator (weights as float16, references as uint8), a part of the clip as the bytes of its
mp4, and where the face is in those frames. Opened it is an avatar folder for `render`, and a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..avatar import folder as avatar_module
from ..avatar.folder import FILES, Avatar, open_avatar
from ..avatar.occlusion import write_occlusion
from ..errors import FileError, FormatError, MediaError, NoFaceError, OptionError
from ..face.occlusion import Occlusion
from ..face.topology import LANDMARK_COUNT
from ..face.tracking import FaceTrack
from ..files import atomic_folder, check_writable, output_lock, scratch_folder, without_links
from ..media.probe import VideoInfo
from ..media.transcode import import_video
from ..models import checkpoint
from ..models.checkpoint import open_generator
from ..progress import Progress, job

SUFFIX = ".safetensors"
DURATION_S = 20.0  # of the clip: long enough for its repetition not to be noticed
GENERATOR = "generator" + SUFFIX  # in the folder of an opened bundle
KIND = "bundle"
_WEIGHT = "generator."  # before the name of a tensor of the generator
_OCCLUSION = "occlusion."  # before the name of what `Occlusion` holds
_EXACT = ("warp.reference_description", "warp.metric")  # a small difference of distances decides which crop is drawn
_BANK_FRAMES = _WEIGHT + "warp.bank_frames"  # numbers of frames of the whole clip
_SEAL = "sha256"


class OpenedBundle(NamedTuple):
    """What rendering needs."""

    avatar: Avatar
    generator: Path  # its checkpoint


@job
def export_bundle(
    avatar: Avatar,
    generator: str | Path,
    out: str | Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Generator[Progress, None, Path]:
    """Write avatar and generator into the one file `out`, with this part of the clip (default: DURATION_S from 0).

    The whole clip is kept byte for byte; a part of it is encoded anew, almost without loss. Raises FileError,
    OptionError, MediaError, FormatError, MismatchError, and NoFaceError when there is no face in that part.
    """
    generator, out = Path(generator), Path(out)
    info, network = open_generator(generator)
    checkpoint.check_match(info, avatar=avatar.identity, person=avatar.person, crop=avatar.crop)
    _check_output(out, avatar, generator)
    part = _part(avatar.info, start_s, duration_s)
    track = avatar.track()
    if not track.present[part].any():
        raise NoFaceError(f"there is no face in {avatar.root} from {start_s:g} s on for so long; choose another start")
    with output_lock(out):
        with scratch_folder() as scratch:
            video = Path(scratch) / FILES["video"]
            yield from _cut(avatar, part, video)
            tensors = _contents(network, video, track, part) | _occlusion_tensors(avatar.occlusion().part(part))
        frames = part.stop - part.start
        facts = {**asdict(avatar.info), "fps": str(avatar.info.fps), "frame_count": frames}
        config = {"generator": info.config, "video": facts, "first_frame": part.start}
        described = replace(info, kind=KIND, config=config)
        sealed = {**config, _SEAL: _fingerprint(asdict(described), tensors)}
        checkpoint.save(out, replace(described, config=sealed), tensors)
    yield Progress("frames", frames, frames)
    return out


def open_bundle(bundle: str | Path, folder: str | Path) -> OpenedBundle:
    """Make `folder`: an avatar that can be rendered, and nothing else, with its generator's checkpoint inside.

    It appears whole or not at all. FormatError when the bundle is damaged or none, FileError when `folder` exists.
    """
    bundle, folder = Path(bundle), Path(folder)
    info, tensors = checkpoint.load(bundle, KIND)
    config = {name: value for name, value in info.config.items() if name != _SEAL}
    _check_seal(bundle)
    _check_content(bundle, config, tensors)
    state = {"format": avatar_module.FORMAT, "bundle": True, "source": bundle.name, "crop": info.crop.to_dict()}
    seal = info.config[_SEAL][:16]
    stages = {"video": info.made_from, "track": seal, "occlusion": seal}
    state |= {"video": config["video"], "stages": stages}
    weights = {name.removeprefix(_WEIGHT): t for name, t in tensors.items() if name.startswith(_WEIGHT)}
    with atomic_folder(folder) as temporary:
        tensors["video"].numpy().tofile(temporary / FILES["video"])
        _write_track(temporary / FILES["track"], tensors)
        write_occlusion(temporary / FILES["occlusion"], _occlusion_of(tensors))
        checkpoint.save(temporary / GENERATOR, replace(info, kind="generator", config=config["generator"]), weights)
        (temporary / "avatar.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    return reopen_bundle(folder)


def reopen_bundle(folder: str | Path) -> OpenedBundle:
    """What `open_bundle` made in `folder` earlier; FormatError when the folder is something else."""
    return OpenedBundle(open_avatar(Path(folder), ("video", "track")), Path(folder) / GENERATOR)


def _check_output(out: Path, avatar: Avatar, generator: Path) -> None:
    if out.suffix.lower() != SUFFIX:
        raise FileError(f"{out}: a bundle is a {SUFFIX} file; give a name that ends so")
    place = without_links(out)
    if place == without_links(generator) or place.is_relative_to(without_links(avatar.root)):
        raise FileError(f"{out} is what the file is made of, or lies in the avatar's folder; give another name")
    check_writable(out)


def _part(info: VideoInfo, start_s: float, duration_s: float | None) -> slice:
    """The frames to keep; OptionError for impossible seconds, MediaError when there are no frames."""
    wanted_s = DURATION_S if duration_s is None else duration_s
    if not 0 <= start_s < math.inf or not 0 < wanted_s < math.inf:
        raise OptionError("the start must not be negative, and the duration must be more than 0 seconds")
    first = round(start_s * info.fps)
    if first >= info.frame_count:
        raise MediaError(f"the clip ends at {info.duration_s:.1f} s; start before that, not at {start_s:g} s")
    return slice(first, min(first + max(1, round(wanted_s * info.fps)), info.frame_count))


def _contents(network: nn.Module, video: Path, track: FaceTrack, part: slice) -> dict[str, Tensor]:
    """The tensors of a bundle, by name."""
    tensors = {_WEIGHT + name: _compact(name, tensor) for name, tensor in network.state_dict().items()}
    if _BANK_FRAMES in tensors:
        tensors[_BANK_FRAMES] = tensors[_BANK_FRAMES] - part.start
    tensors["video"] = torch.from_numpy(np.fromfile(video, np.uint8))
    for name in _track_kinds(part.stop - part.start):
        tensors[name] = torch.from_numpy(getattr(track, name)[part].copy())
    return tensors


def _occlusion_tensors(occlusion: Occlusion) -> dict[str, Tensor]:
    """Nothing where nothing is before the face: then a bundle is what it was in earlier versions."""
    values = vars(occlusion) if len(occlusion.frames) else {}
    return {_OCCLUSION + name: torch.from_numpy(value.copy()) for name, value in values.items()}


def _occlusion_of(tensors: Mapping[str, Tensor]) -> Occlusion:
    """What lies before the face; a bundle without it has nothing. ValueError when it is no such thing."""
    names = list(vars(Occlusion.nothing()))
    if not any(_OCCLUSION + name in tensors for name in names):
        return Occlusion.nothing()
    return Occlusion(*(tensors[_OCCLUSION + name].numpy() for name in names))


def _check_content(bundle: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """FormatError where a bundle is whole, but not what this version writes."""
    try:
        frames = avatar_module.video_info(config["video"]).frame_count
        kinds = {"video": (torch.uint8, tensors["video"].shape[:1]), **_track_kinds(frames)}
        wrong = [name for name, kind in kinds.items() if (tensors[name].dtype, tensors[name].shape) != kind]
        if wrong or not isinstance(config["generator"], dict):
            raise ValueError(*wrong)
        _occlusion_of(tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{bundle} is of another version of this program; export the avatar again, or update this one"
        ) from error


def _track_kinds(frames: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of what is kept of the track."""
    return {
        "transforms": (torch.float32, (frames, 2, 3)),
        "valid": (torch.bool, (frames,)),
        "shot_starts": (torch.bool, (frames,)),
    }


def _cut(avatar: Avatar, part: slice, out: Path) -> Generator[Progress, None, None]:
    """Write these frames of the avatar's video, and no others, into `out`."""
    fps, frames = avatar.info.fps, part.stop - part.start
    if frames == avatar.info.frame_count:
        shutil.copyfile(avatar.video, out)
        return
    start_s, duration_s = float(part.start / fps), float(frames / fps)
    with closing(import_video(avatar.video, out, fps=fps, start_s=start_s, duration_s=duration_s)) as work:
        for step in work:
            yield Progress("frames", min(step.done, frames), frames)
    if work.result.frame_count != frames:
        raise MediaError(f"{avatar.video} is cut off; delete it and prepare the avatar again")


def _compact(name: str, tensor: Tensor) -> Tensor:
    """Weights as float16. What has one dimension stays: it is small, and a mean or a deviation may not fit."""
    tensor = tensor.detach().cpu().contiguous()
    halved = tensor.is_floating_point() and tensor.dim() > 1 and name not in _EXACT
    return tensor.half() if halved else tensor


def _check_seal(bundle: Path) -> None:
    """FormatError when description and tensors, as they lie in the file, are not those that were sealed."""
    described, tensors = checkpoint.load_as_stored(bundle)
    config = {name: value for name, value in described["config"].items() if name != _SEAL}
    if described["config"].get(_SEAL) != _fingerprint({**described, "config": config}, tensors):
        raise FormatError(f"{bundle} is damaged; copy it again, or export the avatar again")


def _fingerprint(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Hex digits of the SHA-256 of everything in the file but the seal."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write_track(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """The track, without landmarks: only training and evaluation look at them."""
    valid = tensors["valid"].numpy()
    landmarks = np.full((len(valid), LANDMARK_COUNT, 2), np.nan, np.float32)
    track = FaceTrack(landmarks, tensors["transforms"].numpy(), valid, tensors["shot_starts"].numpy())
    np.savez_compressed(path, **track.arrays())
