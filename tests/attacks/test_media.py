"""Names and contents that would make ffmpeg read an option, a protocol, a shell's words or another file."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from udh_core.errors import MediaError
from udh_core.media.audio import load_waveform
from udh_core.media.ffmpeg import describe
from udh_core.media.probe import probe
from udh_core.media.transcode import import_video, mux
from udh_core.media.video import VideoWriter, read_frames

NAMES = (
    *("-i.mp4", "-y", "--help.mp4", "-filter_complex.mp4"),
    *("concat:a.mp4|b.mp4", "file:x.mp4", "pipe:0", "subfile,,start,0,end,0,,:x.mp4", "data:x.mp4", "http:x.mp4"),
    *("$(touch pwned).mp4", "`touch pwned`.mp4", "a;touch pwned;.mp4", "a|touch pwned.mp4", "a&&touch pwned.mp4"),
    *("frame%03d.mp4", "*.mp4", "new\nline.mp4", "quote'\".mp4"),
)
FRAMES, SIZE = 30, 64


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small mp4 with sound."""
    folder = tmp_path_factory.mktemp("clip")
    from udh_core.media.audio import write_wave

    write_wave(folder / "tone.wav", np.sin(np.arange(16000 * 1.2) / 8))
    with VideoWriter(folder / "c.mp4", width=SIZE, height=SIZE, fps=Fraction(25), audio=folder / "tone.wav") as writer:
        for i in range(FRAMES):
            writer.write(np.full((SIZE, SIZE, 3), 8 * i, np.uint8))
    return (folder / "c.mp4").read_bytes()


@pytest.fixture
def address() -> Iterator[tuple[str, list[bytes]]]:
    """A web address that answers nothing, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def serve() -> None:
            while server.fileno() != -1:
                try:
                    connection, _ = server.accept()
                except OSError:
                    continue
                with connection:
                    asked.append(connection.recv(1000))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
    thread.join()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(here: Path, clip: bytes, name: str) -> None:
    path = Path(name)  # relative: nothing but the name reaches ffmpeg
    path.write_bytes(clip)
    assert probe(path).has_audio
    assert sum(1 for _ in read_frames(path)) == FRAMES
    assert len(load_waveform(path)) >= 16000
    import_video(path, Path("imported.mp4"), start_s=0.2).run()
    mux(path, path, Path("muxed.mp4")).run()
    assert {path.name for path in here.iterdir()} == {name, "imported.mp4", "muxed.mp4"}


@pytest.mark.parametrize("name", NAMES)
def test_an_output_has_the_name_it_was_given(here: Path, clip: bytes, name: str) -> None:
    Path("sound.mp4").write_bytes(clip)
    with VideoWriter(Path(name), width=SIZE, height=SIZE, fps=Fraction(25), audio=Path("sound.mp4")) as writer:
        writer.write(np.zeros((SIZE, SIZE, 3), np.uint8))
    assert {path.name for path in here.iterdir()} == {name, "sound.mp4"}


def test_an_address_is_a_file_that_is_not_there(here: Path, address: tuple[str, list[bytes]]) -> None:
    url, asked = address
    for read in (probe, describe, load_waveform, lambda path: list(read_frames(path))):
        with pytest.raises(MediaError, match="no such file"):
            read(Path(f"{url}/clip.mp4"))
    assert asked == []


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1.2,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation '
    'id="1" bandwidth="1" codecs="avc1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
)
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
CONCAT = "ffconcat version 1.0\nfile '{}'\n"


@pytest.mark.parametrize("name", ["list.m3u8", "list.mpd", "list.sdp", "list.ffconcat", "clip.mp4", "sound.wav"])
@pytest.mark.parametrize("content", [HLS, DASH, SDP, CONCAT])
def test_a_list_of_other_files_is_refused(
    here: Path, clip: bytes, address: tuple[str, list[bytes]], content: str, name: str
) -> None:
    url, asked = address
    (here / "private.ts").write_bytes(clip)
    for target in (f"{url}/a.ts", "private.ts", str(here / "private.ts"), f"file:{here / 'private.ts'}"):
        (here / name).write_text(content.format(target))
        for read in (describe, load_waveform, lambda path: list(read_frames(path))):
            with pytest.raises(MediaError, match=name):
                read(Path(name))
    assert asked == []
