"""Recurrent, hybrid, routed and multimodal LLMs: each decodes what reading everything again gives, or is
refused in a sentence before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from llama_avsr.model import probe
from llama_avsr.model.decoding import BeamSearch, beam_search
from llama_avsr.model.llm import Vocabulary, add_token_rows, load_llm, load_vocabulary
from llama_avsr.model.lora import ALL_LINEAR, Lora, add_lora
from llama_avsr.model.prompt import splice
from llama_avsr.model.reading import Reading, read_whole
from llama_avsr.model.shared_cache import SharedCache
from tests import tiny

SMALL = {**tiny.SMALL_LLM, "bos_token_id": 0, "eos_token_id": 1}
LINEAR_ATTENTION = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
STATE_SPACE = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
PER_LAYER = {
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 30,
}
WORKING = {
    "llama": {},
    "gemma3_text": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3": {
        "text_config": {"sliding_window": 6, "query_pre_attn_scalar": 8},
        "vision_config": VISION,
        "mm_tokens_per_image": 4,
    },
    "qwen3_5_text": LINEAR_ATTENTION,
    "qwen3_next": {
        **LINEAR_ATTENTION,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "bamba": {**STATE_SPACE, "attn_layer_indices": [1]},
    "falcon_h1": {**STATE_SPACE, "mamba_d_ssm": 64},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 64, "lru_width": 32},
    "phimoe": {"num_local_experts": 4},
    "qwen2_moe": EXPERTS,
}
REFUSED = {
    "gemma4_text": PER_LAYER,
    "bert": {},
    "bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48},
}
EOS = 1


def make(kind: str, folder: Path) -> str:
    """A tiny random LLM of the kind with the word tokenizer."""
    torch.manual_seed(0)
    tiny.llm(folder)
    settings = {**WORKING, **REFUSED}[kind]
    size = {"vocab_size": len(PreTrainedTokenizerFast.from_pretrained(folder))}
    for file in (*folder.glob("*.safetensors"), folder / "generation_config.json"):
        file.unlink(missing_ok=True)
    if "text_config" in settings:
        config = AutoConfig.for_model(
            kind, **{**settings, "text_config": {**SMALL, **settings["text_config"], **size}}
        )
    else:
        config = AutoConfig.for_model(kind, **{**SMALL, **settings, **size})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def load(name: str) -> tuple[Vocabulary, PreTrainedModel]:
    """As for training, with adapters everywhere that have learnt something."""
    vocabulary, llm = load_vocabulary(name), load_llm(name)
    add_token_rows(llm, vocabulary)
    add_lora(llm, Lora(rank=2, alpha=4.0, dropout=0.0, targets=(ALL_LINEAR,)))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, parameter in llm.named_parameters():
            if "lora_" in key:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return vocabulary, llm


@torch.no_grad()
def best_by_rereading(llm: PreTrainedModel, prompt: Tensor, width: int, steps: int) -> float:
    """Score of the best hypothesis of a beam search that knows neither batches nor caches."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[float] = []
    for length in range(1, steps + 1):
        candidates = []
        for score, ids in beams:
            text = llm.get_input_embeddings()(torch.tensor(ids, dtype=torch.int64))
            logits = llm(inputs_embeds=torch.cat([prompt, text])[None], use_cache=False).logits[0, -1]
            best = logits.float().log_softmax(-1).topk(2 * width)
            candidates += [
                (score + value, [*ids, token])
                for value, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        candidates = sorted(candidates, key=lambda candidate: -candidate[0])[: 2 * width]
        finished += [score / length for score, ids in candidates[:width] if ids[-1] == EOS]
        finished = sorted(finished, reverse=True)[:width]
        beams = [candidate for candidate in candidates if candidate[1][-1] != EOS][:width]
        if len(finished) == width and finished[-1] >= candidates[0][0] / length:
            return finished[0]
    return max([*finished, *(score / steps for score, _ in beams)])


@pytest.mark.parametrize("kind", WORKING)
def test_decodes_what_it_is_trained_on(kind: str, tmp_path: Path) -> None:
    name = make(kind, tmp_path)
    vocabulary, llm = load(name)
    state = {key: tensor.clone() for key, tensor in llm.state_dict().items()}
    random = torch.get_rng_state()
    reading = probe.examine(llm, vocabulary, name).reading
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, state[key]) for key, tensor in llm.state_dict().items())

    spread = float(llm.get_input_embeddings().weight.std())
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randn(length, 32, generator=generator) * spread for length in (17, 5, 9)]
    sequences = splice([[prompt] for prompt in prompts], "right")
    with torch.no_grad():
        together = read_whole(llm, sequences.embeddings, 17).logits
        for row, prompt in zip(together, prompts, strict=True):
            alone = llm(inputs_embeds=prompt[None], use_cache=False).logits[0]
            torch.testing.assert_close(row[: len(prompt)], alone, rtol=1e-3, atol=1e-3)

    search = BeamSearch(num_beams=3, max_new_tokens=4)
    found = beam_search(llm, splice([[prompt] for prompt in prompts], "left"), EOS, search, reading)
    for prompt, nbest in zip(prompts, found, strict=True):
        assert nbest[0].score == pytest.approx(best_by_rereading(llm, prompt, 3, 4), abs=2e-3)

    read_whole(llm, prompts[0][None].requires_grad_(True), 5).logits.logsumexp(-1).sum().backward()
    idle = [key for key, p in llm.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    name = make(kind, tmp_path)
    vocabulary, llm = load(name)
    with pytest.raises(ValueError, match="--llm-model") as caught:
        probe.examine(llm, vocabulary, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reading", Reading)
def test_all_ways_of_reading_agree(reading: Reading, tmp_path: Path) -> None:
    _, llm = load(make("llama", tmp_path))
    prompts = [0.3 * torch.randn(n, 32, generator=torch.Generator().manual_seed(n)) for n in (8, 3, 12)]
    batch = splice([[prompt] for prompt in prompts], "left")
    search = BeamSearch(num_beams=3, max_new_tokens=5, num_best=3)
    expected = beam_search(llm, batch, EOS, search)
    found = beam_search(llm, batch, EOS, search, reading)
    assert [[h.ids for h in nbest] for nbest in found] == [[h.ids for h in nbest] for nbest in expected]


def test_a_model_that_ignores_its_cache_is_read_again(tmp_path: Path) -> None:
    name = make("llama", tmp_path)
    vocabulary, llm = load(name)
    forward = llm.forward

    def forgetful(*args: object, past_key_values: object = None, **kwargs: object) -> object:
        return forward(*args, **kwargs)

    llm.forward = forgetful
    assert probe.examine(llm, vocabulary, name).reading is Reading.REREAD


def test_a_cache_that_mixes_up_its_beams_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make("llama", tmp_path)
    vocabulary, llm = load(name)
    from transformers.cache_utils import DynamicLayer

    def sorts(self: DynamicLayer, rows: Tensor) -> None:
        rows = rows.sort().values
        self.keys, self.values = self.keys[rows], self.values[rows]

    def stays(self: SharedCache, parents: Tensor) -> Tensor:
        return branch(self, torch.arange(parents.shape[1]).expand_as(parents))

    branch = SharedCache.branch
    assert probe.examine(llm, vocabulary, name).reading is Reading.SHARED
    monkeypatch.setattr(SharedCache, "branch", stays)
    assert probe.examine(llm, vocabulary, name).reading is Reading.CACHED
    monkeypatch.setattr(DynamicLayer, "reorder_cache", sorts)
    assert probe.examine(llm, vocabulary, name).reading is Reading.REREAD


@pytest.mark.parametrize(
    ("kind", "routers"), [("phimoe", {"router"}), ("qwen2_moe", {"gate", "shared_expert_gate"})]
)
def test_all_linear_leaves_routers_out(kind: str, routers: set[str], tmp_path: Path) -> None:
    _, llm = load(make(kind, tmp_path))
    adapted = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in llm.state_dict() if ".lora_" in key}
    assert {"q_proj", "v_proj"} <= adapted
    assert not adapted & routers
