"""Whoever speaks is brought to the voice of the clip: in what is heard of them, and in how far the mouth moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.sounds import coloured_noise, music, without_pauses
from udh_core.avatar.dataset import TrainingData
from udh_core.demo.sentences import NEW_SPEECH
from udh_core.face.crop import CropSpec
from udh_core.inference import driving
from udh_core.inference.driving import (
    amplitude_gain,
    at_times,
    feature_shift,
    gain_of,
    mean_of,
    mouth_amplitude,
    mouth_shapes,
    predict_rows,
    speech_rows,
    voice_distance,
)
from udh_core.media.audio import load_waveform
from udh_core.metrics import correlation
from udh_core.models.generator import AdaptationConfig, Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.motion_prior import PriorConfig
from udh_core.models.warping import WarpConfig
from udh_core.speech import augmentation, features
from udh_core.speech.features import AudioFeatures
from udh_core.speech.tts import speak
from udh_core.training.calibration import ClipSound, fit_feature_statistics, movement_in_speech

RATE_HZ, WIDTH = 50.0, 6
SPEECH = without_pauses(speak(" ".join(NEW_SPEECH[:2])))
NOBODY = {  # speaks
    **dict(zip(("nothing", *map(str, augmentation.FAINT_DB)), augmentation.silent_waveforms(), strict=True)),
    "brown noise": coloured_noise(augmentation.LENGTH_S * 16000, "brown") * np.float32(10 ** (-55 / 20)),
    "music": music(augmentation.LENGTH_S * 16000) * np.float32(10 ** (-65 / 20)),
}


def seconds_of_speech(seconds: float, seed: int = 0) -> tuple[AudioFeatures, np.ndarray]:
    """Features, and the sound of somebody who speaks without a pause."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(round(seconds * RATE_HZ), WIDTH)).astype(np.float32)
    return AudioFeatures(values, RATE_HZ, "mel80"), np.resize(SPEECH, round(seconds * 16000))


def times_in(heard: AudioFeatures) -> np.ndarray:
    """The middle of every row."""
    return (np.arange(len(heard.values)) + 0.5) / heard.rate_hz


def unadapted(generator: Generator, heard: AudioFeatures, times_s: np.ndarray) -> torch.Tensor:
    return at_times(predict_rows(generator, heard, torch.zeros(heard.width)), heard.rate_hz, times_s)


@pytest.fixture
def generator() -> Generator:
    """Its own voice has features of zero mean and unit variance; the mouth moves as far as in a minute of that."""
    torch.manual_seed(0)
    motion = MotionConfig(feature_width=WIDTH, channels=16, members=1)
    warp = WarpConfig(160, references=1, widths=(16, 24), condition=16)
    made = Generator(GeneratorConfig(motion, warp, shape_points=20), CropSpec(160)).eval()
    made.rest_pose.normal_()
    heard, _ = seconds_of_speech(60, seed=9)
    made.mouth_amplitude.fill_(mouth_amplitude(made, unadapted(made, heard, times_in(heard))))
    return made


def test_own_voice_is_left_alone(generator: Generator) -> None:
    heard, waveform = seconds_of_speech(20)
    free = unadapted(generator, heard, times_in(heard))
    told = mouth_shapes(generator, heard, times_in(heard), waveform, rest=False)
    assert float((told - free).std() / free.std()) < 0.02


def test_another_voice_is_brought_to_the_mean(generator: Generator) -> None:
    heard, waveform = seconds_of_speech(60)
    usual = unadapted(generator, heard, times_in(heard))
    offset = np.array([0.8, -0.5, 0.3, 0, 0.6, -0.9], np.float32)
    other = AudioFeatures(heard.values + offset, RATE_HZ, "mel80")
    apart = unadapted(generator, other, times_in(other)) - usual
    left = mouth_shapes(generator, other, times_in(other), waveform, rest=False) - usual
    assert float(left.std()) < 0.1 * float(apart.std())


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_movement_is_brought_to_the_usual(generator: Generator, factor: float) -> None:
    heard, waveform = seconds_of_speech(60)
    generator.motion.variance_gain.mul_(factor)
    told = mouth_shapes(generator, heard, times_in(heard), waveform, rest=False)
    assert mouth_amplitude(generator, told) == pytest.approx(float(generator.mouth_amplitude), rel=0.05)


def test_rest_stays_where_it_is(generator: Generator) -> None:
    """What the network takes for rest is rest in every voice: the movement is scaled from there."""
    heard, waveform = seconds_of_speech(60)
    generator.motion.variance_gain.mul_(0.75)
    free = unadapted(generator, heard, times_in(heard))
    generator.rest_pose.copy_(free[1000])
    told = mouth_shapes(generator, heard, times_in(heard), waveform, rest=False)
    torch.testing.assert_close(told[1000], generator.rest_pose)
    apart, told_apart = (shapes - generator.rest_pose for shapes in (free, told))
    assert float(told_apart.norm() / apart.norm()) == pytest.approx(1 / 0.75, rel=0.1)


@pytest.mark.parametrize("known", [False, True])
def test_without_a_voice_in_the_clip_nothing_is_changed(generator: Generator, known: bool) -> None:
    heard, waveform = seconds_of_speech(60)
    generator.motion.speech_mean.fill_(2.0)
    generator.mouth_amplitude.mul_(2.0 * known)
    free = unadapted(generator, heard, times_in(heard))
    told = mouth_shapes(generator, heard, times_in(heard), waveform, rest=False)
    assert torch.allclose(told, free, atol=1e-5) == (not known)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_gain_has_limits(generator: Generator, factor: float) -> None:
    shapes = factor * float(generator.mouth_amplitude) / 12**0.5 * torch.randn(3000, 12)
    wanted = AdaptationConfig.max_gain if factor < 1 else 1 / AdaptationConfig.max_gain
    assert amplitude_gain(generator, shapes, 60.0, 0.0) == pytest.approx(wanted)


@pytest.fixture
def generator_with_prior() -> Generator:
    """As `generator`, with a motion prior whose heads say something."""
    torch.manual_seed(0)
    prior = PriorConfig(WIDTH, channels=16, dilations=(1,), members=1)
    motion = MotionConfig(feature_width=WIDTH, channels=16, members=1, prior=prior)
    warp = WarpConfig(160, references=1, widths=(16, 24), condition=16)
    made = Generator(GeneratorConfig(motion, warp, shape_points=20), CropSpec(160)).eval()
    made.motion.prior_share.fill_(0.7)
    made.mouth_amplitude.fill_(1.0)
    made.motion.general_amplitude.fill_(1.0)
    return made


def test_a_voice_is_the_further_the_more_its_mean_differs_and_the_more_is_heard(generator: Generator) -> None:
    def distance(mean: float, seconds: float) -> float:
        return voice_distance(generator, torch.full((WIDTH,), mean), seconds)

    assert distance(0.0, 60.0) == distance(0.13, 1e6) == distance(1.0, 0.1) == 0  # of two recordings; too short
    assert 0 < distance(0.3, 4.0) < distance(0.3, 60.0) < distance(0.5, 60.0) < distance(3.0, 60.0) < 1
    generator.mouth_amplitude.zero_()  # the clip holds no voice to compare with
    assert distance(3.0, 60.0) == 0


def test_others_are_followed_by_the_general_head_and_the_own_voice_by_the_persons(
    generator_with_prior: Generator,
) -> None:
    """What the general head says has a say in another voice alone, the more the further that is."""
    made, (heard, waveform) = generator_with_prior, seconds_of_speech(20)
    changed = []
    for offset in (0.0, 0.3, 1.0):
        other = AudioFeatures(heard.values - heard.values.mean(0) + np.float32(offset), RATE_HZ, "mel80")
        before = mouth_shapes(made, other, times_in(other), waveform, rest=False)
        bias = made.motion.general_head.bias.clone()
        made.motion.general_head.bias.data.add_(0.5)
        after = mouth_shapes(made, other, times_in(other), waveform, rest=False)
        made.motion.general_head.bias.data.copy_(bias)
        changed.append(float((after - before).abs().mean()))
    assert changed[0] == 0 < 0.1 < changed[1] < changed[2]


def test_others_are_brought_to_the_amplitude_of_the_general_head(generator_with_prior: Generator) -> None:
    made = generator_with_prior
    made.motion.general_amplitude.fill_(1.4)
    gains = [gain_of(made, 1.0, 1e9, distance) for distance in (0.0, 0.5, 1.0)]
    assert gains == pytest.approx([1.0, 1.2, 1.4])


def test_the_less_is_heard_the_less_is_changed(generator: Generator) -> None:
    mean, shapes = torch.full((WIDTH,), 0.4), torch.randn(3000, 12)
    shapes *= 0.8 * float(generator.mouth_amplitude) / mouth_amplitude(generator, shapes)
    seconds = (0.1, 0.6, 2.0, 10.0, 1000.0)
    shifts = [float(feature_shift(generator, mean, s).norm()) for s in seconds]
    gains = [amplitude_gain(generator, shapes, s, 0.0) for s in seconds]
    assert shifts == sorted(shifts) and gains == sorted(gains)
    assert shifts[0] == 0 and gains[0] == 1
    assert shifts[-1] == pytest.approx(0.4 * WIDTH**0.5, rel=0.01)
    assert gains[-1] == pytest.approx(1 / 0.8, rel=0.01)


@pytest.mark.parametrize("loudness_db", [0, 50], ids=["faint", "loud"])
@pytest.mark.parametrize("waveform", NOBODY.values(), ids=NOBODY.keys())
def test_silence_noise_and_music_adapt_nothing(generator: Generator, waveform: np.ndarray, loudness_db: float) -> None:
    waveform = waveform * np.float32(10 ** (loudness_db / 20))
    heard, _ = seconds_of_speech(augmentation.LENGTH_S)
    assert len(speech_rows(waveform, len(heard.values), RATE_HZ, times_in(heard))) == 0
    generator.motion.speech_mean.fill_(2.0)
    told = mouth_shapes(generator, heard, times_in(heard), waveform, rest=False)
    torch.testing.assert_close(told, unadapted(generator, heard, times_in(heard)))


def test_only_the_stretch_asked_for_is_judged(generator: Generator) -> None:
    heard, waveform = seconds_of_speech(10)
    rows = speech_rows(waveform, len(heard.values), RATE_HZ, np.array([2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(rows, np.arange(100, 200))


def test_mean_in_blocks_is_the_mean_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
    rows = np.arange(3, 900, 2)
    monkeypatch.setattr(driving, "_BLOCK_ROWS", 64)
    np.testing.assert_allclose(mean_of(values, rows), values[rows].mean(0), atol=1e-6)


def test_a_voice_from_elsewhere_moves_the_mouth_as_far(
    learn_motion: Callable, clips: Path, figure: Callable[[str], None]
) -> None:
    generator, data = learn_motion(100)
    waveform = load_waveform(clips / "audio" / "piper_joe.wav")
    heard = features.extract(waveform, "whisper-tiny")
    times_s = times_in(heard)
    spoken = speech_rows(waveform, len(heard.values), heard.rate_hz, times_s)
    plain = mouth_amplitude(generator, unadapted(generator, heard, times_s)[spoken])
    told = mouth_amplitude(generator, mouth_shapes(generator, heard, times_s, waveform, rest=False)[spoken])
    real = mouth_amplitude(
        generator, generator.encode_shapes(data.points[data.train_frames[data.spoken[data.train_frames]]])
    )
    figure(f"a synthetic voice moves the mouth {told / real:.2f} of the clip's movement, unadapted {plain / real:.2f}")
    assert plain < 0.8 * real
    assert 0.8 * real < told < 1.1 * real


def test_own_voice_moves_it_as_the_real_mouth(learn_motion: Callable, figure: Callable[[str], None]) -> None:
    """On held-out frames in which somebody speaks."""
    generator, data = learn_motion(100)
    heard, waveform = AudioFeatures(data.features, data.rate_hz, "whisper-tiny"), load_waveform(data.avatar.audio)
    frames = data.held_out
    told = mouth_shapes(generator, heard, data.audio_times_s(frames), waveform, rest=False)
    plain = unadapted(generator, heard, data.audio_times_s(frames))
    moved = [mouth_amplitude(generator, shapes[data.spoken[frames]]) for shapes in (told, plain)]
    real = mouth_amplitude(generator, generator.encode_shapes(data.points[frames[data.spoken[frames]]]))
    figure(f"the own voice moves the mouth {moved[0] / real:.2f} of the true movement, unadapted {moved[1] / real:.2f}")
    assert 0.85 < moved[0] / real < 1.15


def test_the_usual_movement_is_what_is_predicted_of_the_own_voice(learn_motion: Callable) -> None:
    """Not the real one, of which speech does not determine all."""
    generator, data = learn_motion(10)
    real = movement_in_speech(generator, data, generator.encode_shapes(data.points))
    assert 0.5 * real < float(generator.mouth_amplitude) < 0.95 * real


def test_prior_knows_how_mouths_move(learn_motion: Callable, figure: Callable[[str], None]) -> None:
    """On held-out frames, after ten steps, in which the personal network has learnt next to nothing."""
    found = []
    for prior in (False, True):
        generator, data = learn_motion(10, prior=prior)
        heard, frames = AudioFeatures(data.features, data.rate_hz, "whisper-tiny"), data.held_out
        told = unadapted(generator, heard, data.audio_times_s(frames))[:, 0]
        found.append(correlation(told.numpy(), generator.encode_shapes(data.points[frames])[:, 0].numpy()))
    figure(f"after ten steps the first component correlates by {found[0]:.2f}, with the motion prior {found[1]:.2f}")
    assert found[1] > found[0] + 0.04


def test_a_clip_without_speech_says_nothing_of_a_voice(training_data: TrainingData) -> None:
    sizes, points = MotionConfig(training_data.features.shape[1], members=1), training_data.points
    made = Generator(GeneratorConfig(sizes, WarpConfig(96), points.shape[1]), training_data.avatar.crop)
    made.fit_shape_space(points[training_data.train_frames])
    shapes = made.encode_shapes(points)
    fit_feature_statistics(made, training_data, shapes, ClipSound(training_data))
    spoken = training_data.train_frames[training_data.spoken[training_data.train_frames]]
    assert float(made.mouth_amplitude) == pytest.approx(mouth_amplitude(made, shapes[spoken]))
    assert made.motion.speech_mean.abs().max() > 0.1
    silent = ClipSound(training_data)
    silent.waveform = np.zeros(16000 * 6, np.float32)
    fit_feature_statistics(made, training_data, shapes, silent)
    assert len(silent.spoken) == 0
    assert float(made.mouth_amplitude) == 0
    assert made.motion.speech_mean.isfinite().all()


@pytest.mark.parametrize("below_db", [20, 5])
def test_speech_in_noise_is_still_a_voice(clips: Path, below_db: float) -> None:
    waveform = augmentation.add_noise(load_waveform(clips / "audio" / "piper_joe.wav"), below_db)
    count = round(len(waveform) / 16000 * RATE_HZ)
    assert len(speech_rows(waveform, count, RATE_HZ, np.array([0, count / RATE_HZ]))) > 0.8 * count
