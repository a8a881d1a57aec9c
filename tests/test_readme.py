"""The examples of the READMEs, taken out by their fences and run as they stand, in order, in one folder."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
UDH = Path(sys.executable).with_name("udh")
ELSEWHERE = {  # lines that are not run here, and what runs them
    "python dev.py demo": "installs, and trains for five minutes; tests/demo/test_run.py runs the demo",
    "python dev.py test": ".ci/run",
    "cd ComfyUI/custom_nodes": "tests/comfy/install_comfyui.py puts the pack there",
    "git clone <this repository's address> ultralight-digital-human": "whoever reads the line has done so",
    "cd ultralight-digital-human": "the line before it makes the folder",
    "python -m pip install -r requirements.txt": "tests/comfy/install_comfyui.py, into an environment of each ComfyUI",
    "python install.py": "tests/comfy/test_pack.py",
}
APPENDED = {"udh train": "--minutes 0.01 --model-size small --no-report"}  # of an option given twice the last counts
REPLACED = {"minutes=15": "minutes=0.01, model_size='small'"}
OUTPUTS = ("--picture", "--out", "--html", "--json")


def fences(page: Path) -> list[tuple[str, str]]:
    """Language and text of every block of code; one in a list is indented, its lines as far as the fence."""
    found = re.findall(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$", page.read_text(encoding="utf-8"))
    return [(language, re.sub(rf"(?m)^{indent}", "", text)) for indent, language, text in found]


def shell_lines(page: Path) -> list[str]:
    """Every line of the blocks without a language, without its comment."""
    shell = [text for language, text in fences(page) if not language]
    return [line.partition("  #")[0].rstrip() for text in shell for line in text.splitlines()]


def python_examples(page: Path) -> list[str]:
    return [text for language, text in fences(page) if language == "python"]


def test_both_have_the_same_examples_and_no_others() -> None:
    for page in (ENGLISH, CHINESE):
        assert {language for language, _ in fences(page)} == {"", "python"}
        assert page.read_text(encoding="utf-8").count("```") == 2 * len(fences(page))
    assert shell_lines(ENGLISH) == shell_lines(CHINESE)
    assert python_examples(ENGLISH) == python_examples(CHINESE)


def test_every_line_is_run_or_named() -> None:
    lines = shell_lines(ENGLISH)
    assert set(ELSEWHERE) == {line for line in lines if not line.startswith("udh ")}
    assert all(any(line.startswith(f"{begin} ") for line in lines) for begin in APPENDED)
    assert all(sum(example.count(one) for example in python_examples(ENGLISH)) == 1 for one in REPLACED)


@pytest.fixture
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty but for what the examples speak of: me.mp4 and speech.wav, five seconds and two."""
    from udh_core.demo.clip import make_clip
    from udh_core.media.audio import load_waveform, write_wave

    made = tmp_path / "made"
    make_clip(made, seconds=5.4, seed=11, size=256, fps=Fraction(15)).run()
    work = tmp_path / "work"
    work.mkdir()
    (made / "person.mp4").rename(work / "me.mp4")
    write_wave(work / "speech.wav", load_waveform(made / "speech.wav", duration_s=2.0))
    monkeypatch.chdir(work)
    return work


def test_the_examples_run(here: Path) -> None:
    for line in shell_lines(ENGLISH):
        if line not in ELSEWHERE:
            run_line(line)
    assert_talks(here / "talking.mp4")
    for path in here.glob("me.*safetensors"):  # a training replaces none unless it is told to
        path.unlink()
    (here / "talking.mp4").unlink()
    for example in python_examples(ENGLISH):
        for written, shorter in REPLACED.items():
            example = example.replace(written, shorter)
        subprocess.run([sys.executable, "-c", example], check=True)
    assert_talks(here / "talking.mp4")


def run_line(line: str) -> None:
    """A line of `udh`; what it names as its output is there afterwards."""
    words = shlex.split(line)
    added = APPENDED.get(" ".join(words[:2]), "").split()
    done = subprocess.run([UDH, *words[1:], *added], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    for option, value in itertools.pairwise(words):
        assert option not in OUTPUTS or Path(value).stat().st_size > 500, line


def assert_talks(path: Path) -> None:
    """The video is as long as the two seconds of speech, and says that it is generated."""
    from udh_core.media.probe import probe
    from udh_core.media.provenance import is_generated

    assert probe(path).video.frame_count == 30
    assert is_generated(path)
