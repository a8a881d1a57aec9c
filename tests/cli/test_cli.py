"""The command line's contract: one clear line and exit code 2 for bad input, and nothing half-written."""

from __future__ import annotations

import ast
import logging
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from udh_core.avatar.options import CONSENT
from udh_core.cli import app
from udh_core.cli.console import InFlags, with_flags
from udh_core.face.crop import CropSpec
from udh_core.inference.sync_scorer import save_syncnet
from udh_core.models.checkpoint import Checkpoint
from udh_core.models.syncnet import SyncNet, SyncNetConfig

ROOT = Path(__file__).resolve().parents[2]


def refused(*arguments: object) -> str:
    """Run the command line on bad input; returns its one line."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.splitlines() if line.strip() and "%" not in line]
    assert len(lines) == 1, result.output
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path, person_avatar: Path) -> Path:
    """An own copy of the prepared built-in person, and speech to drive it."""
    shutil.copytree(person_avatar, tmp_path / "avatar")
    return tmp_path


def render_refused(folder: Path, audio: Path, generator: Path | None = None, out: Path | None = None) -> str:
    out = out or folder / "out.mp4"
    arguments = ["render", "--avatar", folder / "avatar", "--audio", audio, "--out", out]
    line = refused(*arguments, "--generator", generator or folder / "g.safetensors")
    assert not out.exists()
    assert not list(folder.glob(".*part*"))
    return line


TOLD = """
from typer.main import get_command
from typer.testing import CliRunner
from udh_core.cli import app

lines = [CliRunner().invoke(app, ["--help"]).output]
for name, command in get_command(app).commands.items():
    lines.append(CliRunner().invoke(app, [name, "--help"]).output)
    for part in getattr(command, "commands", {}):
        lines.append(CliRunner().invoke(app, [name, part, "--help"]).output)
print("".join(lines))
"""


def test_help_needs_no_docstrings():
    plain, bare = (
        subprocess.run([sys.executable, *options, "-c", TOLD], cwd=ROOT, capture_output=True, text=True, check=True)
        for options in ([], ["-OO"])
    )
    assert "Train the generator" in plain.stdout
    assert bare.stdout == plain.stdout


@pytest.mark.parametrize("folder", ["udh_core", "nodes"])
def test_nothing_is_made_of_docstrings(folder):
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert not any(re.search(r"__doc__|getdoc", text) for text in sources)


def test_no_such_file(tmp_path):
    assert "no such file" in refused("prepare", tmp_path / "none.mp4", "--avatar", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_error_is_one_line_whatever_a_file_is_called(tmp_path):
    said = refused("prepare", tmp_path / "two\nlines \x1b[31m人.mp4", "--avatar", tmp_path / "a")
    assert said.endswith("two?lines ?[31m人.mp4")


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "pipe.mp4")
    assert "a pipe; save what comes from it" in refused("prepare", folder / "pipe.mp4", "--avatar", folder / "a")
    assert "a pipe; give a file name" in refused("audit", folder / "clip.mp4", "--json", folder / "pipe.mp4")


@pytest.mark.parametrize(
    "command", [("train", "--motion-steps", 0), ("train", "--steps", 0), ("train-syncnet", "--steps", 0)]
)
def test_no_steps_are_not_the_usual_number_of_steps(folder, command):
    line = refused(*command, "--avatar", folder / "avatar", "--out", folder / "g.safetensors")
    assert "steps = 0: choose 1 or more" in line


def test_not_a_video(tmp_path):
    (tmp_path / "notes.mp4").write_text("these are words")
    assert "notes.mp4" in refused("prepare", tmp_path / "notes.mp4", "--avatar", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_video_without_sound_needs_audio(clips, tmp_path):
    line = refused("prepare", clips / "video/musetalk_sun.mp4", "--avatar", tmp_path / "a")
    assert "has no sound" in line
    assert "--audio" in line


@pytest.mark.parametrize("samples", [0, 1])
def test_empty_and_one_sample_audio(folder, generator_file, samples):
    with wave.open(str(folder / "short.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * samples)
    assert "short.wav" in render_refused(folder, folder / "short.wav", generator_file)


def test_audio_with_nan(folder, generator_file):
    samples = np.full(16000, np.nan, np.float32)
    header = b"RIFF" + (36 + samples.nbytes).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (3).to_bytes(2, "little") + (1).to_bytes(2, "little") + (16000).to_bytes(4, "little")
    header += (64000).to_bytes(4, "little") + (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
    (folder / "nan.wav").write_bytes(header + b"data" + samples.nbytes.to_bytes(4, "little") + samples.tobytes())
    assert "nan.wav" in render_refused(folder, folder / "nan.wav", generator_file)


def test_unwritable_output(folder, generator_file, speech):
    line = render_refused(folder, speech, generator_file, folder / "no/such/folder/out.mp4")
    assert "no folder" in line


def test_wrong_kind_of_checkpoint(folder, speech):
    info = Checkpoint("syncnet", {"model": SyncNetConfig(80).to_dict()}, 1, "mel80", CropSpec(160), "someone")
    save_syncnet(folder / "s.safetensors", info, SyncNet(SyncNetConfig(80)))
    assert "syncnet, where a generator is needed" in render_refused(folder, speech, folder / "s.safetensors")


def test_pickle_is_not_opened(folder, speech):
    torch.save({"weight": torch.zeros(3)}, folder / "g.pth")
    assert "pickle" in render_refused(folder, speech, folder / "g.pth")


def test_generator_of_another_avatar(folder, generator_file, speech):
    text = (folder / "avatar/avatar.json").read_text()
    own = text.split('"identity": "')[1].split('"')[0]
    (folder / "avatar/avatar.json").write_text(text.replace(own, "0123456789abcdef"))
    line = render_refused(folder, speech, generator_file)
    assert "the generator was trained with avatar" in line
    assert "person.mp4" in line


def test_features_of_another_encoder(folder):
    out = folder / "g.safetensors"
    line = refused("train", "--avatar", folder / "avatar", "--out", out, "--steps", 5, "--encoder", "whisper-tiny")
    assert "whisper-tiny" in line
    assert not out.exists()


def test_silence_given_as_text_and_audio_at_once(folder, generator_file, speech):
    common = ["render", "--avatar", folder / "avatar", "--generator", generator_file, "--out", folder / "o.mp4"]
    assert "either" in refused(*common, "--audio", speech, "--text", "hello")
    assert "either" in refused(*common)


def test_consent_is_named_once_when_a_person_is_prepared(folder, person):
    said = []
    (folder / "avatar" / "crops.npy").unlink()
    for _ in range(2):
        arguments = ["--avatar", folder / "avatar", "--crop-px", 96, "--encoder", "mel80"]
        said.append(CliRunner().invoke(app, list(map(str, ["prepare", person / "person.mp4", *arguments]))).output)
    assert [text.splitlines().count(CONSENT) for text in said] == [1, 0]
    assert said[1].splitlines()[-1] in said[0]
    assert "that person's consent" in CONSENT and "metadata" in CONSENT


def test_text_is_spoken(folder, generator_file):
    out = folder / "out.mp4"
    common = ["render", "--avatar", folder / "avatar", "--generator", generator_file, "--out", out]
    chosen = ["--when-audio-longer", "hold", "--when-audio-shorter", "keep"]
    result = CliRunner().invoke(app, [*map(str, common), "--text", "Good morning.", *chosen])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 10_000


def test_usage_errors_are_the_users(tmp_path):
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 2
    assert CliRunner().invoke(app, ["render", "--nonsense"]).exit_code == 2
    result = CliRunner().invoke(app, ["render", "--out", str(tmp_path / "o.mp4"), "--when-audio-longer", "stop"])
    assert result.exit_code == 2
    assert "bounce" in result.output


def test_output_may_not_replace_what_it_is_made_of(folder, generator_file, speech):
    own = shutil.copy(speech, folder / "speech.mp4")
    link = folder / "link.mp4"
    link.symlink_to(own)
    for out in (Path(own), folder / "avatar/video.mp4", link):
        before = out.read_bytes()
        arguments = ["render", "--avatar", folder / "avatar", "--generator", generator_file, "--audio", own]
        assert "give another name" in refused(*arguments, "--out", out)
        assert out.read_bytes() == before
    assert "mp4" in render_refused(folder, speech, generator_file, folder / "out.wav")


def test_no_output_replaces_an_input_or_another_output(folder, generator_file, person):
    clip = Path(shutil.copy(person / "person.mp4", folder / "video.mp4"))
    before, report = clip.read_bytes(), folder / "report"
    evaluate = ("evaluate", "--avatar", folder / "avatar", "--generator", generator_file)
    for arguments in (
        ("prepare", clip, "--avatar", folder),
        ("audit", clip, "--json", clip),
        ("audit", clip, "--json", report, "--picture", report),
        (*evaluate, "--json", generator_file),
        (*evaluate, "--json", report, "--html", report),
    ):
        assert "give another name or place" in refused(*arguments)
    assert clip.read_bytes() == before and not report.exists()


def test_cut_off_avatar_video(folder, generator_file, person):
    video = folder / "avatar/video.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    line = render_refused(folder, person / "speech.wav", generator_file)
    assert "video.mp4" in line


@pytest.mark.parametrize("name", ["track.npz", "crops.npy"])
def test_damaged_avatar_names_the_remedy(folder, name):
    (folder / "avatar" / name).write_bytes(b"garbage")
    out = folder / "g.safetensors"
    arguments = ["train", "--avatar", folder / "avatar", "--out", out, "--steps", 5, "--encoder", "mel80"]
    line = refused(*arguments)
    assert name in line
    assert "prepare the avatar again" in line


def test_options_that_messages_name_are_flags():
    """The core says `skip_lost`, the command line --skip-lost."""
    commands = get_command(app).commands.values()  # pyright: ignore[reportAttributeAccessIssue]
    flags = {flag for command in commands for parameter in command.params for flag in parameter.opts}
    raised = [
        part.value
        for path in (ROOT / "udh_core").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    said = {flag for text in raised for flag in re.findall(r"--[a-z-]+", with_flags(text))}
    assert {"--audio", "--skip-lost", "--max-gap", "--start", "--resume", "--out"} <= said
    assert said - flags == {"--nproc-per-node"}  # which is torchrun's


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "%s: track 1 is taken; `audio_track` chooses another",
            "a.mkv: track 1 is taken; --audio-track chooses another",
        ),
        (
            "%s: number 2 is taken; `video_track` chooses another",
            "a.mkv: number 2 is taken; --video-track chooses another",
        ),
        ("%s ends before `start_s`", "a.mkv ends before --start"),
    ],
)
def test_options_that_warnings_name_are_flags(said, shown):
    record = logging.LogRecord("udh_core.speech.voice", logging.WARNING, "voice.py", 1, said, ("a.mkv",), None)
    assert InFlags("%(levelname)s %(message)s").format(record) == f"WARNING {shown}"


@pytest.mark.parametrize("option", [("--duration", "nan"), ("--max-gap", "nan"), ("--encoder", "foo")])
def test_nonsense_is_refused_before_the_work(tmp_path, person, option):
    refused("prepare", person / "person.mp4", "--avatar", tmp_path / "a", *option)
    assert not (tmp_path / "a").exists()


def test_device_that_is_not_there(folder):
    result = CliRunner().invoke(
        app, ["train", "--avatar", str(folder), "--out", "g.safetensors", "--device", "nonsense"]
    )
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, udh_core.cli; print(sorted({'torch', 'numpy', 'cv2', 'librosa'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
