"""Audio features of every encoder: where their rows stand, what they are, and their cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from udh_core.errors import FormatError, MediaError, MismatchError, UdhError, WeightsError
from udh_core.media.audio import SAMPLE_RATE_HZ as RATE_HZ
from udh_core.media.audio import load_waveform
from udh_core.speech import encoders, features, wenet
from udh_core.speech.features import AudioFeatures
from udh_core.speech.mel import whisper_mel
from udh_core.weights.registry import weight_path


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in syllable-like bursts, float32 16 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.2 * rng.normal(size=len(time_s)) * np.sin(2 * np.pi * 2 * time_s) ** 2).astype(np.float32)


def click(seconds: float, at_s: float) -> np.ndarray:
    wave = np.zeros(round(seconds * RATE_HZ), np.float32)
    wave[round(at_s * RATE_HZ)] = 0.9
    return wave


@pytest.fixture(scope="module")
def whisper() -> encoders.WhisperEncoder:
    return encoders.WhisperEncoder("cpu", None)


@pytest.fixture(scope="module")
def hubert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT with layer-normed convolutions as in the large models, small and random, saved as transformers does."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model with the interface of wenet's streaming encoder: the chunk's first 16 rows times a matrix."""
    path = tmp_path_factory.mktemp("wenet") / "encoder.onnx"
    save_onnx(path, {"chunk": (1, 1, 67, 80), "att_cache": (3, 8, 16, 128), "cnn_cache": (3, 1, 512, 14)}, out=512)
    return path


def save_onnx(path: Path, inputs: dict[str, tuple[int, ...]], out: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).normal(size=(80, out)).astype(np.float32)
    numbers = {"start": 0, "end": 16, "axis": 2, "one": 1}
    constants = {k: np.array([v]) for k, v in numbers.items()} | {"m": matrix}
    nodes = [
        helper.make_node("Slice", ["chunk", "start", "end", "axis"], ["head"]),
        helper.make_node("Squeeze", ["head", "one"], ["rows"]),
        helper.make_node("MatMul", ["rows", "m"], ["output"]),
    ]
    values = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()]
    values.append(helper.make_tensor_value_info("offset", TensorProto.INT64, [1]))
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 16, out])
    initial = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "encoder", values, [result], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_at_interpolates_between_row_centres_and_holds_the_ends() -> None:
    rows = AudioFeatures(np.array([[0.0], [10.0], [30.0]], np.float32), 50.0, "mel80")
    times_s = np.array([-1.0, 0.01, 0.015, 0.03, 0.04, 0.05, 9.0])
    assert np.allclose(rows.at(times_s)[:, 0], [0, 0, 2.5, 10, 20, 30, 30])
    assert (rows.width, rows.duration_s) == (1, 0.06)


def test_unknown_encoder_lists_the_names() -> None:
    with pytest.raises(UdhError, match=r"mel81.*whisper-tiny, mel80, hubert"):
        features.extract(babble(1), "mel81")
    for name in ("hubert:", "wenet", "wenet:"):
        with pytest.raises(UdhError, match="choose one of"):
            features.extract(babble(1), name)


def test_check_match_names_both() -> None:
    rows = AudioFeatures(np.zeros((3, 80), np.float32), 100.0, "mel80")
    features.check_match(rows, "mel80")
    with pytest.raises(MismatchError, match=r"mel80.*whisper-tiny"):
        features.check_match(rows, "whisper-tiny")
    features.check_match(AudioFeatures(rows.values, 50.0, "hubert"), f"hubert:{encoders.HUBERT_ID}")


@pytest.mark.parametrize("wave", [np.zeros(0), np.zeros((100, 2)), np.array([0.1, np.nan, 0.2]), np.array([np.inf])])
def test_unusable_waveforms(wave: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        features.extract(wave, "mel80")
    with pytest.raises(MediaError):
        features.extract_to(tmp_path, wave, "mel80").run()
    assert os.listdir(tmp_path) == []


def test_mel_rows_stand_where_the_sound_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = click(1.0, at_s=0.455)
    rows = features.extract(wave, "mel80")
    assert rows.values.shape == (100, 80) and rows.values.dtype == np.float32
    assert int(rows.values.mean(1).argmax()) == 45  # (45 + 0.5) / 100 s
    monkeypatch.setattr(encoders.MelEncoder, "block_rows", 7)
    long = babble(1.007)
    in_blocks = features.extract(long, "mel80").values
    monkeypatch.undo()
    assert len(in_blocks) == 101
    assert np.allclose(in_blocks, features.extract(long, "mel80").values, atol=1e-4)


def agreement(rows: np.ndarray, others: np.ndarray, mean: np.ndarray) -> float:
    """Mean cosine of rows (t, D) around this mean (D,)."""
    a, b = rows - mean, others - mean
    return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).mean())


def test_whisper_gives_the_same_rows_at_every_position(whisper: encoders.WhisperEncoder, clips: Path) -> None:
    wave = load_waveform(clips / "audio" / "musetalk_eng.wav", duration_s=45)
    whole = np.concatenate(list(whisper.blocks(wave)))
    late = np.concatenate(list(whisper.blocks(wave[5 * RATE_HZ :])))
    assert whole.shape == (45 * 50, whisper.width) and late.shape == (40 * 50, whisper.width)
    assert agreement(whole[250:], late, whole.mean(0)) > 0.9  # 0.5 with the columns that encode the position
    short = encoders.rows_of_window(whisper, wave[160_000:197_760])
    assert short.shape == (118, whisper.width)
    assert agreement(whole[500:618], short, whole.mean(0)) > 0.8
    assert agreement(whole[501:619], short, whole.mean(0)) < agreement(whole[500:618], short, whole.mean(0)) - 0.03
    jumps = np.abs(np.diff(whole, axis=0)).mean(1)
    assert jumps[1400:1480].max() < 1.3 * np.percentile(jumps, 99)  # the seam between the two windows


def test_whisper_rows_stand_where_the_sound_is(whisper: encoders.WhisperEncoder) -> None:
    (rows,) = whisper.blocks(click(4.0, at_s=2.01))
    change = np.abs(rows - np.median(rows, axis=0)).mean(1)
    assert len(rows) == 200 and abs(int(change.argmax()) - 100) <= 1  # (100 + 0.5) / 50 s


def test_whisper_rows_are_those_of_transformers(whisper: encoders.WhisperEncoder) -> None:
    from safetensors.torch import load_file
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    network = WhisperEncoder(config)
    network.load_state_dict(load_file(weight_path(encoders.WHISPER_FILE)))
    mel = torch.from_numpy(whisper_mel(babble(30)))[None]
    with torch.inference_mode():
        wanted = network.eval()(mel, output_hidden_states=True).hidden_states[3]
        assert torch.allclose(whisper.model(mel), wanted, atol=1e-4)


def test_missing_whisper_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="udh weights fetch"):
        features.extract(babble(1), "whisper-tiny", models=tmp_path)


def test_hubert_in_blocks_equals_hubert_at_once(hubert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave, name = babble(9), f"hubert:{hubert_folder}"
    at_once = features.extract(wave, name)
    monkeypatch.setattr(encoders.SpeechModelEncoder, "block_s", 4)
    monkeypatch.setattr(encoders.SpeechModelEncoder, "margin_s", 0.5)
    in_blocks = features.extract(wave, name)
    assert at_once.values.shape == in_blocks.values.shape == (450, 24)
    error = np.abs(in_blocks.values - at_once.values).mean() / at_once.values.std()
    assert error < 0.02
    assert np.array_equal(in_blocks.values, features.extract(wave, name).values)


def test_hubert_rows_are_those_of_transformers(hubert_folder: Path) -> None:
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    wave = babble(3) + np.float32(0.3)  # an offset that the normalisation must take away
    normalised = Wav2Vec2FeatureExtractor(do_normalize=True)(
        wave, sampling_rate=RATE_HZ, return_tensors="pt"
    ).input_values
    padded = torch.nn.functional.pad(normalised, (40, 40))  # windows of 400 samples centred on hops of 320
    with torch.inference_mode():
        theirs = HubertModel.from_pretrained(hubert_folder).eval()(padded).last_hidden_state[0].numpy()
    ours = features.extract(wave, f"hubert:{hubert_folder}")
    assert ours.rate_hz == 50.0 and len(ours.values) == 150
    assert np.abs(ours.values - theirs).max() < 1e-3


def test_folders_that_are_no_speech_model(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    with pytest.raises(WeightsError, match="no such folder"):
        features.extract(babble(1), f"hubert:{tmp_path / 'nowhere'}")
    with pytest.raises(WeightsError, match="cannot be opened") as empty:
        features.extract(babble(1), f"hubert:{tmp_path}")
    assert "\n" not in str(empty.value) and "hubert:FOLDER" in str(empty.value)
    bert = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(bert).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="is a bert"):
        features.extract(babble(1), f"hubert:{tmp_path}")


def test_wenet_rows_follow_the_published_recipe(wenet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kaldi_native_fbank
    import onnxruntime

    wave = babble(1.5)
    padded = np.concatenate([np.zeros(32 * 160), wave * 32768, np.zeros(35 * 160)])
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.energy_floor, options.mel_opts.num_bins = 0.0, 0.0, 80
    online = kaldi_native_fbank.OnlineFbank(options)
    online.accept_waveform(RATE_HZ, padded.tolist())
    fbank = np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])
    session = onnxruntime.InferenceSession(str(wenet_file), providers=["CPUExecutionProvider"])
    rest = {"offset": np.array([100]), "att_cache": np.zeros((3, 8, 16, 128), np.float32)}
    rest["cnn_cache"] = np.zeros((3, 1, 512, 14), np.float32)
    theirs = [session.run(None, {"chunk": fbank[None, None, i : i + 67], **rest})[0][0] for i in range(0, 30 * 5, 5)]

    monkeypatch.setattr(wenet.WenetEncoder, "block_rows", 7)
    ours = features.extract(wave, f"wenet:{wenet_file}")
    assert ours.values.shape == (30, 8192) and ours.rate_hz == 20
    assert np.allclose(ours.values.reshape(30, 16, 512), theirs, atol=1e-2)


def test_files_that_are_no_wenet_encoder(tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    with pytest.raises(WeightsError, match="no such file"):
        features.extract(babble(1), f"wenet:{path}")
    path.write_bytes(b"not a model")
    with pytest.raises(FormatError, match="not an ONNX model"):
        features.extract(babble(1), f"wenet:{path}")
    save_onnx(path, {"chunk": (1, 1, 67, 80)}, out=512)
    with pytest.raises(FormatError, match="has inputs chunk, offset"):
        features.extract(babble(1), f"wenet:{path}")
    save_onnx(path, {"chunk": (1, 1, 67, 80), "att_cache": (3, 8, 16, 128), "cnn_cache": (3, 1, 512, 14)}, out=256)
    with pytest.raises(FormatError, match=r"\(1, 16, 256\)"):
        features.extract(babble(1), f"wenet:{path}")


def test_wenet_without_its_extra_names_it(wenet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kaldi_native_fbank", None)
    with pytest.raises(UdhError, match="pip install onnxruntime kaldi-native-fbank"):
        features.extract(babble(1), f"wenet:{wenet_file}")


def test_cache_is_written_once_per_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders.MelEncoder, "block_rows", 50)
    wave = babble(2)
    work = features.extract_to(tmp_path / "features", wave, "mel80")
    assert [step.fraction for step in work] == [0.25, 0.5, 0.75, 1.0]
    rows = features.load(tmp_path / "features", "mel80")
    assert np.array_equal(work.result.values, rows.values) and work.result.encoder == "mel80"
    assert isinstance(rows.values, np.memmap) and (rows.rate_hz, rows.encoder) == (100.0, "mel80")
    assert np.array_equal(rows.values, features.extract(wave, "mel80").values)
    assert sorted(os.listdir(tmp_path / "features")) == ["mel80.json", "mel80.npy"]
    assert [step.fraction for step in features.extract_to(tmp_path / "features", wave, "mel80")] == [1.0]
    other = babble(1, seed=1)
    assert len(list(features.extract_to(tmp_path / "features", other, "mel80"))) == 2
    assert len(features.load(tmp_path / "features", "mel80").values) == 100


def test_cancelled_extraction_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders.MelEncoder, "block_rows", 50)
    work = features.extract_to(tmp_path, babble(2), "mel80")
    next(work)
    work.close()
    assert os.listdir(tmp_path) == []
    with pytest.raises(UdhError, match=r"no audio features of mel80.*prepare"):
        features.load(tmp_path, "mel80")


def test_damaged_cache_is_noticed(tmp_path: Path) -> None:
    features.extract_to(tmp_path, babble(1), "mel80").run()
    whole = (tmp_path / "mel80.npy").read_bytes()
    (tmp_path / "mel80.npy").write_bytes(whole[:1000])
    with pytest.raises(FormatError, match="damaged"):
        features.load(tmp_path, "mel80")
    np.save(tmp_path / "mel80.npy", np.zeros((5, 80), np.float32))
    with pytest.raises(FormatError, match="damaged"):
        features.load(tmp_path, "mel80")
    (tmp_path / "mel80.json").write_text("{")  # cured by extracting again
    features.extract_to(tmp_path, babble(1), "mel80").run()
    assert len(features.load(tmp_path, "mel80").values) == 100


def test_models_in_other_folders_have_other_caches(hubert_folder: Path, tmp_path: Path) -> None:
    name = f"hubert:{hubert_folder}"
    features.extract_to(tmp_path, babble(1), name).run()
    assert features.load(tmp_path, name).encoder == name
    with pytest.raises(UdhError, match="no audio features"):
        features.load(tmp_path, name + "2")
