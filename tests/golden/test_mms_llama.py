"""Against recordings of MMS-LLaMA: its files, loaded as they are, in float32 on the CPU.

The encoders are stand-ins that return the recorded frames: test_llama_avsr.py and test_av_hubert_parity.py
hold the real ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from datamodules.batch import Batch, Padded, Utterance
from llama_avsr.checkpoints import released
from llama_avsr.checkpoints.folder import saved_state
from llama_avsr.compressors import Heard
from llama_avsr.model.build import assemble, build_llm, text_of
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.llm import load_vocabulary
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options
from tests.golden.archives import unpacked
from tests.golden.test_llama_avsr import ATOL, close, without_end

FOLDER = unpacked(Path(__file__).parent / "mms_llama" / "recorded.tar.xz")
RELEASE, PREDICTOR = FOLDER / "checkpoint_best.pt", FOLDER / "checkpoint.pt"
RECORDED = json.loads((FOLDER / "recorded.json").read_text())
CLIPS = ("u0", "u1", "u2")
GIVEN: dict[str, Any] = {
    "pretrained_model_path": RELEASE,
    "root_dir": ".",
    "llm_model": str(FOLDER / "llm"),
    "audio_encoder_name": "recorded",
    "pretrain_avhubert_enc_video_path": "recorded",
    "speech_rate_predictor": PREDICTOR,
    # Published models have 16 heads, which no tensor tells.
    "qformer_heads": 4,
    "rotary_rounding": "none",
}


class Recorded(nn.Module):
    """Stands for an encoder whose output is what goes into it."""

    max_seconds = None

    def __init__(self, frame_rate_hz: float) -> None:
        super().__init__()
        self.dim = 64
        self.frame_rate_hz = frame_rate_hz
        self.encoder = nn.Module()
        self.encoder.bn = nn.BatchNorm1d(4, affine=False)

    def forward(self, audio: Padded | None = None, video: Padded | None = None) -> Padded:
        return video if audio is None else audio


def options(**more: Any) -> Options:
    given = {**GIVEN, **more}
    return released.release_options(Options().updated(given), list(given))


def build(options: Options) -> SpeechLLM:
    vocabulary = load_vocabulary(options.llm.llm_model, options.tokens)
    llm = build_llm(options, vocabulary, torch.float32)
    return assemble(options, llm, vocabulary, {"audio": Recorded(50), "video": Recorded(25)}).eval()


@pytest.fixture(scope="module")
def model() -> SpeechLLM:
    model = build(options())
    released.load_release(model, options(), RELEASE)
    return model


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "clips.npz"))


def batch_of(names: tuple[str, ...], arrays: dict[str, np.ndarray], model: SpeechLLM) -> Batch:
    utterances = [
        Utterance(
            id=name,
            video_path=Path(),
            audio_path=Path(),
            num_frames=RECORDED["frames"][CLIPS.index(name)],
            text=RECORDED["texts"][CLIPS.index(name)],
            source="none:1",
        )
        for name in names
    ]
    frames = {
        medium: Padded.from_list([torch.from_numpy(arrays[f"{name}.{key}"]) for name in names])
        for medium, key in (("audio", "whisper_out"), ("video", "avhubert_out"))
    }
    encode = text_of(options(), model.vocabulary)
    return Batch(utterances=utterances, inputs=frames, text_ids=[encode(u) for u in utterances])


@pytest.mark.parametrize("name", CLIPS)
@torch.no_grad()
def test_embeddings_logits_and_loss(name: str, model: SpeechLLM, arrays: dict[str, np.ndarray]) -> None:
    batch, recorded = batch_of((name,), arrays, model), RECORDED["clips"][name]
    (ids,) = batch.text_ids
    assert ids.prefix.tolist() == RECORDED["instruction_ids"]
    assert ids.target.tolist() == RECORDED["label_ids"][CLIPS.index(name)]
    compressor = model.compressors["audiovisual"]
    fused = model.fusions["audiovisual"](batch.inputs["audio"], batch.inputs["video"])
    heard = Heard(fused.lengths.double() / 25, batch.inputs["audio"], 50)
    rates = compressor.predictor(heard.sound_at(12.5))
    assert rates.tolist() == pytest.approx(recorded["speech_rate"], abs=ATOL)
    close(compressor(fused, heard=heard).values[0], arrays[f"{name}.qformer_out"])

    (tokens,) = model.encode(batch)
    assert tokens.lengths.tolist() == recorded["num_queries"]
    (pieces,) = model.parts(batch.text_ids, [tokens], with_target=True)
    embeddings = torch.cat(pieces)
    close(embeddings, arrays[f"{name}.inputs_embeds"])
    logits = model.llm(inputs_embeds=embeddings[None]).logits[0]
    close(logits[-len(ids.target) - 1 :], arrays[f"{name}.logits"])
    loss = model.loss(batch)
    assert float(loss.cross_entropy) / loss.weight == pytest.approx(recorded["loss"], abs=ATOL)
    assert loss.num_positions == recorded["seq_len"]


@pytest.mark.parametrize("name", CLIPS)
def test_beam_search_ids(name: str, model: SpeechLLM, arrays: dict[str, np.ndarray]) -> None:
    expected = RECORDED["clips"][name]["decode"]["beams5_max12"]
    search = BeamSearch(num_beams=5, max_new_tokens=12)
    ((best,),) = model.generate(batch_of((name,), arrays, model), search)
    assert best.ids == without_end(expected["ids"], model.vocabulary.eos)


@torch.no_grad()
def test_a_batch_changes_no_clip(model: SpeechLLM, arrays: dict[str, np.ndarray]) -> None:
    """In the original it does: its predictor looks at the padding, and clips get other numbers of queries."""
    together = batch_of(CLIPS, arrays, model)
    for medium in together.inputs.values():
        medium.values[~medium.mask] = 1e3
    (tokens,) = model.encode(together)
    counts = [RECORDED["clips"][name]["num_queries"][0] for name in CLIPS]
    assert tokens.lengths.tolist() == counts == [4, 7, 7]
    assert RECORDED["clips"]["batch012"]["num_queries"] == [5, 7, 7]
    for name, clip in zip(CLIPS, tokens.unpad(), strict=True):
        torch.testing.assert_close(clip, model.encode(batch_of((name,), arrays, model))[0].values[0])


def test_the_file_implies_its_options() -> None:
    found = options()
    assert (found.task_name, found.goal.modality) == ("fused", "audiovisual")
    assert found.compression.compression_mode == "qformer"
    assert (found["qformer_width"], found["qformer_ffn_width"], found["qformer_layers"]) == (64, 96, 2)
    assert found["qformer_max_seconds"] == 20
    assert (found.projector.projector_type, found.projector.intermediate_size) == ("two-linear", 80)
    assert (found.lora.lora_rank, found.lora.scale) == (4, 2)
    assert found.lora.lora_targets == ("k_proj", "o_proj", "q_proj", "v_proj")
    assert (found.decoding.num_beams, found.decoding.max_dec_tokens) == (5, 100)
    assert found["whisper_waveform"] == "as-read"


def test_what_is_trained_is_kept_and_what_is_not_is_not(model: SpeechLLM) -> None:
    kept = saved_state(model)
    assert "compressors.audiovisual.query_tokens" in kept
    assert "fusions.audiovisual.slow_down.weight" in kept
    assert "encoders.video.encoder.bn.running_mean" in kept
    assert not [key for key in kept if ".predictor." in key or "embed_tokens" in key]
    file = torch.load(RELEASE, weights_only=True)["model"]
    close(kept["compressors.audiovisual.query_tokens"], file["query_tokens"].float().numpy())


WRONG = {
    "predictor": ({"speech_rate_predictor": None}, "--speech-rate-predictor is missing"),
    "audio encoder": ({}, "--audio-encoder-name recorded: width 32, the file's encoder has 64"),
    "LLM": ({}, r"--llm-model .*: its tokens' embeddings are not those"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_the_file(case: str) -> None:
    changed, message = WRONG[case]
    wrong = options(**changed)
    model = build(wrong)
    if case == "audio encoder":
        model.encoders["audio"].dim = 32
    if case == "LLM":
        with torch.no_grad():
            model.llm.get_input_embeddings().weight.mul_(2)
    with pytest.raises(ValueError, match=message):
        released.load_release(model, wrong, RELEASE)


def test_a_flag_that_contradicts_the_file() -> None:
    with pytest.raises(ValueError, match=r"--qformer-width 32 contradicts .* trained with 64"):
        options(qformer_width=32)
