"""A bundle renders what its avatar did, without it; whatever is damaged or something else is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from udh_core.avatar.folder import open_avatar
from udh_core.avatar.prepare import import_clip, track_face
from udh_core.cli import app
from udh_core.errors import FileError, FormatError, MediaError, MismatchError, NoFaceError, OptionError
from udh_core.export.bundle import KIND, OpenedBundle, _occlusion_of, export_bundle, open_bundle
from udh_core.media.video import read_frames
from udh_core.models import checkpoint
from udh_core.models.checkpoint import open_generator
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.render import render


def frames_of(person: OpenedBundle, audio: Path, out: Path, options: RenderOptions) -> np.ndarray:
    for _ in render(person.avatar, person.generator, audio, out, options):
        pass
    return np.stack(list(read_frames(out)))


def test_renders_as_before_with_the_avatar_gone(person_avatar, shaken, speech, tmp_path, figure):
    """Only rounding to float16 lies between them, and the encoder: at crf 0 next to none."""
    shutil.copytree(person_avatar, tmp_path / "avatar")
    shutil.copy(shaken, tmp_path / "g.safetensors")
    own, options = open_avatar(tmp_path / "avatar"), RenderOptions(crf=0)
    wanted = frames_of(OpenedBundle(own, tmp_path / "g.safetensors"), speech, tmp_path / "own.mp4", options)
    bundle = tmp_path / "person.safetensors"
    *_, last = export_bundle(own, tmp_path / "g.safetensors", bundle)
    assert (last.done, last.total) == (150, 150)
    shutil.rmtree(tmp_path / "avatar")
    (tmp_path / "g.safetensors").unlink()
    person = open_bundle(bundle, tmp_path / "unpacked")
    assert person.avatar.identity == own.identity
    got = frames_of(person, speech, tmp_path / "got.mp4", options)
    apart = np.abs(wanted.astype(np.int16) - got)
    figure(f"render of a bundle against render of its avatar: mean {apart.mean():.4f}, most {apart.max()} of 255")
    assert got.shape == wanted.shape
    assert apart.mean() < 0.05
    assert apart.max() <= 8


def test_a_part_keeps_frames_and_face_together(person_avatar, shaken, speech, tmp_path):
    own = open_avatar(person_avatar)
    export_bundle(own, shaken, tmp_path / "p.safetensors", start_s=1.48, duration_s=3.0).run()
    person = open_bundle(tmp_path / "p.safetensors", tmp_path / "unpacked")
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


def test_what_is_before_the_face_goes_along(covered_avatar, generator_file, tmp_path):
    export_bundle(covered_avatar, generator_file, tmp_path / "p.safetensors", start_s=1.0, duration_s=1.0).run()
    part = open_bundle(tmp_path / "p.safetensors", tmp_path / "unpacked").avatar.occlusion()
    whole = covered_avatar.occlusion()
    assert part.frames.tolist() == list(range(5, 20))
    assert np.array_equal(part.masks, whole.masks[:15])
    assert np.array_equal(part.covered, whole.covered[:15])
    assert len(_occlusion_of({}).frames) == 0  # as in a bundle of an earlier version


def test_weights_are_halved_and_statistics_are_not(person_avatar, shaken, tmp_path):
    export_bundle(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0).run()
    info, tensors = checkpoint.load(tmp_path / "p.safetensors", KIND)
    assert tensors["generator.warp.input_conv.weight"].dtype == torch.float16
    assert tensors["generator.motion.feature_std"].dtype == torch.float32
    assert tensors["generator.warp.references"].dtype == torch.uint8
    assert tensors["transforms"].dtype == torch.float32
    assert not {"crops", "landmarks"} & set(tensors)
    assert info.made_from == open_avatar(person_avatar).identity


def test_an_opened_bundle_cannot_be_trained_on(person_avatar, shaken, person, tmp_path):
    export_bundle(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0).run()
    opened = open_bundle(tmp_path / "p.safetensors", tmp_path / "unpacked")
    with pytest.raises(FormatError, match="nothing to train on"):
        open_avatar(opened.avatar.root)
    for again in (import_clip(person / "person.mp4", opened.avatar.root), track_face(opened.avatar.root)):
        with pytest.raises(FormatError, match="another folder"):
            list(again)
    assert open_avatar(opened.avatar.root, ("video", "track")).info.frame_count == 25


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_damage_is_noticed(person_avatar, shaken, tmp_path, place):
    path = tmp_path / "p.safetensors"
    export_bundle(open_avatar(person_avatar), shaken, path, duration_s=1.0).run()
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        open_bundle(path, tmp_path / "unpacked")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError):
        open_bundle(path, tmp_path / "unpacked")
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.safetensors"]


def test_files_that_are_something_else(person_avatar, shaken, tmp_path):
    with pytest.raises(FormatError, match="a generator, where a bundle is needed"):
        open_bundle(shaken, tmp_path / "unpacked")
    export_bundle(open_avatar(person_avatar), shaken, tmp_path / "p.safetensors", duration_s=1.0).run()
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="there already"):
        open_bundle(tmp_path / "p.safetensors", tmp_path / "taken")
    with pytest.raises(FormatError, match="generator is needed"):
        open_generator(tmp_path / "p.safetensors")


def test_what_cannot_be_exported(person_avatar, shaken, tmp_path):
    own, out = open_avatar(person_avatar), tmp_path / "p.safetensors"
    other = replace(own, identity="0123456789abcdef")
    with pytest.raises(MismatchError):
        export_bundle(other, shaken, out).run()
    with pytest.raises(MediaError, match="start before that"):
        export_bundle(own, shaken, out, start_s=6.0).run()
    for part in ({"start_s": -1.0}, {"duration_s": 0.0}, {"start_s": float("nan")}):
        with pytest.raises(OptionError):
            export_bundle(own, shaken, out, **part).run()
    for bad in (tmp_path / "p.zip", own.root / "p.safetensors", shaken, tmp_path / "none" / "p.safetensors"):
        with pytest.raises(FileError):
            export_bundle(own, shaken, bad).run()
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_a_face(person_avatar, shaken, tmp_path):
    root = Path(shutil.copytree(person_avatar, tmp_path / "avatar"))
    with np.load(root / "track.npz") as data:
        track = dict(data)
    track["transforms"][:50] = np.nan
    np.savez(root / "track.npz", **track)
    with pytest.raises(NoFaceError, match="another start"):
        export_bundle(open_avatar(root), shaken, tmp_path / "p.safetensors", duration_s=2.0).run()
    export_bundle(open_avatar(root), shaken, tmp_path / "p.safetensors", duration_s=3.0).run()
    assert open_bundle(tmp_path / "p.safetensors", tmp_path / "u").avatar.track().present.sum() == 25


# The command line


def invoke(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the command line."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.output


def test_export_and_render_from_the_command_line(person_avatar, shaken, speech, tmp_path):
    bundle, out = tmp_path / "p.safetensors", tmp_path / "out.mp4"
    made = invoke(
        "export", "--avatar", person_avatar, "--generator", shaken, "--bundle", bundle, "--start", 1, "--duration", 2
    )
    assert made[0] == 0, made[1]
    assert "MB" in made[1]
    done = invoke("render", "--bundle", bundle, "--audio", speech, "--out", out)
    assert done[0] == 0, done[1]
    assert len(list(read_frames(out))) == 50


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--generator", "g", "--bundle", "p.safetensors"),
        ("export", "--generator", "g"),
        ("export", "--generator", "g", "--onnx", "o", "--bundle", "p.safetensors", "--avatar", "a"),
        ("export", "--generator", "none.safetensors", "--onnx", "o"),
        ("render", "--bundle", "p.safetensors", "--generator", "g", "--audio", "a.wav", "--out", "o.mp4"),
        ("render", "--avatar", "a", "--audio", "a.wav", "--out", "o.mp4"),
        ("render", "--bundle", "none.safetensors", "--audio", "a.wav", "--out", "o.mp4"),
    ],
)
def test_refused_with_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = invoke(*arguments)
    assert code == 2, said
    assert len([line for line in said.splitlines() if line.strip()]) == 1
    assert said.startswith("error: ")
    assert list(tmp_path.iterdir()) == []
