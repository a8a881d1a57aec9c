"""The nodes inside ComfyUI's own process, by ComfyUI's own Python, on each version."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from program import arguments, make_base, python_of

HERE = Path(__file__).resolve().parent


def test_nodes_in_process(each_home, base, tmp_path):
    own = make_base(tmp_path / "base")
    for name in ("clip.mp4", "speech.wav"):
        shutil.copy(base / "input" / name, own / "input" / name)
    settings = {
        "UDH_COMFYUI": str(each_home / "ComfyUI"),
        "UDH_BASE": str(own),
        "UDH_ARGUMENTS": "\n".join(arguments(own)),
    }
    command = [python_of(each_home), "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "inside"]
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
