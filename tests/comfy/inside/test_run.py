"""Graphs through ComfyUI's own executor, our nodes beside core's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import comfy.model_management
import folder_paths
import pack
import pytest
import torch
from graphs import clip, generator, mux, node, quick_start, render, report, speak
from protocol import BinaryEventTypes

import nodes


class LazySound(Mapping):
    """Some packs hand out a mapping that decodes when it is asked."""

    def __getitem__(self, key: str):
        if key == "sample_rate":
            return 22050
        return 0.3 * torch.sin(torch.arange(44100) * 0.05).repeat(1, 2, 1)

    def __iter__(self) -> Iterator[str]:
        return iter(("waveform", "sample_rate"))

    def __len__(self) -> int:
        return 2


@pytest.fixture(scope="module", autouse=True)
def sounds(host):
    """Of other packs: a mapping that decodes, and None where a clip has no sound."""
    pack.register()
    pack.Given.values |= {"lazy": LazySound(), "none": None}


def saved(result, node_id: str = "7") -> Path:
    entry = result.ui[node_id]["images"][0]
    return Path(folder_paths.get_output_directory()) / entry["subfolder"] / entry["filename"]


def test_quick_start_makes_a_talking_video_and_is_cached(host):
    host.sent.clear()
    first = host.run(speak("clip.mp4"))
    assert first.status == "success", first.error
    media = host.core("media.probe").probe(saved(first))
    assert media.has_audio
    assert abs(media.video.frame_count - 90) <= 1
    assert abs(media.duration_s - 6.0) < 0.1
    assert saved(first).parent == Path(folder_paths.get_output_directory()) / "udh"
    texts = [s.data for s in host.sent if isinstance(s.data, bytes)]
    assert any(b"landmarks " in text for text in texts)
    assert any(re.search(rb"warp \d+%, step \d", text) for text in texts)
    assert any(b"frames/s" in text for text in texts)
    pictures = [s.data[0][1].tobytes() for s in host.sent if s.event == BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA]
    assert len(pictures) == len(set(pictures)) >= 1  # none is sent twice
    second = host.run(speak("clip.mp4"))
    assert second.cached == set("123567")


def test_shipped_quick_start(host):
    result = host.run(quick_start())
    assert result.status == "success", result.error
    media = host.core("media.probe").probe(saved(result, "8"))
    assert media.has_audio
    assert abs(media.duration_s - 6.0) < 0.1


def test_core_nodes_take_what_ours_give(host):
    """LoadVideo and LoadAudio in; SaveVideo, GetVideoComponents, LossGraphNode, ImageScale and PreviewAny out."""
    graph = of_core() | render(audio=("21", 0)) | mux()
    graph["21"] = node("LoadAudio", audio="speech.wav")
    graph["7"]["inputs"]["audio"] = ["21", 0]
    graph["30"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/core", format="auto", codec="auto")
    graph["31"] = node("GetVideoComponents", video=["6", 0])
    graph["32"] = node("PreviewImage", images=["31", 0])
    graph["33"] = node("LossGraphNode", loss=["5", 1], filename_prefix="loss")
    scale = {"upscale_method": "bilinear", "width": 128, "height": 128, "crop": "disabled"}
    graph["34"] = node("ImageScale", image=["6", 1], **scale)
    graph["35"] = node("PreviewImage", images=["34", 0])
    graph["36"] = node("PreviewAny", source=["2", 2])
    graph["37"] = node("PreviewImage", images=["2", 1])
    result = host.run(graph)
    assert result.status == "success", result.error
    video = host.core("media.probe")
    assert abs(video.probe(saved(result)).video.frame_count - 45) <= 1  # three seconds of speech
    assert abs(video.probe(saved(result, "30")).video.frame_count - 45) <= 1
    assert abs(len(result.ui["35"]["images"]) - 45) <= 1
    assert len(result.ui["32"]["images"]) == len(result.ui["35"]["images"])
    assert len(result.ui["33"]["images"]) == 1
    assert "face found in 90 frames" in result.ui["36"]["text"][0]
    assert len(result.ui["37"]["images"]) == 8


def of_core() -> dict:
    """5: a generator that is trained on a clip of LoadVideo."""
    graph = clip("(none)", name="from core") | generator() | {"20": node("LoadVideo", file="clip.mp4")}
    graph["1"]["inputs"]["video"] = ["20", 0]
    return graph


def test_lazy_sound_is_taken(host):
    graph = speak("clip.mp4") | {"40": node("TestGiven", key="lazy")}
    graph["6"]["inputs"]["audio"] = graph["7"]["inputs"]["audio"] = ["40", 0]
    result = host.run(graph)
    assert result.status == "success", result.error
    assert abs(host.core("media.probe").probe(saved(result)).duration_s - 2.0) < 0.1


@pytest.mark.parametrize("taker", ["3", "6", "7"])
def test_no_sound_is_a_clear_error(host, taker):
    graph = speak("clip.mp4") | {"40": node("TestGiven", key="none")}
    graph[taker]["inputs"]["audio"] = ["40", 0]
    result = host.run(graph)
    assert result.status == "error"
    assert "got no sound" in result.error
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS[graph[taker]["class_type"]] in result.error


def test_features_alone_drive_a_render(host):
    graph = speak("clip.mp4")
    del graph["6"]["inputs"]["audio"]
    graph["6"]["inputs"]["features"] = ["3", 0]
    result = host.run(graph)
    assert result.status == "success", result.error
    assert host.core("media.probe").probe(saved(result)).has_audio


def test_a_box_chooses_the_face(host):
    point = host.module("prepare").face_point
    assert point(None, [[{"x": 10, "y": 20, "width": 30, "height": 40}]], (640, 360)) == (25.0, 40.0)
    found = {"frames": [[{"bbox_xyxy": [0, 0, 100, 50]}]], "image_size": (180, 320)}
    assert point(found, None, (640, 360)) == (100.0, 50.0)
    assert point(None, None, (640, 360)) is None
    nothing = {"frames": [[]], "image_size": (180, 320)}
    for wrong in ([], [[]], [10, 20, 30, 40], {"x": 10, "y": 20}, {"x": "a", "y": 1, "width": 1, "height": 1}, 5):
        with pytest.raises(host.core("errors").OptionError, match="there is no face in `bounding_box`"):
            point(None, wrong, (640, 360))
    with pytest.raises(host.core("errors").OptionError, match="there is no face in `face_landmarks`"):
        point(nothing, None, (640, 360))


def test_a_syncnet_gives_the_generator_a_loss(host):
    graph = clip("clip.mp4") | syncnet() | generator(steps=6, name="with syncnet")
    graph["5"]["inputs"]["syncnet"] = ["4", 0]
    graph["41"] = node("LossGraphNode", loss=["4", 1], filename_prefix="loss")
    graph["42"] = node("PreviewImage", images=["4", 2])
    graph["43"] = node("PreviewImage", images=["5", 2])
    names = host.module("host.folders")
    before = names.saved_names("avatars", "*/crops.npy")
    host.sent.clear()
    result = host.run(graph)
    assert result.status == "success", result.error
    assert any(b", sync " in s.data for s in host.sent if isinstance(s.data, bytes))
    assert names.saved_names("avatars", "*/crops.npy") == sorted({*before, "tester"})
    assert "with syncnet" in names.saved_names("generators", "*.safetensors")
    assert names.saved_names("syncnets", "*.safetensors") == ["tester"]


def syncnet(**more) -> dict:
    """4: the SyncNet."""
    settings = {"name": "", "minutes": 0.0, "steps": 2, "seed": 0, "resume": True, **more}
    return {"4": node("UDH_TrainSyncNet", avatar=["2", 0], features=["3", 0], **settings)}


def test_report_gives_verdicts_figures_and_a_page(host):
    graph = clip("clip.mp4") | syncnet() | generator() | report(syncnet=["4", 0], other_voice=["21", 0])
    graph["21"] = node("LoadAudio", audio="speech.wav")
    host.sent.clear()
    result = host.run(graph)
    assert result.status == "success", result.error
    words, figures = (result.ui[name]["text"][0] for name in ("81", "82"))
    assert "The mouth" in words and "Another voice" in words and "The SyncNet" in words
    assert set(json.loads(figures)["rows"]) >= {"generated", "real", "other voice", "silence"}
    page = Path(words.splitlines()[1].removeprefix("report: "))
    assert page.parent == Path(folder_paths.get_output_directory()) / "udh"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "data:video/mp4" in page.read_text(encoding="utf-8")
    assert len(result.ui["8"]["images"]) == len(result.ui["80"]["images"]) == 1
    assert result.ui["8"]["text"][0] == words
    texts = [s.data for s in host.sent if isinstance(s.data, bytes)]
    assert any(b"generated " in text for text in texts)
    stages, said = host.module("evaluate").STAGES, [text for text in host.texts("8") if text != " "]
    assert all(any(text.startswith(f"{stage} ") for stage in stages) for text in said[:-1])
    verdict, link = said[-1].split("\n")[0], re.search(r"\[\[[^|]+\|(http[^]]+)\]\]", said[-1])[1]
    assert verdict == words.splitlines()[0]
    assert parse_qs(urlparse(link).query)["filename"] == [page.name]
    assert host.run(graph).cached >= {"8"}


def test_report_of_a_generator_alone(host):
    graph = clip("clip.mp4") | generator() | report()
    result = host.run(graph)
    assert result.status == "success", result.error
    assert "The SyncNet" not in result.ui["81"]["text"][0]
    graph["2"]["inputs"]["avatar"] = ["90", 0]
    graph["90"] = node("UDH_LoadAvatarVideo", **{**graph["1"]["inputs"], "name": "shorter", "duration_s": 5.5})
    graph |= {"5": node("UDH_LoadGenerator", name="tester")}
    result = host.run(graph)
    assert result.status == "error"
    assert "belong together" in result.error
    assert re.search(r"was trained with avatar tester \(clip\.mp4.*, here is avatar shorter \(clip\.mp4", result.error)
    assert not re.search(r"[0-9a-f]{16}", result.error)
    assert host.texts("8")[-1] == result.error.strip()


def test_syncnet_begins_from_another(host):
    graph = clip("clip.mp4") | syncnet()
    graph["40"] = node("PreviewImage", images=["4", 2])
    assert host.run(graph).status == "success"
    path = host.module("host.folders").saved_path("syncnets", "tester", ".safetensors")
    graph["4"]["inputs"] |= {"name": "begun", "init": ["41", 0]}
    graph["41"] = node("UDH_LoadSyncNet", name="tester")
    result = host.run(graph)
    assert result.status == "success", result.error
    begun = host.module("host.folders").saved_path("syncnets", "begun", ".safetensors")
    info = host.core("models.checkpoint").read_info(begun)
    assert info.config["options"]["begun_from"] == host.core("models.checkpoint").fingerprint(path)
    del graph["4"]["inputs"]["init"]
    assert host.run(graph).status == "success"  # with no start it is another run: what was there is set aside
    assert len(host.module("host.folders").saved_names("syncnets", "begun*.safetensors")) == 2


def test_a_person_is_loaded_from_disk(host):
    assert host.run(speak("clip.mp4")).status == "success"
    graph = {
        "2": node("UDH_LoadAvatar", name="tester"),
        "5": node("UDH_LoadGenerator", name="tester"),
        "21": node("LoadAudio", audio="speech.wav"),
    } | render(audio=("21", 0))
    graph["30"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/again", format="auto", codec="auto")
    result = host.run(graph)
    assert result.status == "success", result.error
    assert abs(host.core("media.probe").probe(saved(result, "30")).duration_s - 3.0) < 0.1


def test_a_person_is_exported_and_loaded_as_one_file(host):
    graph = speak("clip.mp4")
    graph["9"] = node("UDH_ExportAvatar", avatar=["2", 0], generator=["5", 0], name="gone", start_s=1.0, duration_s=2.0)
    graph["91"] = node("PreviewAny", source=["9", 0])
    host.sent.clear()
    made = host.run(graph)
    assert made.status == "success", made.error
    assert any(b" 30 / 30" in s.data for s in host.sent if isinstance(s.data, bytes))
    bundle = host.module("host.folders").saved_path("bundles", "gone", ".safetensors")
    assert made.ui["91"]["text"][0] == str(bundle)
    bundle.rename(bundle.with_name("travelled.safetensors"))
    away = {"2": node("UDH_LoadBundle", name="travelled"), "21": node("LoadAudio", audio="speech.wav")}
    away |= render(audio=("21", 0))
    away["6"]["inputs"]["generator"] = ["2", 1]
    away["30"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/away", format="auto", codec="auto")
    result = host.run(away)
    assert result.status == "success", result.error
    assert abs(host.core("media.probe").probe(saved(result, "30")).duration_s - 3.0) < 0.1
    assert host.run(away).cached >= {"2", "6"}
    host.executor.reset()  # nothing is cached; what is unpacked already is taken
    assert host.run(away).status == "success"


def test_nothing_trains_on_a_bundle(host):
    graph = speak("clip.mp4")
    graph["9"] = node("UDH_ExportAvatar", avatar=["2", 0], generator=["5", 0], name="", start_s=0.0, duration_s=2.0)
    assert host.run(graph).status == "success"
    training = clip("clip.mp4") | generator(name="never")
    training["9"] = node("UDH_LoadBundle", name="tester")
    training["5"]["inputs"]["avatar"] = ["9", 0]
    training["33"] = node("LossGraphNode", loss=["5", 1], filename_prefix="loss")
    result = host.run(training)
    assert result.status == "error"
    assert "nothing to train on" in result.error


def test_a_finished_training_comes_from_disk_and_a_longer_one_goes_on(host):
    assert host.run(speak("clip.mp4")).status == "success"
    path = host.module("host.folders").saved_path("generators", "tester", ".safetensors")
    before = path.read_bytes()
    host.executor.reset()  # as after a restart of ComfyUI: nothing is cached
    assert host.run(speak("clip.mp4")).status == "success"
    assert path.read_bytes() == before
    longer = clip("clip.mp4") | generator(steps=6, batch=2) | render() | mux()  # and what memory ran out for is halved
    assert host.run(longer).status == "success"
    checkpoint = host.core("models.checkpoint")
    state = checkpoint.read_info(checkpoint.resume_path(path))
    assert (state.step, state.config["options"]["batch"]) == (6, 2)
    assert host.module("host.folders").saved_names("generators", "tester*.safetensors") == ["tester"]


def test_another_seed_starts_anew_and_keeps_the_old_one(host):
    graph = of_core() | {"9": node("PreviewImage", images=["5", 2])}
    assert host.run(graph).status == "success"
    graph["5"]["inputs"]["seed"] = 7
    assert host.run(graph).status == "success"
    names = host.module("host.folders").saved_names("generators", "from core*.safetensors")
    assert len(names) == 2
    assert "from core" in names
    assert comfy.model_management.in_training is False  # and a training leaves no mode behind
    assert not torch.is_inference_mode_enabled()


def test_an_avatar_that_was_taken_over_is_made_again(host):
    """By an import that another program began in its folder, and stopped."""
    graph = clip("clip.mp4", name="stopped", crop_px=160)
    graph = {"1": graph["1"], "34": node("PreviewImage", images=["1", 2])}
    assert host.run(graph).status == "success"
    assert host.run(graph).cached == {"1", "34"}
    files, options = host.module("host.folders"), host.core("avatar.options").PrepareOptions(160, start_s=0.5)
    root = files.saved_path("avatars", "stopped")
    started = host.core("avatar.prepare").import_clip(files.input_path("clip.mp4"), root, options)
    next(started)
    started.close()
    assert (root / "avatar.json").is_file()
    assert "1" not in host.run(graph).cached  # it has to run
    assert host.core("avatar.folder").open_avatar(root, ("video", "audio")).crop.size == 160
    assert host.run(graph).cached == {"1", "34"}


def test_whether_a_node_runs_again_is_decided_without_an_error(host):
    """For what is gone, for names that cannot be, and where an input is linked."""
    taken = {"file": "clip.mp4", "name": "stopped", "crop_px": 160, "start_s": 0.0, "duration_s": 0.0}
    state = host.module("prepare").LoadAvatarVideo.fingerprint_inputs
    for wrong in ({"name": "../up"}, {"name": None}, {"start_s": None}, {"file": None}, {"file": "gone.mp4"}):
        assert isinstance(state(**{**taken, **wrong}), str), wrong
    for name in ("LoadAvatar", "LoadBundle", "LoadGenerator", "LoadSyncNet"):
        loads = getattr(host.module("saved"), name).fingerprint_inputs
        assert [loads("gone"), loads("../up"), loads(None)] == ["missing", "missing", ""]
