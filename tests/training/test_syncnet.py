"""The SyncNet on a real speaker: it measures offsets, nothing leaks, and it starts from another one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.dataset import TrainingData, load_training_data
from udh_core.avatar.folder import Avatar, open_avatar
from udh_core.errors import MismatchError
from udh_core.face.crop import mouth_window
from udh_core.inference.sync_scorer import (
    OFFSETS,
    AudioSegment,
    SyncReport,
    SyncScorer,
    load_mouths,
    open_syncnet,
    sync_distances,
)
from udh_core.models.tensors import to_input
from udh_core.training.losses import contrastive
from udh_core.training.options import SyncNetOptions
from udh_core.training.syncnet import NEAR_WEIGHT, augment_mouths, augment_sound, negative_weights, train_syncnet

HELD_OUT = 0.3


@pytest.fixture(scope="module")
def avatar(real_minute: Path) -> Avatar:
    return open_avatar(real_minute)


@pytest.fixture(scope="module")
def data(avatar: Avatar) -> TrainingData:
    return load_training_data(avatar, "whisper-tiny", HELD_OUT)


@pytest.fixture(scope="module")
def expert(real_syncnet: Path) -> SyncScorer:
    return open_syncnet(real_syncnet)


def report(expert: SyncScorer, data: TrainingData, heard: AudioSegment) -> SyncReport:
    mouths = load_mouths(data.crops[data.held_out], data.avatar.crop, expert.network.config)
    return SyncReport.of(sync_distances(expert.network, data, mouths, data.held_out, heard))


def test_it_knows_in_sync_on_frames_it_never_saw(expert, data, figure) -> None:
    found = report(expert, data, AudioSegment.own(data, data.held_out))
    figure(
        f"SyncNet, 40 s learnt, 18 s held out: AUC {found.auc:.3f}, ±1 frame {found.within1_1:.2f} by one window, "
        f"{found.within1_10:.2f} by ten"
    )
    assert found.offset == 0
    assert found.auc >= 0.85
    assert found.within1_10 >= 0.7
    assert found.lse_d == pytest.approx(found.curve.min()) and found.lse_c > 0.1


@pytest.mark.parametrize("delay", [-7, 3, 10])
def test_delayed_sound_moves_the_offset(expert, data, delay: int) -> None:
    """What belongs to a frame is heard `delay` frames later; the judge still listens at the frame."""
    heard = AudioSegment.own(data, data.held_out)
    late = replace(heard, times_s=heard.times_s - delay / float(data.avatar.info.fps))
    assert report(expert, data, late).offset == delay


def test_shuffled_sound_is_chance(expert, data) -> None:
    heard = AudioSegment.own(data, data.held_out)
    shuffled = np.random.default_rng(0).permutation(np.array(data.features))
    found = report(expert, data, replace(heard, sound=replace(heard.sound, values=shuffled)))
    assert found.auc == pytest.approx(0.5, abs=0.05)
    assert found.within1_1 == pytest.approx(3 / len(OFFSETS), abs=0.1)


def test_nothing_is_learnt_from_shuffled_sound(avatar, data, tmp_path, monkeypatch) -> None:
    """Trained on sound that tells nothing, a SyncNet knows nothing: no other path gives the answer away."""
    shuffled = replace(data, features=np.random.default_rng(1).permutation(np.array(data.features)))
    monkeypatch.setattr("udh_core.training.syncnet.load_training_data", lambda *_, **__: shuffled)
    list(
        train_syncnet(avatar, tmp_path / "s.safetensors", SyncNetOptions(steps=40, neighbourhoods=3, held_out=HELD_OUT))
    )
    found = report(open_syncnet(tmp_path / "s.safetensors"), shuffled, AudioSegment.own(shuffled, data.held_out))
    assert found.auc == pytest.approx(0.5, abs=0.05)
    assert found.within1_1 == pytest.approx(3 / len(OFFSETS), abs=0.1)


def test_two_people_make_one_syncnet_and_one_of_them_goes_on(avatar, person_avatar, real_minute, tmp_path) -> None:
    from udh_core.avatar.prepare import add_features

    other = shutil.copytree(person_avatar, tmp_path / "person")
    list(add_features(other, "whisper-tiny"))
    both, own = tmp_path / "both.safetensors", tmp_path / "own.safetensors"
    few = SyncNetOptions(steps=4, check_every=2)
    list(train_syncnet([avatar, open_avatar(other)], both, few))
    universal = open_syncnet(both)
    assert universal.info.made_from not in (avatar.identity, open_avatar(other).identity)
    list(train_syncnet(avatar, own, replace(few, steps=1, learning_rate=1e-9), init=both))
    learnt, start = open_syncnet(own).network, universal.network
    assert torch.allclose(learnt.visual_proj.weight, start.visual_proj.weight, atol=1e-6)
    assert not torch.allclose(learnt.feature_mean, start.feature_mean)  # of this avatar alone


def test_another_encoder_is_no_start(person_avatar, real_syncnet, tmp_path) -> None:
    run = train_syncnet(open_avatar(person_avatar), tmp_path / "s.safetensors", encoder="mel80", init=real_syncnet)
    with pytest.raises(MismatchError, match="whisper-tiny features, this avatar's are mel80"):
        run.run()


def test_the_loss_reaches_the_mouth_and_nothing_else(expert, data) -> None:
    frames = data.train_frames[100] + np.arange(5) + np.array([[0], [40]])
    drawn = to_input(data.crops[frames.reshape(-1)]).requires_grad_()
    expert.loss(drawn, data, frames).backward()
    reached = drawn.grad.abs().sum((0, 1)) > 0
    window = torch.zeros_like(reached)
    window[mouth_window(data.avatar.crop)] = True
    assert reached[window].float().mean() > 0.95
    assert not reached[~window].any()
    assert not expert.network.training
    assert all(parameter.grad is None for parameter in expert.network.parameters())


# Pairs and what is done to them


def test_negatives_are_other_times_of_the_same_person() -> None:
    persons, shots = np.array([0, 0, 0, 0, 1]), np.array([1, 1, 1, 2, 1])
    weights = negative_weights(persons, shots, np.array([10, 11, 20, 30, 20]), done=1.0).exp()
    assert weights.diag().tolist() == [1, 1, 1, 1, 1]
    assert weights[0, 1] == 0  # the same moment, or nearly
    assert weights[0, 2] == pytest.approx(NEAR_WEIGHT)  # a near miss
    assert weights[2, 3] == 1  # ten frames away, but across a cut
    assert weights[:4, 4].sum() == 0  # somebody else
    early = negative_weights(persons, shots, np.array([10, 11, 20, 30, 20]), done=0.0).exp()
    assert early[0, 2] == 1


def test_contrastive_loss_heeds_the_weights() -> None:
    same = torch.nn.functional.normalize(torch.ones(3, 8), dim=1)
    temperature = torch.tensor(-2.3)
    assert float(contrastive(same, same, temperature)) == pytest.approx(np.log(3), abs=1e-4)
    only_self = torch.full((3, 3), -torch.inf).fill_diagonal_(0)
    assert float(contrastive(same, same, temperature, only_self)) == pytest.approx(0, abs=1e-6)


def test_a_stack_is_changed_as_a_whole() -> None:
    """All five frames alike, or the mouth would seem to move."""
    still = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0)).expand(8, 5, 64, 96)
    changed = augment_mouths(still.clone(), np.random.default_rng(3))
    assert (changed - still).abs().mean() > 0.02
    assert (changed - changed.mean(1, keepdim=True)).abs().mean() < 0.015  # the noise alone


def test_sound_is_changed_little() -> None:
    sound = torch.randn(64, 10, 373, generator=torch.Generator().manual_seed(0))
    changed = augment_sound(sound, torch.ones(373), np.random.default_rng(0))
    assert 0.1 < float((changed - sound).std()) < 0.25
