"""The generator for other programs: its two networks as ONNX, and one JSON that says how they are used."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

from ..errors import FileError, UdhError
from ..face import crop
from ..face.mask import FORMULA
from ..files import atomic_write, output_lock
from ..models.checkpoint import Checkpoint, open_generator
from ..models.generator import Generator as GeneratorNet
from ..progress import Progress, job
from ..speech.encoders import open_encoder

FORMAT = 4  # of the JSON
OPSET = 18
OLDEST = {"onnx": "1.17", "onnxscript": "0.7.1"}  # before, what draws from a bank was other than in torch: off by 1
WARP, MOTION, DESCRIPTION = "warp.onnx", "motion.onnx", "generator.json"
_STEPS = (
    "Extract the audio features of 16 kHz mono speech with the encoder; row k describes (k + 0.5) / rate_hz seconds.",
    "Find the rows in which somebody speaks, n seconds in all. With n below voice.least_s or with "
    "voice.mouth_amplitude 0, leave out the two steps beginning with “Voice”.",
    "Voice: with d = voice.mean - the mean of those rows, add "
    "d * max(0, 1 - voice.mean_variance / n / mean((d / voice.deviation)^2)) to all rows.",
    "Run motion on them, all at once or in blocks that overlap by 30 rows: one mouth shape per row. Where it has an "
    "input `distance`, that is "
    "max(0, 1 - (voice.mean_variance / n + voice.voice_variance) / mean((d / voice.deviation)^2)), "
    "0 where the step before is left out.",
    "Voice: over the same rows, with a = voice.mouth_amplitude + distance * (voice.general_amplitude - "
    "voice.mouth_amplitude) and r = log(a / sqrt(sum(variance of the shapes * shape_deviation^2))), "
    "scale the distance of all shapes from `rest` by exp(r * r^2 / (r^2 + voice.amplitude_variance / n)), kept between "
    "1 / voice.most and voice.most; no value goes beyond voice.limit by that.",
    "Take the shapes at the middle of every video frame, (i + 0.5) / fps seconds, linearly between rows: any fps.",
    "Where the audio has been silent for a while, blend them smoothly into `rest`; for another amplitude, scale their "
    "distance from it.",
    "Condition frame i on the shapes of `frames` consecutive frames around it, the first and last one repeated.",
    "Align: the least-squares similarity that takes the landmarks aligned_by.points to aligned_by.places, in face "
    "units; crop px = (face units - corner) * size / side. Smooth it over time; warp the frame to the crop (cubic).",
    "Run warp, clip to 0..1, and warp the result back over the frame (cubic), blended by the mask.",
    "Both ways, what is to shrink 1.75 times or more is first shrunk by a whole factor, floor(times + 0.25), each px "
    "the mean of those it replaces, so that nothing aliases.",
)


@job
def export_onnx(generator: str | Path, folder: str | Path) -> Generator[Progress, None, list[Path]]:
    """Write both networks and their description into `folder`, which is made; each file whole or not at all.

    The result lists the files. UdhError naming the remedy when a package is missing or torch too old; FileError when
    the folder cannot be made or written; FormatError when the checkpoint holds no generator.
    """
    generator, folder = Path(generator), Path(folder)
    _check_packages()
    info, network = open_generator(generator)
    description = describe(info, network)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    size, shape = info.crop.size, network.config.motion.shape_width
    crops, shapes = torch.rand(2, 3, size, size), torch.randn(2, network.config.warp.frames, shape)
    features = torch.randn(2, 50, network.config.motion.feature_width)
    files = [folder / WARP, folder / MOTION, folder / DESCRIPTION]
    with output_lock(*files):
        yield Progress("export", 0, len(files), files[0].name)
        _write(network.warp, {"crops": crops, "shapes": shapes}, "drawn", ("batch",), files[0])
        yield Progress("export", 1, len(files), files[1].name)
        motion_inputs = {"features": features}
        if network.motion.prior is not None:
            motion_inputs["distance"] = torch.rand(2)
        _write(network.motion, motion_inputs, "shapes", ("batch", "time"), files[1])
        with atomic_write(files[2]) as temporary:
            temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")
    yield Progress("export", len(files), len(files))
    return files


def describe(info: Checkpoint, network: GeneratorNet) -> dict[str, Any]:
    """Everything that is needed to use the two files, as plain values for JSON."""
    config, size = network.config, info.crop.size
    shape, frames, adaptation = config.motion.shape_width, config.warp.frames, config.adaptation
    motion_inputs = [_socket("features", ["batch", "time", config.motion.feature_width], "rows of the encoder")]
    amplitude = general_amplitude = float(network.mouth_amplitude)
    if network.motion.prior is not None:
        motion_inputs.append(_socket("distance", ["batch"], "0..1, of the voice from that of the clip"))
        general_amplitude = float(network.motion.general_amplitude)
    picture = "RGB, 0..1"
    deviations = "standard deviations, about -3..3"
    return {
        "format": FORMAT,
        "made_from": info.made_from,
        "encoder": info.encoder,
        "rate_hz": open_encoder(info.encoder).rate_hz,
        "feature_width": config.motion.feature_width,
        "shape_width": shape,
        "frames": frames,
        "rest": network.rest_pose.tolist(),
        "shape_deviation": network.shape_std.tolist(),
        "voice": {
            "mean": network.motion.speech_mean.tolist(),
            "deviation": network.motion.feature_std.tolist(),
            "mean_variance": adaptation.mean_variance,
            "voice_variance": adaptation.voice_variance,
            "mouth_amplitude": amplitude,
            "general_amplitude": general_amplitude,
            "amplitude_variance": adaptation.movement_variance,
            "most": adaptation.max_gain,
            "limit": adaptation.max_deviation,
            "least_s": adaptation.least_s,
        },
        "references": config.warp.references,
        "crop": crop.description(info.crop),
        "motion": {
            "file": MOTION,
            "inputs": motion_inputs,
            "outputs": [_socket("shapes", ["batch", "time", shape], deviations)],
        },
        "warp": {
            "file": WARP,
            "inputs": [
                _socket("crops", ["batch", 3, size, size], picture),
                _socket("shapes", ["batch", frames, shape], deviations),
            ],
            "outputs": [_socket("drawn", ["batch", 3, size, size], f"{picture}, to be clipped")],
        },
        "mask_formula": FORMULA,
        "use": list(_STEPS),
    }


def _socket(name: str, shape: list[str | int], holds: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "type": "float32", "range": holds}


def _check_packages() -> None:
    for module, oldest in OLDEST.items():
        try:
            found = importlib.import_module(module).__version__
        except ImportError as error:
            raise UdhError(f"the ONNX export needs {module}: run `pip install onnx onnxscript onnxruntime`") from error
        if Version(found) < Version(oldest):
            raise UdhError(
                f"the ONNX export needs {module} {oldest} or newer, this is {found}: run `pip install -U {module}`"
            )
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9):
        raise UdhError(f"the ONNX export needs torch 2.9 or newer, this is {torch.__version__}: update torch")


def _write(network: nn.Module, inputs: dict[str, Tensor], output: str, free: tuple[str, ...], out: Path) -> None:
    """Write a network as ONNX. `free`: names of the leading dimensions that may have any length."""
    dimensions = {axis: torch.export.Dim(name, min=1, max=1 << 20) for axis, name in enumerate(free)}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({k: d for k, d in dimensions.items() if k < one.ndim} for one in inputs.values()),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    with atomic_write(out) as temporary:
        program.save(temporary)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter says about itself and about torchvision is of no use to the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
