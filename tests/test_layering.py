"""The shape of the code: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "udh_core"
LAYERS = (  # a file imports from its own folder and from the rows above its own
    "errors progress intervals metrics prefetch",
    "files options",
    "media weights",
    "face speech",
    "avatar models",
    "audit inference doctor",
    "training rendering export",
    "evaluation published",
    "demo batch live",
    "cli",
    "__main__",
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names.split()}
FLAT = {"__init__", "__main__", *LAYERS[0].split(), *LAYERS[1].split()}
COMFY = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "server", "execution"}
FORBIDDEN_CALLS = {
    *("print", "eval", "exec", "compile", "breakpoint", "__import__", "os.system", "os.popen", "os.chdir"),
    *("pickle.load", "pickle.loads", "marshal.loads", "torch.load"),
}
MAX_FUNCTION, MAX_FILE = 60, 400  # lines
FILES = sorted(CORE.rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(CORE)) for p in FILES])


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place_of(path: Path) -> str:
    """Folder inside the core that a file lies in, or the module itself where it lies flat."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level of relativity, dotted name) of everything a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


def imported_places(path: Path) -> set[str]:
    """Folders and flat modules of the core that a file imports."""
    depth = len(path.relative_to(CORE).parts)
    return {name.split(".")[0] for level, name in imports(path) if level == depth} - {place_of(path)}


def siblings(path: Path) -> set[Path]:
    """Files of the same folder that a file imports when it is imported itself."""
    names = {
        name
        for node in tree_of(path).body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in ([node.module.split(".")[0]] if node.module else [alias.name for alias in node.names])
    }
    return {path.parent / f"{name}.py" for name in names} & set(FILES) - {CORE / "__init__.py"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute, "?" in place of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


# Imports


def test_the_table_names_what_there_is() -> None:
    assert {place_of(path) for path in FILES} - {"__init__"} == set(LAYER_OF)


def test_only_leaves_lie_flat() -> None:
    assert {path.stem for path in CORE.glob("*.py")} == FLAT


@every_file
def test_imports_go_down(path: Path) -> None:
    own = LAYER_OF.get(place_of(path), len(LAYERS))
    beside_or_above = {place for place in imported_places(path) if LAYER_OF.get(place, 99) >= own}
    assert beside_or_above - {"__init__", "__version__"} == set(), f"{path.relative_to(CORE)} may not import them"


@every_file
def test_imports_within_a_folder_make_no_circle(path: Path) -> None:
    seen, todo = set(), siblings(path)
    while todo:
        seen |= todo
        todo = set().union(*(siblings(one) for one in todo)) - seen
    assert path not in seen


@every_file
def test_own_modules_are_imported_relatively(path: Path) -> None:
    assert not any(level == 0 and name.split(".")[0] == "udh_core" for level, name in imports(path))


@every_file
def test_core_knows_no_comfyui(path: Path) -> None:
    assert {name.split(".")[0] for level, name in imports(path) if level == 0} & COMFY == set()


# What is never done


@every_file
def test_no_forbidden_call(path: Path) -> None:
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    assert [f"line {c.lineno}: {dotted(c.func)}" for c in calls if dotted(c.func) in FORBIDDEN_CALLS] == []
    assert [c.lineno for c in calls for keyword in c.keywords if keyword.arg == "shell"] == []


@every_file
def test_no_assert(path: Path) -> None:
    assert [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)] == []


@every_file
def test_broad_excepts_give_their_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            assert re.search(r"# noqa: BLE001 \(.{10,}\)", lines[node.lineno - 1]), f"line {node.lineno}"


def _is_broad(caught: ast.expr | None) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(name is None or dotted(name) in ("Exception", "BaseException") for name in names)


@every_file
def test_numpy_never_unpickles(path: Path) -> None:
    keywords = [k for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call) for k in n.keywords]
    allowed = [k for k in keywords if k.arg == "allow_pickle" and getattr(k.value, "value", None) is not False]
    assert allowed == []


# Size


@every_file
def test_sizes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: n for f in functions if (n := (f.end_lineno or 0) - f.lineno + 1) > MAX_FUNCTION}
    assert long == {}


def test_most_functions_are_short() -> None:
    nodes = [n for path in FILES for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef)]
    lengths = sorted((n.end_lineno or 0) - n.lineno + 1 for n in nodes)
    assert lengths[len(lengths) // 2] <= 12


@every_file
def test_every_file_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))
