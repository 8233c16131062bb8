"""Padding never changes a result: loss and hypotheses of a clip alone and in a padded, poisoned batch."""

from pathlib import Path

import pytest
import torch

from llama_avsr.model.decoding import BeamSearch
from llama_avsr.tasks import Instruction
from tests import models

CASES = {
    "asr whisper 30s": ("audio", {"whisper_padding": "30s"}),
    "asr whisper": ("audio", {}),
    "asr wavlm": ("audio", {"audio": "wavlm"}),
    "asr avhubert": ("audio", {"audio": "av_hubert_audio"}),
    "vsr": ("video", {"use_lora_avhubert": True}),
    "avsr": ("audiovisual", {"downsample_ratio_audio": 4, "downsample_ratio_video": 2}),
    "avsr avhubert": ("audiovisual_avhubert", {}),
    "avsr avhubert single": ("audiovisual_avhubert", {"single_projector_avhubert": True}),
    "sink loss": ("audio", {"add_sink_loss": True, "sink_loss_factor": 10.0}),
    "ctc loss": ("audiovisual", {"ctc_weight": 0.3}),
    "average pooling, layer norm": (
        "audio",
        {"compression_mode": "avg-pooling", "layernorm_projector": True},
    ),
    "units": ("video", {"compression_mode": "units"}),
    "units on the fly": ("video", {"compression_mode": "units", "units_centroids": "fitted"}),
    "instructions": (
        "video",
        {"task": "translation", "compression_mode": "units", "projector_type": "linear"},
    ),
    "mean over clips": ("video", {"loss_reduction": "utterance"}),
    "sound and lips fused": ("audiovisual", {**models.QFORMER, "speech_rate_predictor": "made"}),
    "fused, Whisper 30 s, stacked": ("audiovisual", {"task": "fused", "whisper_padding": "30s"}),
    "queries for sound alone": ("audio", {**models.QFORMER, "task": "asr"}),
}


INSTRUCTION = Instruction("hello {spoken} ", "quick {written} ")
LAYOUTS = {case: INSTRUCTION for case in CASES if case.startswith(("instructions", "fused", "sound and"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(Path(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("case", CASES)
def test_batched_equals_single(case: str, made: dict[str, str]) -> None:
    modality, more = CASES[case]
    if more.get("audio") == "av_hubert_audio":
        made = {**made, "av_hubert_audio": "av-hubert"}
        more = {**more, "pretrain_avhubert_enc_audio_path": Path(made["av_hubert"])}
    if more.get("units_centroids"):
        more = {**more, "units_centroids": models.centroids(made, Path(made["av_hubert"]).parent)}
    if more.get("speech_rate_predictor"):
        path = models.speech_rate_predictor(Path(made["av_hubert"]).parent)
        more = {**more, "speech_rate_predictor": path}
    model = models.build(made, modality, **more)
    alone = models.clips(model, "transcribe speech to text .", layout=LAYOUTS.get(case))
    together = models.joined(alone)

    losses = [model.loss(batch) for batch in alone]
    batch_loss = model.loss(together)
    # The target of an instruction has a BOS of its own.
    own_bos = 3 if case in LAYOUTS else 0
    assert batch_loss.num_tokens == sum(loss.num_tokens for loss in losses) == 5 + 3 + 6 + own_bos
    assert batch_loss.weight == sum(loss.weight for loss in losses)
    assert batch_loss.num_speech_tokens == sum(loss.num_speech_tokens for loss in losses)
    expected = torch.stack([loss.cross_entropy for loss in losses]).sum()
    torch.testing.assert_close(batch_loss.cross_entropy, expected, atol=1e-4, rtol=1e-5)
    for name, value in batch_loss.added.items():
        torch.testing.assert_close(value, sum(loss.added[name] for loss in losses), atol=1e-4, rtol=1e-5)

    search = BeamSearch(num_beams=4, max_new_tokens=8, num_best=4)
    for batch, nbest in zip(alone, model.generate(together, search), strict=True):
        (single,) = model.generate(batch, search)
        assert [h.ids for h in nbest] == [h.ids for h in single]
        assert [h.score for h in nbest] == pytest.approx([h.score for h in single], abs=1e-4)


def test_the_words_depend_on_the_speech(made: dict[str, str]) -> None:
    """Guards the test above: a model that ignored its speech would pass it."""
    model = models.build(made, "audiovisual")
    batch, *_ = models.clips(model, "transcribe speech to text .")
    before = float(model.loss(batch).cross_entropy)
    for medium in ("audio", "video"):
        batch.inputs[medium].values.add_(1.0 + torch.randn_like(batch.inputs[medium].values))
        after = float(model.loss(batch).cross_entropy)
        assert abs(after - before) > 1e-3
        before = after
