"""When things happen in a file: the packets of its streams, on one clock even where recordings were joined."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.packet import Packet

USUAL_RATES = [Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)]
USUAL_RATES += [rate * 1000 / 1001 for rate in USUAL_RATES if rate % 24 == 0 or rate % 30 == 0]
JITTER_FRAMES = 0.1  # a constant rate may wander by this much
BACK_S = 1.0  # where the time stamps of a stream go back by more, another recording was joined
AHEAD_S = 10.0  # so it was where those of all streams jump ahead by more
STILL_S = 1.0  # a frame that stays longer is remarkable
MICROSECONDS = 10**6
REORDERED = 32  # frames; within so many the decoding order may differ from that in which they are shown


@dataclass(frozen=True)
class Packets:
    """The packets of one stream in decoding order. Times are the file's own; NaN where it gives none."""

    order: np.ndarray  # (n,) int64: place among the packets of all streams
    shown_s: np.ndarray  # (n,) float64: when it is shown or sounds
    decoded_s: np.ndarray  # (n,) float64: when it has to be decoded
    lasts_s: np.ndarray  # (n,) float64: 0 where unknown
    visible: np.ndarray  # (n,) bool: False where an edit list cuts it away
    tick_s: float  # unit of the times

    def times_s(self) -> np.ndarray:
        """(n,) float64 time stamps that ascend within one recording; a missing one repeats the one before."""
        times = np.where(np.isnan(self.decoded_s), self.shown_s, self.decoded_s)
        return _filled(times)

    def ends_s(self) -> np.ndarray:
        """(n,) float64: until when each packet lasts."""
        return _filled(np.where(np.isnan(self.shown_s), self.decoded_s, self.shown_s)) + self.lasts_s


@dataclass(frozen=True)
class Joint:
    """Where another recording begins inside a file: its time stamps are moved so that it follows the one before."""

    packet: int  # of the stream, counted from 0: the first one of the new recording
    shift_s: Fraction  # to be added to all time stamps from there to the next joint


@dataclass(frozen=True)
class Times:
    """When the frames of a picture are shown, from the container's zero."""

    shown_s: np.ndarray  # (n,) float64, ascending
    last_s: float  # how long the last one stays; 0 where unknown
    tick_s: float
    hidden: bool  # some packets are decoded but never shown


Row = tuple[int, int | None, int | None, int, bool]  # a packet: place, shown, decoded, lasts (in ticks), visible


def row_of(order: int, packet: Packet) -> Row:
    """What `table` needs of a packet, which is at place `order` among the packets of all streams."""
    return order, packet.pts, packet.dts, packet.duration or 0, not packet.is_discard


def table(rows: Sequence[Row], time_base: Fraction) -> Packets:
    """The packets of one stream."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T  # None becomes NaN
    order, visible, tick_s = columns[0].astype(np.int64), columns[4] > 0, float(time_base)
    return Packets(order, columns[1] * tick_s, columns[2] * tick_s, columns[3] * tick_s, visible, tick_s)


def find_joints(streams: Mapping[int, Packets]) -> dict[int, tuple[Joint, ...]]:
    """The joints of each stream. What lay at the same time in a recording does so afterwards, in all streams."""
    breaks = {index: _breaks(index, streams) for index in streams}
    joints: dict[int, list[Joint]] = {index: [] for index in streams}
    for group in _groups(streams, breaks):
        first = min(int(streams[index].order[packet]) for index, packet in group.items())
        end_s = max(_end_s(streams[index], joints[index], group.get(index), first) for index in streams)
        start_s = min(_start_s(streams[index], packet, breaks[index]) for index, packet in group.items())
        shift_s = Fraction(round((end_s - start_s) * MICROSECONDS), MICROSECONDS)
        for index, packet in group.items():
            joints[index].append(Joint(packet, shift_s))
    return {index: tuple(found) for index, found in joints.items()}


def _breaks(index: int, streams: Mapping[int, Packets]) -> list[int]:
    """The packets of a stream with which another recording begins."""
    times = streams[index].times_s()
    steps = np.diff(times)
    back = np.flatnonzero(steps < -BACK_S) + 1
    others = [packets.times_s() for other, packets in streams.items() if other != index]
    jumps = (np.flatnonzero(steps > AHEAD_S) + 1).tolist()
    ahead = [i for i in jumps if _all_jump(others, float(times[i - 1]), float(times[i]))]
    return sorted({*back.tolist(), *ahead})


def _all_jump(others: list[np.ndarray], before_s: float, after_s: float) -> bool:
    """Whether other streams (n,) s go on after a gap, too, and have nothing inside it."""
    inside = [((times > before_s + BACK_S) & (times < after_s - BACK_S)).any() for times in others]
    go_on = [(times >= after_s - BACK_S).any() for times in others]
    return bool(others) and all(go_on) and not any(inside)


def _groups(streams: Mapping[int, Packets], breaks: Mapping[int, list[int]]) -> Iterator[dict[int, int]]:
    """The breaks of different streams that are the same joint, as {stream: packet}, in the order of the file."""
    found = sorted((int(streams[index].order[i]), index, i) for index in streams for i in breaks[index])
    group: dict[int, int] = {}
    for _, index, packet in found:
        if index in group:
            yield group
            group = {}
        group[index] = packet
    if group:
        yield group


def _end_s(packets: Packets, joints: list[Joint], packet: int | None, order: int) -> float:
    """When a stream ends, on the new clock, before a joint that is at `packet` of it or at `order` of all packets."""
    stop = int(np.searchsorted(packets.order, order)) if packet is None else packet
    begin, shift_s = (joints[-1].packet, float(joints[-1].shift_s)) if joints else (0, 0.0)
    return float(packets.ends_s()[begin:stop].max(initial=-math.inf)) + shift_s


def _start_s(packets: Packets, packet: int, breaks: list[int]) -> float:
    """When the recording begins that a packet is the first of, on its own clock."""
    later = [i for i in breaks if i > packet]
    times = np.where(np.isnan(packets.shown_s), packets.decoded_s, packets.shown_s)
    return float(np.nanmin(times[packet : later[0] if later else None]))


def shift_s(count: int, joints: Sequence[Joint]) -> np.ndarray:
    """(count,) float64: what is added to the time stamps of a stream's packets."""
    added = np.zeros(count)
    for joint in joints:
        added[joint.packet :] = float(joint.shift_s)
    return added


def on_one_clock(packets: Iterable[Packet], joints: Sequence[Joint], time_base: Fraction) -> Iterator[Packet]:
    """All packets of one stream from its first on, their time stamps moved as the joints say."""
    ticks = {joint.packet: round(joint.shift_s / time_base) for joint in joints}
    shift = 0
    for number, packet in enumerate(packets):
        shift = ticks.get(number, shift)
        if shift and packet.pts is not None:
            packet.pts += shift
        if shift and packet.dts is not None:
            packet.dts += shift
        yield packet


def picture_times(packets: Packets, joints: Sequence[Joint], zero_s: float, step_s: float) -> Times | None:
    """When the frames of a picture are shown; `step_s` apart where the file says nothing. None: no frame is shown."""
    stamps = np.where(np.isnan(packets.shown_s), packets.decoded_s, packets.shown_s)
    timed = bool(np.isfinite(stamps).any())
    seconds = _filled(stamps, step_s) + shift_s(len(stamps), joints) - (zero_s if timed else 0.0)
    visible = packets.visible & (seconds > -packets.tick_s)
    if not visible.any():
        return None
    last_s = float(packets.lasts_s[visible][int(np.argmax(seconds[visible]))])
    return Times(np.sort(seconds[visible]), last_s, packets.tick_s, not visible.all())


def first_shown_s(packets: Packets) -> float:
    """When the first frame is shown, on the file's own clock, also if its time stamp is missing."""
    step_s = float(np.median(packets.lasts_s))
    return float(_filled(packets.shown_s, step_s)[packets.visible].min(initial=math.inf))


def _filled(times: np.ndarray, step_s: float = 0.0) -> np.ndarray:
    """(n,) s without NaN: `step_s` after the one before; what comes before the first known ones, before all of them."""
    places = np.arange(len(times))
    known = np.flatnonzero(np.isfinite(times))
    if len(known) == 0:
        return places * step_s
    first = float(times[known[:REORDERED]].min())
    last = known[np.maximum(np.searchsorted(known, places, side="right") - 1, 0)]
    after = times[last] + (places - last) * step_s
    return np.where(places < known[0], first - (known[0] - places) * step_s, after)


def constant_rate(times: Times, stated: Iterable[Fraction | None]) -> tuple[bool, Fraction]:
    """Is the rate constant, and which: a stated one if the frames keep to it, else a usual one near the median."""
    candidates = [fps for rate in stated if rate and (fps := _exact(float(rate))) > 0]
    for fps in candidates:
        if _keeps(times, fps):
            return True, fps
    if len(times.shown_s) < 2:
        return False, candidates[0] if candidates else Fraction(25)
    median = 1 / max(float(np.median(np.diff(times.shown_s))), times.tick_s)
    return False, min(USUAL_RATES, key=lambda rate: abs(np.log(float(rate) / median)))


def _exact(stated: float) -> Fraction:
    """The rate that a file gives roughly: 29.97 → 30000/1001."""
    usual = Fraction(round(stated)), Fraction(round(stated * 1.001) * 1000, 1001)
    nearest = min(usual, key=lambda rate: abs(rate - stated))
    return nearest if abs(nearest - stated) <= 0.006 and nearest > 0 else Fraction(stated).limit_denominator(100)


def _keeps(times: Times, fps: Fraction) -> bool:
    grid = np.arange(len(times.shown_s)) / float(fps)
    wander = np.abs(times.shown_s - times.shown_s[0] - grid).max()
    return bool(wander <= max(JITTER_FRAMES / float(fps), 1.01 * times.tick_s))


def frame_count(times: Times, fps: Fraction) -> int:
    """Frames on the grid of `fps` from zero to the end of the last one."""
    last = float(times.shown_s[-1]) * float(fps)
    stay = times.last_s * float(fps) or 1.0
    return max(math.floor(last + 0.5) + 1, math.floor(last + stay + 0.5))


def find_stills(times: Times) -> tuple[tuple[float, float], ...]:
    """[from, to) in seconds where one frame stays longer than STILL_S, the wait for the first one included."""
    edges = np.concatenate([[0.0], times.shown_s[1:], [times.shown_s[-1] + times.last_s]])
    longer = np.flatnonzero(np.diff(edges) > STILL_S)
    return tuple((float(edges[i]), float(edges[i + 1])) for i in longer)
