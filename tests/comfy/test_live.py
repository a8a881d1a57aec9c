"""Live Preview in the running program: the page and its WebSocket on ComfyUI's own server."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import cv2
import numpy as np
import pytest
import websocket
from graphs import clip, generator, mux, node, render
from program import Comfy, cached_of

from udh_core.live.room import BUSY
from udh_core.live.session import HEADER
from udh_core.media.audio import load_waveform

SETTINGS = {"when_audio_longer": "bounce", "amplitude": 1.0, "lost": "pass", "mark": "", "sessions": 1}


def live(**more: object) -> dict:
    """9: the page of the person."""
    preview = node("UDH_LivePreview", avatar=["2", 0], generator=["5", 0], **{**SETTINGS, **more})
    return clip("clip.mp4", name="live") | generator() | {"9": preview}


@pytest.fixture(scope="module")
def page(comfy: Comfy) -> Iterator[str]:
    """Its path, as the node gives it to the browser."""
    yield comfy.run(live())["outputs"]["9"]["udh_live"][0]


def talk(comfy: Comfy, page: str, **options: Any) -> websocket.WebSocket:
    return websocket.create_connection(f"ws://127.0.0.1:{comfy.port}{page}talk", timeout=60, **options)


def frame(socket: websocket.WebSocket) -> tuple[np.ndarray | None, np.ndarray]:
    """Picture, None where it is the one before; and sound."""
    message = socket.recv()
    assert isinstance(message, bytes), message
    _, size = HEADER.unpack_from(message)
    packed = np.frombuffer(message, np.uint8, size, HEADER.size)
    sound = np.frombuffer(message[HEADER.size + size :], "<i2")
    return (cv2.imdecode(packed, cv2.IMREAD_COLOR) if size else None), sound


def status(comfy: Comfy, path: str, **headers: str) -> int:
    asked = urllib.request.Request(f"http://127.0.0.1:{comfy.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def emptied(comfy: Comfy, page: str) -> dict:
    """What the page says of itself once the person is in memory no longer."""
    for _ in range(200):
        found = comfy.get(f"{page.lstrip('/')}health")
        if not found["sessions"] and not found["frames"]:
            return found
        time.sleep(0.05)
    raise TimeoutError(found)


def test_the_person_talks_while_a_graph_runs(comfy: Comfy, page: str) -> None:
    speech = load_waveform(comfy.base / "input" / "speech.wav", duration_s=2.0)
    sent = np.round(speech * 32767).astype("<i2")
    with closing(talk(comfy, page)) as socket:
        picture, silence = frame(socket)
        assert picture is not None and picture.shape[:2] == (320, 320) and not silence.any()
        socket.send_binary(sent.tobytes())
        prompt = comfy.queue(clip("clip.mp4", name="live") | generator() | render(amplitude=1.1) | mux())
        sound = np.concatenate([frame(socket)[1] for _ in range(45)])
        said = sent[np.flatnonzero(sent)[0] :][:8000]
        first = np.flatnonzero(sound)[0]
        assert np.abs(sound[first : first + 8000].astype(int) - said).max() <= 1
        assert comfy.wait(prompt)["status"]["status_str"] == "success"
        socket.send(json.dumps({"stop": True}))
        while isinstance(message := socket.recv(), bytes):
            pass
        assert "stopped" in json.loads(message)
    assert emptied(comfy, page)["status"] == "serving"
    with closing(talk(comfy, page)) as socket:  # opened anew
        frame(socket)
    emptied(comfy, page)


def test_one_more_visitor_than_there_are_places_is_told_so(comfy: Comfy, page: str) -> None:
    with closing(talk(comfy, page)) as first:
        frame(first)
        with closing(talk(comfy, page)) as second:
            assert json.loads(second.recv()) == {"error": BUSY}
        frame(first)
    emptied(comfy, page)


def test_only_the_address_that_the_node_gave_is_served(comfy: Comfy, page: str) -> None:
    assert status(comfy, page) == 200
    for path in ("/udh/live/", "/udh/live/guess/", "/udh/live/..%2f..%2fmain.py/", f"{page}../", f"{page}page.html"):
        assert status(comfy, path) in (404, 405), path
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
        talk(comfy, "/udh/live/guess/")
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):  # ComfyUI's own refusal
        talk(comfy, page, origin="http://elsewhere.example")


def test_the_same_person_keeps_the_page_and_another_setting_gets_one(comfy: Comfy, page: str) -> None:
    assert comfy.run(live())["outputs"]["9"]["udh_live"] == [page]
    again = comfy.run(live())
    assert again["outputs"]["9"]["udh_live"] == [page] and "9" in cached_of(again)
    other = comfy.run(live(amplitude=1.2))["outputs"]["9"]["udh_live"][0]
    assert other != page and len(other.split("/")[3]) >= 20  # cannot be guessed
    with closing(talk(comfy, other)) as socket:
        frame(socket)
    emptied(comfy, other)


def test_no_more_people_than_two_are_in_memory(comfy: Comfy, page: str) -> None:
    pages = [page, *(comfy.run(live(amplitude=1.2 + k))["outputs"]["9"]["udh_live"][0] for k in (0, 0.1))]
    with closing(talk(comfy, pages[0])) as one, closing(talk(comfy, pages[1])) as two:
        frame(one), frame(two)
        with closing(talk(comfy, pages[2])) as three:
            assert "Close one of them" in json.loads(three.recv())["error"]
    for path in pages:
        emptied(comfy, path)
