"""The public names."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import udh_core

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", udh_core.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(udh_core, name)
    assert name.startswith("__") or found.__doc__


def test_the_names_for_type_checkers_are_the_same() -> None:
    tree = ast.parse((ROOT / "udh_core" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {(place, name) for place, names in udh_core._PLACES.items() for name in names}
    assert {name for _, name in typed} == set(udh_core.__all__) - {"__version__"}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="lipsync"):
        udh_core.lipsync  # noqa: B018
    assert dir(udh_core) == sorted(udh_core.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, udh_core; print(sorted({'torch', 'numpy', 'cv2', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_packages() -> None:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert udh_core.__version__ == found[1]


def test_the_version_stands_in_one_place(tmp_path: Path) -> None:
    """All else derives it: a package that lies beside another pyproject.toml has another version."""
    files = [path for folder in ("udh_core", "nodes", "web", "workflows") for path in (ROOT / folder).rglob("*.*")]
    texts = {path: path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".json", ".js")}
    assert [
        path for path, text in texts.items() if re.search(r'__version__ = "|VERSION = "|"(ver|version)": "', text)
    ] == []
    (tmp_path / "udh_core").mkdir()
    shutil.copy(ROOT / "udh_core" / "__init__.py", tmp_path / "udh_core")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(project.replace(udh_core.__version__, "9.8.7"), encoding="utf-8")
    said = [sys.executable, "-c", "import udh_core; print(udh_core.__version__)"]
    assert subprocess.run(said, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "9.8.7\n"


def test_types_are_shipped() -> None:
    assert (ROOT / "udh_core" / "py.typed").is_file()
