"""Clips and videos as files: which are offered, how they are written, and what Mux Video makes of any picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import folder_paths
import pytest
from graphs import node

VP8 = ["-c:v", "libvpx", "-b:v", "300k", "-deadline", "realtime", "-f", "webm"]
MJPEG = ["-c:v", "mjpeg", "-q:v", "5", "-f", "avi"]
H264 = ["-c:v", "copy", "-f", "matroska"]
WORKFLOW = {"nodes": [], "extra": {"note": "a=b; # 'c' \\ “d”\n" + "long " * 40_000}}


def input_folder() -> Path:
    return Path(folder_paths.get_input_directory())


def test_clips_of_cameras_and_in_folders_are_offered(host):
    clips = ["phone.MOV", "camera.MTS", "disc.m2ts", "stream.ts", "old.3gp", "people/anna/take 2.mp4"]
    for name in [*clips, "notes.txt", "people/face.png"]:
        path = input_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    offered = host.module("prepare").LoadAvatarVideo.define_schema().inputs[0].options
    assert set(clips) <= set(offered)
    assert not {"notes.txt", "people/face.png"} & set(offered)


def test_a_clip_in_a_folder_is_read(host):
    path = input_folder() / "people" / "bob.mp4"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((input_folder() / "clip.mp4").read_bytes())
    settings = {"name": "bob", "crop_px": 96, "start_s": 0.0, "duration_s": 0.0}
    graph = {"1": node("UDH_LoadAvatarVideo", file="people/bob.mp4", **settings)}
    result = host.run(graph | {"9": node("PreviewImage", images=["1", 2])})
    assert result.status == "success", result.error


@pytest.mark.parametrize(("name", "codec"), [("vp8.webm", VP8), ("mjpeg.avi", MJPEG), ("h264.mkv", H264)])
def test_any_picture_becomes_an_mp4_with_its_workflow(host, name, codec):
    source = input_folder() / name
    arguments = ["-i", str(input_folder() / "clip.mp4"), "-t", "2", "-an", *codec, "-y", str(source)]
    host.core("media.ffmpeg").run(arguments, "no such clip")
    graph = {"20": node("LoadVideo", file=name), "21": node("LoadAudio", audio="speech.wav")}
    graph["7"] = node("UDH_MuxVideo", video=["20", 0], audio=["21", 0], filename_prefix="udh/any")
    result = host.run(graph, extra_pnginfo={"workflow": WORKFLOW})
    assert result.status == "success", result.error
    entry = result.ui["7"]["images"][0]
    made = Path(folder_paths.get_output_directory()) / entry["subfolder"] / entry["filename"]
    with av.open(str(made)) as file:
        assert json.loads(file.metadata["workflow"]) == WORKFLOW
        assert json.loads(file.metadata["prompt"])["7"]["class_type"] == "UDH_MuxVideo"
        assert file.streams.video[0].codec.name == "h264"
    probe = host.core("media.probe").probe
    assert probe(made).has_audio and probe(made).video == probe(source).video


class Video:
    """A VIDEO in memory, or trimmed; writing it out fails at first."""

    def __init__(self, source: object, trim: tuple[float, float]) -> None:
        self.source, self.trim, self.tries = source, trim, 0

    def get_stream_source(self) -> object:
        return self.source

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.trim

    def save_to(self, path: str) -> None:
        self.tries += 1
        Path(path).write_bytes(b"half")
        if self.tries == 1:
            raise OSError("the disk is full")
        Path(path).write_bytes(b"whole")


def test_a_video_is_written_whole_or_not_at_all(host):
    media = host.module("host.media")
    trimmed = Video(str(input_folder() / "clip.mp4"), (1.0, 2.0))
    with pytest.raises(OSError, match="full"):
        media.whole_clip(trimmed)
    assert media.whole_clip(trimmed).read_bytes() == b"whole"
    assert media.whole_clip(trimmed).read_bytes() == b"whole" and trimmed.tries == 2
    path, _, _ = media.clip_of(Video(io.BytesIO(b"in memory"), (0.0, 0.0)))
    assert path.read_bytes() == b"in memory"
    assert not [one for one in path.parent.iterdir() if ".part" in one.name]
