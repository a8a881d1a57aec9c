"""What files of format 1 call things that have other names now, and what they did not say: how they are still read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

Rules = tuple[tuple[str, str], ...]  # (pattern, replacement), all tried in this order

OLDEST = 1  # format that is still read
KINDS = {"published model": "published_model", "avatar to go": "bundle"}
MODEL = {"pixels": "warp"}  # parts of a generator's configuration
ADDED = {  # to a generator's configuration: what were constants of the program
    "adaptation": {
        "mean_variance": 0.12,
        "movement_variance": 0.035,
        "max_gain": 1.6,
        "max_deviation": 3.0,
        "least_s": 0.5,
    },
    "motion_training": {
        "chunk_s": 4.0,
        "batch": 16,
        "learning_rate": 1e-3,
        "warmup_steps": 50,
        "weight_decay": 0.02,
        "noise": 0.1,
        "augmented_share": 0.5,
        "silent_weight": 1 / 16,
        "check_every": 50,
        "max_gain": 1.5,
        "correlation_gate": [0.3, 0.7],
    },
}
GENERAL_HEAD = (  # tensors of a generator: what is missing, and what it was
    ("motion.general_head.weight", "motion.prior_head.weight"),
    ("motion.general_head.bias", "motion.prior_head.bias"),
    ("motion.general_amplitude", "mouth_amplitude"),
)
OPTIONS = {"rate": "learning_rate", "size": "model_size"}  # of a training
PHASES = {"pixels": "warp"}  # of a training, in its log

_TEMPORAL_BLOCK: Rules = ((r"\.look\.", ".dilated_conv."), (r"\.mix\.", ".output_proj."))
WARP: Rules = (  # state dict of a WarpNet
    (r"^listen\.", "condition_mlp."),
    (r"^enter\.", "input_conv."),
    (r"\.first\.", ".conv1."),
    (r"\.second\.", ".conv2."),
    (r"^detail$", "sharpening"),
    (r"^reach$", "amplitude"),
    (r"^pose_of_view$", "pose_weight"),
    (r"^pose_offset$", "pose_bias"),
)
_MOTION: Rules = (  # of a MotionNet
    *_TEMPORAL_BLOCK,
    (r"\.enter\.", ".input_proj."),
    (r"\.leave\.", ".output_proj."),
    (r"^gain$", "variance_gain"),
)
_GENERATOR: Rules = ((r"^rest$", "rest_pose"), (r"^movement$", "mouth_amplitude"))
SYNCNET: Rules = (  # of a SyncNet
    *_TEMPORAL_BLOCK,
    (r"^look\.", "visual_encoder."),
    (r"^look_out\.", "visual_proj."),
    (r"^hear_in\.", "audio_input_proj."),
    (r"^hear\.", "audio_encoder."),
    (r"^hear_out\.", "audio_proj."),
)


def description(values: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's description of format 1, as JSON gives it, with today's names."""
    config = values.get("config")
    kind = values.get("kind")
    renamed = {**values, "config": _config(config) if isinstance(config, Mapping) else config}
    if isinstance(kind, str):
        renamed["kind"] = KINDS.get(kind, kind)
    return renamed


def tensor_name(kind: str, name: str) -> str:
    """Today's name of a tensor in a checkpoint of this (today's) kind; other kinds keep theirs."""
    if kind == "generator":
        return generator_name(name)
    if kind == "syncnet":
        return _by(SYNCNET, name)
    if kind == "bundle" and name.startswith("generator."):
        return "generator." + generator_name(name.removeprefix("generator."))
    return name


def generator_name(name: str) -> str:
    """Today's name of a tensor in the state dict of a Generator."""
    part, _, rest = name.partition(".")
    if part == "pixels":
        return "warp." + _by(WARP, rest)
    if part == "motion":
        return "motion." + _by(_MOTION, rest)
    return _by(_GENERATOR, name)


def added_tensors(names: Collection[str]) -> dict[str, str]:
    """Tensors that a generator or bundle with these lacks, and the names of those that stand for them.

    Before there was a general head, the person's head on the motion prior served all voices.
    """
    parts = [
        name.removesuffix("motion.prior_head.weight") for name in names if name.endswith("motion.prior_head.weight")
    ]
    if not parts or f"{parts[0]}motion.general_amplitude" in names:
        return {}
    return {f"{parts[0]}{name}": f"{parts[0]}{other}" for name, other in GENERAL_HEAD}


def resume_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a training run, as `unflatten` gives it, with today's names: a generator's or a SyncNet's.

    Optimiser states count parameters in the order of their network, which is the same.
    """
    renamed = dict(state)
    rules = SYNCNET if "network" in state else WARP
    if isinstance(state.get("networks"), Mapping):
        renamed["networks"] = {generator_name(name): value for name, value in state["networks"].items()}
    if isinstance(state.get("network"), Mapping):
        renamed["network"] = {_by(SYNCNET, name): value for name, value in state["network"].items()}
    average = state.get("average")
    if isinstance(average, Mapping) and isinstance(average.get("weights"), Mapping):
        weights = {_by(rules, name): value for name, value in average["weights"].items()}
        renamed["average"] = {**average, "weights": weights}
    return renamed


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a checkpoint; a bundle holds that of its generator."""
    renamed = dict(config)
    for name, table in (("model", MODEL), ("options", OPTIONS)):
        if isinstance(config.get(name), Mapping):
            renamed[name] = {table.get(key, key): value for key, value in config[name].items()}
    model = renamed.get("model")
    if isinstance(model, Mapping) and "warp" in model:
        renamed["model"] = {**ADDED, **model}
    if isinstance(config.get("generator"), Mapping):
        renamed["generator"] = _config(config["generator"])
    return renamed


def _by(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
