"""The live page in Chromium: the person moves, talks by file and microphone, and is interrupted."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import served

# Of the picture: its sizes, how many brightnesses there are, and a sum that changes when it does.
SEEN = """() => {
  const canvas = document.getElementById("picture");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const sum = pixels.reduce((total, value, k) => total + value * (k % 251), 0);
  return [canvas.width, canvas.height, new Set(pixels).size, sum];
}"""

MINUTES = float(os.environ.get("UDH_LIVE_MINUTES", "0.5"))  # of the long conversation
SAYS_S = 6.5  # until it is spoken again; it is 6 s long
# How far ahead of the sound card frames come, those that wait, frames in all, and bytes that the page holds.
HELD = """() => [due - audio.currentTime, pictures.length + sources.size, stats.frames,
                 performance.memory.usedJSHeapSize]"""


@pytest.fixture(scope="module")
def address(person_avatar: Path, generator_file: Path, models: Path) -> Iterator[str]:
    with served(person_avatar, generator_file) as place:
        yield place


def test_the_person_talks_on_the_page(chromium, address: str, person: Path) -> None:
    errors: list[str] = []
    context = chromium.new_context(permissions=["microphone"])
    page = context.new_page()
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://{address}/")
    assert page.is_disabled("#stop")
    page.click("#start")
    page.wait_for_function("stats.frames > 10")
    assert page.text_content("#note") == ""
    width, height, values, first = page.evaluate(SEEN)
    assert (width, height) == (512, 512) and values > 50
    page.set_input_files("#file", person / "speech.wav")
    page.wait_for_function("stats.soundingSamples > 8000")
    assert page.evaluate(SEEN)[3] != first

    page.click("#stop")
    page.wait_for_function("stats.stops === 1")
    sounded = page.evaluate("stats.soundingSamples")
    assert sounded < 80000 and page.evaluate("sources.size") == 0
    shown = page.evaluate("stats.frames")
    page.wait_for_function(f"stats.frames > {shown + 5}")
    assert page.evaluate("stats.soundingSamples") == sounded

    page.click("#microphone")
    page.wait_for_function("stats.microphoneSamples > 8000")
    page.wait_for_function(f"stats.soundingSamples > {sounded + 1600}")
    other = context.new_page()
    other.goto(f"http://{address}/")
    other.click("#start")
    other.wait_for_function("document.getElementById('note').textContent.includes('somebody else is talking')")
    page.goto("about:blank")
    other.wait_for_function("stats.frames > 3")  # as soon as there is a place, by itself
    assert other.text_content("#note") == ""
    context.close()
    assert errors == []


def resident_mb() -> float:
    """Of this process, which serves; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    return int(re.findall(r"VmRSS:\s*(\d+) kB", status.read_text())[0]) / 1024 if status.exists() else 0.0


def test_a_long_conversation_is_as_quick_at_its_end(
    chromium: Any, address: str, person: Path, figure: Callable[[str], None]
) -> None:
    """UDH_LIVE_MINUTES=10 measures what half a minute only tries."""
    page = chromium.new_page()
    page.goto(f"http://{address}/")
    page.click("#start")
    page.wait_for_function("stats.frames > 10")
    begun_s, found = time.monotonic(), []
    while time.monotonic() - begun_s < 60 * MINUTES:
        page.set_input_files("#file", person / "speech.wav")
        page.wait_for_timeout(1000 * SAYS_S)
        ahead_s, waiting, frames, heap = page.evaluate(HELD)
        found.append([ahead_s, waiting, frames / 25 - (time.monotonic() - begun_s), heap / 2**20])
        found[-1].append(resident_mb())
    page.goto("about:blank")
    page.close()
    rows = np.array(found)
    third = max(1, len(rows) // 3)
    first, last = np.median(rows[:third], axis=0), np.median(rows[-third:], axis=0)
    grown = last - first
    figure(
        f"A conversation of {MINUTES:g} minutes: frames lie {last[0]:.2f} s ahead of the sound card at its end "
        f"({first[0]:.2f} s at its beginning), the page holds {grown[3]:+.1f} MB, the server {grown[4]:+.1f} MB"
    )
    assert 0 < last[0] < 0.5  # the page keeps to 0.4 s, in which frames that come unevenly are evened out
    assert rows[:, 1].max() < 60 and grown[1] < 5
    assert abs(grown[2]) < 0.2  # seconds that frames fell behind the clock, or ran ahead of it
    assert grown[3] < 10 and grown[4] < 20 + 2 * MINUTES
