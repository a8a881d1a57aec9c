"""How the nodes look to ComfyUI."""

from __future__ import annotations

import folder_paths
import pytest

import nodes

IDS = {
    *("UDH_LoadAvatarVideo", "UDH_DetectLandmarks", "UDH_ExtractAudioFeatures", "UDH_TrainSyncNet"),
    *("UDH_TrainGenerator", "UDH_LipSyncRender", "UDH_MuxVideo", "UDH_LoadAvatar", "UDH_LoadGenerator"),
    *("UDH_LoadSyncNet", "UDH_SyncReport", "UDH_ExportAvatar", "UDH_LoadBundle"),
}


def test_pack_loads_without_a_warning(host):
    assert host.loaded
    assert host.complaints == []
    assert {name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("UDH_")} == IDS


def schemas():
    return {name: nodes.NODE_CLASS_MAPPINGS[name].GET_SCHEMA() for name in sorted(IDS)}


def test_every_input_and_output_is_explained(host):
    for name, schema in schemas().items():
        assert schema.description, name
        for entry in [*schema.inputs, *schema.outputs]:
            assert entry.tooltip, f"{name}.{entry.id or entry.display_name} has no tooltip"
        assert all(output.display_name for output in schema.outputs), name
        assert schema.category == "Ultralight Digital Human"


def test_numbers_have_sensible_ranges(host):
    for name, schema in schemas().items():
        for entry in schema.inputs:
            if entry.get_io_type() in ("INT", "FLOAT"):
                assert entry.min <= entry.default <= entry.max, f"{name}.{entry.id}"
                assert entry.min < entry.max
            if entry.get_io_type() == "COMBO" and entry.default is not None:
                assert entry.default in entry.options, f"{name}.{entry.id}"


def test_extra_model_paths_are_kept_and_searched(host, tmp_path):
    extra = tmp_path / "elsewhere"
    (extra / "generators").mkdir(parents=True)
    (extra / "generators" / "elsewhere.safetensors").write_bytes(b"")
    before = folder_paths.folder_names_and_paths["udh"]
    try:
        folder_paths.add_model_folder_path("udh", str(extra))
        host.module("host.folders").register_folder()
        assert "elsewhere" in host.module("host.folders").saved_names("generators", "*.safetensors")
        assert (
            host.module("host.folders").new_path("generators", "elsewhere", ".safetensors").parent
            == extra / "generators"
        )
        assert str(extra) not in str(host.module("host.folders").new_path("generators", "new", ".safetensors"))
    finally:
        folder_paths.folder_names_and_paths["udh"] = before


BAD_NAMES = ["../up", "a/b", "a\\b", "/etc/passwd", "C:", "C:\\x", "..", ".", ".hidden", "a\0b", "x" * 101]


@pytest.mark.parametrize("name", [*BAD_NAMES, "CON", "nul.txt", "com1"])
def test_names_cannot_leave_their_folder(host, name):
    with pytest.raises(host.core("errors").OptionError):
        host.module("host.folders").safe_name(name, "fallback")


def test_an_empty_name_is_made_of_the_file(host):
    assert host.module("host.folders").safe_name("", "../My clip: take 2.final") == "My clip_ take 2_final"
    assert host.module("host.folders").safe_name("", "...") == "person"
    assert host.module("host.folders").safe_name("Anna Müller 2", "x") == "Anna Müller 2"


def test_missing_weight_names_installer_file_and_folder(host, tmp_path, monkeypatch):
    monkeypatch.setenv("UDH_MODELS", str(tmp_path))
    with pytest.raises(host.core("errors").WeightsError) as caught:
        host.module("host.folders").weights("face_landmark.tflite")
    message = str(caught.value)
    assert "install.py" in message
    assert "face_landmark.tflite" in message
    assert str(host.module("host.folders").model_folders("weights")[0]) in message
