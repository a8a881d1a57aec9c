"""The pack as a user sees it: the template browser, every workflow, the help pages, and the Run button."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from itertools import combinations
from urllib.parse import quote

import pytest
from graph_files import NAMES, WORKFLOWS, apart, api_of, ui_of
from program import message_of

from udh_core.media.probe import probe

MODULE = "ultralight-digital-human"
BLUEPRINTS = WORKFLOWS.parent / "subgraphs"
OUTSIDE = {"Make a person": ["file", "name", "minutes"], "Speak": ["person", "start_s", "when_audio_longer"]}
LOAD = "async graph => { await app.loadGraphData(graph); await new Promise(done => setTimeout(done, 500)); }"
STATE = """() => ({
    types: app.graph.nodes.map(node => node.type),
    known: app.graph.nodes.every(node => node.constructor.nodeData || !node.type.startsWith('UDH_')),
    errors: app.graph.nodes.filter(node => node.has_errors).map(node => node.type),
    links: [...app.graph.links.values()].map(link => [link.origin_id, link.origin_slot, link.target_id].map(Number)),
})"""
SET = """edits => {
    for (const [type, values] of Object.entries(edits))
        for (const node of app.graph.nodes.filter(node => node.type === type))
            for (const [name, value] of Object.entries(values)) {
                const widget = node.widgets.find(widget => widget.name === name);
                widget.value = value;
                widget.callback?.(value);
            }
}"""
TINY = {
    "UDH_LoadAvatarVideo": {"file": "clip.mp4", "name": "browsed", "crop_px": 96},
    "UDH_ExtractAudioFeatures": {"encoder": "mel80"},
    "UDH_TrainGenerator": {"minutes": 0, "model_size": "small", "steps": 4, "batch": 4, "motion_steps": 1},
}
TEXTS = """() => Object.fromEntries(app.graph.nodes.map(node =>
    [node.type, node.widgets?.find(widget => widget.name === '$$node-text-preview')?.value]))"""
BOXES = "() => app.graph.nodes.map(node => [node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30])"
RUN_S = 150


def fetched(comfy, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{comfy.port}/{path}", timeout=30) as reply:
        return reply.read()


def test_template_browser_lists_the_workflows(comfy):
    assert sorted(comfy.get("api/workflow_templates")[MODULE]) == sorted(NAMES)
    for name in NAMES:
        path = f"api/workflow_templates/{MODULE}/{quote(name)}"
        assert fetched(comfy, f"{path}.jpg") == (WORKFLOWS / f"{name}.jpg").read_bytes()
        assert json.loads(fetched(comfy, f"{path}.json")) == ui_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_workflow_loads_whole(window, name):
    graph = ui_of(name)
    window.page.evaluate(LOAD, graph)
    state = window.page.evaluate(STATE)
    assert sorted(state["types"]) == sorted(node["type"] for node in graph["nodes"])
    assert state["known"] and not state["errors"], state
    assert sorted(state["links"]) == sorted([a, b, c] for _, a, b, c, *_ in graph["links"])
    assert window.page.evaluate("async () => (await app.graphToPrompt()).output") == api_of(name)
    assert window.ours() == []


def test_blueprints_are_offered_and_load_whole(window, comfy):
    """One node each, with the widgets that matter outside; inside nothing that a node needs is missing."""
    offered = {one["name"]: key for key, one in comfy.get("global_subgraphs").items() if one["source"] == "custom_node"}
    assert set(offered) == {path.stem for path in BLUEPRINTS.glob("*.json")} == set(OUTSIDE)
    info = comfy.get("object_info")
    for name, key in offered.items():
        window.page.evaluate(LOAD, json.loads(comfy.get(f"global_subgraphs/{key}")["data"]))
        assert window.page.evaluate("app.graph.nodes.map(node => node.widgets.map(w => w.name))") == [OUTSIDE[name]]
        prompt = window.page.evaluate("async () => (await app.graphToPrompt()).output")
        assert len(prompt) >= 2
        for node in prompt.values():
            assert set(info[node["class_type"]]["input"]["required"]) <= set(node["inputs"])
    assert window.ours() == []


def test_help_pages_are_served(comfy):
    for node_id in [name for name in comfy.get("object_info") if name.startswith("UDH_")]:
        for language in ("en", "zh"):
            page = fetched(comfy, f"extensions/{MODULE}/docs/{node_id}/{language}.md").decode()
            assert page.startswith("# ")


def test_words_reach_the_browser(comfy):
    words = json.loads(fetched(comfy, "i18n"))
    assert words["zh"]["nodeDefs"]["UDH_LipSyncRender"]["display_name"] == "对口型渲染"
    assert words["en"]["nodeDefs"]["UDH_LipSyncRender"]["display_name"] == "Lip Sync Render"


def test_quick_start_by_hand(window, comfy):
    """Template browser, Quick start, a clip, Run: the mp4 is there, picture and sound, and no node hides another."""
    page, before = window.page, set(comfy.get("history"))
    page.evaluate("() => app.graph.clear()")
    page.get_by_text("Templates", exact=True).first.click()
    page.get_by_text(MODULE).first.click()
    page.get_by_text("Quick start").first.click()
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'UDH_TrainGenerator')")
    page.wait_for_timeout(500)
    page.evaluate(SET, TINY)
    page.locator("[data-testid='queue-button']").click()
    entry = finished(comfy, before)
    assert entry["status"]["status_str"] == "success", message_of(entry)
    images = [image for output in entry["outputs"].values() for image in output.get("images", [])]
    saved = [image for image in images if image["type"] == "output"]
    assert [image["filename"].endswith(".mp4") for image in saved] == [True]
    video = probe(comfy.base / "output" / saved[0]["subfolder"] / saved[0]["filename"])
    source = probe(comfy.base / "input" / "clip.mp4")
    assert video.video is not None and video.has_audio
    assert abs(video.duration_s - source.duration_s) < 0.15
    page.wait_for_function("document.querySelector('video') !== null", timeout=20_000)  # and it can be played
    page.wait_for_timeout(1000)
    boxes = page.evaluate(BOXES)
    assert all(apart(one, other) for one, other in combinations(boxes, 2)), boxes  # pictures make nodes taller
    texts = page.evaluate(TEXTS)
    assert re.match(r"\d+ (red|yellow)|all \d+ checks", texts["UDH_DetectLandmarks"]), texts
    assert texts["UDH_TrainGenerator"].startswith("browsed: step "), texts
    assert window.ours() == []


def finished(comfy, before: set[str]) -> dict:
    """The entry of the history that was not there before, once there is one."""
    end = time.monotonic() + RUN_S
    while time.monotonic() < end:
        new = [entry for name, entry in comfy.get("history").items() if name not in before]
        if new:
            return new[0]
        assert comfy.process.poll() is None, comfy.log.read_text()[-3000:]
        time.sleep(0.5)
    raise TimeoutError(f"the quick start did not end in {RUN_S} s")
