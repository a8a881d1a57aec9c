"""Frames where they are wanted, as they were drawn; and the user's own models, which stay on the device."""

from __future__ import annotations

import json
from pathlib import Path

import av
import comfy.model_management
import cv2
import folder_paths
import numpy as np
import pack
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.progress import reset_progress_state
from graphs import clip, generator, node, render, speak


@pytest.fixture(scope="module", autouse=True)
def other_pack(host):
    pack.register()
    speech = host.core("media.audio").load_waveform(host.module("host.folders").input_path("speech.wav"))
    pack.Given.values["word"] = {"waveform": torch.from_numpy(speech[:8000].copy())[None, None], "sample_rate": 16000}


def spoken(crf: int) -> dict:
    """2: the avatar, 5: its generator, 6: a render of half a second."""
    graph = clip("clip.mp4") | generator() | render(("4", 0), crf=crf)
    return graph | {"4": node("TestGiven", key="word")}


def frames(host, key: str, graph: dict) -> torch.Tensor:
    result = host.run(graph)
    assert result.status == "success", result.error
    return pack.Kept.images[key]


def kept(key: str, output=("6", 1)) -> dict:
    """8: keeps the images."""
    return {"8": node("TestKept", images=list(output), key=key)}


def test_frames_are_those_that_were_drawn(host):
    """Whatever the mp4 is compressed to; outside the mouth they are the clip's own."""
    fine, coarse = (frames(host, str(crf), spoken(crf) | kept(str(crf))) for crf in (16, 51))
    assert fine.shape[0] in (7, 8)
    assert torch.equal(fine, coarse)
    avatar = host.core("avatar.folder").open_avatar(host.module("host.folders").saved_path("avatars", "tester"))
    first = next(host.core("media.video").read_frames(avatar.video, count=1))
    changed = (fine[0] * 255).round().to(torch.uint8).numpy() != first
    assert 0 < changed.any(2).mean() < 0.2


def test_frames_that_a_video_was_made_without_are_made_when_they_are_wanted(host):
    graph = spoken(24)
    graph["9"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/wanted", format="auto", codec="auto")
    assert host.run(graph).status == "success"
    graph |= kept("later")
    assert len(frames(host, "later", graph)) in (7, 8)


def expanding(kind: str, crf: int) -> dict:
    """6: a node of this kind, which expands into a render."""
    graph = spoken(crf)
    graph["6"] = node(f"Test{kind}", avatar=["2", 0], generator=["5", 0], audio=["4", 0], crf=crf)
    return graph


def test_frames_of_a_render_in_an_expansion(host):
    handed_on = frames(host, "handed on", expanding("HandsOnFrames", 25) | kept("handed on", ("6", 0)))
    flipped = frames(host, "flipped", expanding("FlipsFrames", 25) | kept("flipped", ("6", 0)))
    assert len(handed_on) in (7, 8)
    assert torch.equal(flipped, handed_on.flip(2))


@pytest.mark.parametrize(
    ("outside", "inside", "answer"),
    [
        (node("TestKept", images=["6", 0]), node("TestKept"), "perhaps"),
        (node("PreviewAny", source=["6", 0]), node("TestKept"), "perhaps"),
        (node("SaveVideo", video=["6", 0]), node("TestKept"), "no"),
        (node("TestKept"), node("TestKept"), "no"),
        (node("SaveVideo", video=["6", 0]), node("TestKept", images=["6.1", 1]), "yes"),
    ],
)
def test_an_expansion_that_only_hands_on_a_video_wants_no_frames(host, outside, inside, answer):
    graph = DynamicPrompt({"6": node("TestHandsOnFrames"), "8": outside})
    graph.add_ephemeral_node("6.1", node("UDH_LipSyncRender"), "6", "6")
    graph.add_ephemeral_node("6.2", inside, "6", "6")
    reset_progress_state("test", graph)
    assert host.module("host.prompt").linked("6.1", 1) == answer


def test_mouths_go_through_a_restorer_and_back(host):
    """Enlarged, they come back to their place; and mask and boxes say where that is."""
    graph = spoken(12) | kept("mouths", ("6", 3))
    graph["9"] = node("MaskToImage", mask=["6", 4])
    graph["10"] = node("ImageScaleBy", image=["6", 3], upscale_method="bicubic", scale_by=2.0)
    graph["11"] = node("UDH_PasteMouths", mouths=["10", 0], placed=["6", 5], crf=12)
    graph["12"] = node("GetVideoComponents", video=["11", 0])
    graph["13"] = node("PreviewAny", source=["6", 6])
    for number, (key, source) in enumerate({"mask": "9", "pasted": "12"}.items(), 14):
        graph[str(number)] = node("TestKept", images=[source, 0], key=key)
    pasted = frames(host, "pasted", graph)
    drawn = frames(host, "drawn", spoken(12) | kept("drawn"))
    mouths, mask = pack.Kept.images["mouths"], pack.Kept.images["mask"]
    assert mouths.shape == (len(drawn), 96, 96, 3)
    assert mask.shape == drawn.shape and mask.min() == 0 and mask.max() == 1
    assert (pasted - drawn).abs().mean() < 0.01
    boxes = json.loads(host.run(graph).ui["13"]["text"][0])
    rows, columns = (mask[0, ..., 0] > 0).nonzero(as_tuple=True)
    (box,) = boxes[0]
    assert len(boxes) == len(drawn)
    assert box["x"] <= columns.min() and columns.max() < box["x"] + box["width"]
    assert box["y"] <= rows.min() and rows.max() < box["y"] + box["height"]
    graph["10"] = node("RepeatImageBatch", image=["6", 3], amount=2)
    result = host.run(graph)
    assert result.status == "error"
    assert f"got {2 * len(drawn)} mouths for {len(drawn)} frames" in result.error


@pytest.mark.parametrize("kind", ["ProRes 4444", "PNG files"])
def test_an_overlay_is_saved_that_laid_over_the_clip_is_the_render(host, kind):
    graph = spoken(12) | kept("drawn")
    graph["9"] = node("UDH_SaveOverlay", placed=["6", 5], kind=kind, filename_prefix="udh/overlay")
    graph["10"] = node("PreviewAny", source=["9", 0])
    drawn = (frames(host, "drawn", graph) * 255).numpy()
    saved = Path(host.run(graph).ui["10"]["text"][0])
    assert saved.parent == Path(folder_paths.get_output_directory()) / "udh"
    assert host.texts("9")[-1] == f"output/udh/{saved.name}"
    if kind == "PNG files":
        pictures = [cv2.imread(str(one), cv2.IMREAD_UNCHANGED) for one in sorted(saved.glob("*.png"))]
        overlays = np.stack([cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA) for picture in pictures])
        assert (saved / "sound.wav").is_file()
    else:
        assert host.core("media.probe").probe(saved).has_audio
        with av.open(str(saved)) as container:
            overlays = np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)])
    avatar = host.core("avatar.folder").open_avatar(host.module("host.folders").saved_path("avatars", "tester"))
    clip_frames = np.stack(list(host.core("media.video").read_frames(avatar.video, count=len(overlays))))
    alpha = overlays[..., 3:] / 255
    assert len(overlays) == len(drawn) and 0 < (alpha > 0).mean() < 0.2
    laid_over = clip_frames * (1 - alpha) + overlays[..., :3] * alpha
    assert np.abs(laid_over - drawn).mean() < 0.1
    assert "9" in host.run(graph).cached
    graph["6"]["inputs"]["mark"] = "AI-generated"
    result = host.run(graph)
    assert result.status == "error" and "leave out `mark`" in result.error


def test_frames_that_do_not_fit_are_refused(host):
    with pytest.raises(host.core("errors").MediaError, match=r"limit is .* GB .*video output"):
        host.module("host.frames").Frames("yes").space((10**9, 512, 512, 3))
    assert host.module("host.frames").does_not_fit((150, 512, 512, 3), 10**10) == ""


def test_a_node_that_takes_frames_of_which_there_are_none_is_told_why(host):
    """Never None, which it would fail at in words of its own."""
    made = host.module("host.frames").Frames("perhaps")
    assert made.space((10**9, 512, 512, 3)) is None
    assert "GB of memory as IMAGE" in made.image().message
    assert "run the graph again" in host.module("host.frames").Frames("no").image().message


def test_a_render_leaves_the_users_models_where_they_are(host):
    """What a TTS or an upscaler has loaded is not loaded anew for every sentence; a training takes the device."""
    graph = spoken(30)
    graph["9"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/loaded", format="auto", codec="auto")
    assert host.run(speak("clip.mp4")).status == "success"
    model = pack.loaded_model()
    assert host.run(graph).status == "success"
    assert pack.is_loaded(model)
    host.executor.reset()  # as after a graph of another kind: the training node runs again
    assert host.run(speak("clip.mp4")).status == "success"
    assert pack.is_loaded(model)  # its generator came from disk
    with host.module("host.device").for_training():
        assert not pack.is_loaded(model)
        assert comfy.model_management.in_training is True
    assert comfy.model_management.in_training is False
