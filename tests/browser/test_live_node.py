"""Live Preview in ComfyUI's page: Run shows the person inside the node, and they move and talk there."""

from __future__ import annotations

import json
import time
from pathlib import Path

from graphs import clip, generator, node
from program import Comfy

SETTINGS = {"when_audio_longer": "bounce", "amplitude": 1.0, "lost": "pass", "mark": "", "sessions": 1}
LOAD = "graph => app.loadApiJson(graph, 'live')"
MOVE = """() => {
    const { ds } = app.canvas, [x, y] = app.graph.nodes.find(node => node.type === 'UDH_LivePreview').pos;
    ds.scale = 1;
    ds.offset[0] = 300 - x;
    ds.offset[1] = 120 - y;
    app.canvas.setDirty(true, true);
}"""
VALUES = "async () => (await app.graphToPrompt()).output"
REMOVE = "() => app.graph.remove(app.graph.nodes.find(node => node.type === 'UDH_LivePreview'))"


def test_the_person_talks_inside_the_node(window, comfy: Comfy, tmp_path: Path) -> None:
    preview = {"9": node("UDH_LivePreview", avatar=["2", 0], generator=["5", 0], **SETTINGS)}
    graph = clip("clip.mp4", name="live") | generator() | preview
    page = window.page
    page.evaluate("() => app.graph.clear()")
    page.evaluate(LOAD, graph)
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'UDH_LivePreview')")
    prompt = page.evaluate(VALUES)
    ours = next(one for one in prompt.values() if one["class_type"] == "UDH_LivePreview")
    assert {name: ours["inputs"][name] for name in SETTINGS} == SETTINGS  # the page in the node is no value of it
    assert set(ours["inputs"]) == {"avatar", "generator", *SETTINGS}
    page.locator("[data-testid='queue-button']").click()
    page.wait_for_function("document.querySelector('iframe[title=\"Live Preview\"]')?.src", timeout=150_000)
    page.evaluate(MOVE)
    frame = page.wait_for_selector("iframe[title='Live Preview']", state="attached").content_frame()
    frame.wait_for_url("**/udh/live/**")
    frame.wait_for_selector("#start")
    frame.click("#start")
    frame.wait_for_function("stats.frames > 10")
    frame.set_input_files("#file", comfy.base / "input" / "speech.wav")
    frame.wait_for_function("stats.soundingSamples > 8000")
    page.screenshot(path=tmp_path / "live.png")
    path = frame.url.split(str(comfy.port))[1]
    assert comfy.get(f"{path.lstrip('/')}health")["sessions"] == 1
    page.evaluate(REMOVE)  # the page goes with its node, and the person leaves the memory
    end = time.monotonic() + 20
    while (found := comfy.get(f"{path.lstrip('/')}health"))["frames"]:
        assert time.monotonic() < end, json.dumps(found)
        time.sleep(0.1)
    assert window.ours() == []
