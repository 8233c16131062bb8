"""Rounding of pretrained parts, as the published models were."""

from pathlib import Path

import pytest
import torch

from llama_avsr.checkpoints import released
from llama_avsr.options import Options
from tests import models
from tests.golden.llama_avsr_releases import release

RELEASE = release("a_whisper_stack3_llama31")


@pytest.mark.parametrize("rounding", ["none", "bfloat16"])
def test_rotary_frequencies(tmp_path, rounding):
    made = models.folders(tmp_path)
    llm = models.build(made, "audio", rotary_rounding=rounding).llm
    found = llm.get_submodule("model.rotary_emb").inv_freq
    exact = models.build(made, "audio").llm.get_submodule("model.rotary_emb").inv_freq
    expected = exact if rounding == "none" else exact.bfloat16().float()
    assert torch.equal(found, expected)
    assert torch.equal(exact, exact.bfloat16().float()) is False


def test_rotary_rounding_leaves_what_the_encoder_computes_alone(tmp_path):
    """Whisper's mel filters and window are no weights either."""
    made = models.folders(tmp_path)
    exact, rounded = (
        models.build(made, "audio", rotary_rounding=rounding).encoders["audio"].mel_filters
        for rounding in ("none", "bfloat16")
    )
    assert torch.equal(exact, rounded)


def test_importing_a_release_switches_it_on():
    given = {
        "modality": "audio",
        "audio_encoder_name": "whisper",
        "llm_model": "llama",
        "root_dir": Path("data"),
        "pretrained_model_path": RELEASE,
    }
    options = released.release_options(Options().updated(given), list(given))
    assert options.llm.rotary_rounding == options.llm.pretrained_rounding == "bfloat16"
    chosen = {**given, "rotary_rounding": "none"}
    options = released.release_options(Options().updated(chosen), list(chosen))
    assert options.llm.rotary_rounding == "none"
