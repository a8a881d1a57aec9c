"""The published system: its network number for number, its files opened without running them, its rules kept."""

from __future__ import annotations

import json
import shutil
import zipfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from udh_core.audio import SAMPLE_RATE_HZ, load_waveform, write_wave
from udh_core.avatar import open_avatar
from udh_core.checkpoint import read_info
from udh_core.cli import app
from udh_core.errors import FormatError, MediaError, MismatchError, UdhError
from udh_core.features import AudioFeatures
from udh_core.generator_file import open_generator
from udh_core.models.reference import ReferenceUnet
from udh_core.published import rules
from udh_core.published.dataset import (
    load_rows,
    mesh_squares,
    open_dataset,
    reference_crops,
    reference_inputs,
    rows_of,
)
from udh_core.published.model import PublishedPainter, import_model, open_published
from udh_core.published.rendering import render_published
from udh_core.published.rules import Square
from udh_core.torch_zip import read_state_dict
from udh_core.video import picture_info, probe, read_frames

LISTINGS = Path(__file__).resolve().parents[2] / "shared" / "reference"
FRAMES = 6
EXAMPLES = {"hubert": (16, 32, 32), "wenet": (128, 16, 32)}
both = pytest.mark.parametrize("variant", EXAMPLES)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "unpickled")


@cache
def network(variant: str = "hubert") -> ReferenceUnet:
    """A network whose batch norms have seen something: without that, sound hardly reaches the picture."""
    torch.manual_seed(0)
    made = ReferenceUnet(variant)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        made(*example(variant, 2))
    return made.eval()


def example(variant: str = "hubert", batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(batch, 6, 160, 160), torch.randn(batch, *EXAMPLES[variant])


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hubert checkpoint as the published training writes it."""
    path = tmp_path_factory.mktemp("pth") / "199.pth"
    torch.save(network().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(pth: Path) -> Path:
    """That checkpoint, imported."""
    out = pth.with_suffix(".safetensors")
    import_model(pth, out)
    return out


@pytest.fixture(scope="module")
def data_folder(person: Path, person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in person as the published preparation leaves it; of the 110 points those of the crop are right."""
    root = tmp_path_factory.mktemp("published") / "anna"
    (root / "full_body_img").mkdir(parents=True)
    (root / "landmarks").mkdir()
    squares = mesh_squares(open_avatar(person_avatar))
    for i, frame in enumerate(read_frames(person / "person.mp4", count=FRAMES)):
        cv2.imwrite(str(root / f"full_body_img/{i}.jpg"), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (root / f"landmarks/{i}.lms").write_text(lms(squares[i]))
    write_wave(root / "aud.wav", load_waveform(person / "speech.wav", duration_s=FRAMES / 25))
    rows = np.random.default_rng(0).normal(size=(FRAMES, 2, 1024)).astype(np.float32)
    np.save(root / "aud_hu.npy", rows)
    return root


def lms(place: Square) -> str:
    points = np.full((110, 2), 5, int)
    points[1], points[31], points[52] = (place.x, 9), (place.x + place.side, 9), (7, place.y)
    return "".join(f"{x} {y}\n" for x, y in points)


@pytest.fixture
def folder(data_folder: Path, tmp_path: Path) -> Path:
    """An own copy of the data folder, to damage."""
    return Path(shutil.copytree(data_folder, tmp_path / "anna"))


# The network


@both
def test_names_and_shapes_are_the_published_ones(variant: str) -> None:
    path = LISTINGS / f"ultralight_unet_{variant}_keys.json"
    if not path.is_file():
        pytest.skip(f"the published listings are not beside the checkout ({LISTINGS.parent.name}/{LISTINGS.name})")
    own = {name: list(tensor.shape) for name, tensor in ReferenceUnet(variant).state_dict().items()}
    assert own == json.loads(path.read_text(encoding="utf-8"))


def test_parameters_and_work_are_the_published_ones() -> None:
    made = network()
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(12.16, abs=0.005)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(*example())
    assert counter.get_total_flops() / 2e9 == pytest.approx(3.16, abs=0.005)


@both
def test_every_input_reaches_every_picture_of_its_own(variant: str) -> None:
    made, (images, audio) = network(variant), example(variant, 2)
    with torch.no_grad():
        drawn = made(images, audio)
        other_sound = made(images, torch.cat([audio[:1], audio[1:] + 1]))
    assert drawn.shape == (2, 3, 160, 160)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1
    torch.testing.assert_close(other_sound[0], drawn[0])
    assert not torch.allclose(other_sound[1], drawn[1], atol=1e-3)


# Its rules


def test_square_is_where_the_three_points_say() -> None:
    points = np.zeros((110, 2), np.float32)
    points[1], points[31], points[52] = (100.9, 3), (220.2, 4), (5, 77.7)
    assert rules.square(points) == Square(100, 77, 120)  # whole px, cut off


def test_input_is_bgr_with_the_mouth_black_and_the_reference_whole() -> None:
    crops = np.random.default_rng(0).integers(1, 256, (2, 168, 168, 3), np.uint8)
    images = rules.network_input(crops, crops[::-1])
    assert images.shape == (2, 6, 160, 160)
    np.testing.assert_allclose(images[0, :3], rules.network_target(crops[1:])[0])
    np.testing.assert_allclose(images[0, 0] * 255, crops[1, 4:164, 4:164, 2], atol=1e-4)
    black = (images[0, 3:] == 0).all(0)
    assert black[5:150, 5:155].all()
    assert black.sum() == 145 * 150


def test_what_is_drawn_comes_back_where_it_was() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 168, 168, 3), np.uint8)
    same = rules.with_drawn(crops, rules.network_target(crops) + 1e-4)
    assert (same == crops).all()
    black = rules.with_drawn(crops, np.zeros((2, 3, 160, 160), np.float32))
    assert (black[:, 4:164, 4:164] == 0).all()
    assert (black[:, :4] == crops[:, :4]).all()


@pytest.mark.parametrize("shape", [(2, 1024), (16, 512)])
def test_audio_window_is_eight_frames_with_zeros_beyond_the_ends(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    window = rules.audio_windows(features, np.array([0, 10, 19])).reshape(3, 8, *shape)
    assert (window[1] == features[6:14]).all()
    assert (window[0, :4] == 0).all()
    assert (window[0, 4:] == features[:4]).all()
    assert (window[2, :5] == features[15:]).all()
    assert (window[2, 5:] == 0).all()


def test_window_of_other_features_is_refused() -> None:
    with pytest.raises(FormatError, match="768"):
        rules.audio_windows(np.zeros((5, 2, 768), np.float32), np.array([0]))


@pytest.mark.parametrize("place", [Square(10, 20, 50), Square(-20, -10, 60), Square(70, 60, 90)])
def test_paste_changes_its_square_only(place: Square) -> None:
    frame = np.random.default_rng(0).integers(0, 200, (100, 120, 3), np.uint8)
    result = rules.paste(frame, np.full((168, 168, 3), 255, np.uint8), place)
    rows, columns = rules.inside(frame.shape, place)
    assert (result[rows, columns] == 255).all()
    result[rows, columns] = frame[rows, columns]
    assert (result == frame).all()


def test_square_outside_the_frame_changes_nothing() -> None:
    frame = np.full((50, 50, 3), 9, np.uint8)
    assert (rules.paste(frame, np.zeros((168, 168, 3), np.uint8), Square(60, 10, 20)) == frame).all()
    assert not rules.crop(frame, Square(0, 0, 0)).any()


def test_our_avatars_are_seen_by_the_published_rule(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    crops, squares = reference_crops(avatar), mesh_squares(avatar)
    first, lips = next(crops), avatar.track().landmarks[0, [61, 291, 13, 14, 152]]
    assert first.shape == (168, 168, 3)
    place = (lips - squares[0][:2]) * 168 / squares[0].side
    assert (place > 0).all()
    assert (place < 168).all()  # lips and chin are in the crop
    assert 0.45 < place[:4, 1].mean() / 168 < 0.9
    images, audio = reference_inputs(first[None], np.zeros((9, 2, 1024), np.float32), np.array([3]))
    assert images.shape == (1, 6, 160, 160)
    assert audio.shape == (1, 16, 32, 32)


def test_frame_without_a_face_stays_as_it_is() -> None:
    frame = np.full((40, 40, 3), 50, np.uint8)
    square = rules.mesh_square(np.full((468, 2), np.nan, np.float32))
    painted = PublishedPainter(network()).paint([frame], [square], np.zeros((9, 2, 1024), np.float32), np.array([0]))
    assert (painted[0] == frame).all()


def test_own_features_in_the_published_shape() -> None:
    values = np.random.default_rng(0).normal(size=(11, 1024)).astype(np.float32)
    rows = rows_of(AudioFeatures(values, 50.0, "hubert"), "hubert")
    assert rows.shape == (5, 2, 1024)
    assert (rows[2, 1] == values[5]).all()
    assert rows_of(AudioFeatures(np.zeros((7, 8192), np.float32), 20.0, "wenet:x"), "wenet").shape == (7, 16, 512)
    with pytest.raises(MismatchError, match="not to those of whisper-tiny"):
        rows_of(AudioFeatures(np.zeros((7, 366), np.float32), 50.0, "whisper-tiny"), "hubert")


# Checkpoints


@both
@pytest.mark.parametrize("wrapped", ["bare", "training state", "data parallel", "parameters"])
def test_published_checkpoint_comes_over_whole(tmp_path: Path, variant: str, wrapped: str) -> None:
    made = network(variant)
    state = made.state_dict()
    optimiser = torch.optim.Adam(made.parameters())
    forms = {
        "bare": state,
        "training state": {"epoch": 7, "model": state, "optimizer": optimiser.state_dict()},
        "data parallel": {f"module.{name}": tensor for name, tensor in state.items()},
        "parameters": {**state, **dict(made.named_parameters())},
    }
    torch.save(forms[wrapped], tmp_path / "x.pth")
    import_model(tmp_path / "x.pth", tmp_path / "x.safetensors")
    info, opened = open_published(tmp_path / "x.safetensors")
    assert (info.kind, info.encoder, opened.variant) == ("published model", variant, variant)
    assert info.made_from.startswith("x.pth:")
    pairs = zip(opened.state_dict().values(), state.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_tensors_of_every_layout_and_type_are_read(tmp_path: Path) -> None:
    big = torch.arange(24.0).reshape(2, 3, 4)
    saved = {
        "turned": big.permute(2, 0, 1),
        "part": big[1, 1:],
        "half": torch.rand(3).half(),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    torch.save(saved, tmp_path / "x.pth")
    read = read_state_dict(tmp_path / "x.pth")
    assert set(read) == set(saved)
    for name, tensor in saved.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_checkpoint_is_refused_without_running_it(tmp_path: Path, zipped: bool) -> None:
    state = {**network().state_dict(), "trap": Trap(tmp_path / "trap.txt")}
    torch.save(state, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FormatError, match=r"evil\.pth"):
        import_model(tmp_path / "evil.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "trap.txt").exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(FormatError, match=r"module\.pth is not opened: the pickle asks for torch\.nn"):
        read_state_dict(tmp_path / "module.pth")


def test_size_that_does_not_fit_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1000)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as old, zipfile.ZipFile(tmp_path / "b.pth", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:400] if "/data/" in name else content)
    with pytest.raises(FormatError, match=r"b\.pth is damaged: .*data/0"):
        read_state_dict(tmp_path / "b.pth")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.write_bytes(b"words"), lambda path: path.write_bytes(b"")]
)
def test_damaged_checkpoint_names_the_file(pth: Path, tmp_path: Path, damage) -> None:
    shutil.copy(pth, tmp_path / "bad.pth")
    damage(tmp_path / "bad.pth")
    with pytest.raises(FormatError, match=r"bad\.pth is damaged"):
        import_model(tmp_path / "bad.pth", tmp_path / "out.safetensors")


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {"epoch": 3}, "holds no network's tensors"),
        (lambda s: {"w": torch.ones(2)}, "is no U-Net of Ultralight-Digital-Human as published"),
        (lambda s: without(s, "outc.conv.bias"), "it has no outc.conv.bias"),
        (lambda s: {**s, "outc.conv.bias": torch.ones(4)}, r"its outc.conv.bias has the shape \(4,\), not \(3,\)"),
        (lambda s: {**s, "extra.weight": torch.ones(4)}, "it also has extra.weight"),
        (lambda s: {**s, "outc.conv.bias": torch.full((3,), np.nan)}, "its training diverged"),
        (lambda s: {**s, "audio_model.conv1.conv.0.weight": torch.ones(64, 32, 1, 1)}, "takes 32 rows of audio"),
    ],
)
def test_other_network_is_refused_by_name(tmp_path: Path, change, words: str) -> None:
    torch.save(change(network().state_dict()), tmp_path / "other.pth")
    with pytest.raises(FormatError, match=rf"other\.pth.*{words}"):
        import_model(tmp_path / "other.pth", tmp_path / "out.safetensors")


def test_files_of_another_kind(pth: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no such file: .*gone\.pth"):
        import_model(tmp_path / "gone.pth", tmp_path / "out.safetensors")
    with pytest.raises(FormatError, match=r"199\.pth is a checkpoint as published; convert it once"):
        open_published(pth)
    with pytest.raises(FormatError, match="holds a published model, where a generator is needed"):
        open_generator(model)
    with pytest.raises(UdhError, match="cannot compute on abacus"):
        open_published(model, "abacus")
    assert read_info(model).encoder == "hubert"


# Data folders


def test_data_folder_opens(data_folder: Path, person_avatar: Path) -> None:
    dataset = open_dataset(data_folder)
    assert dataset.squares == tuple(mesh_squares(open_avatar(person_avatar))[:FRAMES])
    assert dataset.shape == dataset.frame(3).shape == (512, 512, 3)
    assert dataset.info("hubert").fps == 25
    assert dataset.features("hubert").shape == (FRAMES, 2, 1024)


def test_render_changes_only_the_crop_and_follows_the_sound(data_folder: Path, model: Path, tmp_path: Path) -> None:
    dataset, painter = open_dataset(data_folder), PublishedPainter(open_published(model)[1])
    *_, last = render_published(dataset, model, tmp_path / "out.mp4")
    assert (last.done, last.total) == (FRAMES, FRAMES)
    drawn = list(read_frames(tmp_path / "out.mp4"))
    assert len(drawn) == FRAMES
    for i in (0, 4):
        frame, place = dataset.frame(i), dataset.squares[i]
        wanted = painter.paint([frame], [place], dataset.features("hubert"), np.array([i]))[0]
        assert np.abs(drawn[i].astype(int) - wanted).mean() < 3  # what the file shows, up to its compression
        rows, columns = rules.inside(frame.shape, place)
        assert np.abs(wanted[rows, columns].astype(int) - frame[rows, columns]).mean() > 10
        wanted[rows, columns] = frame[rows, columns]
        assert (wanted == frame).all()


def test_longer_sound_plays_the_frames_to_and_fro(data_folder: Path, model: Path, tmp_path: Path) -> None:
    dataset, count = open_dataset(data_folder), FRAMES + 2
    write_wave(tmp_path / "long.wav", np.zeros(count * SAMPLE_RATE_HZ // 25, np.float32))
    rows = np.zeros((count, 2, 1024), np.float32)
    list(render_published(dataset, model, tmp_path / "o.mp4", audio=tmp_path / "long.wav", driving=rows))
    assert picture_info(tmp_path / "o.mp4").frame_count == count


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def test_command_line(data_folder: Path, pth: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    assert "a hubert model" in run("import", pth, "--out", model)
    run("import", data_folder, "--out", tmp_path / "clip.mp4")
    assert probe(tmp_path / "clip.mp4").has_audio
    assert picture_info(tmp_path / "clip.mp4").frame_count == FRAMES
    sound = ["--audio", data_folder / "aud.wav", "--features", data_folder / "aud_hu.npy"]
    common = ["render-published", "--dataset", data_folder, "--model", model]
    run(*common, "--out", tmp_path / "own.mp4")
    run(*common, "--out", tmp_path / "given.mp4", *sound)
    frames = [list(read_frames(tmp_path / f"{name}.mp4")) for name in ("own", "given")]
    assert np.array_equal(*frames)


# What is refused


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: shutil.rmtree(f / "landmarks"), "has no folder landmarks"),
        (lambda f: [p.unlink() for p in (f / "full_body_img").iterdir()], r"full_body_img holds no \.jpg"),
        (lambda f: (f / "full_body_img/4.jpg").unlink(), r"4\.jpg is missing"),
        (lambda f: (f / "landmarks/4.lms").unlink(), r"4\.lms cannot be read"),
        (lambda f: (f / "landmarks/4.lms").write_text("1 2\n3 4\n"), r"4\.lms holds 2 points instead of 110"),
        (lambda f: (f / "landmarks/4.lms").write_text("a b\n" * 110), r"4\.lms holds something other than numbers"),
        (lambda f: (f / "landmarks/4.lms").write_text("nan 1\n" * 110), r"4\.lms holds something other than numbers"),
        (lambda f: (f / "landmarks/4.lms").write_text("7 7\n" * 110), r"4\.lms: its face contour has no width"),
        (lambda f: (f / "landmarks/4.lms").write_bytes(b"\xff\xfe\x00" * 50), r"4\.lms holds something other"),
        (lambda f: (f / "full_body_img/0.jpg").write_bytes(b"x"), r"0\.jpg is no picture"),
        (lambda f: (f / "full_body_img/0.jpg").write_bytes(b""), r"0\.jpg cannot be read"),
    ],
)
def test_damaged_data_folder_names_the_file(folder: Path, damage, words: str) -> None:
    damage(folder)
    with pytest.raises(UdhError, match=words):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda f: cv2.imwrite(str(f / "full_body_img/4.jpg"), np.zeros((9, 7, 3), np.uint8)),
            r"4\.jpg is 7×9, the fir",
        ),
        (lambda f: cut_to(f / "full_body_img/4.jpg", 30), r"4\.jpg is no picture"),
        (lambda f: (f / "aud.wav").unlink(), r"no such file: .*aud\.wav"),
        (lambda f: (f / "aud.wav").write_text("words"), r"aud\.wav"),
        (lambda f: (f / "aud_hu.npy").unlink(), r"no such file: .*aud_hu\.npy"),
        (lambda f: cut_to(f / "aud_hu.npy", 5000), r"aud_hu\.npy is damaged"),
        (lambda f: np.save(f / "aud_hu.npy", np.zeros((6, 1024))), r"aud_hu\.npy has the shape \(6, 1024\)"),
        (
            lambda f: np.save(f / "aud_hu.npy", np.full((6, 2, 1024), np.inf)),
            r"aud_hu\.npy holds values that are no num",
        ),
        (lambda f: np.save(f / "aud_hu.npy", np.zeros((99, 2, 1024))), r"the features last 4\.0 s, .*aud\.wav 0\.2 s"),
        (lambda f: np.save(f / "aud_hu.npy", np.array([Trap(f)], object)), r"aud_hu\.npy is damaged"),
    ],
)
def test_damaged_input_of_a_render_names_the_file(
    folder: Path, model: Path, tmp_path: Path, damage, words: str
) -> None:
    damage(folder)
    with pytest.raises(UdhError, match=words):
        list(render_published(open_dataset(folder), model, tmp_path / "out.mp4"))
    assert not (tmp_path / "out.mp4").exists()


def cut_to(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_features_of_the_other_kind(folder: Path) -> None:
    with pytest.raises(MismatchError, match=r"a wenet model needs \(frames, 16, 512\)"):
        load_rows(folder / "aud_hu.npy", "wenet")


@pytest.mark.parametrize("out", ["anna/out.mp4", "model.mov", "nowhere/out.mp4"])
def test_render_into_a_bad_place(folder: Path, model: Path, tmp_path: Path, out: str) -> None:
    with pytest.raises(MediaError, match=Path(out).name):
        list(render_published(open_dataset(folder), model, tmp_path / out))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "{pth}", "--out", "x.mp4"], ".safetensors file"),
        (["import", "{data}", "--out", "x.safetensors"], ".mp4 file"),
        (["import", "{data}", "--out", "{data}/x.mp4"], "lies in the data folder"),
        (["render-published", "--dataset", "{data}", "--model", "{pth}", "--out", "x.mp4"], "convert it once"),
        (
            ["render-published", "--dataset", "{data}", "--model", "{pth}", "--out", "x.mp4", "--audio", "a.wav"],
            "either",
        ),
    ],
)
def test_command_line_refuses(data_folder: Path, pth: Path, arguments: list[str], words: str) -> None:
    filled = [argument.format(pth=pth, data=data_folder) for argument in arguments]
    result = CliRunner().invoke(app, filled)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
