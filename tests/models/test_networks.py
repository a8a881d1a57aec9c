"""The networks: what leaves them, what must never enter them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from udh_core.avatar.folder import open_avatar
from udh_core.face import crop, mouth
from udh_core.face.crop import CropSpec
from udh_core.inference import driving
from udh_core.inference.driving import at_times, predict_rows
from udh_core.models.blocks import box_blur, shuffle_without_repetition, unshuffle_channels_last
from udh_core.models.generator import SHAPE_REACH, Generator, GeneratorConfig, with_neighbours
from udh_core.models.motion import MotionConfig, MotionNet
from udh_core.models.syncnet import SyncNet, SyncNetConfig
from udh_core.models.warping import POSE, WarpConfig, WarpNet
from udh_core.speech.features import AudioFeatures

SPEC = CropSpec(160)
MASK = torch.from_numpy(crop.mask(SPEC).copy())
HIDDEN = torch.from_numpy(crop.hidden(SPEC).copy())


def shaken(network: torch.nn.Module, amount: float = 0.05) -> torch.nn.Module:
    """Random weights everywhere, so that no zero initialisation hides what a path carries."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def warp() -> WarpNet:
    """A warp network that does something everywhere."""
    torch.manual_seed(0)
    network = WarpNet(WarpConfig(160, references=3, widths=(16, 24, 32), condition=32), SPEC)
    network.references.random_(0, 256)
    shaken(network)
    return network.eval()


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def shapes() -> Tensor:
    return torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def drawn(warp: WarpNet, crops: Tensor, shapes: Tensor) -> Tensor:
    with torch.inference_mode():
        return warp(crops, shapes)


# The warp network


def test_outside_the_mask_is_the_input(drawn: Tensor, crops: Tensor) -> None:
    assert torch.equal(drawn[:, :, MASK == 0], crops[:, :, MASK == 0])
    assert not torch.equal(drawn[:, :, MASK == 1], crops[:, :, MASK == 1])


def test_pose_is_seen_beside_the_cover(crops: Tensor) -> None:
    """A patch of cheek that brightens as the head turns is enough; what is covered tells nothing."""
    network = WarpNet(WarpConfig(160, references=1, widths=(8, 8)), SPEC)
    turn = torch.randn(300, POSE, generator=torch.Generator().manual_seed(3))
    seen = crops[:1].repeat(300, 1, 1, 1)
    seen[:, :, 5:25, 5:25] += 0.02 * turn[:, :1, None, None]
    seen[:, :, 80:120, 60:100] += 0.1 * turn[:, 1:2, None, None]
    network.fit_pose_inputs(seen[:200].split(50), turn[:200])
    found = network.pose(network.mask_input(seen[200:]))
    assert torch.corrcoef(torch.stack([found[:, 0], turn[200:, 0]]))[0, 1] > 0.99
    assert float(found[:, 1].std()) < 0.05


@pytest.mark.parametrize("filling", ["noise", "black", "white"])
def test_nothing_leaks_from_the_hidden_area(
    warp: WarpNet, crops: Tensor, shapes: Tensor, drawn: Tensor, filling: str
) -> None:
    other = {"noise": torch.rand_like(crops), "black": torch.zeros_like(crops), "white": torch.ones_like(crops)}
    with torch.inference_mode():
        again = warp(torch.where(HIDDEN, other[filling], crops), shapes)
    assert torch.equal(again[:, :, MASK == 1], drawn[:, :, MASK == 1])


def test_what_is_visible_reaches_the_mouth(warp: WarpNet, crops: Tensor, shapes: Tensor, drawn: Tensor) -> None:
    with torch.inference_mode():
        again = warp(torch.where(HIDDEN, crops, 1 - crops), shapes)
    assert not torch.equal(again[:, :, MASK == 1], drawn[:, :, MASK == 1])


def test_shapes_and_references_reach_the_mouth(warp: WarpNet, crops: Tensor, shapes: Tensor, drawn: Tensor) -> None:
    with torch.inference_mode():
        other_shape = warp(crops, shapes + 1)
        warp.references.bitwise_not_()
        other_person = warp(crops, shapes)
        warp.references.bitwise_not_()
    assert not torch.equal(other_shape[:, :, MASK == 1], drawn[:, :, MASK == 1])
    assert float((other_person - drawn)[:, :, MASK == 1].abs().mean()) > 0.05


def test_each_picture_of_a_batch_is_drawn_by_itself(
    warp: WarpNet, crops: Tensor, shapes: Tensor, drawn: Tensor
) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(warp(crops[1:], shapes[1:])[0], drawn[1], atol=1e-5, rtol=1e-4)


def drawn_with_more(widths: tuple[int, ...], more: int, crops: Tensor, shapes: Tensor) -> Tensor:
    """By a network that computes so many cells more around the mask's box than it has to."""
    network = WarpNet(WarpConfig(160, references=3, widths=widths, condition=32), SPEC)
    network.references.copy_(torch.arange(network.references.numel()).reshape(network.references.shape) % 251)
    for parameter in network.parameters():
        parameter.data.zero_()
    shaken(network).eval()
    cells = 160 // network.config.stride
    network.near = tuple(slice(max(p.start - more, 0), min(p.stop + max(more, 0), cells)) for p in network.near)
    with torch.inference_mode():
        return network(crops, shapes)


@pytest.mark.parametrize("widths", [(16, 24, 32), (16,)])
def test_the_body_is_computed_as_far_as_the_heads_see(crops: Tensor, shapes: Tensor, widths: tuple[int, ...]) -> None:
    everywhere = drawn_with_more(widths, 40, crops, shapes)
    torch.testing.assert_close(drawn_with_more(widths, 0, crops, shapes), everywhere, atol=1e-5, rtol=1e-4)


def test_without_a_halo_the_mouth_is_another(crops: Tensor, shapes: Tensor) -> None:
    widths = (16, 24, 32)
    assert (
        float((drawn_with_more(widths, -3, crops, shapes) - drawn_with_more(widths, 0, crops, shapes)).abs().max())
        > 1e-3
    )


def test_cover_shows_grey_where_it_hides(warp: WarpNet, crops: Tensor) -> None:
    covered = warp.mask_input(crops)
    assert covered.shape == (2, 4, 160, 160)
    assert (covered[:, :3, HIDDEN] == 0.5).all()
    assert torch.equal(covered[:, :3, ~HIDDEN], crops[:, :, ~HIDDEN])
    assert torch.equal(covered[:, 3] > 0, HIDDEN.expand(2, -1, -1))


def test_faster_ways_do_what_torch_does(crops: Tensor) -> None:
    assert torch.equal(unshuffle_channels_last(crops, 4), F.pixel_unshuffle(crops, 4))
    assert unshuffle_channels_last(crops, 4).is_contiguous(memory_format=torch.channels_last)
    pooled, inside = F.avg_pool2d(crops, 3, 1, 1), (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(box_blur(crops)[inside], pooled[inside])
    assert box_blur(crops).shape == crops.shape


@pytest.mark.parametrize("size", [96, *crop.SIZES])
def test_untrained_network_mixes_its_references(size: int) -> None:
    spec = CropSpec(size)
    network = WarpNet(WarpConfig(size, references=2), spec).eval()
    network.references[0], network.references[1] = 50, 150
    with torch.inference_mode():
        result = network(torch.zeros(1, 3, size, size), torch.randn(1, 3, 12))
    assert result.shape == (1, 3, size, size)
    inside = torch.from_numpy(crop.mask(spec) == 1)
    torch.testing.assert_close(result[:, :, inside], torch.full_like(result[:, :, inside], 100 / 255))


@pytest.mark.parametrize(("size", "kept"), [(160, 0.999), (512, 0.8)])
def test_sampling_keeps_the_detail_of_a_reference(size: int, kept: float) -> None:
    """Not moved at all, a reference comes out as it went in, or nearly."""
    network = WarpNet(WarpConfig(size, references=1), CropSpec(size)).eval()
    noise = torch.randint(0, 256, (3, size // 2, size // 2), generator=torch.Generator().manual_seed(0))
    network.references[0] = noise.repeat_interleave(2, 1).repeat_interleave(2, 2).to(torch.uint8)
    with torch.inference_mode():
        result = network(torch.zeros(1, 3, size, size), torch.randn(1, 3, 12))[0]
    inside = torch.from_numpy(crop.mask(CropSpec(size)) == 1)
    assert float(result[:, inside].std() / (network.references[0].float() / 255)[:, inside].std()) >= kept


# The motion network


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 50, 1000])
def test_motion_of_any_length(rows: int) -> None:
    network = MotionNet(MotionConfig(feature_width=6, channels=16, members=2)).eval()
    with torch.inference_mode():
        result = network(torch.randn(2, rows, 6))
    assert result.shape == (2, rows, 12)
    assert torch.isfinite(result).all()


def test_motion_ignores_the_scale_of_the_features() -> None:
    network = MotionNet(MotionConfig(feature_width=6, channels=16, members=1)).eval()
    heard = torch.randn(1, 40, 6)
    with torch.inference_mode():
        before = network(heard)
        network.feature_mean.fill_(5)
        network.feature_std.fill_(3)
        torch.testing.assert_close(network(heard * 3 + 5), before, atol=1e-4, rtol=1e-3)


def test_gain_scales_each_component() -> None:
    network = MotionNet(MotionConfig(feature_width=6, channels=16, members=1)).eval()
    heard = torch.randn(1, 40, 6)
    with torch.inference_mode():
        before = network(heard)
        network.variance_gain.copy_(torch.arange(12.0))
        torch.testing.assert_close(network(heard), before * torch.arange(12.0))


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(3)
    motion = MotionConfig(feature_width=6, channels=16, members=2)
    warp = WarpConfig(160, references=1, widths=(16, 24), condition=16)
    return Generator(GeneratorConfig(motion, warp, shape_points=20), SPEC).eval()


@pytest.fixture(scope="module")
def heard() -> AudioFeatures:
    """Ten seconds at 50 Hz that grow louder."""
    loudness = np.linspace(0.2, 3, 500, dtype=np.float32)[:, None]
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) * loudness
    return AudioFeatures(values, 50.0, "mel80")


def predict_shapes(generator: Generator, heard: AudioFeatures, times_s: np.ndarray) -> Tensor:
    """Whoever speaks."""
    return at_times(predict_rows(generator, heard, torch.zeros(heard.width)), heard.rate_hz, times_s)


def test_shapes_are_predicted_at_the_times_asked_for(generator: Generator, heard: AudioFeatures) -> None:
    every = generator.motion(torch.from_numpy(heard.values)[None])[0].detach()
    at_rows = predict_shapes(generator, heard, (np.arange(500) + 0.5) / 50)
    torch.testing.assert_close(at_rows, every, atol=1e-5, rtol=1e-4)
    between = predict_shapes(generator, heard, np.array([101 / 50]))  # halfway between rows 100 and 101
    torch.testing.assert_close(between[0], (every[100] + every[101]) / 2, atol=1e-5, rtol=1e-4)
    after_the_end = predict_shapes(generator, heard, np.array([99.0]))
    torch.testing.assert_close(after_the_end[0], every[-1], atol=1e-5, rtol=1e-4)


def test_shapes_in_blocks_are_nearly_the_shapes_in_one(
    generator: Generator, heard: AudioFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = np.arange(250) / 25
    whole = predict_shapes(generator, heard, times_s)
    monkeypatch.setattr(driving, "_BLOCK_ROWS", 150)
    in_blocks = predict_shapes(generator, heard, times_s)
    assert float((in_blocks - whole).square().mean().sqrt() / whole.std()) < 0.25


def test_shapes_in_blocks_are_the_shapes_in_one(
    generator: Generator, heard: AudioFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = np.arange(250) / 25
    whole = predict_shapes(generator, heard, times_s)
    monkeypatch.setattr(driving, "_BLOCK_ROWS", 150)
    torch.testing.assert_close(predict_shapes(generator, heard, times_s), whole, atol=1e-4, rtol=1e-3)


# The space of mouth shapes


def test_shapes_are_coded_in_standard_deviations_and_reconstruct(generator: Generator) -> None:
    hidden_codes = torch.randn(300, 12) * torch.linspace(3, 0.5, 12)
    points = (hidden_codes @ torch.randn(12, 40) + torch.randn(40)).unflatten(1, (20, 2))
    generator.fit_shape_space(points)
    codes = generator.encode_shapes(points)
    torch.testing.assert_close(codes.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.ones(12), atol=1e-3, rtol=0)
    back = (codes * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    torch.testing.assert_close(back.unflatten(1, (20, 2)), points, atol=1e-3, rtol=1e-3)
    assert (generator.shape_std.diff() <= 0).all()  # the largest movement first


def test_real_mouths_fit_into_twelve_numbers(person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    track = avatar.track()
    points = torch.from_numpy(mouth.mouth_shape(track.landmarks, track.transforms, avatar.crop))
    generator = Generator(GeneratorConfig(MotionConfig(80), WarpConfig(96, references=1), 53), avatar.crop)
    generator.fit_shape_space(points)
    back = (generator.encode_shapes(points) * generator.shape_std) @ generator.shape_basis + generator.shape_mean
    assert float((back.unflatten(1, (53, 2)) - points).abs().mean()) * avatar.crop.px_per_unit < 0.3  # crop px


def test_landmarks_gone_astray_stay_within_reach(generator: Generator) -> None:
    points = torch.randn(300, 20, 2)
    assert generator.fit_shape_space(points).all()
    plain = generator.encode_shapes(points)
    points[7] *= 100
    codes = generator.encode_shapes(points)
    assert plain.abs().max() < SHAPE_REACH == codes[7].abs().max()
    assert torch.equal(codes[:7], plain[:7]) and torch.equal(codes[8:], plain[8:])


def test_landmarks_gone_astray_do_not_shape_the_space(generator: Generator) -> None:
    hidden_codes, mixing = torch.randn(300, 12) * torch.linspace(3, 0.2, 12), torch.randn(12, 40)
    generator.fit_shape_space((hidden_codes @ mixing).unflatten(1, (20, 2)))
    plain = generator.shape_std.clone()
    hidden_codes[40:43, -1] += 5
    known = generator.fit_shape_space((hidden_codes @ mixing).unflatten(1, (20, 2)))
    assert (~known).nonzero().flatten().tolist() == [40, 41, 42]
    torch.testing.assert_close(generator.shape_std, plain, atol=0, rtol=0.1)


def test_neighbours_stop_at_the_ends_and_at_cuts() -> None:
    shapes, shots = torch.arange(6.0)[:, None], torch.tensor([1, 1, 1, 2, 2, 3])
    rows = with_neighbours(shapes, 3, shots)[..., 0].tolist()
    assert rows == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 4], [5, 5, 5]]
    assert with_neighbours(shapes, 3)[2:4, :, 0].tolist() == [[1, 2, 3], [2, 3, 4]]
    assert torch.equal(with_neighbours(shapes, 1)[:, 0], shapes)


def test_configuration_survives_json() -> None:
    config = GeneratorConfig(MotionConfig(384, dilations=(1, 3)), WarpConfig(256, widths=(8, 16)), 53)
    assert GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# The SyncNet


def test_embeddings_are_unit_length() -> None:
    config = SyncNetConfig(feature_width=80)
    network = SyncNet(config).eval()
    mouths = torch.rand(4, config.frames, config.height, config.width)
    mouths[0] = 0  # black
    mouths[1] = 0.7  # without contrast
    heard = torch.randn(4, config.rows, 80)
    heard[0] = 0  # silence
    with torch.inference_mode():
        seen, sound = network.embed_mouths(mouths), network.embed_audio(heard)
    for embedding in (seen, sound):
        assert embedding.shape == (4, config.embedding)
        torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    assert (seen < 0).any() and (sound < 0).any()  # no ReLU: opposite directions exist


def test_brightness_and_contrast_say_nothing_about_sync() -> None:
    config = SyncNetConfig(feature_width=80)
    network = SyncNet(config).eval()
    mouths = 0.2 + 0.5 * torch.rand(3, config.frames, config.height, config.width).round()
    with torch.inference_mode():
        cosine = (network.embed_mouths(mouths) * network.embed_mouths(0.8 * mouths + 0.15)).sum(1)
    assert (cosine > 0.99).all()


# Training's small parts


def test_no_pattern_repeats_from_cell_to_cell() -> None:
    """Without repetition: a gradient stays one, a single detail stays, the same pattern in all cells is gone."""
    noise = torch.Generator().manual_seed(0)
    dots = torch.randn(1, 16, 1, 1, generator=noise).expand(1, 16, 6, 6)
    assert float(F.pixel_shuffle(dots, 4).std()) > 0.5
    assert float(shuffle_without_repetition(dots, 4).std()) < 1e-6
    image = torch.arange(24.0).expand(1, 1, 24, 24)
    gradient = shuffle_without_repetition(F.pixel_unshuffle(image, 4), 4)
    torch.testing.assert_close(gradient[..., 4:-4], image[..., 4:-4])
    point = torch.zeros(1, 1, 24, 24)
    point[0, 0, 9, 10] = 1.0
    assert float(shuffle_without_repetition(F.pixel_unshuffle(point, 4), 4)[0, 0, 9, 10]) > 0.8


def test_older_networks_draw_what_they_drew() -> None:
    """Their configuration does not say how the residual is put together."""
    older = {name: value for name, value in WarpConfig(160).to_dict().items() if name not in ("residual", "per_frame")}
    assert WarpConfig.from_dict(older) == WarpConfig(160)
    assert WarpConfig(160).residual == 1
