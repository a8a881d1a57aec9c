"""Training of the generator: statistics, then the motion network, then the warp network; one checkpoint holds all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Generator as Steps
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..avatar.dataset import TrainingData, check_speech, load_training_data
from ..avatar.folder import Avatar
from ..errors import FormatError, MismatchError
from ..face.crop import CropSpec, to_face_units
from ..face.mask import Reach
from ..face.topology import JAW
from ..inference.sync_scorer import SyncScorer
from ..models import checkpoint
from ..models.checkpoint import PERSON, Checkpoint, read_info, resume_path, save_generator
from ..models.generator import Generator, GeneratorConfig
from ..models.motion import MotionConfig
from ..models.motion_prior import MotionPrior, prior_of
from ..models.warping import WarpConfig
from ..prefetch import prefetch
from ..progress import Progress, job
from . import run_log
from .augmented_features import extract_augmented, extract_silences
from .calibration import ClipSound, fit_statistics
from .loop import Schedule, Speed, StepReport, saving_at_the_end, take_over
from .motion import Chunks, MotionTraining, TrainingSounds
from .options import GeneratorOptions, ModelSize
from .processes import ALONE, Processes
from .run_log import Start
from .warp import WarpTraining, warp_state
from .warp_validation import WarpValidation

_log = logging.getLogger(__name__)

PATIENCE = 0.25  # of the run without a better score on the held-out part: it ends; chosen
MOTION_MINUTES = 2.5  # at most: the motion networks are done by then; chosen
BANK, PER_FRAME = 128, 3  # crops that references are retrieved from, and how many for one frame; chosen
WIDTHS: dict[ModelSize, tuple[int, ...]] = {"small": (32, 48, 64, 96), "standard": WarpConfig.widths}


@job
def train_generator(
    avatar: Avatar,
    out: str | Path,
    options: GeneratorOptions = GeneratorOptions(),
    *,
    encoder: str = "whisper-tiny",
    syncnet: SyncScorer | None = None,
    start: Start = "new",
    models: Path | None = None,
    device: str = "cpu",
    processes: Processes = ALONE,
) -> Steps[Progress, None, Checkpoint]:
    """Train a generator on an avatar; `out` gets the weights that did best on the held-out part, described by the
    result.

    Closing the job (Cancel) saves the resume state; `start` says what becomes of that of an earlier run, see
    `run_log`. `models` is the folder of the weight files. Of several `processes` each calls this alike.
    Raises NoFaceError, MediaError without speech, MismatchError, FormatError, FileError when `out` is there already and
    `start` does not say what becomes of it, or DivergedError.
    """
    out = Path(out)
    processes.check_batch(options.batch, "or give a larger `batch`")
    with run_log.opened(out, start, processes):
        yield Progress("training data", 0)
        data = load_training_data(avatar, encoder, options.held_out, models=models)
        check_speech(data)
        place = torch.device(device)
        make = partial(
            GeneratorRun, data, out, options, encoder, syncnet=syncnet, models=models, device=place, processes=processes
        )
        prior = prior_of(encoder)
        if not processes.is_first:
            has_prior, crop = processes.from_first((False, data.avatar.crop))
            run = make(prior=prior if has_prior else None, crop=crop)
            yield from run.train()
            return run.info()
        begun = _begun(resume_path(out), avatar.crop) if start in ("resume", "auto") else None
        run, goes_on = _begin(out, start, make, prior, begun)
        processes.from_first((run.prior is not None, run.data.avatar.crop))
        log = run_log.open_log(out, run.state.step) if goes_on else run_log.RunLog(out)
        yield from log.follow(run.train())
        return read_info(out, "generator")


def _begin(
    out: Path, start: Start, make: Callable[..., GeneratorRun], prior: MotionPrior | None, begun: _Begun | None
) -> tuple[GeneratorRun, bool]:
    """The run that `make` makes with this prior, and whether it goes on from the resume state of `out`; what began
    without a prior goes on without one, and with the mask it has. Errors as in `run_log.begin`.
    """
    if begun is None:
        run = make(prior=prior)
        return run, run_log.begin(out, start, run.info(), run.restore)
    older = prior is not None and not begun.has_prior
    run = make(prior=None if older else prior, crop=begun.crop)
    goes_on = run_log.begin(out, start, run.info(), run.restore)
    if older and goes_on:
        _log.warning("%s goes on without the motion prior, as it began; train anew to have it", out.name)
    return run if goes_on else make(prior=prior), goes_on


class _Begun(NamedTuple):
    """What a run that may go on has of its own."""

    has_prior: bool
    crop: CropSpec


def _begun(resume: Path, crop: CropSpec) -> _Begun | None:
    """Of this resume state; None where it is damaged, not there, or of another crop."""
    if not resume.is_file():
        return None
    try:
        info = read_info(resume, "resume")
        has_prior = GeneratorConfig.from_dict(info.config.get("model")).motion.prior is not None
    except (FormatError, ValueError):
        return None  # `run_log.begin` says what is wrong with it
    return _Begun(has_prior, info.crop) if info.crop.view == crop.view else None


def _fitted_mask(data: TrainingData) -> CropSpec:
    """The crop of the avatar, with a mask for all frames that may be drawn, also those that are not trained on."""
    crop, known = data.avatar.crop, np.isfinite(data.transforms[:, 0, 0])
    return replace(crop, reach=Reach.of_jaw(to_face_units(data.landmarks[known][:, JAW], data.transforms[known], crop)))


class GeneratorRun:
    """One training run: the generator, how far its phases are, and the resume state.

    crop: that of the avatar with the mask to draw in; without it the mask is fitted to the clip. Experiments override
    `build` and `warp_training`.
    """

    def __init__(
        self,
        data: TrainingData,
        out: Path,
        options: GeneratorOptions,
        encoder: str,
        *,
        prior: MotionPrior | None = None,
        crop: CropSpec | None = None,
        syncnet: SyncScorer | None = None,
        models: Path | None = None,
        device: torch.device = torch.device("cpu"),
        processes: Processes = ALONE,
    ) -> None:
        self.data = replace(data, avatar=data.avatar.redrawn_in(crop or _fitted_mask(data)))
        self.options, self.encoder, self.prior = options, encoder, prior
        self.syncnet, self.models, self.device, self.processes = syncnet, models, device, processes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.generator = self.build()
        self._to_device()
        self.state = warp_state(out, self.generator, options.learning_rate)
        self.sound = ClipSound(data, models)
        self.outliers: np.ndarray | None = None  # (n,) frames not trained on; None: nothing is fitted yet
        self.members: set[int] = set()  # of the motion network, that are trained
        self.motion_done = False

    def build(self) -> Generator:
        """Both networks, untrained."""
        data, spec = self.data, self.data.avatar.crop
        warp = WarpConfig(spec.size, widths=WIDTHS[self.options.model_size], flows=4)
        if self.options.drawn_from == "bank":
            warp = replace(warp, references=min(BANK, len(data.train_frames)), per_frame=PER_FRAME)
        motion = MotionConfig(data.features.shape[1], prior=None if self.prior is None else self.prior.config)
        generator = Generator(GeneratorConfig(motion, warp, data.points.shape[1]), spec)
        generator.motion.set_prior(self.prior)
        return generator

    def info(self) -> Checkpoint:
        """What the checkpoint says of itself now."""
        avatar, state = self.data.avatar, self.state
        model, options = self.generator.config.to_dict(), asdict(self.options)
        config = {"model": model, "options": options, PERSON: avatar.person}
        return Checkpoint("generator", config, state.step, self.encoder, avatar.crop, avatar.identity, state.metrics)

    def train(self) -> Steps[Progress, None, None]:
        """All phases that are not done yet. What takes a minute on a CPU one process does."""
        yield from self.processes.by_first(self.begin())
        take_over(self.processes, lambda: (self.info(), self.resume_state(self.state.spent_s)), self.restore)
        yield from self.train_warp()

    def begin(self) -> Steps[Progress, None, None]:
        """Statistics and motion network, what of them is not done yet."""
        if self.outliers is None:
            yield from self.fit()
            self.save(Schedule(1, None))  # from here on an earlier run's state is no longer the one to go on from
        if not self.motion_done:
            yield from self.train_motion()

    def fit(self) -> Steps[Progress, None, None]:
        """The statistics that training needs."""
        before = self.data.train_frames
        self.generator.warp.cpu()  # they are fitted in double precision, which not every device has
        self.data = yield from fit_statistics(self.generator, self.data, self.sound, self.options.seed)
        self._to_device()
        self.outliers = np.setdiff1d(before, self.data.train_frames)

    def train_motion(self) -> Steps[Progress, None, None]:
        """Extract what the motion network is trained on beside the clip, and train it."""
        options = self.options
        minutes = None if options.minutes is None else min(options.minutes * options.motion_share, MOTION_MINUTES)
        schedule = Schedule(options.motion_steps, minutes, self.state.spent_s)
        with saving_at_the_end(lambda: self.save(schedule)):
            training = yield from self._motion_training()
            yield from training.steps(schedule)
            self.motion_done = True
        self.state.spent_s = schedule.elapsed_s

    def _motion_training(self) -> Steps[Progress, None, MotionTraining]:
        avatar, device = self.data.avatar, str(self.device)
        augmented = yield from extract_augmented(
            avatar, self.encoder, waveform=self.sound.waveform, models=self.models, device=device
        ).steps()
        silences = yield from extract_silences(avatar, self.encoder, models=self.models, device=device).steps()
        sounds = TrainingSounds(augmented, silences)
        chunks = Chunks(self.generator, self.data, sounds, self.sound.spoken)
        shapes = self.generator.encode_shapes(self.data.points)
        return MotionTraining(self.generator, self.data, shapes, chunks, seed=self.options.seed, trained=self.members)

    def warp_training(self) -> WarpTraining:
        """The updates of the warp network, once the statistics are fitted."""
        return WarpTraining(
            self.generator,
            self.data,
            self.options,
            self.state,
            syncnet=self.syncnet,
            models=self.models,
            processes=self.processes,
        )

    def train_warp(self) -> Steps[Progress, None, None]:
        """Train the warp network; the weights that do best on the held-out part are kept."""
        options, state = self.options, self.state
        schedule, training = Schedule(options.steps, options.minutes, state.spent_s), self.warp_training()
        validation = WarpValidation(training, self.encoder, self.sound, self.models)
        schedule.agree(self.processes)
        drawn = (training.draw_batch(step, schedule.done(step)) for step in count(state.step))
        # drawn ahead by the clock, processes would not be equally far in what they draw
        batches = drawn if schedule.agreed_s is not None else prefetch(drawn)
        speed, finished = Speed(), False
        with closing(batches), saving_at_the_end(lambda: self.save(schedule)):
            while schedule.done(state.step) < 1 and not finished:
                losses = training.step(*next(batches), schedule)
                schedule.agree(self.processes)
                rate, done = speed.after(options.batch), schedule.done(state.step)
                finished, metrics, preview = done >= 1, {}, None
                if finished or state.step % options.check_every == 0:
                    if self.processes.is_first:
                        metrics, preview = validation.validate(done, self._keep)
                    finished = self.processes.from_first(finished or done - state.best_at > PATIENCE)
                if finished or state.step % options.save_every == 0:
                    self.save(schedule)
                done = 1.0 if finished else done
                yield StepReport.of("warp", state.step, done, losses, rate, metrics, preview, schedule.last_step)
            if self.processes.is_first and not state.out.is_file():  # nothing is left to train, but it was taken away
                metrics, preview = validation.validate(1.0, self._keep)
                yield StepReport.of("warp", state.step, 1.0, {}, 0.0, metrics, preview)

    def _keep(self, metrics: dict[str, float]) -> None:
        save_generator(self.state.out, replace(self.info(), metrics=metrics), self.generator)

    def _to_device(self) -> None:
        warp = self.generator.warp.to(self.device)
        warp.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def save(self, schedule: Schedule) -> None:
        """Write the resume state."""
        if self.processes.is_first:
            checkpoint.save_resume(self.state.out, self.info(), self.resume_state(schedule.elapsed_s))

    def resume_state(self, spent_s: float) -> dict[str, object]:
        """What `restore` brings back."""
        outliers = None if self.outliers is None else self.outliers.tolist()
        motion = {"done": self.motion_done, "members": sorted(self.members)}
        return {**self.state.resume_state(spent_s), "motion": motion, "outliers": outliers}

    def restore(self, info: Checkpoint, state: dict[str, Any]) -> None:
        """Go on from this resume state; MismatchError, and nothing changed, when another version wrote it."""
        if state.get("outliers") is None or "motion" not in state:
            raise MismatchError(
                f"{self.state.out}: begun by another version of this program; train anew, without `resume`"
            )
        self.state.restore(info, state)
        self.outliers = np.array(state["outliers"], np.int64)
        self.data = replace(self.data, train_frames=np.setdiff1d(self.data.train_frames, self.outliers))
        self.motion_done, self.members = state["motion"]["done"], set(state["motion"]["members"])
