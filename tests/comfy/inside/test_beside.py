"""Two people of one clip in one render: Add Speaker beside Lip Sync Render."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import pack
import pytest
import torch
from graphs import generator, node, render


@pytest.fixture(scope="module", autouse=True)
def clip_of_two(host) -> None:
    """input/two.mp4: the clip, and beside it itself turned round, in other colours; and what both say."""
    pack.register()
    folder = Path(folder_paths.get_input_directory())
    beside = "[0:v]split[a][b];[b]hflip,hue=h=30[c];[a][c]hstack"
    codecs = ["-map", "0:a", "-c:v", "libx264", "-crf", "16", "-c:a", "copy", "-y"]
    arguments = ["-i", str(folder / "clip.mp4"), "-filter_complex", beside, *codecs, str(folder / "two.mp4")]
    host.core("media.ffmpeg").run(arguments, "no clip of two people")
    speech = host.core("media.audio").load_waveform(folder / "speech.wav")
    for name, begin, end in (("one", 0, 16000), ("other", 16000, 40000)):
        wave = torch.from_numpy(speech[begin:end].copy())[None, None]
        pack.Given.values[name] = {"waveform": wave, "sample_rate": 16000}


def person(first: int, face: int, name: str = "duo") -> dict:
    """Of these nodes the first three: clip, face, generator."""
    settings = {"name": name, "crop_px": 96, "start_s": 0.0, "duration_s": 0.0}
    trained = generator()["5"]["inputs"] | {"avatar": [str(first + 1), 0]}
    trained.pop("features")
    return {
        str(first): node("UDH_LoadAvatarVideo", file="two.mp4", **settings),
        str(first + 1): node(
            "UDH_DetectLandmarks", avatar=[str(first), 0], face_index=face, max_gap_s=1.0, skip_lost=False
        ),
        str(first + 2): node("UDH_TrainGenerator", **trained),
    }


def both(*outputs: int, right: int = 1) -> dict:
    """6: a render of two people; 11 and 12 say something. Its outputs of these numbers are kept."""
    graph = person(20, 0) | person(30, right) | render(("11", 0))
    graph["6"]["inputs"] |= {"avatar": ["21", 0], "generator": ["22", 0], "others": ["13", 0]}
    graph["11"] = node("TestGiven", key="one")
    graph["12"] = node("TestGiven", key="other")
    graph["13"] = node("UDH_AddSpeaker", avatar=["31", 0], generator=["32", 0], audio=["12", 0])
    graph["7"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/two", format="auto", codec="auto")
    for output in outputs:
        graph[str(60 + output)] = node("TestKept", images=["6", output], key=f"two {output}")
    return graph


def test_both_are_drawn_and_heard(host):
    graph = both(1)
    graph["70"] = node("MaskToImage", mask=["6", 4])
    graph["71"] = node("TestKept", images=["70", 0], key="mask of two")
    result = host.run(graph)
    assert result.status == "success", result.error
    frames, mask = pack.Kept.images["two 1"], pack.Kept.images["mask of two"][..., 0].numpy() > 0
    assert len(frames) in (22, 23)  # 1.5 s: the longer sound
    avatar = host.core("avatar.folder").open_avatar(host.module("host.folders").saved_path("avatars", "duo"))
    clip = np.stack(list(host.core("media.video").read_frames(avatar.video, count=len(frames))))
    changed = ((frames.numpy() * 255).round().astype(np.uint8) != clip).any(-1)
    width = clip.shape[2] // 2
    for side in (slice(0, width), slice(width, None)):
        assert 0.005 < changed[..., side].mean() < 0.2
        assert 0.005 < mask[..., side].mean() < 0.3
    assert not (changed & ~mask).any()
    saved = result.ui["7"]["images"][0]
    heard = host.core("media.audio").load_waveform(
        Path(folder_paths.get_output_directory()) / saved["subfolder"] / saved["filename"]
    )
    said = np.zeros((2, len(heard)), np.float32)
    for row, name in zip(said, ("one", "other"), strict=True):
        wave = pack.Given.values[name]["waveform"][0, 0].numpy()[: len(heard)]
        row[: len(wave)] = wave
    weights, *_ = np.linalg.lstsq(said.T, heard, rcond=None)
    assert np.allclose(weights, weights[0], rtol=0.1) and 0.4 < weights[0] < 1.1
    assert host.run(graph).cached == set(graph)


def test_what_does_not_go_together_is_refused(host):
    for graph, words in ((both(right=0), "it is the same face"), (both(3), "are those of one person")):
        result = host.run(graph)
        assert result.status == "error" and words in result.error, result
    lone = both() | {"9": node("UDH_SaveOverlay", placed=["6", 5], kind="PNG files", filename_prefix="udh/o")}
    result = host.run(lone)
    assert "Save Overlay takes the mouth of one person" in result.error, result
