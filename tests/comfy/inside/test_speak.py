"""A trained person whole: who is listed and by which name, that no wrong pair is, and that they speak."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pack
import pytest
import torch
from graphs import node, render, speak


@pytest.fixture(scope="module")
def tester(host) -> tuple[Path, Path]:
    """The avatar's folder and the generator's file of the person that the other tests train."""
    pack.register()
    speech = host.core("media.audio").load_waveform(host.module("host.folders").input_path("speech.wav"))
    pack.Given.values["word"] = {"waveform": torch.from_numpy(speech[:8000].copy())[None, None], "sample_rate": 16000}
    assert host.run(speak("clip.mp4")).status == "success"
    saved = host.module("host.folders").saved_path
    return saved("avatars", "tester"), saved("generators", "tester", ".safetensors")


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[Path]:
    """Another folder of extra_model_paths.yaml."""
    places, kinds = folder_paths.folder_names_and_paths["udh"]
    before = list(places), kinds
    folder_paths.add_model_folder_path("udh", str(tmp_path))
    yield tmp_path
    folder_paths.folder_names_and_paths["udh"] = before


def speaking(**person: str) -> dict:
    """1: the person, 6: half a second of speech."""
    graph = {"1": node("UDH_LoadPerson", **person), "4": node("TestGiven", key="word"), **render(("4", 0))}
    graph["6"]["inputs"] |= {"avatar": ["1", 0], "generator": ["1", 1]}
    graph["7"] = node("SaveVideo", video=["6", 0], filename_prefix="udh/speak", format="auto", codec="auto")
    return graph


def copied(root: Path, to: Path, **state: object) -> Path:
    """The avatar elsewhere, with what is said of it changed."""
    shutil.copytree(root, to)
    known = json.loads((to / "avatar.json").read_text(encoding="utf-8"))
    (to / "avatar.json").write_text(json.dumps(known | state), encoding="utf-8")
    return to


def test_a_person_speaks_and_is_seen(host, tester):
    graph = speaking(person="tester") | {"9": node("TestKept", images=["1", 2], key="first frame")}
    host.sent.clear()
    result = host.run(graph)
    assert result.status == "success", result.error
    assert len(result.ui["1"]["images"]) == 1
    first = next(host.core("media.video").read_frames(tester[0] / "video.mp4", count=1))
    assert torch.equal((pack.Kept.images["first frame"][0] * 255).round().to(torch.uint8), torch.from_numpy(first))
    assert any("generator tester, step 4" in words for _, words in (sent.text for sent in host.sent))
    assert host.run(graph).cached == set(graph)


def test_who_is_listed(host, tester, elsewhere):
    """Avatars with each of their generators; not those that nothing was trained on, nor what is not finished."""
    root, generator = tester
    copied(root, elsewhere / "avatars" / "shop" / "tester")
    copied(root, elsewhere / "avatars" / "stranger", identity="of another face")
    copied(root, elsewhere / "avatars" / "half", stages={})
    for name in ("night/second", "night/second.resume", "broken"):
        file = elsewhere / "generators" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(generator.read_bytes() if "second" in name else b"no checkpoint")
    found = host.module("person").people()  # others of these tests may have trained on the tester, too
    assert {"tester", "tester: night/second", "shop/tester", "shop/tester: night/second"} <= set(found)
    assert not [name for name in found if any(word in name for word in ("stranger", "half", "resume", "broken"))]
    assert found["shop/tester: night/second"].file == elsewhere / "generators" / "night" / "second.safetensors"
    offered = host.module("saved").LoadAvatar.define_schema().inputs[0].options
    assert {"shop/tester", "tester"} <= set(offered)


def test_a_path_will_do(host, tester, tmp_path):
    """Of an avatar's folder, whose generator lies beside it or in ComfyUI's folder (that of its name, if there are
    several); and of a bundle."""
    root, generator = tester
    person = host.module("person")
    moved = copied(root, tmp_path / "tester")
    assert person._chosen("tester", f' "{moved}"') == person.Person(moved, generator)
    beside = Path(shutil.copy(generator, tmp_path / "tester.safetensors"))
    assert person._chosen("gone", str(moved)) == person.Person(moved, beside)
    bundle = host.core("export.bundle").export_bundle(
        host.core("avatar.folder").open_avatar(root), generator, tmp_path / "b.safetensors", duration_s=0.4
    )
    result = host.run(speaking(person="(nobody trained yet)", path=str(bundle.run())))
    assert result.status == "success", result.error


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("gone", "", "there is no trained person called 'gone'"),
        ("../tester", "", "there is no trained person called '../tester'"),
        ("(nobody trained yet)", "", "nobody is trained yet"),
        ("tester", "/no/such/place", "there is neither a bundle nor an avatar's folder at /no/such/place"),
        ("tester", "empty", "is not an avatar folder"),
        ("tester", "stranger", "no generator was trained on the avatar"),
    ],
)
def test_what_cannot_speak_is_refused_before_the_run(host, tester, tmp_path, name, path, said):
    (tmp_path / "empty").mkdir()
    copied(tester[0], tmp_path / "stranger", identity="of another face")
    load = host.module("person").LoadPerson
    place = str(tmp_path / path) if path else ""
    assert said in load.validate_inputs(name, place)
    assert load.fingerprint_inputs(name, place) == "missing"
