"""A headless Chromium that looks at the running ComfyUI."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from needs import unavailable

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))  # english.py, graph_files.py
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update")
FLAGS += ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # a microphone that beeps
READY = "!!(window.app?.graph && window.LiteGraph && 'UDH_MuxVideo' in window.LiteGraph.registered_node_types)"
START_MS = 90_000


@pytest.fixture(scope="module")
def chromium():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        unavailable("no Chromium or Chrome is installed (on Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Window:
    """ComfyUI's page, and what went wrong in it."""

    page: object
    errors: list[str] = field(default_factory=list)

    def ours(self) -> list[str]:
        """Errors that come from this pack, and every uncaught one; ComfyUI's own 404s are not among them."""
        return [text for text in self.errors if "uncaught" in text or "UDH" in text or "ultralight" in text]


@pytest.fixture(scope="module")
def window(chromium, comfy):
    """A page with ComfyUI, ready to take a graph: loading one costs ten seconds. What ever went wrong in it remains."""
    context = chromium.new_context(viewport={"width": 1600, "height": 900})
    page = context.new_page()
    opened = Window(page)
    page.on("console", lambda m: opened.errors.append(f"{m.text} {m.location}") if m.type == "error" else None)
    page.on("pageerror", lambda error: opened.errors.append(f"uncaught {error}"))
    page.goto(f"http://127.0.0.1:{comfy.port}/")
    page.wait_for_function(READY, timeout=START_MS)
    page.wait_for_selector("[data-testid='queue-button']", timeout=START_MS)
    page.wait_for_load_state("networkidle")
    yield opened
    context.close()
