"""The node that extracts audio features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..udh_core.avatar.options import PrepareOptions
from ..udh_core.errors import OptionError
from ..udh_core.speech.encoders import ENCODERS, weight_files
from ..udh_core.speech.features import extract_to
from ..udh_core.speech.voice import load_voice
from .host import display, folders, made, media, wording, worker
from .host.device import for_inference
from .types import CATEGORY, FEATURES, Features, MakesFiles


class ExtractAudioFeatures(MakesFiles):
    """Audio → features of an audio encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UDH_ExtractAudioFeatures",
            display_name="Extract Audio Features",
            category=CATEGORY,
            description="Turns speech into the features from which the mouth is predicted. The training nodes and Lip "
            "Sync Render do that by themselves when no features are connected; this node chooses the encoder to train "
            "with.",
            search_aliases=["audio encoder", "whisper", "hubert", "wenet", "mel"],
            inputs=[
                io.Audio.Input("audio", tooltip="Speech: any for rendering; for training the avatar's own."),
                io.Combo.Input(
                    "encoder",
                    options=list(ENCODERS),
                    default=PrepareOptions.encoder,
                    tooltip="whisper-tiny: best with short clips, any language. mel80: plain spectrum, needs no "
                    "weights. hubert and wenet: your own model files.",
                ),
                io.String.Input(
                    "model",
                    default="",
                    advanced=True,
                    tooltip="For hubert: a Hugging Face id or a folder (empty: facebook/hubert-large-ls960-ft). For "
                    "wenet: the path of encoder.onnx. Not used otherwise.",
                ),
            ],
            outputs=[FEATURES.Output("features", tooltip="For the training nodes and Lip Sync Render.")],
        )

    @classmethod
    def validate_inputs(cls, encoder: str | None, model: str | None) -> bool | str:
        return wording.checked(lambda: _check_encoder(encoder, model))

    @classmethod
    @wording.reported
    def execute(cls, audio: Mapping[str, Any] | None, encoder: str, model: str) -> io.NodeOutput:
        sound = media.sound_file(audio, "Extract Audio Features")
        name = f"{encoder}:{model.strip()}" if ENCODERS[encoder].model and model.strip() else encoder
        models = folders.weights(folders.SPEECH, *weight_files(encoder))
        folder = folders.temp_folder() / f"{sound.stem}-features"
        waveform = load_voice(sound, models=models).waveform
        with for_inference(encoder) as device:
            values = worker.run_job(extract_to(folder, waveform, name, device=device, models=models))
        features = Features(values, folder, sound)
        made.note(folder, features.are_there)
        display.say(f"{len(values.values)} rows of {values.encoder}, {values.duration_s:.1f} s")
        return io.NodeOutput(features)


def _check_encoder(encoder: str | None, model: str | None) -> None:
    """OptionError or WeightsError where an encoder lacks its files; None: known when the node runs."""
    if encoder is None:
        return
    if encoder not in ENCODERS:
        raise OptionError(f"there is no audio encoder {encoder!r}; choose one of {', '.join(ENCODERS)}")
    folders.weights(folders.SPEECH, *weight_files(encoder))
    if encoder == "wenet" and model is not None and not Path(model.strip()).expanduser().is_file():
        what = f"{model!r} is no file" if model.strip() else "the encoder wenet has no model"
        raise OptionError(f"{what}; give the path of wenet's encoder.onnx in `model`")
