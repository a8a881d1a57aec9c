"""The shape of the code: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "udh_core"
LEVELS = (
    "errors files ffmpeg media playback raster",
    "geometry video audio weights pose unpickle torch_zip convert windows puppet activity models",
    "encoders wenet features landmarks losses metrics checkpoint speech training",
    "avatar disguises silences alignment prepare batches references detail reach compositor rest speaker "
    "generator_file judge synthetic run_log",
    "train_syncnet train_motion train_generator render evaluate export to_go audit published",
    "report terminal",
    "closing demo published_commands export_commands cli __main__",
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names.split()}
SIDEWAYS = {  # what a module may import of its own level
    **{"files": "errors", "ffmpeg": "errors", "media": "errors ffmpeg"},
    **{"models": "geometry", "weights": "convert", "windows": "audio", "activity": "audio models weights windows"},
    **{"encoders": "wenet", "features": "encoders"},
    **{"prepare": "avatar", "disguises": "avatar", "silences": "avatar", "alignment": "avatar"},
    **{"batches": "alignment avatar", "references": "batches", "detail": "batches", "reach": "batches"},
    **{"compositor": "batches", "rest": "batches", "speaker": "batches rest"},
    **{"judge": "batches", "train_generator": "train_motion"},
    **{"torch_zip": "unpickle", "convert": "torch_zip unpickle", "published": "render"},
    **{"cli": "closing demo published_commands export_commands", "__main__": "cli"},
}
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


def module_of(path: Path) -> str:
    """Top-level name inside the package; everything in models/ is one."""
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


def imported_modules(path: Path) -> set[str]:
    """Modules of this package that a file imports."""
    depth = len(path.relative_to(CORE).parts)
    return {name.split(".")[0] for level, name in imports(path) if level == depth} - {module_of(path)}


def sideways() -> set[tuple[str, str]]:
    """(importer, imported) of every import within one level."""
    pairs = {(module_of(path), module) for path in FILES for module in imported_modules(path)}
    return {(a, b) for a, b in pairs if LEVEL_OF.get(a) == LEVEL_OF.get(b)}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute, "?" in place of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


# Imports


@every_file
def test_every_module_has_a_level(path: Path) -> None:
    assert module_of(path) in {*LEVEL_OF, "__init__"}


def test_no_level_for_modules_that_are_gone() -> None:
    assert set(LEVEL_OF) - {module_of(path) for path in FILES} == set()


@every_file
def test_imports_go_down(path: Path) -> None:
    own = module_of(path)
    up = {m for m in imported_modules(path) if LEVEL_OF.get(m, 99) > LEVEL_OF.get(own, 99)}
    assert up == set(), f"{own} may not import them"


def test_imports_on_one_level_are_the_listed_ones() -> None:
    assert {(a, b) for a, b in sideways() if b not in SIDEWAYS.get(a, "").split()} == set()


def test_imports_on_one_level_make_no_circle() -> None:
    edges = sideways()
    while edges:
        ends = {b for _, b in edges} - {a for a, _ in edges}
        assert ends, f"a circle among {edges}"
        edges = {(a, b) for a, b in edges if b not in ends}


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
