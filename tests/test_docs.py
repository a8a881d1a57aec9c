"""The documents: what they name exists, what they draw is so, and no figure lacks its explanation."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from udh_core.avatar.options import CONSENT

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = ("udh_core/", "nodes/", "tests/", "docs/", "benchmarks/", "web/", "locales/", "workflows/")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shell_blocks(page: Path) -> list[str]:
    return [re.sub(r"(?m)^   (?=\S)", "", block) for block in re.findall(r"```\n(.*?)```", text_of(page), re.S)]


def defined(path: Path) -> set[str]:
    """Functions, classes, methods (Class.method) and names of a Python file."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return found


def headings(page: Path) -> set[str]:
    """As links name them."""
    titles = re.findall(r"(?m)^#+ (.+)$", text_of(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# What is named exists


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


@every_page
def test_paths_and_functions_exist(page: Path) -> None:
    for named in re.findall(r"`([\w./-]+(?::[\w.]+)?)`", text_of(page)):
        path, _, function = named.partition(":")
        if not path.startswith(PLACES):
            continue
        found = next((one for one in (ROOT / path, ROOT / f"{path}.py") if one.exists()), None)
        assert found is not None, named
        assert not function or function in defined(found), named


@every_page
def test_benchmarks_exist(page: Path) -> None:
    for module in re.findall(r"python -m (benchmarks\.\w+)", text_of(page)):
        assert importlib.util.find_spec(module), module


def test_lives_are_short() -> None:
    lives = re.findall(r"(?ms)^## The life of .*?(?=^## )", text_of(ROOT / "docs" / "architecture.md"))
    assert len(lives) == 3
    for life in lives:
        steps = re.findall(r"(?m)^\d+\. (.*)$", life)
        assert 5 <= len(steps) <= 10
        assert all(re.match(r"`[\w./]+\.py:[\w.]+`", step) for step in steps)


# Commands


def commands(page: Path) -> list[list[str]]:
    """Words of every line of the command line, in a block of code or in the text; without an example's comment."""
    lines = [line.partition("  #")[0] for block in shell_blocks(page) for line in block.splitlines()]
    lines += re.findall(r"`(udh [^`…]+)`", text_of(page))
    return [re.sub(r'"[^"]*"', "words", line).split()[1:] for line in lines if line.startswith("udh ")]


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    import typer.main

    from udh_core.cli import app

    group = typer.main.get_command(app)
    for words in commands(page):
        command = group
        while getattr(command, "commands", None):
            assert words[0] in command.commands, words
            command, words = command.commands[words[0]], words[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, words


# The picture of the folders


def test_the_picture_shows_the_imports_there_are() -> None:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec and spec.loader
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    drawn = re.findall(r'id="(\w+)--(\w+)"', draw.PICTURE.read_text(encoding="utf-8"))
    assert set(drawn) == draw.reduced(draw.imports()), "run `python docs/draw_architecture.py`"
    assert draw.PICTURE.stat().st_size < 200_000


# Figures


def test_every_figure_is_explained() -> None:
    from udh_core.evaluation.figures import CLIP_MEANINGS, MEANINGS
    from udh_core.inference.sync_scorer import SyncReport

    text = text_of(ROOT / "docs" / "metrics.md")
    for name in (*MEANINGS, *CLIP_MEANINGS):
        section = re.search(rf"(?ms)^### `{name}`\n(.*?)(?=^##|\Z)", text)
        assert section, name
        assert "*Misleads:*" in section[1], name
    for field in fields(SyncReport):
        assert field.name == "curve" or f"`{field.name}`" in text, field.name


# Versions of files


def test_versions_are_those_of_the_code() -> None:
    from udh_core.avatar import folder
    from udh_core.export import onnx
    from udh_core.models import checkpoint
    from udh_core.speech import features

    text = text_of(ROOT / "docs" / "formats.md")
    written = {
        row[0]: int(row[1]) for row in re.findall(r"(?m)^\| ([^|]+) \| `(?:format|layout)`[^|]* \| (\d+) \|", text)
    }
    assert written == {
        "avatar folder": folder.FORMAT,
        "crop geometry": folder.CropSpec.layout,
        "audio features": features.FORMAT,
        "checkpoint, resume state, bundle": checkpoint.FORMAT,
        "ONNX folder": onnx.FORMAT,
    }


# README


def test_both_readmes_say_the_same() -> None:
    english, chinese = text_of(ENGLISH), text_of(CHINESE)
    for pattern in (r"(?m)^#+ ", r"(?m)^\|", r"(?m)^- ", r"(?m)^\d\. ", r"!\["):
        assert len(re.findall(pattern, english)) == len(re.findall(pattern, chinese)), pattern
    assert commands(ENGLISH) == commands(CHINESE)
    assert "README.zh-CN.md" in english.split("\n\n")[1]
    assert "README.md" in chinese.split("\n\n")[1]


def test_consent_is_named() -> None:
    assert CONSENT in " ".join(text_of(ENGLISH).split())
    assert "征得本人同意" in text_of(CHINESE)


# What the registry ships


def test_the_registry_ships_the_pack_and_no_tests() -> None:
    def listed(*options: str) -> set[str]:
        done = subprocess.run(["git", "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
        return set(done.stdout.splitlines())

    left_out = listed("-ci", "--exclude-from=.comfyignore")
    shipped = {path.partition("/")[0] for path in listed() - left_out}
    assert {"__init__.py", "install.py", "requirements.txt", "pyproject.toml", "README.md", "LICENSE"} <= shipped
    assert {"nodes", "udh_core", "web", "locales", "workflows"} <= shipped
    assert not {"tests", "benchmarks", "docs", "dev.py", ".ci"} & shipped
