"""Try the lowest versions of everything that pyproject.toml asks for: `python dev.py lowest [pytest's …]`.

Makes an environment in FOLDER (1 GB, in half a minute), links the torch of this environment into it, whose lowest
version needs gigabytes of CUDA, and runs pytest there: the tests named, or those in TESTS.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("opencv", "speech", "live", "wenet", "export", "remote")  # not torch, not ray
TESTS = ("tests/test_api.py", "tests/cli")  # a clip is prepared, trained on, rendered and refused


def main(folder: Path, tests: list[str]) -> int:
    """The exit code of pytest."""
    own, wanted = folder / "own.txt", folder / "lowest.txt"
    uv("venv", "-q", "--python", sys.executable, "--allow-existing", str(folder))
    own.write_text("\n".join([*of_tests(), *of_torch()]))
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    uv("pip", "compile", "-q", "--resolution", "lowest-direct", "pyproject.toml", str(own), *extras, "-o", str(wanted))
    print(*(line for line in wanted.read_text().splitlines() if "==" in line), flush=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    uv("pip", "sync", "-q", "--python", str(python), str(wanted))
    link_torch(folder, python)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(tests or TESTS)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode


def uv(*arguments: str) -> None:
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), *arguments], cwd=ROOT, check=True)


def of_tests() -> list[str]:
    """What the tests themselves import, as the extra `test` asks for it; the rest of that extra are tools."""
    return re.findall(r'"((?:pytest|websocket-client)>=[\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def of_torch() -> list[str]:
    """What torch itself needs."""
    return [
        line for line in metadata.requires("torch") or [] if "extra ==" not in line and not line.startswith("nvidia")
    ]


def link_torch(folder: Path, python: Path) -> None:
    """Let the environment find this one's torch, and nothing else of it."""
    site, links = Path(sysconfig.get_path("purelib")), folder / "torch"
    links.mkdir(exist_ok=True)
    for name in {file.parts[0] for file in metadata.files("torch") or []} - {".."}:
        if not (links / name).exists():
            (links / name).symlink_to(site / name)
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    Path(own, "torch.pth").write_text(str(links.absolute()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
