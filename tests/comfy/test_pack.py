"""The pack as files: what its installation changes, who may speak to ComfyUI, and how large a node may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]
NODES = sorted((PACK / "nodes").rglob("*.py"))
HOST_ONLY = {"comfy", "folder_paths", "server", "comfy_execution", "execution", "nodes", "comfy_extras"}
MAX_EXECUTE, MAX_FUNCTION, MAX_FILE = 15, 60, 400  # lines


def frozen(home: Path, when: str) -> dict[str, str]:
    lines = (home / f"freeze-{when}.txt").read_text().splitlines()
    return dict(re.split(r"==| @ ", line, maxsplit=1) for line in lines if not line.startswith(("-e", "#")))


def test_requirements_change_nothing_that_comfyui_brought(each_home):
    before, after = frozen(each_home, "before"), frozen(each_home, "after")
    assert {"torch", "numpy", "transformers", "safetensors", "pillow"} <= set(before)
    assert {name: after.get(name) for name in before} == before
    assert "imageio-ffmpeg" in set(after) - set(before)


def test_installer_is_idempotent_and_leaves_packages_alone(each_home):
    python = each_home / "venv" / "bin" / "python"
    done = subprocess.run([python, PACK / "install.py"], capture_output=True, text=True, check=True)
    assert "already there" in done.stdout + done.stderr
    now = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    assert now == (each_home / "freeze-after.txt").read_text()


def test_weights_go_into_the_comfyui_the_pack_lies_in(tmp_path):
    link = tmp_path / "custom_nodes" / "pack"
    link.parent.mkdir()
    link.symlink_to(PACK, target_is_directory=True)
    code = "import sys, runpy; print(runpy.run_path(sys.argv[1])['weights_folder']())"
    done = subprocess.run([sys.executable, "-c", code, link / "install.py"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "models" / "udh" / "weights"


def test_looking_at_the_pack_needs_no_comfyui():
    code = "import importlib.util as u; s = u.spec_from_file_location('pack', '__init__.py'); m = u.module_from_spec(s)"
    code += "; s.loader.exec_module(m); assert m.WEB_DIRECTORY == './web'; assert callable(m.comfy_entrypoint)"
    subprocess.run([sys.executable, "-c", code], cwd=PACK, check=True)


@pytest.mark.parametrize("path", NODES, ids=lambda p: str(p.relative_to(PACK / "nodes")))
def test_only_the_host_speaks_to_comfyui(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    assert not found & HOST_ONLY or path.parent.name == "host"


@pytest.mark.parametrize("path", NODES, ids=lambda p: str(p.relative_to(PACK / "nodes")))
def test_nodes_are_thin(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE
    assert "NODE_CLASS_MAPPINGS" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            whole, body = ((node.end_lineno or 0) - first.lineno + 1 for first in (node, node.body[0]))
            assert whole <= MAX_FUNCTION, f"{node.name} has {whole} lines"
            assert body <= MAX_EXECUTE or node.name != "execute", f"execute has {body} lines"


def test_registry_rules_hold():
    ruff = Path(sys.executable).parent / "ruff"
    command = [
        ruff,
        "check",
        "--isolated",
        "--select",
        "S102,S307,E702",
        "nodes",
        "udh_core",
        "install.py",
        "__init__.py",
    ]
    assert subprocess.run(command, cwd=PACK, check=False).returncode == 0
