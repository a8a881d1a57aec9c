"""The English words of the nodes, taken from their schema: `python tests/browser/english.py http://127.0.0.1:8188`.

Writes locales/en/nodeDefs.json from a running ComfyUI, so that the words live in nodes/ alone.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
FILE = PACK / "locales" / "en" / "nodeDefs.json"


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


def main() -> None:
    with urllib.request.urlopen(f"{sys.argv[1]}/object_info") as reply:  # noqa: S310
        words = words_of(json.load(reply))
    FILE.write_text(json.dumps(words, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
