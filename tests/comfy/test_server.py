"""The running program over its real HTTP and websocket interface: Cancel, resume, cache, two prompts at once."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
from graphs import clip, generator, mux, node, render, report, speak
from program import Comfy, Watcher, cached_of, cancel, message_of

from udh_core.avatar.folder import open_avatar
from udh_core.media.probe import probe
from udh_core.models import checkpoint
from udh_core.models.checkpoint import open_generator

CANCEL_S = 2.0
PREVIEW = {"9": node("PreviewImage", images=["5", 2])}  # what a training has drawn: an output that costs nothing


@pytest.fixture
def watcher(comfy):
    made = Watcher(comfy)
    yield made
    made.close()


def saved(comfy: Comfy, entry: dict, node_id: str = "7") -> Path:
    found = entry["outputs"][node_id]["images"][0]
    return comfy.base / "output" / found["subfolder"] / found["filename"]


def test_pack_is_announced_without_a_warning(comfy):
    log = comfy.log.read_text()
    assert "ultralight-digital-human" in log
    assert "IMPORT FAILED): " not in log
    assert not re.search(r"Cannot import \S*ultralight", log)
    info = comfy.get("object_info")
    assert len([name for name in info if name.startswith("UDH_")]) == 18
    seed = info["UDH_TrainGenerator"]["input"]["required"]["seed"][1]
    assert seed["control_after_generate"] is False  # else every Run would train anew


def test_quick_start_then_everything_is_cached(comfy, watcher):
    prompt = comfy.queue(speak("clip.mp4"), watcher.client)
    entry = comfy.wait(prompt)
    assert entry["status"]["status_str"] == "success", message_of(entry)
    media = probe(saved(comfy, entry))
    assert media.has_audio
    assert abs(media.duration_s - 6.0) < 0.1
    watcher.wait_for("frames 90 / 90")
    assert watcher.progress > 20
    assert watcher.previews >= 1
    assert cached_of(comfy.run(speak("clip.mp4"))) == set("123567")


def test_linking_the_frames_makes_them(comfy):
    comfy.run(speak("clip.mp4"))
    graph = speak("clip.mp4") | {"8": node("PreviewImage", images=["6", 1])}
    entry = comfy.run(graph)
    assert len(entry["outputs"]["8"]["images"]) == 90
    assert cached_of(comfy.run(graph)) >= set("123567")


def test_a_changed_file_runs_again(comfy, base):
    graph = clip("changing.mp4", name="changing") | {"9": node("PreviewAny", source=["2", 2])}
    (base / "input" / "changing.mp4").write_bytes((base / "input" / "clip.mp4").read_bytes())
    comfy.run(graph)
    assert cached_of(comfy.run(graph)) >= {"1", "2", "9"}
    (base / "input" / "changing.mp4").write_bytes((base / "input" / "clip.mp4").read_bytes())
    assert "1" not in cached_of(comfy.run(graph))


def test_cancelled_training_goes_on_where_it_stopped(comfy, watcher, base, figure):
    graph = clip("clip.mp4") | generator(steps=100_000, name="stopped") | PREVIEW
    prompt = comfy.queue(graph, watcher.client)
    watcher.wait_for(r"warp \d+%, step \d\d")
    took = cancel(comfy, prompt)
    out = base / "models" / "udh" / "generators" / "stopped.safetensors"
    step = checkpoint.read_info(checkpoint.resume_path(out)).step
    figure(f"training in ComfyUI cancelled in {took:.2f} s at step {step}")
    assert took <= CANCEL_S
    assert step >= 10
    checkpoint.load_resume(out)  # whole
    graph["5"]["inputs"]["steps"] = step + 3
    comfy.run(graph)
    assert checkpoint.read_info(checkpoint.resume_path(out)).step == step + 3
    rows = json.loads(out.with_suffix(".losses.json").read_text())
    assert [row[1] for row in rows if row[0] == "warp"] == list(range(1, step + 4))  # none lost, none done twice
    open_generator(out)


def test_cancelled_motion_goes_on_too(comfy, watcher, base):
    graph = clip("clip.mp4") | generator(steps=3, name="early", motion_steps=6) | PREVIEW
    slow = json.loads(json.dumps(graph))
    prompt = comfy.queue(slow, watcher.client)
    watcher.wait_for(r"motion \d+%, step")
    assert cancel(comfy, prompt) <= CANCEL_S
    out = base / "models" / "udh" / "generators" / "early.safetensors"
    assert checkpoint.read_info(checkpoint.resume_path(out)).step == 0
    comfy.run(graph)
    assert checkpoint.read_info(checkpoint.resume_path(out)).step == 3


def test_two_prompts_at_once_leave_both_avatars_whole(comfy, base):
    """Both take the same name, with different parts of the clip; then the first once more, rendered differently."""
    first = clip("clip.mp4", name="shared") | generator(name="a") | render() | mux()
    second = clip("clip.mp4", name="shared", duration_s=5.2) | generator(name="b") | render() | mux()
    prompts = [comfy.queue(graph) for graph in (first, second)]
    for prompt, seconds in zip(prompts, (6.0, 5.2), strict=True):
        entry = comfy.wait(prompt)
        assert entry["status"]["status_str"] == "success", message_of(entry)
        assert abs(probe(saved(comfy, entry)).duration_s - seconds) < 0.1
    trained = base / "models" / "udh" / "generators" / "a.safetensors"
    before = trained.read_bytes()
    first["6"]["inputs"]["crf"] = 23
    comfy.run(first)
    assert trained.read_bytes() == before
    for name, count in (("shared", 90), ("shared (2)", 78)):
        avatar = open_avatar(base / "models" / "udh" / "avatars" / name)
        assert avatar.info.frame_count == count == len(avatar.crops()) == len(avatar.track().valid)


def test_wrong_input_is_refused_before_it_runs(comfy):
    reply = comfy.post("prompt", {"prompt": speak("not-there.mp4")})
    assert "not-there.mp4" in json.dumps(reply)
    reply = comfy.post("prompt", {"prompt": speak("../../secret.mp4")})
    assert "error" in reply


def test_a_bad_name_is_refused_before_it_runs(comfy):
    reply = comfy.post("prompt", {"prompt": speak("clip.mp4", name="../../out")})
    errors = [one["details"] for one in reply["node_errors"]["1"]["errors"]]
    assert errors and all("cannot be a name" in text for text in errors)


def test_a_report_is_given_out_by_its_link(comfy, watcher):
    graph = speak("clip.mp4") | report()
    entry = comfy.wait(comfy.queue(graph, watcher.client))
    assert entry["status"]["status_str"] == "success", message_of(entry)
    link = re.search(r"\[\[open the page\|(.*)\]\]", watcher.wait_for("open the page"))[1]
    with urllib.request.urlopen(link, timeout=30) as reply:  # noqa: S310
        assert b"<!DOCTYPE html>" in reply.read(100)
