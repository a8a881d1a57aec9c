"""What a user reads: the bar and the text on a node, refusals before a run and during it, all in ComfyUI's words."""

from __future__ import annotations

import ast
import json
import re
import threading
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import folder_paths
import numpy as np
import pack
import pytest
import torch
from graphs import clip, generator, node, speak

import nodes

PACK = Path(__file__).resolve().parents[3]
CLI_WORDS = re.compile(r"(^|[\s(`])--(?!hash=)[a-z]|`udh |\bprepare\b|`pip |command line|lower the learning rate")
MESSAGES_AT_LEAST = 150
NEVER_SAID = {"out", "overwrite", "set_aside"}  # a node always says what shall become of an earlier training
NEVER_SAID |= {"frames", "distance"}  # of files for other programs, which no node makes
NEVER_SAID |= {"nproc_per_node", "device", "neighbourhoods"}  # of several processes, which no node starts


def graph(number: str = "1", **values) -> dict:
    """The quick start with a generator of its own; with other values of one node."""
    made = speak("clip.mp4") | generator(name="texts")
    made[number]["inputs"] |= values
    return made


@pytest.fixture(scope="module")
def made(host):
    """The small graph has run once, with nothing cached or trained before; what was sent meanwhile."""
    pack.register()
    pack.Given.values["50 ms"] = {"waveform": torch.zeros(1, 1, 800), "sample_rate": 16000}
    host.executor.reset()
    host.sent.clear()
    result = host.run(graph())
    assert result.status == "success", result.error
    return list(host.sent)


def input_folder() -> Path:
    return Path(folder_paths.get_input_directory())


def output_folder() -> Path:
    return Path(folder_paths.get_output_directory())


# The bar and the text


def bars_of(sent: list) -> dict[str, list[float]]:
    """How far each node was, 0..1, as it was sent."""
    found = defaultdict(list)
    for one in sent:
        if one.event == "progress_state":
            for name, state in one.data["nodes"].items():
                if state["state"] == "running":
                    found[name].append(state["value"] / state["max"])
    return found


def test_the_bar_of_a_node_never_goes_back(made):
    bars = bars_of(made)
    for name in "256":
        assert all(before <= after for before, after in pairwise(bars[name])), (name, bars[name])
        assert bars[name][-1] == 1.0, name
        assert max(after - before for before, after in pairwise(bars[name])) < 0.9, name  # it stands in between, too


def test_every_stage_has_its_place_in_the_bar(host, made):
    plans = {
        "2": host.module("prepare").TRACK_STAGES,
        "5": host.module("train").GENERATOR_STAGES,
        "6": host.module("render").STAGES,
    }
    for name, stages in plans.items():
        words = [one.text[1] for one in made if one.text[0] == name and one.text[1] != " "][:-1]  # the last remains
        assert words
        for text in words:
            assert any(text.startswith(f"{stage} ") for stage in stages), (name, text)


def test_a_training_says_its_steps_and_the_time_left(host, made):
    assert any(re.match(r"warp 100%, step 4 of 4, ", one.text[1]) for one in made)
    display, progress = host.module("host.display"), host.core("progress").Progress
    clock = display.StageClock()
    half = progress("frames", 50, 100, "5 frames/s")
    assert clock.left_s(progress("frames", 40, 100), 100.0) is None
    assert clock.left_s(half, 102.0) == pytest.approx(10.0)
    assert clock.left_s(progress("audio", 0.5), 103.0) is None  # another stage
    assert display.text_of(half, 10.2) == "frames 50 / 100, 5 frames/s, 10 s left"
    assert display.text_of(half, 1800) == "frames 50 / 100, 5 frames/s, 30 min left"
    assert display.text_of(half, 9000) == "frames 50 / 100, 5 frames/s, 2.5 h left"


def test_what_came_of_it_stays_on_the_node(made):
    last = {name: [one.text[1] for one in made if one.text[0] == name][-1] for name in "123567"}
    assert last["1"].startswith("6.0 s, 90 frames, ")
    assert re.match(r"\d+ (red|yellow)[^:]*: \w|all \d+ checks are green$", last["2"])
    assert re.match(r"\d+ rows of mel80, 6\.0 s$", last["3"])
    assert last["5"].startswith("texts: step ")
    assert re.match(r"90 frames, 6\.0 s", last["6"])
    assert re.match(r"output/udh/test_\d+_\.mp4$", last["7"])
    assert {one.client for one in made if one.text[0]} == {"test"}


def test_consent_is_named_once_when_a_person_is_made(host):
    said, prompt = [], clip("clip.mp4", name="consent") | {"9": node("PreviewImage", images=["1", 2])}
    for _ in range(2):
        host.executor.reset()
        host.sent.clear()
        assert host.run(prompt).status == "success"
        said.append(host.texts("1")[-1])
    assert said[0] == f"{said[1]}. {host.core('avatar.options').CONSENT}"


def test_what_comes_from_disk_shows_text_and_picture(host, made, monkeypatch):
    """And the audit is drawn in the worker's thread: the graph's own asks for Cancel meanwhile."""
    prepare, drawn_in = host.module("prepare"), []
    draw = prepare.draw_audit
    monkeypatch.setattr(prepare, "draw_audit", lambda *a: drawn_in.append(threading.current_thread().name) or draw(*a))
    host.executor.reset()
    host.sent.clear()
    result = host.run(graph())
    assert result.status == "success", result.error
    assert not any(text.startswith("warp") for text in host.texts("5"))
    assert host.texts("5")[-1].startswith("texts: step ")
    assert len(result.ui["5"]["images"]) == 1
    assert len(drawn_in) == 1 and drawn_in[0].startswith("udh")


def test_old_texts_go_when_a_node_will_run_again(host, made):
    changed, gone = graph("6", crf=30), graph("1", start_s=99.0)

    def queued(prompt: dict) -> set[str]:
        """The nodes whose texts are taken away."""
        host.sent.clear()
        host.server.trigger_on_prompt({"prompt": prompt, "client_id": "test"})
        assert {one.client for one in host.sent} <= {"test"}
        return {one.text[0] for one in host.sent if one.text[1] == " "}

    assert host.run(graph()).status == "success"
    assert queued(graph()) == set()  # all of it will come from the cache
    assert queued(changed) == {"6", "7"}
    assert host.run(gone).status == "error"
    assert "1" in queued(gone)  # what failed runs again
    host.server.trigger_on_prompt({"prompt": {"1": ["no node"]}, "client_id": None})


# Refused before it runs


def silent() -> dict:
    made = graph("6", audio=["21", 0]) | {"21": node("LoadAudio", audio="")}
    made["7"]["inputs"]["audio"] = ["21", 0]
    return made


def without_sound() -> dict:
    made = graph()
    del made["6"]["inputs"]["audio"]
    return made


def exported() -> dict:
    inputs = {"avatar": ["2", 0], "generator": ["5", 0], "name": "a/b", "start_s": 0.0, "duration_s": 2.0}
    made = clip("clip.mp4") | generator() | {"9": node("UDH_ExportAvatar", **inputs)}
    return made | {"91": node("PreviewAny", source=["9", 0])}


BEFORE = {
    "no clip": (
        graph("1", file="(none)"),
        "Choose or upload a file, or connect a video: Load Avatar Video has no clip",
    ),
    "a folder": (graph("1", file="folder"), "Choose or upload a file: folder is a folder"),
    "gone": (graph("1", file="gone.mp4"), "Choose or upload one: there is no file gone.mp4"),
    "outside": (graph("1", file="../../secret.mp4"), "there is no file"),
    "avatar's name": (graph("1", name="../up"), "Use letters, digits, spaces, - and _, no path"),
    "long name": (graph("1", name="名" * 90), "60 Chinese characters"),
    "generator's name": (graph("5", name="a/b"), "'a/b' cannot be a name"),
    "wenet without a model": (graph("3", encoder="wenet"), "Give the path of wenet's encoder.onnx in `model`"),
    "wenet's model gone": (graph("3", encoder="wenet", model="/gone.onnx"), "'/gone.onnx' is no file"),
    "nothing to say": (without_sound(), "Connect a sound to `audio`: Lip Sync Render has nothing to say"),
    "no sound chosen": (silent(), "Invalid audio file: (no sound file chosen)"),
    "prefix": (graph("7", filename_prefix="../../out/x"), "leaves ComfyUI's output folder"),
    "bundle's name": (exported(), "'a/b' cannot be a name"),
    "generator gone": (graph() | {"5": node("UDH_LoadGenerator", name="gone")}, "there is no generator"),
    "avatar gone": (graph() | {"2": node("UDH_LoadAvatar", name="gone")}, "there is no avatar called 'gone'"),
    "none yet": (graph() | {"5": node("UDH_LoadGenerator", name="(nothing saved yet)")}, "press R"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_refused_before_it_runs(host, case):
    prompt, words = BEFORE[case]
    (input_folder() / "folder").mkdir(exist_ok=True)
    result = host.run(prompt)
    assert words in result.error.replace("\\'", "'").replace('\\"', '"'), result
    assert result.status == "invalid", result


@pytest.mark.parametrize("track", ["audio_track", "video_track"])
def test_a_graph_saved_before_there_were_tracks_runs(host, track):
    saved = graph("1", **{track: "image"})  # widget values have no names there
    assert host.run(saved).status == "success"


def test_missing_weights_are_found_before_it_runs(host, monkeypatch, tmp_path):
    monkeypatch.setenv("UDH_MODELS", str(tmp_path))
    result = host.run(graph())
    assert result.status == "invalid"
    assert "install.py" in result.error and "is missing" in result.error


# Refused while it runs


def refused(host, prompt: dict, number: str) -> str:
    """The message, which stands on the node, too, under a class without a path."""
    host.sent.clear()
    result = host.run(prompt)
    assert result.status == "error"
    assert re.fullmatch(r"\w+Error", result.kind)
    message = result.error.strip()
    assert host.texts(number)[-1] == message
    return message


def test_a_mute_clip(host):
    mute = input_folder() / "mute.mp4"
    arguments = ["-i", str(input_folder() / "clip.mp4"), "-an", "-c:v", "copy", "-y", str(mute)]
    host.core("media.ffmpeg").run(arguments, "no mute clip")
    message = refused(host, graph(file="mute.mp4", name="mute"), "1")
    assert message == (f"Connect the speech that belongs to it to `audio`: mute.mp4 has no sound (in {input_folder()})")


def test_a_start_beyond_the_end(host):
    message = refused(host, graph(start_s=60.0), "1")
    assert message.startswith("Give an earlier start: clip.mp4 ends at 6.0 s, before `start_s` = 60")


def test_a_short_sound_is_called_so(host):
    message = refused(host, graph(audio=["40", 0], name="short") | {"40": node("TestGiven", key="50 ms")}, "1")
    assert message == "Give at least 100 ms: the AUDIO has 50.0 ms of sound from 0 s on"


def test_a_covered_mouth_is_refused_where_that_is_wanted(host, made):
    """Something lies before all of the mouth in frames 15 to 22. Graphs saved before there was `lost` pass them."""
    root = host.module("host.folders").new_path("avatars", "tester", "")
    files = (root / "occlusion.npz", root / "avatar.json")
    as_found = [file.read_bytes() for file in files]
    masks, covered = np.full((8, 512), 255, np.uint8), np.ones(8, np.float32)
    np.savez(files[0], frames=np.arange(15, 23, dtype=np.int32), masks=masks, covered=covered)
    state = json.loads(as_found[1])
    state[host.core("avatar.folder").MARKS]["occlusion"] = host.core("files").ends_hash(files[0])
    files[1].write_text(json.dumps(state), encoding="utf-8")
    try:
        message = refused(host, graph("6", lost="fail"), "6")
        assert host.run(graph("6", crf=30)).status == "success"
    finally:
        for file, content in zip(files, as_found, strict=True):
            file.write_bytes(content)
    assert "covered at 1.0–1.5 s" in message and "choose pass or hold as `lost`" in message


def test_a_long_name_that_fits_is_taken(host):
    name, files = "名" * 60, host.module("host.folders")
    result = host.run(clip("clip.mp4", name=name) | {"9": node("PreviewImage", images=["1", 2])})
    assert result.status == "success", result.error
    assert files.new_path("avatars", files.safe_name(name, "")).is_dir()
    state = host.core("models.checkpoint").resume_path(files.new_path("generators", name, ".safetensors"))
    with host.core("files").atomic_write(state) as temporary:
        temporary.write_bytes(b"whole")
    assert state.read_bytes() == b"whole"
    state.unlink()


def test_a_full_disk_has_no_path_as_its_kind(host, monkeypatch):
    wording = host.module("host.wording")
    error = OSError(28, "No space left on device", str(output_folder() / "udh" / "a.mp4"))
    words = f"Make room there, or choose another name: No space left on device: udh/a.mp4 (in {output_folder()})"
    assert wording.in_our_words(error) == words
    assert wording.short(error).__module__ == "builtins"


# All that the core says


def reachable() -> set[Path]:
    """The modules of the core that the nodes import, directly or through others."""
    ahead, found = list((PACK / "nodes").rglob("*.py")), set()
    while ahead:
        path = ahead.pop().resolve()
        if path not in found:
            found.add(path)
            ahead += imported_by(path)
    return {path for path in found if "udh_core" in path.parts}


def imported_by(path: Path) -> list[Path]:
    found = []
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(part, ast.ImportFrom) and part.level:
            module = path.parents[part.level - 1].joinpath(*(part.module or "").split("."))
            names = [module, *(module / alias.name for alias in part.names)]
            found += [file for name in names for file in (name.with_suffix(".py"), name / "__init__.py")]
    return [file for file in found if file.is_file()]


def messages(path: Path) -> list[str]:
    """The texts of a module but its docstrings, with … for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(value) for part in ast.walk(tree) if isinstance(part, ast.JoinedStr) for value in part.values}
    documented = {id(part.value) for part in ast.walk(tree) if isinstance(part, ast.Expr)}
    found = []
    for part in ast.walk(tree):
        if isinstance(part, ast.JoinedStr):
            found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in part.values))
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in inner | documented:
            found.append(part.value)
    return [text for text in found if text.count(" ") >= 3]


def test_no_message_speaks_of_the_command_line(host):
    wording, error = host.module("host.wording"), host.core("errors").UdhError
    said = {text for path in reachable() for text in messages(path)}
    assert len(said) >= MESSAGES_AT_LEAST
    wrong = {text: ours for text in said if CLI_WORDS.search(ours := wording.in_our_words(error(text)))}
    assert not wrong
    assert any("`audio`" in text for text in said)  # the core names its options
    named = {word for text in said for word in re.findall(r"`([a-z_]+)`", wording.in_our_words(error(text)))}
    schemas = [one.define_schema() for name, one in nodes.NODE_CLASS_MAPPINGS.items() if name.startswith("UDH_")]
    assert named - NEVER_SAID <= {one.id for schema in schemas for one in schema.inputs}
    assert CLI_WORDS.search("run `udh weights fetch`") and CLI_WORDS.search("as --audio")


def test_every_node_reports_what_is_refused(host):
    for name in nodes.NODE_CLASS_MAPPINGS:
        if name.startswith("UDH_"):
            assert hasattr(nodes.NODE_CLASS_MAPPINGS[name].execute.__func__, "__wrapped__"), name
