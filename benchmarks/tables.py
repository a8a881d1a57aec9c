"""Where the results of benchmarks are kept: a table in benchmarks/results/ with the machine and the command."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from udh_core.files import atomic_write

RESULTS = Path(__file__).parent / "results"


def write_table(name: str, title: str, about: str, lines: Sequence[str], command: str, device: str = "cpu") -> Path:
    """Write results/<name>.md; `lines` are the table's, in Markdown; `device` worked, as torch calls it."""
    accelerator = f"{torch.cuda.get_device_name(device)}, " if device.startswith("cuda") else ""
    machine = f"{accelerator}{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads: `{command}`"
    path = RESULTS / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join([f"# {title}", "", about, "", *lines, "", machine, ""]), encoding="utf-8")
    return path


def processor() -> str:
    """The processor's name as the system gives it, and its architecture."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", facts.read_text(), re.MULTILINE) if facts.is_file() else None
    name = found[1].strip() if found else platform.processor()
    return f"{name} ({platform.machine()})" if name and name != platform.machine() else platform.machine()
