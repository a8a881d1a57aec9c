"""Whether a run goes on, begins anew or is refused, by one rule; the history of its losses; and runs that diverge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from udh_core.avatar.dataset import TrainingData
from udh_core.avatar.folder import open_avatar
from udh_core.cli import app
from udh_core.errors import DivergedError, FileError, FormatError, MismatchError
from udh_core.face.crop import CropSpec
from udh_core.models import checkpoint
from udh_core.models.checkpoint import Checkpoint, open_generator, read_info, resume_path
from udh_core.models.motion_prior import MotionPrior, PriorConfig
from udh_core.progress import Job
from udh_core.training.generator import GeneratorRun, train_generator
from udh_core.training.loop import Schedule, StepReport
from udh_core.training.options import GeneratorOptions, SyncNetOptions
from udh_core.training.run_log import RunLog, is_finished, open_log, set_aside
from udh_core.training.syncnet import SyncNetRun, train_syncnet
from udh_core.training.warp import WarpTraining

TINY = GeneratorOptions(steps=2, motion_steps=1, batch=4, model_size="small")
SYNC = SyncNetOptions(steps=2, neighbourhoods=2)


@pytest.fixture
def out(generator_file: Path, tmp_path: Path) -> Path:
    """A trained generator with its resume state and its losses, to be changed at will."""
    for path in generator_file.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / generator_file.name


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def train(avatar: Path, out: Path, options: GeneratorOptions = TINY, **more) -> list[StepReport]:
    return steps_of(train_generator(open_avatar(avatar), out, options, encoder="mel80", **more))


def steps_of(training: Job) -> list[StepReport]:
    """Without what goes before the first step."""
    return [step for step in training if isinstance(step, StepReport)]


# What becomes of an earlier run


def test_a_new_run_touches_nothing_that_is_there(person_avatar, out):
    before = contents(out.parent)
    with pytest.raises(FileError, match=r"is there already: `resume` .* `set_aside` .* `overwrite` .* another `out`"):
        train(person_avatar, out)
    out.unlink()  # its resume state alone is somebody's work, too
    with pytest.raises(FileError, match=r"g\.resume\.safetensors is there already"):
        train(person_avatar, out)
    assert contents(out.parent) == {name: data for name, data in before.items() if name != out.name}


def test_what_is_finished_is_known_without_a_run(out):
    assert is_finished(out, TINY, "mel80")
    for options in (replace(TINY, steps=3), replace(TINY, seed=1), replace(TINY, minutes=9.0), SYNC):
        assert not is_finished(out, options, "mel80")
    assert not is_finished(out, TINY, "whisper-tiny")
    resume_path(out).write_bytes(b"garbage")
    assert not is_finished(out, TINY, "mel80")
    resume_path(out).unlink()
    assert not is_finished(out, TINY, "mel80")


def test_a_syncnet_is_not_overwritten_either(person_avatar, tmp_path):
    out, avatar = tmp_path / "s.safetensors", open_avatar(person_avatar)
    list(train_syncnet(avatar, out, SYNC, encoder="mel80"))
    before = contents(tmp_path)
    with pytest.raises(FileError, match="is there already"):
        list(train_syncnet(avatar, out, SYNC, encoder="mel80"))
    assert contents(tmp_path) == before


def test_what_is_set_aside_is_whole_and_can_go_on(person_avatar, out):
    before = contents(out.parent)
    assert [r.step for r in train(person_avatar, out, replace(TINY, seed=5), start="set aside")][-1] == 2
    (kept,) = (path for path in out.parent.glob("g (*).safetensors") if ".resume" not in path.name)
    after = contents(out.parent)
    for name, data in before.items():
        assert after[name.replace("g", kept.stem, 1)] == data
    assert read_info(resume_path(out)).config["options"]["seed"] == 5
    assert [r.step for r in train(person_avatar, kept, replace(TINY, steps=3), start="resume")] == [3]


def test_nothing_is_set_aside_under_a_name_that_is_taken(tmp_path):
    for number in range(3):
        out = tmp_path / "me.safetensors"
        out.write_bytes(bytes([number]))
        resume_path(out).write_bytes(bytes([number]))
        for path in (out, resume_path(out)):
            path.touch()
        set_aside(out)
    assert not out.exists()
    assert sorted(path.read_bytes()[0] for path in tmp_path.iterdir()) == [0, 0, 1, 1, 2, 2]


def test_auto_goes_on_where_it_may(person_avatar, out):
    assert train(person_avatar, out, start="auto") == []  # finished
    assert [r.step for r in train(person_avatar, out, replace(TINY, steps=3, batch=2), start="auto")] == [3]
    assert not list(out.parent.glob("g (*"))


def spoil(out: Path, what: str) -> None:
    """Make the resume state one that cannot go on."""
    resume = resume_path(out)
    if what == "rubbish":
        resume.write_bytes(b"rubbish")
    elif what == "gone":
        resume.unlink()
    elif what != "seed":
        info, state = checkpoint.load_resume(out)
        if what == "version":
            del state["network"]["mouth_amplitude"]
        checkpoint.save_resume(out, replace(info, encoder="hubert" if what == "encoder" else info.encoder), state)


@pytest.mark.parametrize("what", ["seed", "encoder", "version", "rubbish", "gone"])
def test_auto_sets_aside_what_cannot_go_on(person_avatar, generator_file, out, what):
    """And trains as if nothing had been there."""
    options = replace(TINY, seed=3) if what == "seed" else TINY
    spoil(out, what)
    before = [path.read_bytes() for path in (out, resume_path(out)) if path.is_file()]
    reports = train(person_avatar, out, options, start="auto")
    assert [r.step for r in reports if r.stage == "warp"] == [1, 2]
    assert sorted(p.read_bytes() for p in out.parent.glob("g (*.safetensors")) == sorted(before)
    first, second = (checkpoint.load(resume_path(path), "resume")[1] for path in (generator_file, out))
    assert all(torch.equal(first[name], second[name]) for name in first) == (what != "seed")


# The motion prior, which runs of earlier versions began without


@pytest.fixture
def offer_prior(training_data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on there is a motion prior for mel80, too."""
    torch.manual_seed(0)
    prior = MotionPrior(PriorConfig(training_data.features.shape[1], channels=8, dilations=(1,), members=1)).eval()
    return lambda: monkeypatch.setattr("udh_core.training.generator.prior_of", lambda encoder: prior)


@pytest.mark.parametrize(("stage", "start"), [("augmented features", "resume"), ("warp", "auto")])
def test_what_began_without_a_prior_goes_on_without_one(
    person_avatar, generator_file, offer_prior, tmp_path, caplog, stage, start
):
    out = tmp_path / "g.safetensors"
    run = train_generator(open_avatar(person_avatar), out, TINY, encoder="mel80")
    while next(run).stage != stage:
        pass
    run.close()
    offer_prior()
    assert train(person_avatar, out, start=start)
    assert "g.safetensors goes on without the motion prior, as it began; train anew to have it" in caplog.text
    first, second = (checkpoint.load(resume_path(path), "resume")[1] for path in (generator_file, out))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_begins_anew_has_the_prior_and_goes_on_with_it(person_avatar, offer_prior, out):
    offer_prior()
    options = replace(TINY, seed=3)
    train(person_avatar, out, options, start="auto")
    assert open_generator(out)[1].motion.prior is not None
    assert [r.step for r in train(person_avatar, out, replace(options, steps=3), start="resume")] == [3]
    assert open_generator(out)[1].motion.prior is not None


def test_resume_says_why_it_cannot(person_avatar, out):
    spoil(out, "gone")
    before = contents(out.parent)
    with pytest.raises(FileError, match=r"its resume state g\.resume\.safetensors is not there: `set_aside`"):
        train(person_avatar, out, start="resume")
    resume_path(out).write_bytes(b"rubbish")
    with pytest.raises(FormatError, match="not a safetensors file"):
        train(person_avatar, out, start="resume")
    resume_path(out).unlink()
    assert contents(out.parent) == before


def test_resume_without_an_earlier_run_begins(person_avatar, tmp_path):
    run = train_generator(open_avatar(person_avatar), tmp_path / "g.safetensors", TINY, encoder="mel80", start="resume")
    while (step := next(run)).stage != "warp":
        pass
    run.close()
    assert step.step == 1


def test_overwrite_replaces(person_avatar, out):
    train(person_avatar, out, replace(TINY, seed=5), start="overwrite")
    assert read_info(out).config["options"]["seed"] == read_info(resume_path(out)).config["options"]["seed"] == 5
    assert not list(out.parent.glob("g (*"))
    assert [r.step for r in open_log(out).reports if r.stage == "warp"] == [1, 2]


def test_a_syncnet_of_another_version_does_not_go_on(person_avatar, tmp_path):
    out, avatar = tmp_path / "s.safetensors", open_avatar(person_avatar)
    list(train_syncnet(avatar, out, SYNC, encoder="mel80"))
    info, state = checkpoint.load_resume(out)
    state["network"]["renamed"] = state["network"].pop("log_temperature")
    checkpoint.save_resume(out, info, state)
    with pytest.raises(MismatchError, match="begun by another version"):
        list(train_syncnet(avatar, out, SYNC, encoder="mel80", start="resume"))


def test_a_run_goes_on_only_with_the_syncnet_it_began_from(person_avatar, tmp_path):
    avatar, longer = open_avatar(person_avatar), replace(SYNC, steps=3)
    first, other, out = (tmp_path / f"{name}.safetensors" for name in ("first", "other", "out"))
    for path, seed in ((first, 1), (other, 2)):
        list(train_syncnet(avatar, path, replace(SYNC, seed=seed), encoder="mel80"))
    list(train_syncnet(avatar, out, SYNC, encoder="mel80", init=first))
    assert read_info(out).config["options"]["begun_from"] == checkpoint.fingerprint(first)
    for init, here in ((other, checkpoint.fingerprint(other)), (None, "nothing")):
        with pytest.raises(MismatchError, match=f"init {checkpoint.fingerprint(first)}, here is init {here}"):
            list(train_syncnet(avatar, out, longer, encoder="mel80", init=init, start="resume"))
    assert len(steps_of(train_syncnet(avatar, out, longer, encoder="mel80", init=first, start="resume"))) == 1


def test_a_syncnet_set_aside_may_be_what_the_next_begins_from(person_avatar, tmp_path):
    out, avatar = tmp_path / "s.safetensors", open_avatar(person_avatar)
    list(train_syncnet(avatar, out, SYNC, encoder="mel80"))
    before = checkpoint.fingerprint(out)
    list(train_syncnet(avatar, out, replace(SYNC, seed=4), encoder="mel80", init=out, start="set aside"))
    assert read_info(out).config["options"]["begun_from"] == before


def test_the_command_line_asks_what_becomes_of_a_trained_person(person_avatar, out):
    def run(*flags: str) -> tuple[int, str]:
        common = ["train", "--avatar", person_avatar, "--out", out, "--encoder", "mel80", "--no-report"]
        few = ["--steps", "2", "--motion-steps", "1", "--model-size", "small"]
        result = CliRunner().invoke(app, [*map(str, common), *few, *flags])
        return result.exit_code, result.output

    before = contents(out.parent)
    code, words = run()
    assert code == 2
    assert all(flag in words for flag in ("--resume", "--set-aside", "--overwrite", "--out"))
    assert run("--resume", "--overwrite")[0] == 2
    assert contents(out.parent) == before
    assert run("--set-aside", "--seed", "1")[0] == 0
    assert before[out.name] in contents(out.parent).values()
    assert run("--overwrite", "--seed", "2")[0] == 0
    assert read_info(resume_path(out)).config["options"]["seed"] == 2


# Metrics and losses


def test_figures_of_the_best_weights_outlast_a_resume(person_avatar, tmp_path):
    out, options = tmp_path / "g.safetensors", replace(TINY, steps=4, check_every=2, learning_rate=0)
    train(person_avatar, out, options)
    best = read_info(out).metrics
    assert best and read_info(resume_path(out)).metrics == best
    train(person_avatar, out, replace(options, steps=5), start="resume")
    assert read_info(resume_path(out)).metrics == best


def test_losses_of_every_part_of_a_run_are_kept(person_avatar, tmp_path):
    out, options = tmp_path / "s.safetensors", replace(SYNC, steps=5)
    run = train_syncnet(open_avatar(person_avatar), out, options, encoder="mel80")
    seen = [next(run) for _ in range(4)][1:]  # one before the first step
    run.close()
    seen += steps_of(train_syncnet(open_avatar(person_avatar), out, options, encoder="mel80", start="resume"))
    log = open_log(out)
    assert [r.step for r in log.reports] == [1, 2, 3, 4, 5]
    assert log.losses() == [r.losses["loss"] for r in seen]


def test_the_last_preview_is_kept_byte_for_byte(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (8, 24, 3), np.uint8)
    steps = (StepReport.of("warp", k, k / 3, {"loss": 1.0 / k}, preview=picture if k == 2 else None) for k in (1, 2, 3))
    list(RunLog(tmp_path / "g.safetensors").follow(steps))
    assert np.array_equal(open_log(tmp_path / "g.safetensors").preview, picture)
    assert [r.step for r in open_log(tmp_path / "g.safetensors", step=2).reports] == [1, 2]


def test_losses_of_an_earlier_version_belong_to_todays_stages(tmp_path: Path) -> None:
    rows = [["motion", 1, 0.1, {"loss": 2.0}, {}], ["pixels", 1, 0.5, {"loss": 1.0}, {}]]
    (tmp_path / "g.losses.json").write_text(json.dumps(rows), encoding="utf-8")
    assert [report.stage for report in open_log(tmp_path / "g.safetensors").reports] == ["motion", "warp"]


def test_damaged_losses_name_the_remedy(tmp_path):
    (tmp_path / "g.losses.json").write_text(json.dumps([["warp", 1]]))
    with pytest.raises(FormatError, match=r"g\.losses\.json is damaged; delete it"):
        open_log(tmp_path / "g.safetensors")


# Runs that diverge


def finite_with_an_infinite_slope(x: Tensor) -> Tensor:
    """0, whose gradient is not a number."""
    return (x - x.detach()).pow(2).sum().sqrt()


class BrokenTraining(WarpTraining):
    """From its third step on the loss is as finite as ever, its gradient is not."""

    def losses(self, inside: Tensor, true: Tensor) -> dict[str, Tensor]:
        losses = super().losses(inside, true)
        if self.state.step >= 2:
            losses["l1"] = losses["l1"] + finite_with_an_infinite_slope(inside.float())
        return losses


class BrokenRun(GeneratorRun):
    def warp_training(self) -> WarpTraining:
        return BrokenTraining(self.generator, self.data, self.options, self.state, models=self.models)


def finite(network: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in network.parameters())


def test_a_generator_whose_gradient_is_not_finite_spoils_nothing(training_data: TrainingData, models, tmp_path):
    out, options = tmp_path / "g.safetensors", replace(TINY, steps=8, save_every=1, check_every=1)
    run = BrokenRun(training_data, out, options, "mel80", models=models)
    list(run.fit())
    reports = run.train_warp()
    assert [next(reports).step, next(reports).step] == [1, 2]
    before = contents(tmp_path)
    with pytest.raises(DivergedError, match=r"warp training diverged at step 2, its gradient .* lower the learning"):
        next(reports)
    assert contents(tmp_path) == before
    assert finite(run.generator)
    assert checkpoint.load_resume(out)[0].step == 2


def test_a_syncnet_whose_gradient_is_not_finite_spoils_nothing(training_data: TrainingData, tmp_path):
    out, options = tmp_path / "s.safetensors", replace(SYNC, steps=8, check_every=1)
    run = SyncNetRun([training_data], out, options, "mel80", torch.device("cpu"))
    reports = run.train()
    next(reports)
    before = contents(tmp_path)
    run.network.log_temperature.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(DivergedError, match="SyncNet training diverged at step 1, its gradient"):
        next(reports)
    assert contents(tmp_path) == before
    assert finite(run.network)


def test_motion_whose_gradient_is_not_finite_spoils_nothing(training_data: TrainingData, models, tmp_path):
    out = tmp_path / "g.safetensors"
    run = GeneratorRun(training_data, out, replace(TINY, motion_steps=4), "mel80", models=models)
    list(run.fit())
    run.save(Schedule(4, None))
    before = contents(tmp_path)
    reports = run.train_motion()
    while next(reports).stage != "motion":
        pass
    next(run.generator.motion.members[0].parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(DivergedError, match="motion training diverged at step 1, its gradient"):
        next(reports)
    assert contents(tmp_path) == before
    assert finite(run.generator)


def test_a_state_that_is_not_finite_replaces_none(tmp_path):
    out, info = tmp_path / "g.safetensors", Checkpoint("generator", {}, 3, "mel80", CropSpec(160), "a")
    checkpoint.save_resume(out, info, {"w": torch.ones(2)})
    before = contents(tmp_path)
    for broken in (float("nan"), float("inf")):
        with pytest.raises(DivergedError, match="what was saved before is whole"):
            checkpoint.save_resume(out, info, {"w": torch.tensor([1.0, broken])})
    assert contents(tmp_path) == before
