"""Exports: the ONNX files compute what torch does, and an avatar to go renders what the avatar did, without it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.sounds import without_pauses
from udh_core.avatar.folder import open_avatar
from udh_core.avatar.prepare import import_clip, track_face
from udh_core.cli import app
from udh_core.demo.sentences import NEW_SPEECH
from udh_core.errors import FileError, FormatError, MediaError, MismatchError, NoFaceError, OptionError, UdhError
from udh_core.export.bundle import Unpacked, pack, unpack
from udh_core.export.onnx import describe, export_onnx
from udh_core.face import crop as crop_module
from udh_core.face.crop import CropSpec
from udh_core.inference.compositor import Compositor
from udh_core.inference.driving import mouth_shapes
from udh_core.media.video import read_frames
from udh_core.models import checkpoint
from udh_core.models.checkpoint import open_generator, save_generator
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render
from udh_core.speech.features import AudioFeatures
from udh_core.speech.tts import speak

ROOT = Path(__file__).resolve().parents[2]
PARITY = 1e-3  # of 0..1
COMPILER = shutil.which("g++") or shutil.which("clang++")
needs_onnx = pytest.mark.skipif(
    not os.environ.get("CI")  # there nothing may be skipped
    and any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the ONNX export needs pip install onnx onnxscript onnxruntime",
)


def shake(network: Generator) -> None:
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))


def invoke(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the command line."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def shaken(generator_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in person's generator with random weights everywhere, so that no zero hides what a path carries."""
    info, network = open_generator(generator_file)
    shake(network)
    out = tmp_path_factory.mktemp("shaken") / "g.safetensors"
    save_generator(out, info, network)
    return out


@dataclass
class Exported:
    """What was written, and the generator it was written from."""

    folder: Path
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
    code, said = invoke("export", "--generator", shaken, "--onnx", folder)
    assert code == 0, said
    assert said.count("is ready") == len(list(folder.iterdir())) == 3
    facts = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
    return Exported(folder, open_generator(shaken)[1], facts)


# ONNX


@needs_onnx
@pytest.mark.parametrize("batch", [1, 3])
def test_warp_agrees_with_torch(exported, batch, figure):
    noise = torch.Generator().manual_seed(batch)
    crops = torch.rand(batch, 3, 160, 160, generator=noise)
    shapes = torch.randn(batch, 3, 12, generator=noise)
    with torch.inference_mode():
        wanted = exported.network.warp(crops, shapes)
    assert (wanted - crops).abs().max() > 0.1  # it draws
    drawn = exported.run("warp", crops=crops.numpy(), shapes=shapes.numpy())
    worst = float(np.abs(drawn - wanted.numpy()).max())
    figure(f"warp.onnx against torch, batch {batch}: {worst:.1e}")
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
    r = np.log(voice["movement"] / np.sqrt(np.sum(shapes.var(0) * np.array(facts["shape_deviation"]) ** 2)))
    scale = np.exp(r * r**2 / (r**2 + voice["movement_variance"] / seconds))
    scaled = rest + np.clip(scale, 1 / voice["most"], voice["most"]) * (shapes - rest)
    waveform = np.resize(without_pauses(speak(NEW_SPEECH[0])), round(16000 * seconds))
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
    v = (y - mask["centre"][1]) / mask["radii"][1]
    u = (x - mask["centre"][0]) / (mask["radii"][0] * (1 - mask["taper"] * np.clip(v, -1.5, 1.5)))
    depth = (1 - (abs(u) ** mask["power"] + abs(v) ** mask["power"]) ** (1 / mask["power"])) * min(mask["radii"])
    t = np.clip(depth / mask["feather"], 0, 1)
    assert np.abs(t * t * (3 - 2 * t) - crop_module.mask(CropSpec(crop["size"]))).max() < 1e-4
    assert exported.facts["encoder"] == "mel80"
    assert exported.facts["rate_hz"] == 100.0
    assert exported.facts["mask_formula"].startswith("depth = ")


def test_missing_package_names_pip(shaken, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UdhError, match=r"pip install .*onnxscript"):
        list(export_onnx(shaken, tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_description_is_plain(shaken):
    facts = describe(*open_generator(shaken))
    again = json.loads(json.dumps(facts))
    assert again["warp"]["inputs"][1]["shape"] == ["batch", again["frames"], again["shape_width"]] == ["batch", 3, 12]


DESCRIBED = """
import json, sys
from pathlib import Path
from udh_core.export import describe
from udh_core.generator_file import open_generator

print(json.dumps(describe(*open_generator(Path(sys.argv[1])))))
"""


def test_description_needs_no_docstrings(shaken):
    command = [sys.executable, "-OO", "-c", DESCRIBED, shaken]
    bare = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    facts = json.loads(bare.stdout)
    assert facts == json.loads(json.dumps(describe(*open_generator(shaken))))
    assert facts["mask_formula"].startswith("depth = ")


# Avatars to go


def frames_of(person: Unpacked, audio: Path, out: Path, options: RenderOptions) -> np.ndarray:
    for _ in render(person.avatar, person.generator, audio, out, options):
        pass
    return np.stack(list(read_frames(out)))


def test_renders_as_before_with_the_avatar_gone(person_avatar, shaken, speech, tmp_path, figure):
    """Only rounding to float16 lies between them, and the encoder: at crf 0 next to none."""
    shutil.copytree(person_avatar, tmp_path / "avatar")
    shutil.copy(shaken, tmp_path / "g.safetensors")
    own, options = open_avatar(tmp_path / "avatar"), RenderOptions(crf=0)
    wanted = frames_of(Unpacked(own, tmp_path / "g.safetensors"), speech, tmp_path / "own.mp4", options)
    bundle = tmp_path / "person.safetensors"
    assert [*pack(own, tmp_path / "g.safetensors", bundle)][-1] == (150, 150)
    shutil.rmtree(tmp_path / "avatar")
    (tmp_path / "g.safetensors").unlink()
    person = unpack(bundle, tmp_path / "unpacked")
    assert person.avatar.identity == own.identity
    got = frames_of(person, speech, tmp_path / "got.mp4", options)
    apart = np.abs(wanted.astype(np.int16) - got)
    figure(f"render to go against render: mean {apart.mean():.4f}, most {apart.max()} of 255")
    assert got.shape == wanted.shape
    assert apart.mean() < 0.05
    assert apart.max() <= 8


def test_a_part_keeps_frames_and_face_together(person_avatar, shaken, speech, tmp_path):
    own = open_avatar(person_avatar)
    list(pack(own, shaken, tmp_path / "p.safetensors", start_s=1.48, duration_s=3.0))
    person = unpack(tmp_path / "p.safetensors", tmp_path / "unpacked")
    assert person.avatar.info == replace(own.info, frame_count=75)
    part, whole = person.avatar.track(), own.track()
    assert np.array_equal(part.transforms, whole.transforms[37:112])
    assert np.array_equal(part.present, whole.present[37:112])
    kept = np.stack([f[::4, ::4] for f in read_frames(person.avatar.video)]).astype(np.int16)
    around = np.stack([f[::4, ::4] for f in read_frames(own.video, start=36, count=77)]).astype(np.int16)
    errors = [np.abs(kept - around[k : k + 75]).mean() for k in range(3)]
    assert errors[1] == min(errors)
    assert errors[1] < 1.0
    assert len(frames_of(person, speech, tmp_path / "out.mp4", RenderOptions())) == 50


def test_weights_are_halved_and_statistics_are_not(person_avatar, shaken, tmp_path):
    list(pack(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0))
    info, tensors = checkpoint.load(tmp_path / "p.safetensors", "avatar to go")
    assert tensors["generator.warp.input_conv.weight"].dtype == torch.float16
    assert tensors["generator.motion.feature_std"].dtype == torch.float32
    assert tensors["generator.warp.references"].dtype == torch.uint8
    assert tensors["transforms"].dtype == torch.float32
    assert not {"crops", "landmarks"} & set(tensors)
    assert info.made_from == open_avatar(person_avatar).identity


def test_nothing_to_train_on_is_said(person_avatar, shaken, person, tmp_path):
    list(pack(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0))
    unpacked = unpack(tmp_path / "p.safetensors", tmp_path / "unpacked")
    with pytest.raises(FormatError, match="nothing to train on"):
        open_avatar(unpacked.avatar.root)
    for again in (import_clip(person / "person.mp4", unpacked.avatar.root), track_face(unpacked.avatar.root)):
        with pytest.raises(FormatError, match="another folder"):
            list(again)
    assert open_avatar(unpacked.avatar.root, ("video", "track")).info.frame_count == 25


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_damage_is_noticed(person_avatar, shaken, tmp_path, place):
    path = tmp_path / "p.safetensors"
    list(pack(open_avatar(person_avatar), shaken, path, duration_s=1.0))
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        unpack(path, tmp_path / "unpacked")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError):
        unpack(path, tmp_path / "unpacked")
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.safetensors"]


def test_files_that_are_something_else(person_avatar, shaken, tmp_path):
    with pytest.raises(FormatError, match="a generator, where an avatar to go is needed"):
        unpack(shaken, tmp_path / "unpacked")
    list(pack(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0))
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="there already"):
        unpack(tmp_path / "p.safetensors", tmp_path / "taken")
    with pytest.raises(FormatError, match="generator is needed"):
        open_generator(tmp_path / "p.safetensors")


def test_what_cannot_be_packed(person_avatar, shaken, tmp_path):
    own, out = open_avatar(person_avatar), tmp_path / "p.safetensors"
    other = replace(own, identity="0123456789abcdef")
    with pytest.raises(MismatchError):
        list(pack(other, shaken, out))
    with pytest.raises(MediaError, match="start before that"):
        list(pack(own, shaken, out, start_s=6.0))
    for part in ({"start_s": -1.0}, {"duration_s": 0.0}, {"start_s": float("nan")}):
        with pytest.raises(OptionError):
            list(pack(own, shaken, out, **part))
    for bad in (tmp_path / "p.zip", own.root / "p.safetensors", shaken, tmp_path / "none" / "p.safetensors"):
        with pytest.raises(FileError):
            list(pack(own, shaken, bad))
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_a_face(person_avatar, shaken, tmp_path):
    root = Path(shutil.copytree(person_avatar, tmp_path / "avatar"))
    with np.load(root / "track.npz") as data:
        track = dict(data)
    track["transforms"][:50] = np.nan
    np.savez(root / "track.npz", **track)
    with pytest.raises(NoFaceError, match="another start"):
        list(pack(open_avatar(root), shaken, tmp_path / "p.safetensors", duration_s=2.0))
    list(pack(open_avatar(root), shaken, tmp_path / "p.safetensors", duration_s=3.0))
    assert unpack(tmp_path / "p.safetensors", tmp_path / "u").avatar.track().present.sum() == 25


# torch.compile


@pytest.fixture
def small(person_avatar: Path) -> Compositor:
    """A compositor with a network that compiles in seconds."""
    torch.manual_seed(0)
    warp = WarpConfig(96, references=2, widths=(8,), condition=16)
    generator = Generator(GeneratorConfig(MotionConfig(80, members=1), warp, 53), CropSpec(96))
    generator.warp.references.random_(0, 256)
    shake(generator)
    avatar = open_avatar(person_avatar)
    torch._dynamo.reset()
    return Compositor(generator.warp, CropSpec(96), avatar.track().transforms)


@pytest.mark.skipif(COMPILER is None, reason="torch.compile needs a C++ compiler, and there is none")
def test_compiled_draws_the_same(small):
    noise = np.random.default_rng(0)
    crops = noise.integers(0, 256, (3, 96, 96, 3), np.uint8)
    steered = torch.from_numpy(noise.normal(size=(3, 3, 12)).astype(np.float32))
    wanted = small.generate(crops, steered).astype(int)
    assert np.abs(wanted - crops).max() > 20  # it draws
    small.compile(2)
    for rows in (slice(0, 2), slice(2, 3)):  # a whole batch, and one that is filled up
        apart = np.abs(small.generate(crops[rows], steered[rows]) - wanted[rows])
        assert apart.shape == crops[rows].shape
        assert apart.max() <= 8
        assert apart.mean() < 0.3


def test_no_compiler_is_one_line(small, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    with pytest.raises(UdhError, match=r"torch.compile does not work here \(.*; install a C\+\+ compiler") as caught:
        small.compile(2)
    assert "\n" not in str(caught.value)
    assert small.generate(np.zeros((1, 96, 96, 3), np.uint8), torch.zeros(1, 3, 12)).shape == (1, 96, 96, 3)


def test_render_compiles_where_it_is_asked_to(person_avatar, shaken, speech, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Compositor, "compile", lambda _, batch: asked.append(batch))
    steps = list(render(open_avatar(person_avatar), shaken, speech, tmp_path / "o.mp4", RenderOptions(compiled=True)))
    assert asked == [RenderOptions.batch]
    assert [step.done for step in steps if step.stage == "compiling"] == [0]
    assert steps[-1].done == 50


# The command line


def test_export_and_render_from_the_command_line(person_avatar, shaken, speech, tmp_path):
    bundle, out = tmp_path / "p.safetensors", tmp_path / "out.mp4"
    made = invoke(
        "export", "--avatar", person_avatar, "--generator", shaken, "--to-go", bundle, "--start", 1, "--duration", 2
    )
    assert made[0] == 0, made[1]
    assert "MB" in made[1]
    done = invoke("render", "--to-go", bundle, "--audio", speech, "--out", out)
    assert done[0] == 0, done[1]
    assert len(list(read_frames(out))) == 50


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--generator", "g", "--to-go", "p.safetensors"),
        ("export", "--generator", "g"),
        ("export", "--generator", "g", "--onnx", "o", "--to-go", "p.safetensors", "--avatar", "a"),
        ("export", "--generator", "none.safetensors", "--onnx", "o"),
        ("render", "--to-go", "p.safetensors", "--generator", "g", "--audio", "a.wav", "--out", "o.mp4"),
        ("render", "--avatar", "a", "--audio", "a.wav", "--out", "o.mp4"),
        ("render", "--to-go", "none.safetensors", "--audio", "a.wav", "--out", "o.mp4"),
    ],
)
def test_refused_with_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = invoke(*arguments)
    assert code == 2, said
    assert len([line for line in said.splitlines() if line.strip()]) == 1
    assert said.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
