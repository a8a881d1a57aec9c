"""The warp network by torch and by onnxruntime: `python -m benchmarks.engines --avatar DIR --generator FILE`.

How long each takes for as many crops as rendering gives it at a time, and how far each strays from torch in float32,
on held-out crops of a trained person. The 8-bit network is onnxruntime's static quantisation of the convolutions,
calibrated on learnt crops. The table goes to benchmarks/results/engines.md. Needs onnx, onnxscript and onnxruntime;
torch.compile needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from torch import Tensor

from benchmarks.reference_baseline import typical_s
from benchmarks.tables import write_table
from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import open_avatar
from udh_core.export.onnx import WARP, export_onnx
from udh_core.inference.compositor import Compositor
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import with_neighbours
from udh_core.models.tensors import to_input
from udh_core.rendering.options import RenderOptions

JUDGED, CALIBRATED_BY = 16, 64  # crops
BATCH = RenderOptions.batch
Draw = Callable[[Tensor, Tensor], np.ndarray]  # crops (B, 3, S, S), steered (B, frames, shape_width) → (B, 3, S, S)
console = Console(stderr=True)


class Inputs(NamedTuple):
    """Crops (n, 3, S, S) float32, 0..1, and what steers them (n, frames, shape_width)."""

    crops: Tensor
    steered: Tensor

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.crops.split(BATCH), self.steered.split(BATCH), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each row is timed")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    info, generator = open_generator(chosen.generator)
    data = load_training_data(open_avatar(chosen.avatar), info.encoder)
    shapes = with_neighbours(generator.encode_shapes(data.points), generator.config.warp.frames, data.shots)
    judged, learnt = (
        inputs(data, shapes, *part) for part in ((data.held_out, JUDGED), (data.train_frames, CALIBRATED_BY))
    )
    lines = ["| | time | off by, grey levels: mean / most |", "|---|---|---|"]
    wanted, usual_s = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for name, draw in engines(chosen.avatar, chosen.generator, learnt, Path(scratch), chosen.threads):
            drawn = [draw(*pair) for pair in judged.batches()]
            wanted, first = wanted or drawn, next(judged.batches())
            spent_s = typical_s(lambda draw=draw, first=first: draw(*first), chosen.seconds)
            usual_s = usual_s or spent_s
            off = np.abs(np.stack(drawn).clip(0, 1) - np.stack(wanted).clip(0, 1)) * 255
            lines.append(f"| {name} | {spent_s / usual_s:.2f} | {off.mean():.2f} / {off.max():.1f} |")
            console.print(lines[-1])
    about = f"{BATCH} crops of {info.crop.size} px at a time; time as a ratio to torch in float32."
    command = f"python -m benchmarks.engines --avatar {chosen.avatar.name} --generator … --threads {chosen.threads}"
    console.print(write_table("engines", "What runs the warp network", about, lines, command))


def inputs(data: TrainingData, shapes: Tensor, frames: np.ndarray, count: int) -> Inputs:
    some = frames[np.linspace(0, len(frames) - 1, count).astype(int)]
    return Inputs(to_input(data.crops[some]), shapes[some])


def engines(avatar: Path, generator: Path, learnt: Inputs, folder: Path, threads: int) -> Iterator[tuple[str, Draw]]:
    """Each by name."""
    yield "torch, float32", by_torch(generator)
    yield "torch, bfloat16 (what renders)", by_torch(generator, torch.bfloat16)
    opened = open_avatar(avatar)
    compositor = Compositor(open_generator(generator)[1].warp, opened.crop, opened.track().transforms)
    compositor.compile(BATCH)
    yield "torch, bfloat16, compiled", in_torch(compositor.draw)
    for _ in export_onnx(generator, folder):
        pass
    yield "onnxruntime, float32", by_onnx(folder / WARP, threads)
    yield "onnxruntime, 8 bits", by_onnx(quantised(folder / WARP, learnt), threads)


def by_torch(generator: Path, dtype: torch.dtype | None = None) -> Draw:
    warp = open_generator(generator)[1].warp.eval()
    warp.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if dtype is not None:
        warp.render_in(dtype)
    references = warp.enlarge(warp.references)
    return in_torch(lambda crops, steered: warp.draw(crops, steered, references))


def in_torch(warp: Callable[[Tensor, Tensor], Tensor]) -> Draw:
    @torch.inference_mode()
    def draw(crops: Tensor, steered: Tensor) -> np.ndarray:
        return warp(crops.contiguous(memory_format=torch.channels_last), steered).float().numpy()

    return draw


def by_onnx(file: Path, threads: int) -> Draw:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def draw(crops: Tensor, steered: Tensor) -> np.ndarray:
        return np.asarray(session.run(None, {"crops": crops.numpy(), "shapes": steered.numpy()})[0])

    return draw


def quantised(file: Path, learnt: Inputs) -> Path:
    """The network with its convolutions in 8 bits, beside `file`."""
    prepared, out = file.with_name("prepared.onnx"), file.with_name("quantised.onnx")
    quant_pre_process(file, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        out,
        Learnt(learnt),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    return out


class Learnt(CalibrationDataReader):
    """The crops that the 8-bit network is calibrated by, one after the other."""

    def __init__(self, learnt: Inputs) -> None:
        self.left = learnt.batches()

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What onnxruntime feeds the network next; None at the end."""
        pair = next(self.left, None)
        return None if pair is None else {"crops": pair[0].numpy(), "shapes": pair[1].numpy()}


if __name__ == "__main__":
    main()
