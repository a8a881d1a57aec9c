"""Workflows, help pages and translations as files: complete, and in step with the nodes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from english import inputs_of, page_of, tables_of, with_tables, words_file, words_of
from graph_files import NAMES, TITLE, WORKFLOWS, apart, api_of, as_api, ui_of

PACK = Path(__file__).resolve().parents[2]
MAX_THUMBNAIL = 150 * 1024
every_workflow = pytest.mark.parametrize("name", NAMES)
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


@pytest.fixture(scope="module")
def schema(comfy) -> dict:
    """Node id → what /object_info says of it."""
    return {name: facts for name, facts in comfy.get("object_info").items() if name.startswith("UDH_")}


def test_workflows_come_in_threes():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == set(NAMES)
    assert {path.stem for path in WORKFLOWS.glob("*.jpg")} == set(NAMES)
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == set(NAMES)


@every_workflow
def test_api_twin_agrees(name):
    twin = {node_id: (node["class_type"], node["inputs"]) for node_id, node in api_of(name).items()}
    assert as_api(ui_of(name)) == twin


@every_workflow
def test_layout(name):
    graph = ui_of(name)
    assert any(node["type"] == "MarkdownNote" and node["title"] == "Start here" for node in graph["nodes"])
    assert all(group["title"] for group in graph["groups"])
    nodes = [(x, y - TITLE, width, height + TITLE) for x, y, width, height in map(box_of, graph["nodes"])]
    groups = [tuple(group["bounding"]) for group in graph["groups"]]
    for one, other in [*combinations(nodes, 2), *combinations(groups, 2)]:
        assert apart(one, other), (one, other)


@every_workflow
def test_notes_have_no_code_spans(name):
    """ComfyUI's second kind of nodes shows them dark on dark."""
    notes = [node["widgets_values"][0] for node in ui_of(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and not any("`" in note for note in notes)


def box_of(node: dict) -> tuple[float, float, float, float]:
    return *node["pos"], *node["size"]


@every_workflow
def test_thumbnail(name):
    data = (WORKFLOWS / f"{name}.jpg").read_bytes()
    assert data[:3] == b"\xff\xd8\xff"
    assert len(data) <= MAX_THUMBNAIL


@every_workflow
def test_api_twin_fits_the_schema(name, comfy):
    """Nothing missing, nothing that the nodes do not know; what the user has yet to choose aside."""
    info = comfy.get("object_info")
    for node in api_of(name).values():
        facts = info[node["class_type"]]
        assert set(facts["input"].get("required", {})) <= set(node["inputs"])
        assert set(node["inputs"]) <= set(inputs_of(facts))


def test_english_words_are_those_of_the_schema(schema):
    words = json.loads((PACK / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    assert words == words_of(schema), "run tests/browser/english.py"


@LANGUAGES
def test_every_word_is_translated(schema, language):
    words = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(words) == set(schema)
    for node_id, facts in schema.items():
        said = words[node_id]
        assert said["display_name"] and said["description"]
        assert set(said["inputs"]) == set(inputs_of(facts)), node_id
        assert list(said["outputs"]) == [str(i) for i in range(len(facts["output"]))], node_id
        for entry in [*said["inputs"].values(), *said["outputs"].values()]:
            assert entry["name"] and entry["tooltip"], (node_id, entry)
            assert not re.search(r"[{}@|]", entry["name"] + entry["tooltip"])  # mean something to the translator


@LANGUAGES
def test_category_is_translated(schema, language):
    words = json.loads((PACK / "locales" / language / "main.json").read_text(encoding="utf-8"))
    assert set(words["nodeCategories"]) == {facts["category"] for facts in schema.values()}


@LANGUAGES
def test_help_pages_name_every_socket(schema, language):
    pages = {path.parent.name: path for path in (PACK / "web" / "docs").glob(f"*/{language}.md")}
    assert set(pages) == set(schema)
    for node_id, facts in schema.items():
        parts = re.split(r"^## .*$", pages[node_id].read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(parts) == 5, node_id  # what it does, inputs, outputs, tips, errors
        assert rows_of(parts[1]) == list(inputs_of(facts)), node_id
        assert rows_of(parts[2]) == facts["output_name"], node_id


@LANGUAGES
def test_tables_of_the_help_pages_are_those_of_the_schema(schema, language):
    words = json.loads(words_file(language).read_text(encoding="utf-8"))
    for node_id, facts in schema.items():
        page = page_of(node_id, language).read_text(encoding="utf-8")
        assert page == with_tables(page, tables_of(facts, words[node_id], language)), "run tests/browser/english.py"


@LANGUAGES
def test_help_pages_quote_errors_that_there_are(language):
    """Of a row's first column; … stands for what differs, / between alternatives. PyTorch's own message aside."""
    said = [text for folder in ("nodes", "udh_core") for path in (PACK / folder).rglob("*.py") for text in texts(path)]
    for page in (PACK / "web" / "docs").glob(f"*/{language}.md"):
        table = re.split(r"^## .*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[4]
        quoted = [line.split(" | ")[0].removeprefix("| ") for line in table.strip().splitlines()[2:]]
        assert quoted, page
        for message in {one for row in quoted for one in row.split(" / ")} - {"out of memory"}:
            parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
            assert any(re.search(".*".join(parts), text, re.DOTALL) for text in said), (page.parent.name, message)


def texts(path: Path) -> Iterator[str]:
    """Every string of a module, with … in the place of what is filled in."""
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in part.values)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def rows_of(table: str) -> list[str]:
    return re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE)
