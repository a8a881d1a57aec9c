"""Training: seeded, resumable, honest about what it has seen."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.avatar.folder import open_avatar
from udh_core.errors import MismatchError, OptionError
from udh_core.face.crop import to_face_units
from udh_core.face.mask import MARGIN, Reach
from udh_core.face.topology import JAW
from udh_core.inference.compositor import Compositor
from udh_core.inference.sync_scorer import open_syncnet
from udh_core.media.video import read_frames
from udh_core.models import checkpoint
from udh_core.models.checkpoint import open_generator
from udh_core.models.warping import WarpNet
from udh_core.progress import Job
from udh_core.rendering.render import render
from udh_core.training import motion, syncnet, warp
from udh_core.training.generator import GeneratorRun, train_generator
from udh_core.training.loop import StepReport
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.references import choose_references
from udh_core.training.syncnet import train_syncnet

TINY = GeneratorOptions(steps=2, motion_steps=1, batch=4, model_size="small")  # as `generator_file` was trained


def steps_of(training: Job) -> list[StepReport]:
    """Without what goes before the first step."""
    return [step for step in training if isinstance(step, StepReport)]


def trained(avatar: Path, out: Path, options: GeneratorOptions, **more) -> list[StepReport]:
    return steps_of(train_generator(open_avatar(avatar), out, options, encoder="mel80", **more))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(checkpoint.resume_path(path), "resume")[1]


def test_same_seed_same_generator(person_avatar, generator_file, tmp_path):
    trained(person_avatar, tmp_path / "g.safetensors", TINY)
    first, second = tensors(generator_file), tensors(tmp_path / "g.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_stopped_and_resumed_equals_uninterrupted(person_avatar, tmp_path):
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    options = replace(TINY, steps=6, motion_steps=2, check_every=3, save_every=2)
    trained(person_avatar, whole, options)
    run = train_generator(open_avatar(person_avatar), halves, options, encoder="mel80")
    while (step := next(run)).stage != "warp" or step.step < 4:
        pass
    run.close()
    assert checkpoint.read_info(checkpoint.resume_path(halves)).step == 4
    again = list(train_generator(open_avatar(person_avatar), halves, options, encoder="mel80", start="resume"))
    assert [step.stage for step in again] == ["training data", "warp", "warp"]  # nothing is fitted again
    assert [report.step for report in again[1:]] == [5, 6]
    first, second = tensors(whole), tensors(halves)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_half_precision_learns_the_same(person_avatar, tmp_path, monkeypatch):
    """Forced, because most processors have but one; what listens to the sound meanwhile has no half precision."""
    found = []
    for number, precision in enumerate((None, torch.bfloat16)):
        for module in (motion, syncnet, warp):
            monkeypatch.setattr(module, "training_dtype", lambda _, precision=precision: precision)
        options = replace(TINY, steps=4, motion_steps=2, check_every=2)
        generator = trained(person_avatar, tmp_path / f"g{number}.safetensors", options)[-1]
        judge = SyncNetOptions(steps=2, neighbourhoods=2)
        judging = train_syncnet(open_avatar(person_avatar), tmp_path / f"s{number}.safetensors", judge, encoder="mel80")
        found.append([generator.metrics["held_out_l1"], generator.losses["loss"], steps_of(judging)[-1].losses["loss"]])
    assert found[0] != found[1] and np.allclose(*found, rtol=0.03)


@pytest.mark.parametrize("kind", ["generator", "syncnet"])
def test_a_run_does_not_go_on_with_other_settings(person_avatar, tmp_path, kind):
    out, avatar = tmp_path / "g.safetensors", open_avatar(person_avatar)
    train, options = {
        "generator": (train_generator, TINY),
        "syncnet": (train_syncnet, SyncNetOptions(steps=2, neighbourhoods=2)),
    }[kind]
    list(train(avatar, out, options, encoder="mel80"))
    with pytest.raises(MismatchError, match=r"began with held_out 0\.\d+, here is held_out 0\.3"):
        list(train(avatar, out, replace(options, held_out=0.3), encoder="mel80", start="resume"))
    assert steps_of(train(avatar, out, replace(options, steps=options.steps + 1), encoder="mel80", start="resume"))


def test_run_that_learns_nothing_more_ends(person_avatar, tmp_path):
    options = GeneratorOptions(steps=16, motion_steps=1, batch=4, model_size="small", learning_rate=0, check_every=2)
    *_, last = trained(person_avatar, tmp_path / "g.safetensors", options)
    assert (last.step, last.done) == (8, 1.0)  # best at 2 of 16; at 8 that is more than a quarter of the run ago
    assert open_generator(tmp_path / "g.safetensors")[0].step == 2


def test_resume_refuses_another_encoder(person_avatar, generator_file, tmp_path):
    info, state = checkpoint.load_resume(generator_file)
    foreign = checkpoint.Checkpoint("resume", info.config, info.step, "hubert", info.crop, info.made_from)
    checkpoint.save_resume(tmp_path / "g.safetensors", foreign, state)
    with pytest.raises(MismatchError, match="hubert"):
        trained(person_avatar, tmp_path / "g.safetensors", TINY, start="resume")


def test_resume_refuses_what_an_earlier_version_began(person_avatar, generator_file, tmp_path):
    info, state = checkpoint.load_resume(generator_file)
    del state["network"]["mouth_amplitude"]
    checkpoint.save_resume(tmp_path / "g.safetensors", info, state)
    with pytest.raises(MismatchError, match="another version"):
        trained(person_avatar, tmp_path / "g.safetensors", TINY, start="resume")


def test_syncnet_resumes_and_judges(person_avatar, tmp_path):
    out = tmp_path / "s.safetensors"
    options = SyncNetOptions(steps=6, neighbourhoods=2, check_every=3)
    run = train_syncnet(open_avatar(person_avatar), out, options, encoder="mel80")
    list(islice(run, 5))  # one before the first step
    run.close()
    reports = steps_of(train_syncnet(open_avatar(person_avatar), out, options, encoder="mel80", start="resume"))
    assert [report.step for report in reports] == [5, 6]
    judge = open_syncnet(out)
    assert judge.info.kind == "syncnet"
    assert 0 <= judge.info.metrics["auc"] <= 1


def test_sync_loss_reaches_the_generator(person_avatar, tmp_path):
    out = tmp_path / "s.safetensors"
    options = SyncNetOptions(steps=2, neighbourhoods=2)
    list(train_syncnet(open_avatar(person_avatar), out, options, encoder="mel80"))
    few = replace(TINY, steps=4)
    reports = trained(person_avatar, tmp_path / "g.safetensors", few, syncnet=open_syncnet(out))
    warp = [report for report in reports if report.stage == "warp"]
    assert "sync" not in warp[0].losses  # reconstruction settles first
    assert "sync" in warp[-1].losses


def test_references_are_learnt_frames(training_data):
    chosen = choose_references(training_data, 8, seed=0)
    assert len(set(chosen.tolist())) == 8
    assert set(chosen.tolist()) <= set(training_data.train_frames.tolist())


def test_frames_with_landmarks_astray_are_not_learnt(training_data, models, tmp_path, caplog):
    points, astray = training_data.points.clone(), training_data.train_frames[[10, 11]]
    points[astray, 0] += 1  # one point of the lips lies an eye distance away
    broken, out = replace(training_data, points=points), tmp_path / "g.safetensors"
    with caplog.at_level(logging.WARNING):
        run = GeneratorRun(broken, out, TINY, "mel80", models=models)
        list(run.fit())
    at_s = astray[0] / float(training_data.avatar.info.fps)
    assert f"2 frames are left out, their faces look broken: {at_s:.1f}–" in caplog.text
    assert np.setdiff1d(training_data.train_frames, run.data.train_frames).tolist() == astray.tolist()


def test_options_are_checked():
    with pytest.raises(OptionError):
        GeneratorOptions(steps=0)
    with pytest.raises(OptionError):
        GeneratorOptions(held_out=0.9)
    with pytest.raises(OptionError):
        SyncNetOptions(minutes=-1)


def test_painted_frames_keep_every_other_byte(person_avatar, generator_file, paste_area):
    avatar = open_avatar(person_avatar)
    _, generator = open_generator(generator_file)
    transforms = avatar.track().transforms
    compositor = Compositor(generator.warp, avatar.crop, transforms)
    frames = list(read_frames(avatar.video, count=6))
    shapes = torch.randn(6, generator.config.warp.frames, generator.config.warp.shape_width)
    for i, (before, after) in enumerate(zip(frames, compositor.composite(frames, range(6), shapes), strict=True)):
        area = paste_area(before.shape, transforms[i], avatar.crop)
        assert np.array_equal(before[~area], after[~area])
        assert not np.array_equal(before[area], after[area])


def test_frame_without_a_face_stays(person_avatar, generator_file):
    avatar = open_avatar(person_avatar)
    _, generator = open_generator(generator_file)
    transforms = avatar.track().transforms.copy()
    transforms[1] = np.nan
    compositor = Compositor(generator.warp, avatar.crop, transforms)
    frames = list(read_frames(avatar.video, count=2))
    painted = compositor.composite(frames, (0, 1), torch.zeros(2, 3, generator.config.warp.shape_width))
    assert not np.array_equal(painted[0], frames[0])
    assert np.array_equal(painted[1], frames[1])


def test_cancelled_render_leaves_nothing(person_avatar, generator_file, speech, tmp_path):
    out = tmp_path / "out.mp4"
    run = render(open_avatar(person_avatar), generator_file, speech, out)
    for progress in run:
        if progress.stage == "frames" and progress.done >= 5:
            break
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_finished_run_gives_back_a_file_that_was_taken_away(person_avatar, generator_file, tmp_path):
    out = tmp_path / "g.safetensors"
    shutil.copy(checkpoint.resume_path(generator_file), checkpoint.resume_path(out))
    trained(person_avatar, out, TINY, start="resume")
    open_generator(out)


def test_it_is_redrawn_no_further_than_the_jaw_goes(person_avatar, generator_file, training_data):
    own = checkpoint.read_info(generator_file).crop
    assert own.view == training_data.avatar.crop.view
    assert own.reach.bottom < Reach().bottom
    chins = training_data.landmarks[:, JAW]
    depth = own.reach.depth(*np.moveaxis(to_face_units(chins, training_data.transforms, own), -1, 0))
    assert (depth > -MARGIN).all()  # nothing of the real chin is seen


def test_a_run_goes_on_with_the_mask_it_began_with(person_avatar, generator_file, training_data, tmp_path):
    out = tmp_path / "g.safetensors"
    wide = training_data.avatar.crop
    run = GeneratorRun(training_data, out, replace(TINY, steps=1), "mel80", crop=wide)
    list(run.train())
    list(train_generator(open_avatar(person_avatar), out, TINY, encoder="mel80", start="resume"))
    assert checkpoint.read_info(out).crop == wide
    assert open_generator(out)[1].warp.box == WarpNet(run.generator.config.warp, wide).box
    list(train_generator(open_avatar(person_avatar), out, TINY, encoder="mel80", start="set aside"))
    assert checkpoint.read_info(out).crop.reach.bottom < wide.reach.bottom
