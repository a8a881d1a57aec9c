"""Decoded frames of any size, turn, colour and format laid on a canvas of one size and format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from ..files import scratch_folder
from .colours import BT709, MATRICES, UNSPECIFIED, Colours, assumed_matrix, colours_of
from .decode import Shown
from .planes import DEEP_PIXELS, PIXELS, from_frame
from .tone_map import dynamic_range, is_wide, write_table
from .turn import display_matrix, upright

SCALER = "bicubic+accurate_rnd+full_chroma_int"  # YUV → RGB → YUV at 65 dB; libav's default 49 dB, 3 × faster
SAME_SHAPE = 0.02  # a picture whose aspect differs by less fills the canvas

Step = tuple[str, dict[str, str]]  # a filter and its options


@dataclass(frozen=True)
class Canvas:
    """What all frames become. `content` is the picture's own size; an odd edge of it is repeated up to `size`."""

    size: tuple[int, int]  # width, height px
    content: tuple[int, int]
    pixels: Literal["rgb24", "yuv420p", "yuv420p10le"]  # the first two in BT.709 or as stored, the last in `colours`
    pixel_aspect: Fraction = Fraction(1)  # of the stored frames
    colours: Colours = BT709  # of planes


class Painter:
    """Lays frames on a canvas. Filters are made anew where size, format, turn or colour of the frames change."""

    def __init__(self, canvas: Canvas, threads: int = 0) -> None:
        self.canvas = canvas
        self.threads = threads
        self._key: tuple[object, ...] = ()
        self._graph: Graph | None = None

    def paint(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB, or planes (H * 3 / 2, W), which are those of the frame where they may be."""
        if _is_as_wanted(frame, self.canvas):
            return from_frame(frame)
        key = (*look(frame), *display_matrix(frame))
        if self._graph is None or key != self._key:
            self._key, self._graph = key, self._new_graph(frame)
        self._graph.push(frame)
        made = self._graph.pull()
        if self.canvas.pixels == DEEP_PIXELS:
            return from_frame(made)  # type: ignore[arg-type] - a graph of pictures
        array = made.to_ndarray()  # type: ignore[union-attr]
        return array.copy() if frame.format.name == self.canvas.pixels else array  # it may be the decoder's own memory

    def _new_graph(self, frame: VideoFrame) -> Graph:
        with scratch_folder() as scratch:
            deep = self.canvas.pixels == DEEP_PIXELS
            colours = _named_steps(frame) if deep else bt709_steps(frame, Path(scratch))
            steps = [*colours, *_place_steps(frame, self.canvas)]
            return graph_of(frame, steps, self.threads)


def _is_as_wanted(frame: VideoFrame, canvas: Canvas) -> bool:
    """Whether the planes of a frame are those of the canvas."""
    deep = canvas.pixels == DEEP_PIXELS
    stored = (DEEP_PIXELS,) if deep else PIXELS
    if canvas.pixels == "rgb24" or frame.format.name not in stored or colours_of(frame) != canvas.colours:
        return False
    shown = deep or not (dynamic_range(frame.color_trc) or is_wide(frame.color_primaries))
    size = (frame.width, frame.height)
    return shown and size == canvas.size == canvas.content and display_matrix(frame) == (1, 0, 0, 1)


def look(frame: VideoFrame) -> tuple[object, ...]:
    """What filters are made for."""
    tags = (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries)
    return frame.width, frame.height, frame.format.name, *tags


def graph_of(frame: VideoFrame, steps: Iterable[Step], threads: int) -> Graph:
    """Filters for frames that look like this one."""
    graph = Graph()
    graph.threads = threads
    source = {"video_size": f"{frame.width}x{frame.height}", "pix_fmt": frame.format.name, "time_base": "1/1000"}
    if not frame.format.is_rgb:
        matrix = frame.colorspace if frame.colorspace in MATRICES else UNSPECIFIED
        source |= {"colorspace": str(matrix), "range": str(frame.color_range)}
    nodes = [graph.add("buffer", **source), *(graph.add(name, **options) for name, options in steps)]
    graph.link_nodes(*nodes, graph.add("buffersink"))
    graph.configure()
    return graph


def has_alpha(pixels: VideoFormat) -> bool:
    """Whether a format has an alpha plane."""
    return any(component.is_alpha for component in pixels.components)


def _turn_steps(frame: VideoFrame) -> list[Step]:
    a, b, c, d = display_matrix(frame)
    if a == 0:
        direction = {(1, -1): "clock", (-1, 1): "cclock", (1, 1): "cclock_flip", (-1, -1): "clock_flip"}[b, c]
        return [("transpose", {"dir": direction})]
    mirrored: list[Step] = []
    if a < 0:
        mirrored.append(("hflip", {}))
    if d < 0:
        mirrored.append(("vflip", {}))
    return mirrored


def bt709_steps(frame: VideoFrame, scratch: Path) -> Iterator[Step]:
    """To BT.709 without alpha. A tag that libav does not know would make it refuse the frame."""
    yield from _named_steps(frame)
    if has_alpha(frame.format):
        yield "scale", {"flags": SCALER}
        yield "format", {"pix_fmts": "gbrap"}
        yield "premultiply", {"inplace": "1"}  # black is the background
        yield "format", {"pix_fmts": "gbrp"}
    if dynamic_range(frame.color_trc) or is_wide(frame.color_primaries):
        yield "scale", {"flags": SCALER}
        yield "format", {"pix_fmts": "gbrp12le"}
        table = scratch / "table.cube"
        write_table(table, frame.color_trc, frame.color_primaries)
        yield "lut3d", {"file": str(table)}


def _named_steps(frame: VideoFrame) -> Iterator[Step]:
    """Nothing is converted; what would be when numbers become others, such as those of RGB, is the matrix alone."""
    tags = {"color_primaries": "bt709", "color_trc": "bt709"}
    if not frame.format.is_rgb and frame.colorspace not in MATRICES:
        tags["colorspace"] = str(assumed_matrix(frame))
    yield "setparams", tags


def _place_steps(frame: VideoFrame, canvas: Canvas) -> Iterator[Step]:
    """Upright, at its place on the canvas, in the canvas' format."""
    yield from _turn_steps(frame)
    width, height = _fitting(frame, canvas)
    if (width, height) != upright(frame):
        yield "scale", {"w": str(width), "h": str(height), "flags": SCALER}
    whole_width, whole_height = canvas.content
    if (width, height) != canvas.content:
        left, top = (whole_width - width) // 4 * 2, (whole_height - height) // 4 * 2
        yield "pad", {"w": str(whole_width), "h": str(whole_height), "x": str(left), "y": str(top)}
    if canvas.content != canvas.size:
        finest = "yuv444p10le" if canvas.pixels == DEEP_PIXELS else "yuv444p"
        yield "format", {"pix_fmts": finest}  # with coarser chroma libav can neither pad nor fill a single pixel
        yield "pad", {"w": str(canvas.size[0]), "h": str(canvas.size[1])}
        right, bottom = canvas.size[0] - whole_width, canvas.size[1] - whole_height
        yield "fillborders", {"right": str(right), "bottom": str(bottom), "mode": "smear"}
    if canvas.pixels == "rgb24":
        yield "scale", {"flags": SCALER}
    else:
        matrix, its_range = str(canvas.colours.matrix), canvas.colours.range_name
        yield "scale", {"flags": SCALER, "out_color_matrix": matrix, "out_range": its_range}
    yield "format", {"pix_fmts": canvas.pixels}


def _fitting(frame: VideoFrame, canvas: Canvas) -> tuple[int, int]:
    """(width, height) px of the frame on the canvas: as large as it fits, its shape kept."""
    width, height = upright(frame)
    whole_width, whole_height = canvas.content
    aspect = canvas.pixel_aspect if display_matrix(frame)[0] else 1 / canvas.pixel_aspect
    shape = width * aspect / height
    whole_shape = Fraction(whole_width, whole_height)
    if abs(shape / whole_shape - 1) < SAME_SHAPE:
        return canvas.content
    if shape > whole_shape:
        return whole_width, max(2, round(whole_width / shape / 2) * 2)
    return max(2, round(whole_height * shape / 2) * 2), whole_height


def deinterlaced(frames: Iterable[Shown], threads: int) -> Iterator[Shown]:
    """The frames as they are until an interlaced one comes; from there on all that are interlaced are deinterlaced."""
    graph: Graph | None = None
    key: tuple[object, ...] = ()
    waiting: list[Shown] = []
    for shown in frames:
        if graph is None and not shown.frame.interlaced_frame:
            yield shown
            continue
        if graph is None or look(shown.frame) != key:
            yield from _drained(graph, waiting)
            key = look(shown.frame)
            graph = graph_of(shown.frame, [("bwdif", {"mode": "send_frame", "deint": "interlaced"})], threads)
        graph.push(shown.frame)
        waiting.append(shown)
        yield from _finished(graph, waiting)
    yield from _drained(graph, waiting)


def _finished(graph: Graph, waiting: list[Shown]) -> Iterator[Shown]:
    """The frames that the filter gives away; they come in the order in which they went in."""
    while waiting:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        before = waiting.pop(0)
        yield Shown(before.time_s, before.lasts_s, frame)


def _drained(graph: Graph | None, waiting: list[Shown]) -> Iterator[Shown]:
    if graph is not None:
        graph.push(None)
        yield from _finished(graph, waiting)
