"""What a visitor of the live page gets, over HTTP and WebSocket."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import websocket
from serving import served

from udh_core.live.room import BUSY
from udh_core.live.session import HEADER
from udh_core.media.audio import load_waveform


@pytest.fixture(scope="module")
def address(person_avatar: Path, generator_file: Path, models: Path) -> Iterator[str]:
    with served(person_avatar, generator_file) as place:
        yield place


class Shown(NamedTuple):
    number: int
    jpeg: bytes
    sound: np.ndarray


def visit(address: str, **options: Any) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://{address}/talk", timeout=20, **options)


def receive(socket: websocket.WebSocket) -> Shown | dict[str, Any]:
    message = socket.recv()
    if isinstance(message, str):
        return json.loads(message)
    number, size = HEADER.unpack_from(message)
    picture = message[HEADER.size : HEADER.size + size]
    return Shown(number, picture, np.frombuffer(message[HEADER.size + size :], "<i2"))


def frames(socket: websocket.WebSocket, count: int) -> list[Shown]:
    found: list[Shown] = []
    while len(found) < count:
        message = receive(socket)
        assert isinstance(message, Shown), message
        found.append(message)
    return found


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def live_threads() -> list[str]:
    """Those of other servers, and what this one leaves."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("live"))


def test_the_person_moves_talks_and_is_interrupted(address: str, person: Path) -> None:
    waveform = load_waveform(person / "speech.wav", duration_s=3.0)
    sent = np.round(waveform * 32767).astype("<i2")
    with closing(visit(address)) as socket:
        still = frames(socket, 3)
        assert [frame.number for frame in still] == [0, 1, 2] and not any(frame.sound.any() for frame in still)
        assert cv2.imdecode(np.frombuffer(still[0].jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)
        begun_s = time.monotonic()
        for start in range(0, len(sent), 3000):
            socket.send_binary(sent[start : start + 3000].tobytes())
        shown = frames(socket, 45)
        assert 1.6 < time.monotonic() - begun_s < 4  # in real time
        sound = np.concatenate([frame.sound for frame in shown])
        first = int(np.flatnonzero(sound)[0])
        begins = int(np.flatnonzero(sent)[0])
        length = len(sound) - first
        assert length > 16000 and np.abs(sound[first:].astype(int) - sent[begins : begins + length]).max() <= 1
        socket.send(json.dumps({"stop": True}))
        while not isinstance(message := receive(socket), dict):
            pass
        after = frames(socket, 5)
        assert message == {"stopped": after[0].number}
        assert not any(frame.sound.any() for frame in after)


def test_text_is_spoken_and_what_is_wrong_is_said(address: str) -> None:
    pytest.importorskip("hibari")
    with closing(visit(address)) as socket:
        frames(socket, 1)
        for wrong, said in (("{", "some English words"), ('{"say": " "}', "some English words")):
            socket.send(wrong)
            while not isinstance(message := receive(socket), dict):
                pass
            assert said in message["error"]
        socket.send_binary(b"abc")
        while not isinstance(message := receive(socket), dict):
            pass
        assert "even number" in message["error"]
        socket.send(json.dumps({"say": "Hello there."}))
        assert any(frame.sound.any() for frame in frames(socket, 150))


def test_one_visitor_at_a_time(address: str) -> None:
    with closing(visit(address)) as first, closing(visit(address)) as second:
        frames(first, 1)
        assert receive(second) == {"error": BUSY}
        frames(first, 1)
    with closing(visit(address)) as third:
        frames(third, 1)


def test_what_cannot_go_on_says_why_and_ends(person_avatar: Path, generator_file: Path, tmp_path: Path) -> None:
    """Rather than a page that stands still; the next visitor is told the same."""
    broken = shutil.copytree(person_avatar, tmp_path / "avatar")
    (broken / "video.mp4").write_bytes((broken / "video.mp4").read_bytes()[:20_000])
    with served(broken, generator_file) as place:
        for _ in range(2):
            with closing(visit(place)) as socket:
                assert "prepare the avatar again" in json.loads(socket.recv())["error"]
                assert not socket.recv() and not socket.connected


def test_other_sites_and_names_are_refused(address: str) -> None:
    assert status(f"http://{address}/") == 200
    assert status(f"http://{address}/", Origin="http://elsewhere.example") == 403
    assert status(f"http://{address}/", Host="elsewhere.example") == 403
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        visit(address, origin="http://elsewhere.example")


def test_a_token_is_asked_for_and_the_end_is_orderly(person_avatar: Path, generator_file: Path) -> None:
    before = live_threads()
    with served(person_avatar, generator_file, token="a b") as place:  # noqa: S106
        assert status(f"http://{place}/") == 403 and status(f"http://{place}/?token=c") == 403
        assert status(f"http://{place}/?token=a%20b", Host="elsewhere.example") == 200
        socket = websocket.create_connection(f"ws://{place}/talk?token=a%20b", timeout=20)
        frames(socket, 1)
    while socket.recv():  # the server has ended and said so
        pass
    assert not socket.connected
    assert live_threads() == before
