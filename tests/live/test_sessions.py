"""Several visitors at once: what each of them gets, who is let in, and how all of it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import websocket
from serving import free_port, served

from udh_core.avatar.folder import open_avatar
from udh_core.live.capacity import measured_capacity, spoken_frame_s
from udh_core.live.room import BUSY, CLOSING
from udh_core.live.server import LiveServer, serve
from udh_core.live.session import HEADER, packed
from udh_core.media.audio import load_waveform
from udh_core.rendering.live_person import LivePerson
from udh_core.rendering.stream import SpeechStream


class Shown(NamedTuple):
    number: int
    picture: np.ndarray | None  # (H, W, 3) uint8; None: the one before
    sound: np.ndarray


@pytest.fixture(scope="module")
def live_person(person_avatar: Path, moving_generator: Path, models: Path) -> LivePerson:
    return LivePerson(open_avatar(person_avatar), moving_generator)


@pytest.fixture(scope="module")
def address(person_avatar: Path, moving_generator: Path, models: Path) -> Iterator[str]:
    with served(person_avatar, moving_generator, sessions=2) as place:
        yield place


@pytest.fixture(scope="module")
def sounds(person: Path) -> list[np.ndarray]:
    """(16000,) int16 each: what two visitors let the person say."""
    waveform = np.round(load_waveform(person / "speech.wav", duration_s=3.0) * 32767).astype("<i2")
    begins = int(np.flatnonzero(np.abs(waveform) > 300)[0])
    return [waveform[begins : begins + 16000], waveform[begins : begins + 32000 : 2]]


def visit(address: str) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://{address}/talk", timeout=20)


def received(socket: websocket.WebSocket) -> Shown | dict[str, Any] | int:
    """A frame, a message, or the code with which the connection is closed."""
    kind, message = socket.recv_data(control_frame=True)
    if kind == websocket.ABNF.OPCODE_CLOSE:
        return struct.unpack(">H", message[:2])[0]
    if kind == websocket.ABNF.OPCODE_TEXT:
        return json.loads(message)
    if kind != websocket.ABNF.OPCODE_BINARY:
        return received(socket)
    return shown(message)


def shown(message: bytes) -> Shown:
    number, size = HEADER.unpack_from(message)
    picture = message[HEADER.size : HEADER.size + size]
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) if picture else None
    return Shown(number, decoded, np.frombuffer(message[HEADER.size + size :], "<i2"))


def frames(socket: websocket.WebSocket, count: int) -> list[Shown]:
    found = [received(socket) for _ in range(count)]
    assert all(isinstance(one, Shown) for one in found), found
    return [one for one in found if isinstance(one, Shown)]


def until_closed(socket: websocket.WebSocket) -> tuple[list[Shown], list[dict[str, Any]], int]:
    """Frames, messages, and the code of the end."""
    pictures, messages = [], []
    while not isinstance(one := received(socket), int):
        (pictures if isinstance(one, Shown) else messages).append(one)
    return pictures, messages, one


def health(address: str) -> tuple[int, dict[str, Any]]:
    asked = urllib.request.Request(f"http://{address}/health", headers={"Host": "10.1.2.3:80"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def alone(live_person: LivePerson, sound: np.ndarray, at: int, numbers: range) -> list[Shown]:
    """What a visitor gets who has the person for themselves, and whose sound came before frame `at`."""
    found = []
    with SpeechStream.of(live_person) as stream:
        for number in range(numbers.stop):
            if number == at:
                stream.push(sound.astype(np.float32) / 32768)
            found.append(packed(stream.next_frame(draw=number in numbers), True))
    return [shown(one) for one in found[numbers.start :]]


def conversations(address: str, sounds: list[np.ndarray]) -> list[list[Shown]]:
    """What two visitors get, of whom the second comes a little later, and each of whom sends a sound."""
    with closing(visit(address)) as first:
        frames(first, 3)
        with closing(visit(address)) as second:
            for socket, sound in zip((first, second), sounds, strict=True):
                frames(socket, 2)
                socket.send_binary(sound.tobytes())
            return [frames(socket, 40) for socket in (first, second)]


def spoken(found: list[Shown]) -> list[Shown]:
    """The first 15 frames with sound."""
    begins = next(one.number for one in found if one.sound.any())
    return [one for one in found if begins <= one.number < begins + 15]


def test_whoever_finds_no_place_is_told_and_gets_the_next(address: str) -> None:
    first, second = visit(address), visit(address)
    with closing(second):
        frames(first, 2), frames(second, 2)
        figures = health(address)[1]
        assert sorted(figures) == ["capacity", "frames", "late", "sessions", "status"]  # nothing about the person
        assert (figures["status"], figures["sessions"], figures["capacity"]) == ("serving", 2, 2)
        with closing(visit(address)) as third:
            assert until_closed(third) == ([], [{"error": BUSY}], websocket.STATUS_TRY_AGAIN_LATER)
        with closing(visit(address)) as fourth:  # comes while somebody leaves
            first.close()
            frames(fourth, 5)
            frames(second, 5)
    code, figures = health(address)
    assert code == 200 and figures["frames"] >= 10 and 0 <= figures["late"] <= figures["frames"]


def test_what_fails_for_one_does_not_end_the_other(person_avatar: Path, moving_generator: Path, tmp_path: Path) -> None:
    """Of a clip that is cut off whoever came first sees the end first."""
    broken = shutil.copytree(person_avatar, tmp_path / "avatar")
    (broken / "video.mp4").write_bytes((broken / "video.mp4").read_bytes()[:-200_000])
    with served(broken, moving_generator, sessions=2) as place, closing(visit(place)) as first:
        frames(first, 20)
        with closing(visit(place)) as second:
            frames(second, 1)
            _, messages, code = until_closed(first)
            assert "prepare the avatar again" in messages[0]["error"] and code == 1011
            frames(second, 10)
        with closing(visit(place)) as third:
            frames(third, 1)


def ended(live_person: LivePerson, grace_s: float, visiting: Callable[[str], None]) -> None:
    """Serve in this very process until it is sent a signal, while somebody visits."""
    port, failures = free_port(), []

    def visit_it() -> None:
        try:
            visiting(f"127.0.0.1:{port}")
        except BaseException as error:  # noqa: BLE001 (raised below, in the thread of the test)
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=visit_it)
    asyncio.run(serve(LiveServer(live_person, 2), "127.0.0.1", port, grace_s, thread.start))
    thread.join()
    assert not failures, failures


def test_two_visitors_get_each_what_they_would_get_alone(
    person_avatar: Path, moving_generator: Path, sounds: list[np.ndarray]
) -> None:
    slow = LivePerson(open_avatar(person_avatar), moving_generator)
    slow.fps = Fraction(8)  # time enough to draw where the machine is busy otherwise
    found: list[list[Shown]] = []

    def visiting(address: str) -> None:
        found.extend(spoken(one) for one in conversations(address, sounds))
        os.kill(os.getpid(), signal.SIGTERM)

    ended(slow, 0.0, visiting)
    for ours, sound in zip(found, sounds, strict=True):
        begins = ours[0].number
        compared = 0
        for one, wanted in zip(ours, alone(slow, sound, begins, range(begins, begins + 15)), strict=True):
            assert one.number == wanted.number and np.abs(one.sound - wanted.sound).max() <= 1
            if one.picture is not None and wanted.picture is not None:
                assert np.abs(one.picture.astype(int) - wanted.picture).mean() < 0.05
                compared += 1
        assert compared >= 5


def test_whoever_speaks_may_finish_when_the_server_is_ended(live_person: LivePerson, sounds: list[np.ndarray]) -> None:
    def visiting(address: str) -> None:
        with closing(visit(address)) as speaking, closing(visit(address)) as silent:
            frames(silent, 1)
            frames(speaking, 2)
            speaking.send_binary(sounds[0].tobytes())
            frames(speaking, 3)
            os.kill(os.getpid(), signal.SIGTERM)
            assert until_closed(silent)[1:] == ([{"closing": CLOSING}], websocket.STATUS_GOING_AWAY)
            with closing(visit(address)) as late:
                assert until_closed(late) == ([], [{"error": CLOSING}], websocket.STATUS_TRY_AGAIN_LATER)
            code, figures = health(address)
            assert code == 503 and figures["status"] == "closing" and figures["sessions"] > 0
            speaking.send(json.dumps({"say": "And another thing."}))
            rest, messages, code = until_closed(speaking)
        assert messages == [{"closing": CLOSING}, {"error": CLOSING}] and code == websocket.STATUS_GOING_AWAY
        spoken = np.concatenate([one.sound for one in rest])
        last = sounds[0][-200:]  # to its end
        assert any(np.abs(spoken[k : k + 200].astype(int) - last).max() <= 1 for k in range(len(spoken) - 199))

    ended(live_person, 20.0, visiting)


@pytest.mark.parametrize("grace_s, again", [(0.5, False), (60.0, True)])
def test_nobody_holds_the_end_up(live_person: LivePerson, grace_s: float, again: bool) -> None:
    """Neither whoever never ends, nor, at a second signal, anybody."""

    def visiting(address: str) -> None:
        with closing(visit(address)) as socket:
            socket.send_binary(bytes(1_000_000))
            frames(socket, 5)
            os.kill(os.getpid(), signal.SIGTERM)
            while received(socket) != {"closing": CLOSING}:
                pass
            if again:
                os.kill(os.getpid(), signal.SIGTERM)
            pictures, _, code = until_closed(socket)
            assert code == websocket.STATUS_GOING_AWAY and len(pictures) < 60

    ended(live_person, grace_s, visiting)


def test_the_capacity_is_what_a_frame_of_speech_takes(live_person: LivePerson) -> None:
    taken_s = spoken_frame_s(live_person)
    assert 0.001 < taken_s < 1
    assert 1 <= measured_capacity(live_person) <= 40
