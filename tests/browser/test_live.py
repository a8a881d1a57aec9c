"""The live page in Chromium: the person moves, talks by file and microphone, and is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import served

# Of the picture: its sizes, how many brightnesses there are, and a sum that changes when it does.
SEEN = """() => {
  const canvas = document.getElementById("picture");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const sum = pixels.reduce((total, value, k) => total + value * (k % 251), 0);
  return [canvas.width, canvas.height, new Set(pixels).size, sum];
}"""


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
