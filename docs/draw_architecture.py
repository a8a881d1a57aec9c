"""Draws docs/architecture.svg from the code: `python docs/draw_architecture.py`.

The rows are the layers that tests/test_layering.py holds the code to, the arrows the imports between folders as `ast`
finds them. An arrow that a chain of others implies is left out, or nothing could be seen. Needs matplotlib alone.
"""

from __future__ import annotations

import ast
import math
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "udh_core"
PICTURE = ROOT / "docs" / "architecture.svg"
COLOURS = ("#e8eef7", "#d3e0f0")  # of the rows, in turn
NODES = "nodes"  # ComfyUI's side, which lies beside the core
COLUMNS, ROUNDS = 11, 20000

Edges = set[tuple[str, str]]  # (importing, imported)


def layers() -> list[list[str]]:
    """Names of folders and flat modules by layer, the lowest first; the nodes stand beside the command line."""
    tree = ast.parse((ROOT / "tests" / "test_layering.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS":
            rows = [row.split() for row in ast.literal_eval(node.value) if row != "__main__"]
            return [*rows[:-1], [*rows[-1], NODES]]
    raise LookupError("tests/test_layering.py has no table LAYERS")


def imports() -> Edges:
    """Who imports whom, between folders."""
    found: Edges = set()
    known = {name for row in layers() for name in row}
    for folder, own in ((CORE, ""), (ROOT / NODES, NODES)):
        for path in sorted(folder.rglob("*.py")):
            place = own or path.relative_to(CORE).parts[0].removesuffix(".py")
            found |= {
                (place, other) for other in imported(path) if other != place and place in known and other in known
            }
    return found


def imported(path: Path) -> set[str]:
    """Folders and flat modules of the core that a file imports, anywhere in it."""
    depth = len(path.relative_to(ROOT).parts) - 1  # of the folder it lies in, below the root
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.relative_to(ROOT).parts[: depth - node.level + 1]
            whole = (*base, *(node.module.split(".") if node.module else ()))
            names |= {(*whole, alias.name)[1] for alias in node.names if whole[:1] == (CORE.name,)}
    return names


def reduced(edges: Edges) -> Edges:
    """Without the arrows that a chain of others implies."""
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    def reaches(start: str, goal: str) -> bool:
        return any(step == goal or reaches(step, goal) for step in below.get(start, ()))

    return {(a, b) for a, b in edges if not any(reaches(step, b) for step in below[a] - {b})}


def places(rows: list[list[str]], edges: Edges) -> dict[str, tuple[int, int]]:
    """(column, layer) of every box: a seeded search for short arrows that pass through no box."""
    chance = random.Random(0)  # noqa: S311 - a drawing
    found = {name: (2 * k, level) for level, row in enumerate(rows) for k, name in enumerate(row)}
    least = cost(found, edges)
    for _ in range(ROUNDS):
        name = chance.choice(sorted(found))
        old, new = found[name], (chance.randrange(COLUMNS), found[name][1])
        other = next((one for one, place in found.items() if place == new), name)
        found[other], found[name] = old, new
        now = cost(found, edges)
        if now > least:
            found[name], found[other] = old, new if other != name else old
        else:
            least = now
    return found


def cost(where: dict[str, tuple[int, int]], edges: Edges) -> float:
    """How bad a layout is: arrows that lean, arrows through boxes, boxes that touch."""
    total = sum(abs(where[a][0] - where[b][0]) for a, b in edges)
    for a, b in edges:
        (x, top), (to, bottom) = where[a], where[b]
        for column, level in where.values():
            if bottom < level < top:
                total += 20 * (abs(x + (to - x) * (top - level) / (top - bottom) - column) < 1)
    taken = set(where.values())
    return total + 50 * sum((column + 1, level) in taken for column, level in taken)


def draw(path: Path) -> None:
    """Write the picture. Every arrow carries the id `importing--imported`, so that a test can read it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch

    rows, edges = layers(), reduced(imports())
    where = places(rows, edges)
    figure = Figure(figsize=(9.5, 9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-1.7, COLUMNS - 0.2)
    axes.set_ylim(-0.55, len(rows) - 0.45)
    for level in range(len(rows)):
        axes.axhspan(level - 0.5, level + 0.5, color=COLOURS[level % 2], lw=0)
        axes.text(-1.5, level, str(level), va="center", fontsize=11, color="#5a6878")
    for name, (x, y) in where.items():
        box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "#2f4a6d"}
        axes.text(x, y, name, ha="center", va="center", fontsize=10, family="monospace", bbox=box)
    for a, b in sorted(edges):
        arrow = FancyArrowPatch(
            where[a],
            where[b],
            arrowstyle="-|>",
            mutation_scale=9,
            shrinkA=10,
            shrinkB=half_box(b, where[a], where[b]),
            lw=0.9,
            color="#5a6878",
        )
        arrow.set_gid(f"{a}--{b}")
        axes.add_patch(arrow)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "udh"}):
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


def half_box(name: str, start: tuple[int, int], end: tuple[int, int]) -> float:
    """Points from the middle of a box to its border, towards `start`: letters are 6 wide, a column 55, a row 65."""
    across, down = 55 * abs(start[0] - end[0]), 65 * abs(start[1] - end[1])
    half_width, half_height = 3 * len(name) + 5, 10
    return math.hypot(across, down) * min(half_width / max(across, 1), half_height / down)


if __name__ == "__main__":
    draw(PICTURE)
