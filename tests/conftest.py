"""Shared fixtures: where the development clips lie, and small media made on the spot."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if (
    "PYTEST_XDIST_WORKER_COUNT" in os.environ
):  # before what reads it is imported: each process has its share of the cores
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

import numpy as np
import pytest

if TYPE_CHECKING:
    from program import Comfy

    from udh_core.face.crop import CropSpec

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
DATA = ROOT.parent / "shared" / "data"
COMFY = ROOT / "tests" / "comfy"
sys.path += [str(ROOT / "tests"), str(COMFY)]  # needs.py, program.py

from needs import unavailable  # noqa: E402

# Files that share what is costly to make run in one process of several; what lasts longest begins first.
TOGETHER = {
    "the running ComfyUI": (
        "comfy/test_server.py",
        "comfy/test_long.py",
        "comfy/test_live.py",
        "browser/test_browser.py",
        "browser/test_files.py",
        "browser/test_live_node.py",
    ),
    "the chain": ("test_chain.py",),
    "a real minute": (
        "audit/test_audio.py",
        "audit/test_audit.py",
        "avatar/test_av_offset.py",
        "evaluation/test_evaluate.py",
        "evaluation/test_html.py",
        "inference/test_driving.py",
        "training/test_augmented_features.py",
        "training/test_real_minute.py",
        "training/test_syncnet.py",
    ),
    "inside ComfyUI": ("comfy/test_inside.py",),
    "faults": ("faults/",),
}


def group_of(nodeid: str) -> str:
    """Of a test, such as "tests/face/test_crop.py::test_crop"."""
    file = nodeid.split("::")[0].removeprefix("tests/")
    return next((name for name, files in TOGETHER.items() if file.startswith(files)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = list(TOGETHER)
    items.sort(key=lambda item: names.index(group) if (group := group_of(item.nodeid)) in names else len(names))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a measured figure in words; all of them stand at the end of the test run."""
    return functools.partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    lines = [value for report in calls for name, value in report.user_properties if name == "figure"]
    if lines:
        terminalreporter.section("measured")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips that may lie beside the checkout."""
    if not (DATA / "video").is_dir():
        unavailable(f"the real clips are not beside the checkout ({DATA.parent.name}/{DATA.name})")
    return DATA


@pytest.fixture(scope="session")
def paste_area() -> Callable[[tuple[int, ...], np.ndarray, CropSpec], np.ndarray]:
    """Of a frame of some shape, its transform (2, 3) and the crop: the pixels (H, W) bool that `paste` may change."""
    import cv2

    from udh_core.face.crop import mask

    def area(shape: tuple[int, ...], transform: np.ndarray, spec: CropSpec) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(mask(spec), transform.astype(np.float64), (shape[1], shape[0]), flags=flags) > 0

    return area


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of weight files; whatever is missing there is fetched once."""
    from udh_core.weights.registry import fetch_weights, models_dir

    fetch_weights().run()
    return models_dir()


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in talking person, six seconds of 512 px: a folder with person.mp4, speech.wav and truth.npz."""
    from udh_core.demo.clip import make_clip

    folder = tmp_path_factory.mktemp("person")
    list(make_clip(folder, seconds=6, seed=11))
    return folder


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Six seconds of a real person of 320 px with sound, or the built-in one where the real clips are not at hand."""
    from udh_core.media.ffmpeg import run, url

    real = DATA / "video" / "dfrf_cnn2_25fps.mp4"
    if not real.is_file():
        return request.getfixturevalue("person") / "person.mp4"
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    cut, codecs = ["-ss", "10", "-t", "6", "-i", url(real)], ["-c:v", "libx264", "-crf", "18", "-c:a", "aac"]
    run([*cut, "-vf", "scale=320:320", *codecs, url(path)], "no small clip")
    return path


@pytest.fixture(scope="session")
def two_people(clips: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Forty frames of each of two real people, (288, 512, 3)."""
    import cv2

    from udh_core.media.video import read_frames

    def framed(name: str) -> list[np.ndarray]:
        pictures = []
        for frame in read_frames(clips / "video" / name, start=250, count=40):
            width = round(288 * frame.shape[1] / frame.shape[0])
            picture = np.zeros((288, 512, 3), np.uint8)
            left = (512 - width) // 2
            picture[:, left : left + width] = cv2.resize(frame, (width, 288), interpolation=cv2.INTER_AREA)
            pictures.append(picture)
        return pictures

    return framed("dfrf_cnn2_25fps.mp4"), framed("grid_s1_train_5min.mp4")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, small_clip: Path) -> Path:
    """ComfyUI's folders, with the clip of fifteen frames a second and its sound in input/."""
    from program import make_base

    from udh_core.media.audio import load_sound, write_wave
    from udh_core.media.ffmpeg import run, url

    folder = make_base(tmp_path_factory.mktemp("comfy"))
    codecs = ["-c:v", "libx264", "-crf", "18", "-c:a", "copy"]
    run(["-i", url(small_clip), "-vf", "fps=15", *codecs, url(folder / "input" / "clip.mp4")], "no clip for ComfyUI")
    write_wave(folder / "input" / "speech.wav", *load_sound(small_clip, duration_s=3.0))
    return folder


@pytest.fixture(scope="session")
def comfy(base: Path) -> Iterator[Comfy]:
    """The one running ComfyUI of the current version, for tests over HTTP and those in the browser."""
    from program import CURRENT, home_of, start

    running = start(home_of(CURRENT), base)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def person_avatar(person: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built-in person's avatar, 96 px and mel80. Tests that change it copy it first."""
    from udh_core.avatar.options import PrepareOptions
    from udh_core.avatar.prepare import prepare

    root = tmp_path_factory.mktemp("avatar") / "person"
    list(prepare(person / "person.mp4", root, PrepareOptions(96, "mel80"), models=models))
    return root


@pytest.fixture(scope="session")
def repainted(person_avatar: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Takes change(frame, number) -> frame, and how many frames; the built-in person's avatar, prepared from those.

    The frames are halved before, to 256 px.
    """
    import cv2

    from udh_core.avatar.folder import open_avatar
    from udh_core.avatar.options import PrepareOptions
    from udh_core.avatar.prepare import track_face
    from udh_core.media.video import VideoWriter, read_frames

    def make(change: Callable[[np.ndarray, int], np.ndarray], count: int = 150):
        whole, root = open_avatar(person_avatar), tmp_path_factory.mktemp("repainted") / "person"
        shutil.copytree(person_avatar, root, ignore=shutil.ignore_patterns("*.mp4", "crops.npy", "*.npz"))
        with VideoWriter(root / "video.mp4", width=256, height=256, fps=whole.info.fps, crf=10, encoder="x264") as out:
            for number, frame in enumerate(read_frames(whole.video, count=count)):
                out.write(change(cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA), number))
        state = json.loads((root / "avatar.json").read_text(encoding="utf-8"))
        state["video"] |= {"width": 256, "height": 256, "frame_count": count}
        state["stages"] = {name: state["stages"][name] for name in ("video", "audio")}
        (root / "avatar.json").write_text(json.dumps(state), encoding="utf-8")
        return track_face(root, PrepareOptions(96, skip_lost=True), models=models).run()

    return make


@pytest.fixture(scope="session")
def covered_avatar(person_avatar: Path, repainted: Callable):
    """The built-in person in frames of 256 px, not seen whole in some.

    The chin is below the picture in frames 0 to 9, a black box lies before the mouth in 30 to 44, a rod in 90 to 109.
    """
    import cv2

    from udh_core.avatar.folder import open_avatar
    from udh_core.face.topology import JAW, LIPS

    points = open_avatar(person_avatar).track().landmarks / 2
    x, y = (int(place) for place in np.median(points[:, LIPS], axis=(0, 1)))
    down = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 265.0 - float(points[:, JAW, 1].max(1).min())]])

    def cover(frame: np.ndarray, number: int) -> np.ndarray:
        if number < 10:
            return cv2.warpAffine(frame, down, (256, 256), borderValue=(90, 90, 90))
        if 30 <= number < 45:
            cv2.rectangle(frame, (x - 30, y - 22), (x + 30, y + 22), (0, 0, 0), -1)
        if 90 <= number < 110:
            cv2.line(frame, (x + 5, y + 22), (x + 12, y + 100), (30, 30, 40), 11, cv2.LINE_AA)
        return frame

    return repainted(cover)


@pytest.fixture(scope="session")
def real_minute(clips: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an avatar of one minute of a real speaker, 128 px. Tests that change it copy it first."""
    from udh_core.avatar.options import PrepareOptions
    from udh_core.avatar.prepare import prepare

    root = tmp_path_factory.mktemp("real") / "minute"
    list(prepare(clips / "video/grid_s1_train_5min.mp4", root, PrepareOptions(128, duration_s=60), models=models))
    return root


@pytest.fixture(scope="session")
def real_syncnet(real_minute: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SyncNet that learnt 40 s of the real speaker; the last 30 % of the minute are unseen."""
    from udh_core.avatar.folder import open_avatar
    from udh_core.training.options import SyncNetOptions
    from udh_core.training.syncnet import train_syncnet

    out = tmp_path_factory.mktemp("syncnet") / "s.safetensors"
    list(train_syncnet(open_avatar(real_minute), out, SyncNetOptions(steps=70, neighbourhoods=3, held_out=0.3)))
    return out


@pytest.fixture(scope="session")
def generator_file(person_avatar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of the built-in person that has barely learnt anything, with its resume state."""
    from udh_core.avatar.folder import open_avatar
    from udh_core.training.generator import train_generator
    from udh_core.training.options import GeneratorOptions

    out = tmp_path_factory.mktemp("generator") / "g.safetensors"
    options = GeneratorOptions(steps=2, motion_steps=1, batch=4, model_size="small")
    for _ in train_generator(open_avatar(person_avatar), out, options, encoder="mel80"):
        pass
    return out


@pytest.fixture(scope="session")
def moving_generator(generator_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of the built-in person whose mouth moves widely; other voices are not adapted to."""
    import torch

    from udh_core.models.checkpoint import load, save

    info, tensors = load(generator_file, "generator")
    torch.manual_seed(0)
    for name in [name for name in tensors if "head.weight" in name or "output_proj.weight" in name]:
        tensors[name] += 0.1 * torch.randn_like(tensors[name])
    tensors["mouth_amplitude"].zero_()
    path = tmp_path_factory.mktemp("moving") / "g.safetensors"
    save(path, info, tensors)
    return path


@pytest.fixture(scope="session")
def training_data(person_avatar: Path):
    """The prepared built-in person as training sees it."""
    from udh_core.avatar.dataset import load_training_data
    from udh_core.avatar.folder import open_avatar

    return load_training_data(open_avatar(person_avatar), "mel80")


@pytest.fixture(scope="session")
def speech(person: Path) -> Path:
    """Two seconds of speech."""
    from udh_core.media.audio import load_waveform, write_wave

    path = person / "two_seconds.wav"
    write_wave(path, load_waveform(person / "speech.wav", duration_s=2.0))
    return path


@pytest.fixture(scope="session")
def learn_motion(real_minute: Path) -> Callable:
    """Takes a number of steps, trains one motion network on the real minute, and returns (generator, its data).

    With `prior` it has the motion prior, too.
    """
    import torch

    from udh_core.avatar.dataset import load_training_data
    from udh_core.avatar.folder import open_avatar
    from udh_core.models.generator import Generator, GeneratorConfig
    from udh_core.models.motion import MotionConfig, MotionTrainingConfig
    from udh_core.models.motion_prior import open_prior
    from udh_core.models.warping import WarpConfig
    from udh_core.training.augmented_features import extract_augmented, extract_silences
    from udh_core.training.calibration import ClipSound, fit_feature_statistics, rest_shape
    from udh_core.training.loop import Schedule
    from udh_core.training.motion import Chunks, MotionTraining, TrainingSounds

    avatar, encoder = open_avatar(real_minute), "whisper-tiny"
    data = load_training_data(avatar, encoder)
    sounds = TrainingSounds(extract_augmented(avatar, encoder).run(), extract_silences(avatar, encoder).run())

    @functools.cache
    def learn(steps: int, *, prior: bool = False, **settings: float):
        torch.manual_seed(0)
        found = open_prior() if prior else None
        sizes = MotionConfig(data.features.shape[1], members=1, prior=found.config if found else None)
        spec = avatar.crop
        training = MotionTrainingConfig(**settings)  # pyright: ignore[reportArgumentType]
        config = GeneratorConfig(sizes, WarpConfig(spec.size), data.points.shape[1], motion_training=training)
        generator = Generator(config, spec)
        generator.motion.set_prior(found)
        generator.fit_shape_space(data.points[data.train_frames])
        shapes = generator.encode_shapes(data.points)
        generator.rest_pose.copy_(rest_shape(data, shapes))
        sound = ClipSound(data)
        fit_feature_statistics(generator, data, shapes, sound)
        chunks = Chunks(generator, data, sounds, sound.spoken)
        for _ in MotionTraining(generator, data, shapes, chunks).steps(Schedule(steps, None)):
            pass
        return generator.eval(), data

    return learn
