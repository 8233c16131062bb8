"""The demo's LLaMA."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llama_avsr.demo.pretrain.spelling import IGNORED, Slots, SpellingTask, embed
from llama_avsr.demo.pretrain.tokenizer import make_tokenizer, vocabulary
from llama_avsr.demo.pretrain.training import Schedule, fit, quick_products
from llama_avsr.demo.pretrain.weights import save_transformer

EMBEDDING_STD = 0.25
"""About what a freshly drawn projector puts out, so that the two can be compared from the first step."""
EVALUATED_RATES = (0.1, 0.3, 0.5)


class Task(Protocol):
    """What draws sequences to learn from."""

    tokenizer: PreTrainedTokenizerFast

    def draw(self, sentence: str, rng: random.Random, rate: float | None = None) -> Slots: ...


def make_llama(
    dim: int = 192, num_layers: int = 3, num_heads: int = 6, ffn_dim: int = 512
) -> LlamaForCausalLM:
    """A LLaMA for the demo's vocabulary, with random weights."""
    tokenizer = make_tokenizer()
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary()),
            hidden_size=dim,
            intermediate_size=ffn_dim,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )
    # On a CPU the backward pass of the fused attention costs more than everything else together.
    llama.set_attn_implementation("eager")
    nn.init.normal_(llama.get_input_embeddings().weight, std=EMBEDDING_STD)
    return llama


def text_loss(llama: LlamaForCausalLM, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over the labelled places; embeddings [B, T, D], labels [B, T]."""
    # What pads stands behind everything that is read, so that the causal mask is enough.
    hidden = llama.model(inputs_embeds=embeddings).last_hidden_state
    labelled = labels != IGNORED
    return functional.cross_entropy(llama.lm_head(hidden[labelled]).float(), labels[labelled])


@torch.no_grad()
def word_error_rate(
    llama: LlamaForCausalLM, task: Task, sentences: list[str], rate: float, seed: int = 0
) -> float:
    """Share of wrong words when `sentences` are written greedily from spellings damaged at `rate`."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    sequences = [task.draw(sentence, rng, rate) for sentence in sentences]
    table = llama.get_input_embeddings().weight
    values, labels = embed(sequences, table, generator)
    places = (labels != IGNORED).nonzero()[:, 1].reshape(len(sentences), -1)
    rows = torch.arange(len(sentences))
    wrong = num_words = 0
    # All sentences have six words; the last place writes EOS, the first may write BOS.
    for column in range(places.shape[1] - 1):
        place = places[:, column]
        logits = llama.lm_head(llama.model(inputs_embeds=values).last_hidden_state[rows, place])
        written = logits.argmax(dim=-1)
        is_word = labels[rows, place] != task.tokenizer.bos_token_id
        wrong += int(((written != labels[rows, place]) & is_word).sum())
        num_words += int(is_word.sum())
        values[rows, place + 1] = table[written]
    return wrong / num_words


def pretrain_llama(
    train_sentences: list[str],
    held_out: list[str],
    schedule: Schedule,
    out_dir: Path,
    *,
    seed: int,
    batch_size: int = 32,
    llama: LlamaForCausalLM | None = None,
) -> LlamaForCausalLM:
    """Teach a LLaMA to copy damaged spellings; writes it and its tokenizer to `out_dir` as it goes.

    train_sentences, held_out: GRID sentences, the latter for the figures of the log alone.
    """
    torch.manual_seed(seed)
    llama = make_llama() if llama is None else llama
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    task = SpellingTask(tokenizer)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    tokenizer.save_pretrained(out_dir)

    def loss_of_step(step: int) -> Tensor:
        sequences = [task.draw(rng.choice(train_sentences), rng) for _ in range(batch_size)]
        values, labels = embed(sequences, llama.get_input_embeddings().weight, generator)
        with quick_products():
            return text_loss(llama, values, labels)

    def report(steps_done: int) -> str:
        save_transformer(llama, out_dir)
        rates = [f"{rate:g}: {word_error_rate(llama, task, held_out, rate):.1%}" for rate in EVALUATED_RATES]
        return "held-out WER at damage " + ", ".join(rates)

    fit([llama], loss_of_step, schedule, report)
    return llama
