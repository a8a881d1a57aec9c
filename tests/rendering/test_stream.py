"""Speech in pieces: which frames it becomes, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.errors import MediaError
from udh_core.face.crop import CropSpec
from udh_core.inference.compositor import Compositor
from udh_core.inference.driving import mouth_shapes
from udh_core.inference.live_driving import HOP, LOOK_AHEAD, LiveDriving
from udh_core.media.audio import SAMPLE_RATE_HZ, load_waveform
from udh_core.models.checkpoint import open_generator, read_info
from udh_core.models.generator import Generator, with_neighbours
from udh_core.rendering.live_speech import JOIN_S, LiveSpeech, SampleLine, sample_of
from udh_core.rendering.options import RenderOptions
from udh_core.rendering.playback import play, stretches
from udh_core.rendering.render import drawn_frames
from udh_core.rendering.stream import Frame, SpeechStream, pace
from udh_core.speech import features
from udh_core.speech.encoders import open_encoder

FPS = Fraction(25)
FOLLOWING = RenderOptions(rest=False)


@pytest.fixture(scope="module")
def avatar(person_avatar: Path) -> Avatar:
    return open_avatar(person_avatar)


@pytest.fixture(scope="module")
def waveform(person: Path) -> np.ndarray:
    """(48000,) three seconds of speech."""
    return load_waveform(person / "speech.wav", duration_s=3.0)


@pytest.fixture(scope="module")
def network(moving_generator: Path) -> Generator:
    return open_generator(moving_generator)[1]


@pytest.fixture(scope="module")
def crop(moving_generator: Path) -> CropSpec:
    return read_info(moving_generator).crop


@pytest.fixture
def stream(avatar: Avatar, moving_generator: Path, models: Path) -> Iterator[SpeechStream]:
    with SpeechStream(avatar, moving_generator, models=models) as opened:
        yield opened


@pytest.fixture
def speech(network: Generator, models: Path) -> Iterator[LiveSpeech]:
    with closing(speech_of(network, models, FPS)) as opened:
        yield opened


def speech_of(network: Generator, models: Path, fps: Fraction) -> LiveSpeech:
    return LiveSpeech(LiveDriving(network, open_encoder("mel80"), models=models), fps, 1)


def pictures(frames: list[Frame]) -> np.ndarray:
    return np.stack([frame.picture for frame in frames]).astype(np.int16)


def in_pieces(stream: SpeechStream, waveform: np.ndarray, piece: int) -> list[Frame]:
    """The frames of a waveform (n,) that comes in pieces of so many samples, each taken as soon as it is ready."""
    frames: list[Frame] = []
    for start in range(0, len(waveform), piece):
        stream.push(waveform[start : start + piece])
        frames += stream.ready_frames()
    stream.finish()
    return frames + list(stream.ready_frames())


@pytest.fixture(scope="module")
def whole(avatar: Avatar, moving_generator: Path, waveform: np.ndarray, models: Path) -> list[Frame]:
    """The frames of the waveform, pushed in one piece."""
    with SpeechStream(avatar, moving_generator, FOLLOWING, models=models) as stream:
        return in_pieces(stream, waveform, len(waveform))


@pytest.mark.parametrize("piece_ms", [20, 37, 500])
def test_frames_do_not_depend_on_the_pieces(
    piece_ms: int, whole: list[Frame], avatar: Avatar, moving_generator: Path, waveform: np.ndarray, models: Path
) -> None:
    with SpeechStream(avatar, moving_generator, FOLLOWING, models=models) as stream:
        frames = in_pieces(stream, waveform[:32000], 16 * piece_ms)
    assert [frame.number for frame in frames] == list(range(50))
    assert np.array_equal(pictures(frames)[:40], pictures(whole)[:40])  # behind that, here, comes silence
    assert np.array_equal(np.concatenate([frame.sound for frame in frames]), waveform[:32000])


def test_frames_are_those_of_a_render(
    whole: list[Frame], avatar: Avatar, network: Generator, crop: CropSpec, waveform: np.ndarray, models: Path
) -> None:
    """Where the encoder sees no further than the look-ahead. Before and after all a stream takes for silence."""
    times_s = (np.arange(75) + 0.5) / 25
    shapes = mouth_shapes(network, features.extract(waveform, "mel80"), times_s, waveform, rest=False, models=models)
    compositor = Compositor(network.warp, crop, avatar.track().transforms)
    played, held = play(avatar, stretches(150, 75, "bounce")), np.zeros(150, bool)

    def drawn(conditions: torch.Tensor) -> np.ndarray:
        return np.stack(list(drawn_frames([compositor], iter(pairs), [conditions], 4, held))).astype(np.int16)

    pairs = list(played)
    offline = drawn(with_neighbours(shapes, 3))
    resting = drawn(network.rest_pose.expand(75, 3, -1))
    assert np.abs(pictures(whole)[6:69] - offline[6:69]).max() <= 1
    assert np.abs(offline - resting).max((1, 2, 3)).min() > 4


def test_a_frame_waits_for_the_look_ahead_and_no_longer(stream: SpeechStream, waveform: np.ndarray) -> None:
    most = LOOK_AHEAD + HOP + 1.5 / 25 * SAMPLE_RATE_HZ + 2 * SAMPLE_RATE_HZ / 100
    for start in range(0, 16000, 320):
        stream.push(waveform[start : start + 320])
        for frame in stream.ready_frames():
            waited = start + 320 - sample_of(frame.number, FPS)
            assert LOOK_AHEAD < waited <= most + 320, frame.number


def test_without_speech_the_clip_goes_on_with_the_mouth_at_rest(
    stream: SpeechStream, avatar: Avatar, network: Generator, crop: CropSpec
) -> None:
    frames = [stream.next_frame() for _ in range(5)]
    compositor = Compositor(network.warp, crop, avatar.track().transforms)
    conditions = network.rest_pose.expand(1, 3, -1)
    for frame, (number, picture) in zip(frames, play(avatar, stretches(150, 5, "bounce")), strict=True):
        assert frame.number == number
        assert np.array_equal(frame.picture, compositor.composite([picture], [number], conditions)[0])
        assert not frame.speaking and len(frame.sound) == 640 and not frame.sound.any()


def test_sound_that_comes_unevenly_is_all_shown(stream: SpeechStream) -> None:
    """Between the pieces there is silence where they came late."""
    generator = np.random.default_rng(5)
    sound = (0.1 * generator.standard_normal(24000) + 1e-6).astype(np.float32)
    shown, pushed = [], 0
    for _ in range(90):
        for _ in range(generator.poisson(0.5)):
            piece = int(generator.integers(1, 2500))
            stream.push(sound[pushed : pushed + piece])
            pushed += piece
        shown.append(stream.next_frame(draw=False).sound)
    assert pushed > 24000 and stream.waiting_s == 0
    audible = np.concatenate(shown)
    assert np.array_equal(audible[audible != 0], sound)


def test_what_comes_late_leaves_no_gap(stream: SpeechStream, waveform: np.ndarray) -> None:
    """The sound after 0.5 s comes when only 20 ms are left: it follows at once, without the look-ahead before it."""
    stream.push(waveform[:8000])
    shown = [stream.next_frame(draw=False).sound for _ in range(12)]
    stream.push(waveform[8000:16000])
    shown += [stream.next_frame(draw=False).sound for _ in range(13)]
    assert np.array_equal(np.concatenate(shown), waveform[:16000])


def test_a_short_sound_is_shown_without_more_of_it(stream: SpeechStream) -> None:
    stream.push(np.full(100, 0.5, np.float32))
    sounds = [stream.next_frame(draw=False).sound for _ in range(20)]
    assert [k for k, sound in enumerate(sounds) if sound.any()] == [12]


def test_breaking_off_forgets_what_was_not_shown(stream: SpeechStream, waveform: np.ndarray) -> None:
    stream.push(waveform)
    spoken = [stream.next_frame(draw=False).sound for _ in range(20)]
    assert np.array_equal(np.concatenate(spoken), waveform[:12800])
    stream.flush()
    assert stream.waiting_s == 0
    after = [stream.next_frame(draw=False) for _ in range(15)]
    assert not any(frame.sound.any() for frame in after) and not after[-1].speaking
    stream.push(waveform[:16000])
    anew = np.concatenate([stream.next_frame(draw=False).sound for _ in range(25)])
    assert np.array_equal(anew, waveform[:16000])


def shapes_of(speech: LiveSpeech, count: int) -> list[torch.Tensor]:
    return [speech.take()[0][1] for _ in range(count)]


def test_the_mouth_never_jumps_between_rest_and_speech(
    speech: LiveSpeech, network: Generator, waveform: np.ndarray
) -> None:
    """A step from or to the rest pose is never larger than the share of it that a frame has of JOIN_S."""
    rest, share = network.rest_pose, 1 / 25 / JOIN_S
    assert torch.equal(torch.stack(shapes_of(speech, 10)), rest.expand(10, -1))
    speech.push(waveform)
    first = shapes_of(speech, 30)
    furthest = max(float((shape - rest).norm()) for shape in first)
    assert furthest > 3
    assert float((first[0] - rest).norm()) <= share * furthest
    speech.flush()
    after = shapes_of(speech, 15)
    assert float((after[0] - first[-1]).norm()) <= share * 2 * furthest
    assert torch.allclose(after[-1], rest)
    steps = [float((b - a).norm()) for a, b in pairwise(after)]
    assert max(steps) <= share * 2 * furthest


@pytest.mark.parametrize("fps", [Fraction(5), Fraction(25), Fraction(60)])
def test_hops_are_predicted_before_they_are_needed(
    network: Generator, models: Path, waveform: np.ndarray, fps: Fraction
) -> None:
    with closing(speech_of(network, models, fps)) as ahead, closing(speech_of(network, models, fps)) as waits:
        ahead.push(waveform), waits.push(waveform)
        for number in range(int(2 * fps)):
            known = set(ahead._hops)
            assert torch.equal(ahead.take()[0], waits.take()[0]), number  # the voice is learnt in the same order
            assert number == 0 or set(ahead._hops) <= known  # nothing but the first is begun when it is due
            ahead.predict_ahead()
        assert len(ahead._hops) == len(waits._hops) + 1


def test_what_was_predicted_ahead_is_forgotten_with_its_sound(speech: LiveSpeech, waveform: np.ndarray) -> None:
    speech.push(waveform)
    shapes_of(speech, 10)
    speech.predict_ahead()
    speech.flush()
    speech.push(np.zeros_like(waveform))
    speech.predict_ahead()
    after = shapes_of(speech, 60)
    assert torch.equal(after[-1], speech._driving.rest_pose)
    assert not torch.equal(after[0], after[-1])


def test_a_prediction_that_fails_ahead_is_told_when_it_is_due(
    speech: LiveSpeech, waveform: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech.push(waveform)
    shapes_of(speech, 1)
    monkeypatch.setattr(speech._driving, "predict", lambda window, final: [][0])
    speech.predict_ahead()
    with pytest.raises(IndexError):
        shapes_of(speech, 30)


def test_a_mouth_rests_in_noise_in_which_nobody_speaks(speech: LiveSpeech, network: Generator) -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    speech.push(0.003 * noise)
    assert torch.equal(torch.stack(shapes_of(speech, 20)), network.rest_pose.expand(20, -1))


def test_memory_does_not_grow(speech: LiveSpeech) -> None:
    line = SampleLine()
    for second in range(100):
        line.append(np.full(16000, second, np.float32))
        line.forget(16000 * second)
    assert line._joined().nbytes < 5 * 64000
    assert line.read(100 * 16000 - 3, 5).tolist() == [99, 99, 99, 0, 0]
    shapes_of(speech, 2000)
    assert len(speech._hops) + len(speech._mouths) < 12


def test_samples_of_frames_are_exact_for_ever() -> None:
    for fps in (FPS, Fraction(30000, 1001), Fraction(24000, 1001)):
        numbers = [0, 1, 17, 10**6, 10**9]
        assert [sample_of(number, fps) for number in numbers] == [int(n / fps * SAMPLE_RATE_HZ) for n in numbers]


class Clock:
    """Oversleeps by a millisecond."""

    now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds + 0.001


def test_eight_hours_do_not_drift() -> None:
    """With a hitch of a second now and then, after which pictures are repeated and no frame is left out."""
    fps, clock, late_ones = Fraction(5000, 1001), Clock(), 0
    for number, (given, late) in enumerate(pace(fps, lambda: clock.now, clock.sleep)):
        since_due_s = clock.now - 1000 - number * 1001 / 5000
        assert given == number and since_due_s >= 0 and late == (since_due_s > 1001 / 5000), number
        if number == 8 * 3600 * 5:
            break
        late_ones += late
        clock.now += 1.0 if number % 5000 == 4999 else 0.002 if late else 0.02
    assert since_due_s < 0.0011
    assert late_ones == 28 * 4


def test_who_is_late_repeats_the_picture(stream: SpeechStream) -> None:
    first = stream.next_frame()
    assert np.array_equal(stream.next_frame(draw=False).picture, first.picture)
    assert not np.array_equal(stream.next_frame().picture, first.picture)


@pytest.mark.parametrize("samples", [np.zeros((10, 2), np.float32), np.array([0.0, np.nan])])
def test_what_is_no_sound_is_refused(stream: SpeechStream, samples: np.ndarray) -> None:
    with pytest.raises(MediaError, match="not mono, or holds samples that are no numbers"):
        stream.push(samples)
