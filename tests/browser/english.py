"""The words of the nodes in files, taken from their schema: `python tests/browser/english.py http://127.0.0.1:8188`.

Writes locales/en/nodeDefs.json and the tables of the help pages from a running ComfyUI, so that the English words live
in nodes/ and udh_core/ alone, and the Chinese ones in locales/zh/nodeDefs.json.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
HEADS = {
    "en": ("| input | type | what it is |", "| output | type | what it is |"),
    "zh": ("| 输入 | 类型 | 说明 |", "| 输出 | 类型 | 说明 |"),
}
OPTIONAL = {"en": "{} (optional)", "zh": "{}（可选）"}
DEFAULT = {"en": " (default {})", "zh": "（默认 {}）"}
RANGE = {"en": "{}, {}–{}", "zh": "{}，{}–{}"}
FROM = {"en": "{}, {} or more", "zh": "{}，不小于 {}"}
BOUNDLESS = 2**31 - 1  # the widget of a number that has no upper bound


def words_file(language: str) -> Path:
    return PACK / "locales" / language / "nodeDefs.json"


def page_of(node_id: str, language: str) -> Path:
    return PACK / "web" / "docs" / node_id / f"{language}.md"


def words_of(info: dict) -> dict:
    """The nodeDefs.json that says what the schema (an answer of /object_info) says."""
    return {
        node_id: {
            "display_name": facts["display_name"],
            "description": facts["description"],
            "inputs": {
                name: {"name": name, "tooltip": options["tooltip"]} for name, (_, options) in inputs_of(facts).items()
            },
            "outputs": {
                str(i): {"name": name, "tooltip": tooltip}
                for i, (name, tooltip) in enumerate(zip(facts["output_name"], facts["output_tooltips"], strict=True))
            },
        }
        for node_id, facts in info.items()
        if node_id.startswith("UDH_")
    }


def inputs_of(facts: dict) -> dict[str, tuple]:
    """Input name → (type, options) of a node, without the hidden ones."""
    return {**facts["input"].get("required", {}), **facts["input"].get("optional", {})}


def tables_of(facts: dict, words: dict, language: str) -> tuple[str, str]:
    """Markdown tables of a node's inputs and outputs."""
    rows = [
        _row(name, _type(kind, name in facts["input"].get("optional", {}), language), words["inputs"][name], language)
        + _limits(options, language)
        + " |"
        for name, (kind, options) in inputs_of(facts).items()
    ]
    given = enumerate(zip(facts["output_name"], facts["output"], strict=True))
    made = [_row(name, kind, words["outputs"][str(i)], language) + " |" for i, (name, kind) in given]
    inputs, outputs = HEADS[language]
    return "\n".join([inputs, "|---|---|---|", *rows]), "\n".join([outputs, "|---|---|---|", *made])


def with_tables(page: str, tables: tuple[str, str]) -> str:
    """A help page with these tables in the place of its first two."""
    found = re.findall(r"^\|(?:.*\n)+?(?=\n)", page, flags=re.MULTILINE)[:2]
    for old, new in zip(found, tables, strict=True):
        page = page.replace(old, new + "\n", 1)
    return page


def _row(name: str, kind: str, words: dict, language: str) -> str:
    label = f"`{name}`" if language == "en" else f"`{name}` {words['name']}"
    return f"| {label} | {kind} | {words['tooltip']}"


def _type(kind: object, optional: bool, language: str) -> str:
    name = kind if isinstance(kind, str) else "COMBO"
    return OPTIONAL[language].format(name) if optional else name


def _limits(options: dict, language: str) -> str:
    """Default and range, where there are any."""
    default = options.get("default")
    if default in (None, ""):
        return ""
    shown = str(default).lower() if isinstance(default, bool) else _number(default)
    if options.get("max") == BOUNDLESS:
        shown = FROM[language].format(shown, _number(options["min"]))
    elif options.get("max") is not None:
        shown = RANGE[language].format(shown, _number(options["min"]), _number(options["max"]))
    return DEFAULT[language].format(shown)


def _number(value: object) -> str:
    """An int in groups of three digits, a float without needless zeros, anything else as it is."""
    if isinstance(value, float):
        return f"{value:,.10g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    with urllib.request.urlopen(f"{sys.argv[1]}/object_info") as reply:  # noqa: S310
        info = json.load(reply)
    english = words_of(info)
    words_file("en").write_text(json.dumps(english, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for language in HEADS:
        for node_id, words in json.loads(words_file(language).read_text(encoding="utf-8")).items():
            page = page_of(node_id, language)
            text = with_tables(page.read_text(encoding="utf-8"), tables_of(info[node_id], words, language))
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
