"""A compiled compositor draws what it draws without compiling."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from needs import unavailable

from udh_core.avatar.folder import open_avatar
from udh_core.errors import UdhError
from udh_core.face.crop import CropSpec
from udh_core.inference.compositor import Compositor
from udh_core.models.generator import Generator, GeneratorConfig
from udh_core.models.motion import MotionConfig
from udh_core.models.warping import WarpConfig


@pytest.fixture
def small(person_avatar: Path) -> Compositor:
    """A compositor with a network that compiles in seconds."""
    torch.manual_seed(0)
    warp = WarpConfig(96, references=2, widths=(8,), condition=16)
    generator = Generator(GeneratorConfig(MotionConfig(80, members=1), warp, 53), CropSpec(96))
    generator.warp.references.random_(0, 256)
    with torch.no_grad():
        for parameter in generator.warp.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    avatar = open_avatar(person_avatar)
    torch._dynamo.reset()
    return Compositor(generator.warp, CropSpec(96), avatar.track().transforms)


def test_compiled_draws_the_same(small):
    if not (shutil.which("g++") or shutil.which("clang++")):
        unavailable("torch.compile needs a C++ compiler, and there is none")
    noise = np.random.default_rng(0)
    crops = noise.integers(0, 256, (3, 96, 96, 3), np.uint8)
    conditions = torch.from_numpy(noise.normal(size=(3, 3, 12)).astype(np.float32))
    wanted = small.generate(crops, conditions).astype(int)
    assert np.abs(wanted - crops).max() > 20  # it draws
    small.compile(2)
    for rows in (slice(0, 2), slice(2, 3)):  # a whole batch, and one that is filled up
        apart = np.abs(small.generate(crops[rows], conditions[rows]) - wanted[rows])
        assert apart.shape == crops[rows].shape
        assert apart.max() <= 8
        assert apart.mean() < 0.3


def test_no_compiler_is_one_line(small, monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    with pytest.raises(UdhError, match=r"torch.compile does not work here \(.*; install a C\+\+ compiler") as caught:
        small.compile(2)
    assert "\n" not in str(caught.value)
    assert small.generate(np.zeros((1, 96, 96, 3), np.uint8), torch.zeros(1, 3, 12)).shape == (1, 96, 96, 3)


def test_looking_for_pip_does_not_break_compiling():
    """Before Python 3.12, setuptools, which torch.compile imports, fails then."""
    code = (
        "import importlib.util, os; from udh_core.inference import compositor; importlib.util.find_spec('pip');"
        "before = dict(os.environ); compositor._import_setuptools(); assert os.environ == before;"
        "import torch.utils.cpp_extension"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
