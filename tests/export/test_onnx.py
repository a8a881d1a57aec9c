"""The ONNX files compute what torch does, and their description is enough to use them."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import unavailable
from typer.testing import CliRunner

from benchmarks.sounds import without_pauses
from udh_core.cli import app
from udh_core.demo.sentences import NEW_SPEECH
from udh_core.errors import UdhError
from udh_core.export.onnx import OLDEST, _write, describe, export_onnx
from udh_core.face import crop as crop_module
from udh_core.face.crop import CropSpec
from udh_core.inference.driving import mouth_shapes
from udh_core.media.audio import SAMPLE_RATE_HZ
from udh_core.models.checkpoint import open_generator
from udh_core.models.generator import Generator
from udh_core.models.motion import MotionConfig, MotionNet
from udh_core.models.motion_prior import PriorConfig
from udh_core.models.retrieval_warp import RetrievalWarpNet
from udh_core.models.warping import WarpConfig
from udh_core.speech.features import AudioFeatures
from udh_core.speech.tts import speak

ROOT = Path(__file__).resolve().parents[2]
PARITY = 1e-3  # of 0..1
needs_onnx = pytest.mark.usefixtures("onnx_packages")


@pytest.fixture(scope="module")
def onnx_packages() -> None:
    """What the export needs."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        unavailable("the ONNX export needs pip install onnx onnxscript onnxruntime")


@dataclass
class Exported:
    """What was written, and the generator it was written from."""

    folder: Path
    crop: CropSpec
    network: Generator
    facts: dict

    def run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        import onnxruntime

        path = self.folder / self.facts[name]["file"]
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert {node.name: node.shape for node in session.get_inputs()} == {
            socket["name"]: socket["shape"] for socket in self.facts[name]["inputs"]
        }
        return np.asarray(session.run([self.facts[name]["outputs"][0]["name"]], inputs)[0])


@pytest.fixture(scope="module")
def exported(shaken: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("onnx") / "made"
    result = CliRunner().invoke(app, ["export", "--generator", str(shaken), "--onnx", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.output.count("is ready") == len(list(folder.iterdir())) == 3
    facts = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
    info, network = open_generator(shaken)
    return Exported(folder, info.crop, network, facts)


@needs_onnx
@pytest.mark.parametrize("batch", [1, 3])
def test_warp_agrees_with_torch(exported, batch, figure):
    noise, size = torch.Generator().manual_seed(batch), exported.network.config.warp.size
    crops = torch.rand(batch, 3, size, size, generator=noise)
    shapes = torch.randn(batch, 3, 12, generator=noise)
    with torch.inference_mode():
        wanted = exported.network.warp(crops, shapes)
    assert (wanted - crops).abs().max() > 0.1  # it draws
    drawn = exported.run("warp", crops=crops.numpy(), shapes=shapes.numpy())
    worst = float(np.abs(drawn - wanted.numpy()).max())
    figure(f"warp.onnx against torch, batch {batch}: {worst:.1e}")
    assert worst <= PARITY


@needs_onnx
def test_a_bank_is_drawn_from_as_in_torch(tmp_path, figure):
    """Every picture for itself: the nearest of six."""
    import onnxruntime

    config = WarpConfig(96, references=6, per_frame=3, widths=(8,), condition=16)
    bank, noise = RetrievalWarpNet(config, CropSpec(96)).eval(), torch.Generator().manual_seed(0)
    bank.references.random_(0, 256, generator=noise)
    with torch.no_grad():
        for values, spread in (
            (bank.reference_description, 1.0),
            (bank.metric, 1.0),
            (bank.lips, 1.0),
            (bank.mesh_flow, 0.01),
        ):
            values.add_(spread * torch.randn(values.shape, generator=noise))
        bank.lips.clamp_(0, 1)
        for parameter in bank.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    crops, shapes = torch.rand(3, 3, 96, 96, generator=noise), torch.randn(3, 3, 12, generator=noise)
    _write(bank, {"crops": crops[:2], "shapes": shapes[:2]}, "drawn", ("batch",), tmp_path / "warp.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "warp.onnx"), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = bank(crops, shapes)
        assert len(bank.choose(crops, shapes).unique(dim=0)) > 1
    drawn = np.asarray(session.run(["drawn"], {"crops": crops.numpy(), "shapes": shapes.numpy()})[0])
    worst = float(np.abs(drawn - wanted.numpy()).max())
    figure(f"warp.onnx that draws from a bank against torch: {worst:.1e}")
    assert worst <= PARITY


@needs_onnx
@pytest.mark.parametrize("times", [1, 131])
def test_motion_agrees_with_torch(exported, times):
    features = torch.randn(1, times, 80, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        wanted = exported.network.motion(features).numpy()
    assert wanted.std() > 1e-3
    assert np.abs(exported.run("motion", features=features.numpy()) - wanted).max() <= PARITY


@needs_onnx
def test_motion_with_a_prior_agrees_with_torch(tmp_path):
    """The distance of each voice is an input."""
    import onnxruntime

    torch.manual_seed(3)
    prior = PriorConfig(80, channels=16, dilations=(1,), members=2)
    network = MotionNet(MotionConfig(80, channels=16, members=2, prior=prior)).eval()
    network.prior_share.fill_(0.7)
    inputs = {"features": torch.randn(2, 50, 80), "distance": torch.rand(2)}
    _write(network, inputs, "shapes", ("batch", "time"), tmp_path / "motion.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "motion.onnx"), providers=["CPUExecutionProvider"])
    features, distance = torch.randn(3, 131, 80), torch.tensor([0.0, 0.4, 1.0])
    with torch.inference_mode():
        wanted, near = network(features, distance).numpy(), network(features).numpy()
    found = np.asarray(session.run(["shapes"], {"features": features.numpy(), "distance": distance.numpy()})[0])
    assert np.abs(found - wanted).max() <= PARITY
    assert np.abs(near - wanted)[2].max() > 0.1


@needs_onnx
def test_description_alone_adapts_a_voice(exported):
    """As `mouth_shapes` does it, by nothing but the files and the steps written in one of them."""
    facts, rng = exported.facts, np.random.default_rng(4)
    voice, rest = facts["voice"], np.array(facts["rest"])
    mean, deviation = np.array(voice["mean"]), np.array(voice["deviation"])
    values = mean + deviation * (0.7 * rng.normal(size=(1000, 80)) + rng.normal(size=80))
    seconds, d = len(values) / facts["rate_hz"], mean - values.mean(0)
    evidence = np.mean((d / deviation) ** 2)
    moved = values + d * max(0, 1 - voice["mean_variance"] / seconds / evidence)
    shapes = exported.run("motion", features=moved[None].astype(np.float32))[0]
    r = np.log(voice["mouth_amplitude"] / np.sqrt(np.sum(shapes.var(0) * np.array(facts["shape_deviation"]) ** 2)))
    scale = np.exp(r * r**2 / (r**2 + voice["amplitude_variance"] / seconds))
    scaled = rest + np.clip(scale, 1 / voice["most"], voice["most"]) * (shapes - rest)
    waveform = np.resize(without_pauses(speak(NEW_SPEECH[0])), round(SAMPLE_RATE_HZ * seconds))
    wanted = mouth_shapes(
        exported.network,
        AudioFeatures(values.astype(np.float32), facts["rate_hz"], "mel80"),
        (np.arange(1000) + 0.5) / facts["rate_hz"],
        waveform,
        rest=False,
    ).numpy()
    plain = exported.network.motion(torch.from_numpy(values).float()[None])[0].detach().numpy()
    assert np.abs(wanted - plain).max() > 0.1  # there is something to adapt
    limit = np.maximum(np.abs(shapes), voice["limit"])
    assert np.abs(np.clip(scaled, -limit, limit) - wanted).max() < 0.01 * wanted.std()
    assert seconds > voice["least_s"]


@needs_onnx
def test_references_are_the_real_ones_and_stay_small(exported):
    import onnx

    model = onnx.load(exported.folder / "warp.onnx")
    kept = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    own = exported.network.warp.references.numpy()
    assert own.std() > 10
    assert any(array.dtype == np.uint8 and np.array_equal(array, own) for array in kept)
    weights = sum(p.numel() * 4 for p in exported.network.warp.parameters())
    assert (exported.folder / "warp.onnx").stat().st_size < weights + own.nbytes + 1_000_000
    assert {entry.version for entry in model.opset_import if not entry.domain} == {18}


@needs_onnx
def test_description_alone_gives_the_mask(exported):
    crop = exported.facts["crop"]
    mask, side = crop["mask"], crop["side_in_face_units"]
    axis = (np.arange(crop["size"]) + 0.5) * side / crop["size"]
    x, y = np.meshgrid(axis + crop["corner_in_face_units"][0], axis + crop["corner_in_face_units"][1])
    left, right = mask["radius_x"]["left"], mask["radius_x"]["right"]
    v = (y - mask["centre_y"]) / mask["radius_y"]
    u = x / (np.where(x < 0, left, right) * (1 - mask["taper"] * np.clip(v, -1.5, 1.5)))
    depth = 1 - (abs(u) ** mask["power"] + abs(v) ** mask["power"]) ** (1 / mask["power"])
    depth *= min(left, right, mask["radius_y"])
    t = np.clip(depth / mask["feather"], 0, 1)
    assert np.abs(t * t * (3 - 2 * t) - crop_module.mask(exported.crop)).max() < 1e-4
    assert exported.facts["encoder"] == "mel80"
    assert exported.facts["rate_hz"] == 100.0
    assert exported.facts["mask_formula"].startswith("depth = ")


def test_missing_package_names_pip(shaken, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UdhError, match=r"pip install .*onnxscript"):
        export_onnx(shaken, tmp_path / "made").run()
    assert not (tmp_path / "made").exists()


@needs_onnx
@pytest.mark.parametrize("name", OLDEST)
def test_a_package_that_is_too_old_is_named(shaken, tmp_path, monkeypatch, name):
    monkeypatch.setattr(importlib.import_module(name), "__version__", "0.6.2")
    with pytest.raises(UdhError, match=rf"needs {name} {OLDEST[name]} or newer, this is 0.6.2: run `pip install -U"):
        export_onnx(shaken, tmp_path / "export").run()


def test_the_oldest_packages_are_those_that_are_required():
    required = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(required.count(f'"{name}>={oldest}"') == 2 for name, oldest in OLDEST.items())


def test_description_is_plain(shaken):
    facts = describe(*open_generator(shaken))
    again = json.loads(json.dumps(facts))
    assert again["warp"]["inputs"][1]["shape"] == ["batch", again["frames"], again["shape_width"]] == ["batch", 3, 12]


DESCRIBED = """
import json, sys
from pathlib import Path
from udh_core.export.onnx import describe
from udh_core.models.checkpoint import open_generator

print(json.dumps(describe(*open_generator(Path(sys.argv[1])))))
"""


def test_description_needs_no_docstrings(shaken):
    command = [sys.executable, "-OO", "-c", DESCRIBED, shaken]
    bare = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(bare.stdout)
    assert facts == json.loads(json.dumps(describe(*open_generator(shaken))))
    assert facts["mask_formula"].startswith("depth = ")
