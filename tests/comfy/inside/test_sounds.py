"""AUDIO as other packs hand it out, and whose sound a training takes."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import pack
import pytest
import soundfile
import torch
from graphs import clip, generator, node, speak

RATE_HZ = 16000
TONE = 0.4 * torch.sin(torch.arange(RATE_HZ // 2) * 0.2)  # half a second
STEREO = torch.stack([TONE, TONE.flip(0)])


@pytest.fixture(scope="module", autouse=True)
def other_pack(host):
    pack.register()


def audio(waveform: object, rate: object = RATE_HZ) -> dict:
    return {"waveform": waveform, "sample_rate": rate}


def integers(kind: torch.dtype, one: float) -> torch.Tensor:
    return (TONE.double() * one).round().to(kind)


TAKEN = {
    "as ComfyUI has it": (audio(TONE[None, None]), TONE[None]),
    "stereo": (audio(STEREO[None]), STEREO),
    "one dimension": (audio(TONE), TONE[None]),
    "no batch": (audio(STEREO), STEREO),
    "time first": (audio(STEREO.T.contiguous()), STEREO),
    "an array": (audio(STEREO.numpy()[None]), STEREO),
    "an array of doubles": (audio(TONE.double().numpy()), TONE[None]),
    "half precision": (audio(TONE.half()[None, None]), TONE[None]),
    "int16": (audio(integers(torch.int16, 2**15)[None, None]), TONE[None]),
    "int32": (audio(integers(torch.int32, 2**31)), TONE[None]),
    "uint8": (audio((integers(torch.int16, 127) + 128).to(torch.uint8)), TONE[None]),
    "rate as a tensor": (audio(TONE, torch.tensor(RATE_HZ)), TONE[None]),
    "a little too loud": (audio(TONE * 3), (TONE * 3).clamp(-1, 1)[None]),
}


@pytest.mark.parametrize("case", TAKEN)
def test_any_one_sound_is_read_rightly(host, case):
    given, expected = TAKEN[case]
    path = host.module("host.media").sound_file(given, "Mux Video")
    samples, rate_hz = soundfile.read(path, always_2d=True)
    assert rate_hz == RATE_HZ
    assert samples.shape == expected.T.shape
    assert np.abs(samples - expected.T.numpy()).max() < (0.02 if case == "uint8" else 0.001)


REFUSED = {
    "two sounds": (audio(torch.zeros(2, 1, 800)), "2×1×800, 2 sounds; give one sound"),
    "none": (audio(torch.zeros(0, 1, 800)), "0×1×800, 0 sounds"),
    "no samples": (audio(torch.zeros(1, 1, 0)), "0 samples long.*1×1×0"),
    "four dimensions": (audio(torch.zeros(1, 1, 1, 800)), "1×1×1×800"),
    "no dimension": (audio(torch.tensor(0.5)), "has the shape none"),
    "a thousand channels": (audio(torch.zeros(1, 1000, 800)), "1×1000×800"),
    "nothing in it": ({}, "no AUDIO with waveform and sample_rate, but a dict of 0 items"),
    "a list": ([audio(TONE)], "but a list of 1 items"),
    "a waveform that is a list": (audio([0.0, 0.1]), "is list.*floats"),
    "bool": (audio(TONE > 0), "torch.bool, its shape 8000"),
    "complex": (audio(np.zeros(800, np.complex64)), "complex64, its shape 800"),
    "sparse": (audio(TONE[None].to_sparse()), "is a sparse, nested or meta tensor; give a dense one"),
    "nested": (audio(torch.nested.nested_tensor([TONE], layout=torch.jagged)), "is a sparse, nested or meta tensor"),
    "without numbers": (audio(TONE.to("meta")), "is a sparse, nested or meta tensor"),
    "rate 0": (audio(TONE, 0), "sample rate 0; give it in Hz"),
    "rate in kHz": (audio(TONE, 44.1), "sample rate 44.1"),
    "no rate": (audio(TONE, None), "sample rate None"),
    "whole numbers as floats": (audio(TONE * 2**15), "8000. reach 13107; give floats −1..1"),
    "not a number": (audio(TONE / 0), "8000.* are not numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_sound_is_refused_by_its_shape(host, case):
    given, words = REFUSED[case]
    with pytest.raises(host.core("errors").MediaError, match=words) as caught:
        host.module("host.media").sound_file(given, "Mux Video")
    assert "Mux Video" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sounds_of_the_same_bytes_are_told_apart(host):
    """By shape and by rate."""
    file = host.module("host.media").sound_file
    sounds = [audio(torch.zeros(1, 2, 4000)), audio(torch.zeros(1, 1, 8000)), audio(torch.zeros(1, 1, 8000), 8000)]
    paths = [file(one, "Mux Video") for one in sounds]
    lengths_s = [len(host.core("media.audio").load_waveform(path)) / RATE_HZ for path in paths]
    assert lengths_s == [0.25, 0.5, 1.0]
    assert file(sounds[0], "Mux Video") == paths[0]


def test_a_video_gets_the_sound_that_was_given(host):
    pack.Given.values |= {"int16": TAKEN["int16"][0], "nothing": {}}
    graph = {
        "1": node("LoadVideo", file="clip.mp4"),
        "2": node("TestGiven", key="int16"),
        "3": node("UDH_MuxVideo", video=["1", 0], audio=["2", 0], filename_prefix="udh/int16"),
    }
    result = host.run(graph)
    assert result.status == "success", result.error
    found = result.ui["3"]["images"][0]
    made = Path(folder_paths.get_output_directory()) / found["subfolder"] / found["filename"]
    waveform = host.core("media.audio").load_waveform(made)
    assert host.core("media.compare").is_same_sound(waveform[: len(TONE)], TONE.numpy())
    graph["2"]["inputs"]["key"] = "nothing"
    refused = host.run(graph)
    assert refused.status == "error"
    assert "Mux Video got no AUDIO" in refused.error


def test_features_of_another_sound_are_refused_and_harm_nothing(host):
    """New words are for Lip Sync Render; a training takes the avatar's own."""
    assert host.run(speak("clip.mp4")).status == "success"
    root = host.module("host.folders").saved_path("avatars", "tester")
    before = {path: path.read_bytes() for path in (root / "features").rglob("*.npy")}
    speech = host.core("media.audio").load_waveform(root / "audio.wav")
    pack.Given.values["words"] = audio(torch.from_numpy(speech.copy()).flip(0)[None, None])  # as long as the clip
    graph = clip("clip.mp4") | generator(name="foreign") | {"8": node("TestGiven", key="words")}
    graph["9"] = node("PreviewImage", images=["5", 3])
    graph["3"]["inputs"]["audio"] = ["8", 0]
    result = host.run(graph)
    assert result.status == "error"
    assert "of another sound" in result.error and "tester (audio.wav, 6.0 s)" in result.error
    assert len(before) >= 2
    assert {path: path.read_bytes() for path in (root / "features").rglob("*.npy")} == before
    assert "foreign" not in host.module("host.folders").saved_names("generators", "*.safetensors")


def test_training_makes_the_features_of_the_avatars_own_sound(host):
    """With the encoder of the SyncNet that is given."""
    training = {"minutes": 0.0, "steps": 1, "seed": 0, "resume": True}
    graph = clip("clip.mp4") | {"9": node("PreviewImage", images=["5", 2])}
    graph["4"] = node("UDH_TrainSyncNet", avatar=["2", 0], features=["3", 0], name="first", **training)
    graph["5"] = node("UDH_TrainSyncNet", avatar=["2", 0], init=["4", 0], name="second", **training)
    result = host.run(graph)
    assert result.status == "success", result.error
    made = host.module("host.folders").saved_path("syncnets", "second", ".safetensors")
    assert host.core("models.checkpoint").read_info(made).encoder == "mel80"
    for node_class in ("TrainGenerator", "TrainSyncNet"):
        schema = {one.id: one for one in getattr(host.module("train"), node_class).GET_SCHEMA().inputs}
        assert schema["features"].optional and "whisper-tiny" in schema["features"].tooltip
