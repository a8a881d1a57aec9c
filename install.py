"""Run by ComfyUI-Manager after the requirements: gets OpenCV where there is none, and the weight files; repeatable."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from pathlib import Path

PACK = Path(__file__).absolute().parent  # not resolved: the pack may be linked into custom_nodes
OPENCV = "opencv-python-headless>=4.10"


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ensure_opencv()
    sys.path.insert(0, str(PACK))
    from udh_core.errors import WeightsError
    from udh_core.weights.registry import fetch_weights

    try:
        for step in fetch_weights(folder=weights_folder()):
            logging.info("%s: %s", step.stage, step.detail)
    except WeightsError as error:
        logging.error("%s", error)
        return 1
    return 0


def weights_folder() -> Path | None:
    """models/udh/weights of the ComfyUI this pack lies in; None (the user's cache folder) when it lies elsewhere."""
    return PACK.parent.parent / "models" / "udh" / "weights" if PACK.parent.name == "custom_nodes" else None


def ensure_opencv() -> None:
    """Any build of OpenCV will do; where there is none, the one that needs no display. Nothing else is changed."""
    try:
        importlib.import_module("cv2")
    except ImportError:
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", OPENCV]
        subprocess.run(pip, check=True)  # noqa: S603 (fixed words)


if __name__ == "__main__":
    sys.exit(main())
