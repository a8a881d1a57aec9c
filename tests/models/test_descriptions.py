"""Checkpoints of another version, or made by hand: whatever they say of themselves, one clear error, or they open."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load, save_file

from udh_core.avatar.folder import open_avatar
from udh_core.errors import FormatError
from udh_core.export import bundle as bundles
from udh_core.face.crop import CropSpec
from udh_core.inference.sync_scorer import open_syncnet, save_syncnet
from udh_core.models import checkpoint
from udh_core.models.checkpoint import Checkpoint, held_out_share, open_generator, save_generator
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.syncnet import SyncNet, SyncNetConfig
from udh_core.models.warping import WarpConfig
from udh_core.published.model import open_published, save_published
from udh_core.published.unet import PublishedUNet

OTHERS: tuple[Any, ...] = (None, True, -1, 0, 2, 0.5, float("nan"), 1 << 15, 10**30, "7", [], ["a"], {}, {"a": 1})
REMEDIES = re.compile(
    "train again|update|train without `resume`|import the .pth again|export the avatar again|choose|give"
)


def small_generator() -> tuple[Checkpoint, Generator]:
    warp = WarpConfig(96, references=1, shape_width=2, widths=(4,), condition=4)
    config = GeneratorConfig(MotionConfig(8, shape_width=2, channels=4, dilations=(1,), members=1), warp, 5)
    described = {"model": config.to_dict(), "options": {"held_out": 0.1}}
    info = Checkpoint("generator", described, 1, "mel80", CropSpec(96), "anna")
    return info, Generator(config, info.crop)


def generator(path: Path, _: Path) -> None:
    save_generator(path, *small_generator())


def syncnet(path: Path, _: Path) -> None:
    config = SyncNetConfig(8, embedding=8, channels=(8, 8))
    info = Checkpoint("syncnet", {"model": config.to_dict()}, 1, "mel80", CropSpec(96), "anna")
    save_syncnet(path, info, SyncNet(config))


def published(path: Path, _: Path) -> None:
    save_published(path, PublishedUNet("hubert"), "a.pth")


def resume(path: Path, _: Path) -> None:
    info, network = small_generator()
    checkpoint.save_resume(path, info, {"networks": network.state_dict(), "best": 1.0, "members": [0, 1]})
    checkpoint.resume_path(path).rename(path)


def bundle(path: Path, person_avatar: Path) -> None:
    avatar = open_avatar(person_avatar)
    config = GeneratorConfig(MotionConfig(8, channels=4, members=1), WarpConfig(avatar.crop.size, widths=(4,)), 5)
    info = Checkpoint("generator", {"model": config.to_dict()}, 1, "mel80", avatar.crop, avatar.identity)
    save_generator(path.with_name("g.safetensors"), info, Generator(config, avatar.crop))
    bundles.export_bundle(avatar, path.with_name("g.safetensors"), path, duration_s=0.2).run()


def read_generator(path: Path) -> None:
    info, _ = open_generator(path)
    held_out_share(path, info)


def read_resume(path: Path) -> None:
    target = checkpoint.resume_path(path)
    target.write_bytes(path.read_bytes())
    checkpoint.load_resume(path)


def read_bundle(path: Path) -> None:
    """With its seal made anew, as by a program of another version."""
    info, tensors = checkpoint.load(path, "bundle")
    config = {name: value for name, value in info.config.items() if name != "sha256"}
    unsealed = Checkpoint(**{**vars(info), "config": config})
    sealed = {**config, "sha256": bundles._fingerprint(asdict(unsealed), tensors)}
    checkpoint.save(path, Checkpoint(**{**vars(info), "config": sealed}), tensors)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    open_generator(bundles.open_bundle(path, path.with_suffix("")).generator)


MADE: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path], object]]] = {
    "generator": (generator, read_generator),
    "syncnet": (syncnet, open_syncnet),
    "published_model": (published, open_published),
    "resume": (resume, read_resume),
    "bundle": (bundle, read_bundle),
}


def places(values: object, before: tuple = ()) -> Iterator[tuple]:
    """The keys that lead to every value of a description, but not into the tensors' own layout."""
    if isinstance(values, dict) and before[-1:] != ("layout",):
        for name in values:
            yield (*before, name)
            yield from places(values[name], (*before, name))


def variants(description: dict) -> Iterator[tuple[str, dict]]:
    """What is common to several kinds is changed in one of them."""
    for place in places(description):
        *way, name = place
        common = place[0] != "config" or ("generator", "model") == place[1:3] != place[1:]
        if name == "sha256" or (common and description["kind"] != "generator"):
            continue
        for other in (*OTHERS, KeyError, ValueError):
            changed = copy.deepcopy(description)
            parent = changed
            for step in way:
                parent = parent[step]
            if other is KeyError:
                del parent[name]
            elif other is ValueError:
                parent["of_tomorrow"] = 1
            else:
                parent[name] = other
            yield f"{'.'.join(place)} = {other}", changed


@pytest.mark.parametrize("kind", MADE)
def test_whatever_is_described_is_opened_or_refused(kind: str, tmp_path: Path, person_avatar: Path, figure) -> None:
    make, read = MADE[kind]
    path = tmp_path / "m.safetensors"
    make(path, person_avatar)
    tensors = load(path.read_bytes())  # `load_file` leaves them in the file, and it is written over
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["udh"])
    read(path)
    opened = 0
    for what, changed in variants(description):
        save_file(tensors, path, metadata={"udh": json.dumps(changed)})
        try:
            read(path)
            opened += 1
        except FormatError as error:
            assert "\n" not in str(error), what
            assert REMEDIES.search(str(error)), (what, error)
    figure(f"{kind}: {opened} of {sum(1 for _ in variants(description))} changed descriptions open all the same")


@pytest.mark.parametrize(
    ("way", "value", "words"),
    [
        (("model",), None, "GeneratorConfig is not there"),
        (("model", "warp", "widths"), "many", "WarpConfig.widths is no list of whole numbers"),
        (("model", "motion", "heads"), 4, "MotionConfig does not know heads"),
        (("model", "warp", "shape_width"), 3, "differ in shape_width"),
        (("model", "warp", "size"), 128, "it draws 128 px, its crop has 96 px"),
        (("model", "warp", "condition"), 1 << 15, "its tensors do not fit its description"),
    ],
)
def test_what_is_wrong_is_named(way: tuple, value: object, words: str, tmp_path: Path) -> None:
    info, network = small_generator()
    described = json.loads(json.dumps(info.config))
    parent = described
    for step in way[:-1]:
        parent = parent[step]
    parent[way[-1]] = value
    save_generator(tmp_path / "g.safetensors", Checkpoint(**{**vars(info), "config": described}), network)
    with pytest.raises(FormatError, match=words) as caught:
        open_generator(tmp_path / "g.safetensors")
    assert str(caught.value).endswith("train again")


def test_a_generator_that_does_not_say_what_it_was_trained_on(tmp_path: Path) -> None:
    info, _ = small_generator()
    assert held_out_share(tmp_path, info) == 0.1
    for config in ({}, {"options": None}, {"options": {"held_out": "some"}}, {"options": {"held_out": 1.5}}):
        with pytest.raises(FormatError, match="which part of the clip it was not trained on; train again"):
            held_out_share(tmp_path, Checkpoint(**{**vars(info), "config": config}))


def test_another_version_is_named_before_its_description_is_read(tmp_path: Path) -> None:
    text = json.dumps({"format": 3, "networks": {}})
    save_file(small_generator()[1].state_dict(), tmp_path / "g.safetensors", metadata={"udh": text})
    with pytest.raises(FormatError, match="has format 3, this program reads 1 to 2"):
        open_generator(tmp_path / "g.safetensors")
