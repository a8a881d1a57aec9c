"""What is trained stays, whatever is loaded under its name; and what was deleted is made anew."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import folder_paths
import pack
import pytest
from graphs import clip, node, render, speak

INPUT = Path(folder_paths.get_input_directory())
LISTED = {"generators": "*.safetensors", "syncnets": "*.safetensors", "avatars": "*/avatar.json"}


@pytest.fixture(scope="module", autouse=True)
def clips(host):
    """small.mp4; other.mp4, another clip; two.mp4, two faces side by side."""
    pack.register()
    convert(host, "small.mp4", "fps=10,scale=256:256")
    convert(host, "other.mp4", "fps=10,scale=256:256,hflip")
    convert(host, "two.mp4", "fps=15,scale=256:256,split[a][b];[b]hflip[c];[a][c]hstack")


def convert(host, out: str, filters: str) -> None:
    """The test's clip, small and short."""
    ffmpeg = host.core("media.ffmpeg").ffmpeg_path()
    command = [ffmpeg, "-v", "error", "-y", "-t", "5.4", "-i", INPUT / "clip.mp4", "-vf", filters, INPUT / out]
    subprocess.run(command, check=True)


@pytest.fixture
def folders(host):
    return host.module("host.folders")


@pytest.fixture(scope="module")
def anna(host) -> dict[Path, bytes]:
    """A trained person: her avatar and her generator."""
    succeed(host, face("small.mp4", name="anna"))
    root = host.module("host.folders").saved_path("avatars", "anna")
    return contents(root, save_generator(host, root, "anna"))


def save_generator(host, root: Path, name: str) -> Path:
    """The weights of the other tests' generator, as one that was trained on the avatar in `root`."""
    path = host.module("host.folders").new_path("generators", "tester", ".safetensors")
    if not path.is_file():
        succeed(host, speak("clip.mp4"))
    checkpoint, avatar = host.core("models.checkpoint"), host.core("avatar.folder").open_avatar(root)
    info, tensors = checkpoint.load(path, "generator")
    out = path.with_name(f"{name}.safetensors")
    checkpoint.save(out, dataclasses.replace(info, made_from=avatar.identity), tensors)
    return out


def load(file: str, **more) -> dict:
    """1: the clip, 9: its first frame."""
    return {"1": clip(file, **more)["1"], "9": node("PreviewImage", images=["1", 2])}


def face(file: str, **more) -> dict:
    """1: the clip, 2: its face, 9: the sheet."""
    made = clip(file, **more)
    return {"1": made["1"], "2": made["2"], "9": node("PreviewImage", images=["2", 1])}


def succeed(host, graph: dict):
    result = host.run(graph)
    assert result.status == "success", result.error
    return result


def contents(*places: Path) -> dict[Path, bytes]:
    """Every file in folders, and every file given."""
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return {file: file.read_bytes() for file in files if file.is_file() and file.name != ".lock"}


def listed(folders, kind: str) -> set[str]:
    return set(folders.saved_names(kind, LISTED[kind]))


def test_another_clip_under_a_used_name_gets_a_number(host, folders, anna):
    for _ in range(2):
        succeed(host, load("other.mp4", name="anna"))
        host.executor.reset()  # as after a restart of ComfyUI
    succeed(host, load("small.mp4", name="anna"))
    assert contents(*anna) == anna
    assert {name for name in listed(folders, "avatars") if name.startswith("anna")} == {"anna", "anna (2)"}


def test_another_part_size_or_sound_gets_a_number_too_once_something_is_trained(host, folders, anna):
    for change in ({"duration_s": 5.2}, {"crop_px": 128}):
        succeed(host, load("small.mp4", name="anna", **change))
    graph = load("small.mp4", name="anna")
    graph["8"] = node("LoadAudio", audio="clip.mp4")
    graph["1"]["inputs"]["audio"] = ["8", 0]
    succeed(host, graph)
    assert contents(*anna) == anna
    own = {name for name in listed(folders, "avatars") if name.startswith("anna")}
    assert own == {"anna", "anna (2)", "anna (3)"}  # nothing is trained on the third, which is made anew each time


def test_what_nothing_was_trained_on_is_made_anew_in_its_place(host, folders):
    for crop_px in (96, 128, 160):
        succeed(host, load("small.mp4", name="tuned", crop_px=crop_px))
    root = folders.saved_path("avatars", "tuned")
    assert host.core("avatar.folder").open_avatar(root, ("video", "audio")).crop.size == 160
    assert not root.with_name("tuned (2)").exists()


def test_files_of_one_stem_or_of_none_are_different_people(host, folders):
    names, before = {}, listed(folders, "avatars")
    for file, source in {"kind.MOV": "small", "..mp4": "small", "kind.avi": "other", "😀.mp4": "other"}.items():
        shutil.copy(INPUT / f"{source}.mp4", INPUT / file)
        succeed(host, load(file, name=""))
        names |= dict.fromkeys(listed(folders, "avatars") - before - set(names), file)
    assert names == {"kind": "kind.MOV", "person": "..mp4", "kind (2)": "kind.avi", "person (2)": "😀.mp4"}


def test_another_person_under_the_name_of_a_training_or_a_bundle_gets_a_number(host, folders, anna):
    graph = face("small.mp4", name="anna") | {"5": node("UDH_LoadGenerator", name="anna")}
    graph["7"] = node("UDH_ExportAvatar", avatar=["2", 0], generator=["5", 0], name="anna", start_s=0.0, duration_s=1.0)
    succeed(host, graph)
    succeed(host, face("other.mp4", name="bert"))
    opened = host.core("avatar.folder").open_avatar
    own, other = (opened(folders.saved_path("avatars", name)) for name in ("anna", "bert"))
    path = host.module("names").of_checkpoint
    for kind in ("generators", "bundles"):
        assert path(kind, "anna", own).stem == path(kind, "", own).stem == "anna"
        assert path(kind, "anna", other).stem == "anna (2)"
    assert path("generators", "", other).stem == "bert"
    long = path("generators", "x" * 100, own)
    long.touch()
    assert folders.safe_name(path("generators", "x" * 100, own).stem, "") == "x" * 94 + " (2)"
    long.unlink()


def syncnet(name: str) -> dict:
    """4: a SyncNet of the face, 10: its curves."""
    settings = {"name": name, "minutes": 0.0, "steps": 1, "seed": 0, "resume": True}
    made = {"3": node("UDH_ExtractAudioFeatures", audio=["1", 1], encoder="mel80", model="")}
    made["4"] = node("UDH_TrainSyncNet", avatar=["2", 0], features=["3", 0], **settings)
    return made | {"10": node("PreviewImage", images=["4", 2])}


def test_another_face_gets_an_avatar_and_a_training_of_its_own(host, folders):
    """By its number in the picture, by a box, and back again."""
    graph = face("two.mp4", name="couple") | syncnet("")
    trained, tracks = [], []
    for index, name in ((0, "couple"), (1, "couple (2)"), (0, "couple")):
        graph["2"]["inputs"]["face_index"] = index
        succeed(host, graph)
        avatar = host.core("avatar.folder").open_avatar(folders.saved_path("avatars", name))
        tracks.append(avatar.track().transforms[0])
        trained.append(folders.saved_path("syncnets", name, ".safetensors").read_bytes())
    assert abs(tracks[0] - tracks[1]).max() > 10  # px of the crop: another place in the picture
    assert (tracks[0] == tracks[2]).all()
    assert trained[0] != trained[1]
    assert trained[0] == trained[2]  # taken from disk
    graph["2"]["inputs"]["max_gap_s"] = 2.0  # the same face: what was trained stays, and no other folder is made
    folders.saved_path("syncnets", "couple", ".safetensors").unlink()
    succeed(host, graph)
    assert {name for name in listed(folders, "avatars") if name.startswith("couple")} == {"couple", "couple (2)"}
    assert {name for name in listed(folders, "syncnets") if name.startswith("couple")} == {"couple", "couple (2)"}


def test_nodes_of_one_graph_do_not_take_from_each_other(host, folders):
    """Two parts of a clip, a face followed in two ways, two trainings: all are there at the end, and stay."""
    graph = face("two.mp4", name="twice") | syncnet("")
    more = face("two.mp4", name="twice") | syncnet("")
    more["1"]["inputs"]["duration_s"], more["2"]["inputs"]["max_gap_s"], more["4"]["inputs"]["seed"] = 5.1, 2.0, 1
    graph |= {"11": more["1"], "12": more["2"], "14": more["4"], "19": node("PreviewImage", images=["11", 2])}
    graph |= {"20": node("PreviewImage", images=["12", 1]), "21": node("PreviewImage", images=["14", 2])}
    for _ in range(2):
        result = succeed(host, graph)
        assert [sum(name.startswith("twice") for name in listed(folders, kind)) for kind in LISTED] == [0, 2, 3]
    assert result.cached == set(graph)


def spoken(host, avatar: dict, generator: list) -> dict:
    """2: the avatar, 6: a render of half a second."""
    speech = host.core("media.audio").load_waveform(INPUT / "speech.wav")[:8000]
    pack.Given.values["word"] = {"waveform": speech, "sample_rate": 16000}
    graph = avatar | {"4": node("TestGiven", key="word")} | render(("4", 0))
    graph["6"]["inputs"]["generator"] = generator
    return graph | {"7": node("SaveVideo", video=["6", 0], filename_prefix="udh/made", format="auto", codec="auto")}


def test_an_avatar_whose_folder_was_deleted_is_made_anew(host, folders):
    succeed(host, face("other.mp4", name="deleted"))
    root = folders.saved_path("avatars", "deleted")
    trained = contents(save_generator(host, root, "deleted"))
    graph = spoken(host, face("other.mp4", name="deleted"), ["5", 0])
    graph["5"] = node("UDH_LoadGenerator", name="deleted")
    succeed(host, graph)
    shutil.rmtree(root)
    graph["6"]["inputs"]["crf"] = 30
    assert not succeed(host, graph).cached & {"1", "2", "6"}
    assert contents(*trained) == trained
    for file in root.glob("*.np[yz]"):  # what Detect Landmarks made
        file.unlink()
    graph["6"]["inputs"]["crf"] = 31
    assert succeed(host, graph).cached & {"1", "2"} == {"1"}


def test_what_was_deleted_from_the_temp_folder_is_made_anew(host, folders, anna):
    graph = face("small.mp4", name="anna") | {"5": node("UDH_LoadGenerator", name="anna")}
    export = {"name": "temporary", "start_s": 0.0, "duration_s": 1.0}
    succeed(host, graph | {"7": node("UDH_ExportAvatar", avatar=["2", 0], generator=["5", 0], **export)})
    graph = spoken(host, {"2": node("UDH_LoadBundle", name="temporary")}, ["2", 1])
    succeed(host, graph)
    for number, pattern in enumerate(("temporary-*/*.mp4", "temporary-*/*.safetensors", "temporary-*.mp4", "*.wav")):
        for file in folders.temp_folder().glob(pattern):
            file.unlink()
        graph["7"]["inputs"]["filename_prefix"] = f"udh/again {number}"
        again = {"2", "6"} if "/" in pattern else {"6"} if "mp4" in pattern else set()
        assert succeed(host, graph).cached & {"2", "6"} == {"2", "6"} - again, pattern


def test_features_whose_files_were_deleted_are_made_anew(host, folders):
    graph = {"4": node("TestGiven", key="word"), "3": clip("small.mp4")["3"]}
    graph["3"]["inputs"]["audio"] = ["4", 0]
    graph["5"] = node("PreviewAny", source=["3", 0])
    succeed(host, graph)
    assert succeed(host, graph).cached == {"3", "4", "5"}
    for pattern in ("*-features/mel80.npy", "*.wav"):
        for file in folders.temp_folder().glob(pattern):
            file.unlink()
        assert "3" not in succeed(host, graph).cached
