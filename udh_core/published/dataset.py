"""What a model of the published system works on: its data folders, and our avatars seen by its rules."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..avatar.folder import Avatar
from ..errors import FileError, FormatError, MediaError, MismatchError, NoFaceError
from ..files import output_lock
from ..media.audio import load_waveform
from ..media.probe import VideoInfo
from ..media.video import VideoWriter, read_frames
from ..progress import Progress, job
from ..speech import features
from ..speech.features import AudioFeatures
from ..speech.voice import load_voice
from . import rules
from .rules import Square
from .unet import Variant

FPS: dict[Variant, int] = {"hubert": 25, "wenet": 20}
ROW_SHAPES: dict[Variant, tuple[int, int]] = {"hubert": (2, 1024), "wenet": (16, 512)}  # features of one frame
CLIP_CRF = 12  # of a clip that `prepare` encodes once more
FEATURE_FILES: dict[Variant, str] = {"hubert": "aud_hu.npy", "wenet": "aud_wenet.npy"}


@dataclass(frozen=True)
class PublishedDataset:
    """A data folder of Ultralight-Digital-Human or FeatherTalk.

    full_body_img/<i>.jpg · landmarks/<i>.lms (110 lines "x y") · aud.wav · aud_hu.npy (n, 2, 1024) or aud_wenet.npy
    (n, 16, 512)
    """

    root: Path
    squares: tuple[Square, ...]  # of frames 0 … N − 1
    shape: tuple[int, int, int]  # of every frame: H, W, 3

    @property
    def audio(self) -> Path:
        """Its sound file."""
        return self.root / "aud.wav"

    def frame(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB; MediaError when the picture is damaged or of another size than the first."""
        path = _picture(self.root, number)
        frame = _read_picture(path)
        if frame.shape != self.shape:
            size, first = f"{frame.shape[1]}×{frame.shape[0]}", f"{self.shape[1]}×{self.shape[0]}"
            raise MediaError(f"{path} is {size}, the first picture {first}; all must be of one size")
        return frame

    def features(self, variant: Variant) -> np.ndarray:
        """The features of its own sound, (n, 2, 1024) or (n, 16, 512)."""
        return load_rows(self.root / FEATURE_FILES[variant], variant)

    def info(self, variant: Variant) -> VideoInfo:
        """Its frames as a video: the system knows one frame rate per kind of features."""
        return VideoInfo(self.shape[1], self.shape[0], Fraction(FPS[variant]), len(self.squares))

    def variant(self) -> Variant:
        """The kind of features that lie in the folder; hubert where there are both, or none."""
        hubert = (self.root / FEATURE_FILES["hubert"]).is_file()
        wenet = (self.root / FEATURE_FILES["wenet"]).is_file()
        return "wenet" if wenet and not hubert else "hubert"


def open_dataset(root: Path) -> PublishedDataset:
    """Open a data folder; FormatError or MediaError naming the file that is missing or damaged."""
    root = Path(root)
    for folder in ("full_body_img", "landmarks"):
        if not (root / folder).is_dir():
            raise FormatError(f"{root} is no data folder of Ultralight-Digital-Human: it has no folder {folder}")
    count = len(list((root / "full_body_img").glob("*.jpg")))
    if not count:
        raise FormatError(f"{root / 'full_body_img'} holds no .jpg; give the folder that its preparation filled")
    for number in range(count):
        if not _picture(root, number).is_file():
            raise FormatError(
                f"{_picture(root, number)} is missing, though there are {count} pictures; number them 0 …"
            )
    squares = tuple(_read_square(root / "landmarks" / f"{number}.lms") for number in range(count))
    return PublishedDataset(root, squares, _read_picture(_picture(root, 0)).shape)  # pyright: ignore[reportArgumentType]


def _picture(root: Path, number: int) -> Path:
    return root / "full_body_img" / f"{number}.jpg"


def _read_picture(path: Path) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise MediaError(f"{path} cannot be read; extract the frames of the clip again") from error
    if picture is None:
        raise MediaError(f"{path} is no picture; extract the frames of the clip again")
    return np.ascontiguousarray(picture[..., ::-1])


def _read_square(path: Path) -> Square:
    """The crop that a landmark file stands for."""
    try:
        numbers = np.array(path.read_text(encoding="utf-8").split(), np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("not finite")
    except OSError as error:
        raise FormatError(f"{path} cannot be read; every picture needs its landmarks") from error
    except ValueError as error:
        raise FormatError(f"{path} holds something other than numbers; detect the landmarks again") from error
    if numbers.size != 2 * rules.POINTS:
        raise FormatError(
            f"{path} holds {numbers.size / 2:g} points instead of {rules.POINTS}; detect the landmarks again"
        )
    place = rules.square(numbers.reshape(-1, 2))
    if not place.side:
        raise FormatError(f"{path}: its face contour has no width; detect the landmarks again")
    return place


def load_rows(path: Path, variant: Variant) -> np.ndarray:
    """Features of a .npy file of the published system, (n, 2, 1024) or (n, 16, 512) float, memory-mapped."""
    if not path.is_file():
        raise FileError(f"no such file: {path}; extract the features of the sound, or name an encoder that does")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(f"{path} is damaged, or no .npy file of numbers; extract the features again") from error
    wanted = ROW_SHAPES[variant]
    if rows.shape[1:] != wanted or not len(rows) or rows.dtype.kind != "f":
        raise MismatchError(
            f"{path} has the shape {rows.shape}, a {variant} model needs (frames, {wanted[0]}, {wanted[1]})"
        )
    if not all(np.isfinite(rows[k : k + 1000]).all() for k in range(0, len(rows), 1000)):
        raise FormatError(f"{path} holds values that are no numbers; extract the features again")
    return rows


def rows_of(own: AudioFeatures, variant: Variant) -> np.ndarray:
    """Our own features in the published shape, (n, 2, 1024) or (n, 16, 512).

    MismatchError unless the encoder is of the size and rate that the variant needs.
    """
    shape, fps = ROW_SHAPES[variant], FPS[variant]
    per_frame = shape[0] if variant == "hubert" else 1
    if own.width * per_frame != shape[0] * shape[1] or own.rate_hz != fps * per_frame:
        needed = "hubert (hubert-large)" if variant == "hubert" else "wenet:<encoder.onnx>"
        raise MismatchError(f"the model needs {needed} features, not to those of {own.encoder}")
    count = len(own.values) // per_frame
    return own.values[: count * per_frame].reshape(count, *shape)


def extract_rows(
    audio: Path, variant: Variant, encoder: str, *, device: str = "cpu", models: Path | None = None
) -> np.ndarray:
    """(n, 2, 1024) or (n, 16, 512) float32 features of a sound file, by an encoder of ours.

    MediaError when there is no sound in it, MismatchError when the encoder is not of the size and rate needed.
    """
    waveform = load_voice(audio, models=models).waveform
    return rows_of(features.extract(waveform, encoder, device=device, models=models), variant)


def mesh_squares(avatar: Avatar) -> list[Square]:
    """The published crop of every frame of an avatar, from its 468 landmarks; side 0 where the face is lost."""
    squares = [rules.mesh_square(points) for points in avatar.track().landmarks]
    if not any(place.side for place in squares):
        raise NoFaceError(f"{avatar.root}: no frame shows a face from the front")
    return squares


def reference_crops(avatar: Avatar) -> Iterator[np.ndarray]:
    """(168, 168, 3) uint8 RGB of every frame of an avatar by the published rule; zeros where the face is lost."""
    for frame, place in zip(read_frames(avatar.video), mesh_squares(avatar), strict=False):
        yield rules.crop(frame, place)


def reference_inputs(
    crops: np.ndarray, features: np.ndarray, frames: np.ndarray, references: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Crops (B, 168, 168, 3) uint8 RGB and features (N, 2, 1024) or (N, 16, 512) around `frames` (B,) → network input.

    (B, 6, 160, 160) and (B, 16, 32, 32) or (B, 128, 16, 32), float32. references: crops of other frames, as in
    training; None = the crops themselves, as the published rendering does. The only way into the published network.
    """
    images = rules.network_input(crops, crops if references is None else references)
    return torch.from_numpy(images), torch.from_numpy(rules.audio_windows(features, frames))


@job
def write_clip(dataset: PublishedDataset, out: str | Path) -> Generator[Progress, None, Path]:
    """Make one video file, which is the result, of a data folder's pictures and audio: `prepare` can import it.

    Raises MediaError when audio or a picture is damaged, FileError when `out` cannot be written.
    """
    out, info = Path(out), dataset.info(dataset.variant())
    load_waveform(dataset.audio)
    with (
        output_lock(out),
        VideoWriter(
            out, width=info.width, height=info.height, fps=info.fps, audio=dataset.audio, crf=CLIP_CRF
        ) as writer,
    ):
        for number in range(info.frame_count):
            writer.write(dataset.frame(number))
            yield Progress("frames", number + 1, info.frame_count)
    return out
