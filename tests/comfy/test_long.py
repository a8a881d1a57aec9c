"""Six seconds of 1080p through the running program: its memory, and how soon Cancel acts in each long node."""

from __future__ import annotations

import pytest
from graphs import clip, generator, mux, render
from program import Watcher, cancel, message_of

from udh_core.media.ffmpeg import run, url
from udh_core.media.probe import probe

SECONDS = 6  # kept, its frames would fill 0.9 GB
GROWTH_MB = 1200  # 640 to 750 measured
CANCEL_S = 2.0


@pytest.fixture(scope="module", autouse=True)
def long_clip(base, small_clip):
    """input/long.mp4: the small clip, upright in 1080p."""
    picture = "scale=-2:1080,pad=1920:1080:(ow-iw)/2:0,setsar=1"
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-pix_fmt", "yuv420p", "-c:a", "copy"]
    run(["-i", url(small_clip), "-vf", picture, *codecs, url(base / "input" / "long.mp4")], "no 1080p clip")


@pytest.fixture
def watcher(comfy):
    made = Watcher(comfy)
    yield made
    made.close()


def long_graph() -> dict:
    return clip("long.mp4", name="long") | generator(steps=2) | render() | mux()


def test_cancel_acts_at_once_in_every_long_node(comfy, watcher, figure):
    """A trimmed import is encoded anew, which takes a while; the others are seen to work frame by frame."""
    trimmed = clip("long.mp4", name="trimmed", start_s=0.5) | generator(steps=2) | render() | mux()
    took = {}
    for graph, sign in ((trimmed, r"^video \d"), (long_graph(), r"^landmarks \d")):
        prompt = comfy.queue(graph, watcher.client)
        watcher.wait_for(sign)
        took[sign] = cancel(comfy, prompt)
    figure(f"seconds to cancel: {took}")
    assert max(took.values()) <= CANCEL_S


def test_a_clip_of_1080p_stays_small(comfy, watcher, figure):
    comfy.forget_peak()
    before = comfy.peak_mb()
    prompt = comfy.queue(long_graph(), watcher.client)
    watcher.wait_for(r"^frames \d", 400)
    took = cancel(comfy, prompt)
    assert took <= CANCEL_S
    entry = comfy.wait(comfy.queue(long_graph()), 400)
    assert entry["status"]["status_str"] == "success", message_of(entry)
    found = entry["outputs"]["7"]["images"][0]
    media = probe(comfy.base / "output" / found["subfolder"] / found["filename"])
    peak = comfy.peak_mb()
    figure(f"{SECONDS} s of 1080p: {before:.0f} MB of memory, at most {peak:.0f} MB; render cancelled in {took:.2f} s")
    assert (media.video.width, media.video.height) == (1920, 1080)
    assert abs(media.duration_s - SECONDS) < 0.1
    assert media.has_audio
    assert peak - before < GROWTH_MB
