"""What tells people apart? `python -m benchmarks.identity --data DIR`: mesh, picture, or recognition network.

Frames spread over every clip of the folder, one person each, as they are and changed. Distances are between two faces
of one person, of which the second may be changed, and between two faces of two people. The table goes to
benchmarks/results/identity.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console

from benchmarks.tables import write_table
from udh_core.face.crop import CropSpec, align, in_crop
from udh_core.face.finder import FaceFinder
from udh_core.face.identity import OTHER, SURE, FaceEmbedder
from udh_core.face.topology import JAW, LANDMARK_COUNT, LIPS
from udh_core.media.probe import picture_info
from udh_core.media.video import read_frames

PER_CLIP = 16  # frames
TWICE = ("videoretalking_face3",)  # clips of somebody who is in another one, too
PATCH_PX = 32  # side of the grey picture that is compared
STILL = sorted(set(range(LANDMARK_COUNT)) - {*LIPS, *JAW})  # points of the mesh that speech moves least
Change = Callable[[np.ndarray], np.ndarray]
ABOUT = f"""Distances of {{people}} people, {PER_CLIP} frames of each: median / 95 % / largest of one person,
smallest / 5 % / median of two. The mesh's points without mouth and jaw, aligned by eyes, nose and temples, in face
units; the aligned face, {PATCH_PX}×{PATCH_PX} px, grey, normalised; the embedding of the recognition network. In use:
the embedding, one person up to {SURE:.2f}, another person beyond {OTHER:.2f}; a person is known by the nearest of
several views."""
console = Console(stderr=True)


class Seen(NamedTuple):
    """A face by three descriptions, each a vector whose distances are compared."""

    mesh: np.ndarray  # places of the mesh's points in face units
    picture: np.ndarray  # the aligned face, grey, without mean and contrast
    embedding: np.ndarray  # of the recognition network


def turned(frame: np.ndarray) -> np.ndarray:
    """By 20 degrees, and to 0.6 of the size."""
    height, width = frame.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 0.6)
    return cv2.warpAffine(frame, move, (width, height), borderMode=cv2.BORDER_REPLICATE)


def small(frame: np.ndarray) -> np.ndarray:
    """As if the eyes were 30 px apart or less: a quarter of the size."""
    return cv2.resize(frame, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)


def dark(frame: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=0.4)


def side_lit(frame: np.ndarray) -> np.ndarray:
    """Darker from the left to the right."""
    light = np.linspace(1.2, 0.35, frame.shape[1])[None, :, None]
    return np.clip(frame * light, 0, 255).astype(np.uint8)


def compressed(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 12])[1], cv2.IMREAD_COLOR)


def mirrored(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[:, ::-1])


CHANGES: dict[str, Change] = {
    "one person, at another time": lambda frame: frame,
    "… mirrored": mirrored,
    "… turned by 20°, 0.6 of the size": turned,
    "… a quarter of the size": small,
    "… at 0.4 of the light": dark,
    "… lit from one side": side_lit,
    "… as JPEG of quality 12": compressed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of clips, one person each")
    folder = parser.parse_args().data / "video"
    torch.set_num_threads(1)
    finder, embedder = FaceFinder(), FaceEmbedder()
    people: list[dict[str, list[Seen]]] = []
    for path in sorted(path for path in folder.glob("*.mp4") if path.stem not in TWICE):
        frames = _frames(path)
        people.append({name: _seen(map(change, frames), finder, embedder) for name, change in CHANGES.items()})
        console.print(path.name, {name: len(found) for name, found in people[-1].items()})
    write_table(
        "identity",
        "Who is who",
        ABOUT.format(people=len(people)),
        _table(people),
        "python -m benchmarks.identity --data …",
    )


def _frames(path: Path) -> list[np.ndarray]:
    numbers = np.linspace(0, picture_info(path).frame_count - 2, PER_CLIP).astype(int)
    return [next(read_frames(path, start=int(number), count=1)) for number in numbers]


def _seen(frames: map[np.ndarray], finder: FaceFinder, embedder: FaceEmbedder) -> list[Seen]:
    """The largest face of each frame, where there is one."""
    found = []
    for frame in frames:
        for face in finder.find(frame)[:1]:
            points = in_crop(face.landmarks[None], align(face.landmarks[None], CropSpec(160)))[0]
            mesh = points[STILL].ravel() / CropSpec(160).px_per_unit
            grey = cv2.cvtColor(embedder.chip(frame, face.landmarks), cv2.COLOR_RGB2GRAY)
            patch = cv2.resize(grey[: 2 * len(grey) // 3], (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_AREA)
            picture = patch.astype(np.float64).ravel() - patch.mean()
            found.append(Seen(mesh, picture / np.linalg.norm(picture), embedder.embed(frame, face.landmarks)))
    return found


def _table(people: list[dict[str, list[Seen]]]) -> list[str]:
    lines = ["| | mesh | picture | embedding |", "|---|---|---|---|"]
    plain = next(iter(CHANGES))
    for name in CHANGES:
        pairs = [
            (a, b)
            for person in people
            for (i, a), (k, b) in product(enumerate(person[plain]), enumerate(person[name]))
            if i < k
        ]
        lines.append(_row(name, pairs, (50, 95, 100)))
    others = [pair for a, b in combinations(people, 2) for pair in product(a[plain], b[plain])]
    lines.append(_row("two people", others, (0, 5, 50)))
    changed = [
        pair for a, b in combinations(people, 2) for name in list(CHANGES)[1:] for pair in product(a[plain], b[name])
    ]
    lines.append(_row("two people, one of them changed as above", changed, (0, 5, 50)))
    return lines


def _row(name: str, pairs: list[tuple[Seen, Seen]], percentiles: tuple[int, ...]) -> str:
    cells = []
    for field in Seen._fields:
        apart = [float(np.linalg.norm(getattr(a, field) - getattr(b, field))) for a, b in pairs]
        cells.append(" / ".join(f"{value:.2f}" for value in np.percentile(apart, percentiles)))
    line = f"| {name} | {' | '.join(cells)} |"
    console.print(line, soft_wrap=True)
    return line


if __name__ == "__main__":
    main()
