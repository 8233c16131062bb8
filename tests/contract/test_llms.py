"""Any causal LM: the same promises for every architecture, asked of tokenizer and config alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from llama_avsr.model.decoding import BeamSearch, beam_search
from llama_avsr.model.llm import add_token_rows, load_llm, load_vocabulary, token_matrices
from llama_avsr.model.lora import Lora, add_lora
from llama_avsr.model.prompt import splice
from tests import models, tiny

KINDS = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"sliding_window": 6, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
    "phi3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
}


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Folder of a tiny random model of the kind, with the word tokenizer."""
    torch.manual_seed(0)
    tiny.llm(tmp_path)
    size = len(PreTrainedTokenizerFast.from_pretrained(tmp_path))
    settings = {
        **tiny.SMALL_LLM,
        **KINDS[request.param],
        "vocab_size": size,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config = AutoConfig.for_model(request.param, **settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    return str(tmp_path)


def test_rows_are_added_and_frozen(name: str) -> None:
    vocabulary, llm = load_vocabulary(name), load_llm(name)
    before = {key: matrix.clone() for key, matrix in token_matrices(llm).items()}
    add_token_rows(llm, vocabulary)
    assert len(vocabulary.added) == 5
    for key, matrix in token_matrices(llm).items():
        assert torch.equal(matrix[: len(before[key])], before[key])
        assert matrix[list(vocabulary.added)].std() > 0
        assert not matrix.requires_grad


def test_beam_search_equals_transformers(name: str) -> None:
    llm = load_llm(name)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randn(n, 32, generator=generator) for n in (9, 3, 6)]
    batch = splice([[prompt] for prompt in prompts], "left")
    found = beam_search(llm, batch, 1, BeamSearch(num_beams=3, max_new_tokens=7))
    for prompt, nbest in zip(prompts, found, strict=True):
        ids = llm.generate(
            inputs_embeds=prompt[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=3,
            max_new_tokens=7,
            do_sample=False,
            pad_token_id=2,
        )[0].tolist()
        assert nbest[0].ids == (ids[: ids.index(1)] if 1 in ids else ids)


def test_batched_equals_single_with_lora(name: str, tmp_path: Path) -> None:
    made = {"llm": name, "whisper": tiny.whisper(tmp_path / "whisper"), "av_hubert": "unused"}
    model = models.build(made, "audio", lora_targets=("all-linear",))
    alone = models.clips(model, "transcribe speech to text .")
    losses = torch.stack([model.loss(batch).cross_entropy for batch in alone])
    together = model.loss(models.joined(alone)).cross_entropy
    torch.testing.assert_close(together, losses.sum(), atol=1e-4, rtol=1e-5)
    together.backward()
    trained = [key for key, p in model.named_parameters() if p.grad is not None]
    assert any("lora_" in key for key in trained)
    assert all("lora_" in key or key.startswith("projectors.") for key in trained)


def test_a_target_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match="this LLM has no such layer; it has "):
        add_lora(load_llm(name), Lora(rank=2, alpha=2, dropout=0.0, targets=("nowhere",)))
