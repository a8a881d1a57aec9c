"""How the nodes look to ComfyUI."""

from __future__ import annotations

import dataclasses

import folder_paths
import pytest

import nodes

IDS = {
    *("UDH_LoadAvatarVideo", "UDH_DetectLandmarks", "UDH_ExtractAudioFeatures", "UDH_TrainSyncNet"),
    *("UDH_TrainGenerator", "UDH_LipSyncRender", "UDH_MuxVideo", "UDH_LoadAvatar", "UDH_LoadGenerator"),
    *("UDH_LoadSyncNet", "UDH_SyncReport", "UDH_ExportAvatar", "UDH_LoadBundle", "UDH_LoadPerson"),
    *("UDH_PasteMouths", "UDH_SaveOverlay", "UDH_LivePreview", "UDH_AddSpeaker"),
}
MINUTES = {"UDH_TrainSyncNet": 4.0, "UDH_TrainGenerator": 15.0}  # the nodes' own default: see nodes/train.py


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


def test_every_node_is_found_by_other_words_and_hides_few_of_its_own(host):
    """By what users of other packs look for; and what has to be chosen is never among the advanced inputs."""
    for name, schema in schemas().items():
        assert len(schema.search_aliases) >= 2, name
        hidden = {entry.id for entry in schema.inputs if entry.advanced}
        assert hidden <= set(host.module("types").ADVANCED) | {"model", "path"}, name
    assert "wav2lip" in schemas()["UDH_LipSyncRender"].search_aliases
    hidden = {entry.id for entry in schemas()["UDH_TrainGenerator"].inputs if entry.advanced}
    assert hidden == {"steps", "batch", "motion_steps", "seed"}


def test_numbers_have_sensible_ranges(host):
    for name, schema in schemas().items():
        for entry in schema.inputs:
            if entry.get_io_type() in ("INT", "FLOAT"):
                assert entry.min <= entry.default <= entry.max, f"{name}.{entry.id}"
                assert entry.min < entry.max
            if entry.get_io_type() == "COMBO" and entry.default is not None:
                assert entry.default in entry.options, f"{name}.{entry.id}"


@pytest.mark.parametrize(
    ("node_id", "module", "options"),
    [
        ("UDH_LoadAvatarVideo", "avatar.options", "PrepareOptions"),
        ("UDH_DetectLandmarks", "avatar.options", "PrepareOptions"),
        ("UDH_TrainSyncNet", "training.options", "SyncNetOptions"),
        ("UDH_TrainGenerator", "training.options", "GeneratorOptions"),
        ("UDH_LipSyncRender", "rendering.options", "RenderOptions"),
    ],
)
def test_widgets_quote_the_declared_options(host, node_id, module, options):
    declared = getattr(host.core(module), options)
    fields = {field.name: field.metadata["option"] for field in dataclasses.fields(declared)}
    quoted = [entry for entry in schemas()[node_id].inputs if entry.id in fields]
    assert len(quoted) >= 2
    for entry in quoted:
        said = fields[entry.id]
        assert entry.tooltip.startswith(said.help), entry.id
        default = MINUTES[node_id] if entry.id == "minutes" else said.default
        assert entry.default == (0.0 if default is None else default), entry.id
        if said.most is not None:
            assert (entry.min, entry.max) == (said.least, said.most), entry.id


def test_bundles_in_the_former_folder_are_listed(host, tmp_path):
    folders = host.module("host.folders")
    before = folder_paths.folder_names_and_paths["udh"]
    (tmp_path / "to-go").mkdir()
    (tmp_path / "to-go" / "former.safetensors").write_bytes(b"")
    try:
        folder_paths.add_model_folder_path("udh", str(tmp_path))
        assert "former" in folders.saved_names("bundles", "*.safetensors")
        assert folders.saved_path("bundles", "former", ".safetensors").parent == tmp_path / "to-go"
        assert folders.new_path("bundles", "new", ".safetensors").parent.name == "bundles"
    finally:
        folder_paths.folder_names_and_paths["udh"] = before


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


@pytest.mark.parametrize("name", [*BAD_NAMES, "CON", "nul.txt", "com1", "的" * 70, "😀" * 60])
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
