"""A LLaMA for the demo of translation: the demo's own, which goes on learning, with Spanish words.

It learns VSP-LLM's sequence, `BOS instruction <speech> BOS text EOS`, with damaged English spellings where
the speech will stand; the instruction says in which language the text is.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

from datamodules.languages import LANGUAGES
from llama_avsr.demo.corpus.translation import SPANISH, translate
from llama_avsr.demo.pretrain.language import text_loss, word_error_rate
from llama_avsr.demo.pretrain.spelling import Slots, add_stream, damaged, embed
from llama_avsr.demo.pretrain.tokenizer import make_tokenizer, vocabulary
from llama_avsr.demo.pretrain.training import Schedule, fit, quick_products
from llama_avsr.demo.pretrain.weights import save_transformer
from llama_avsr.options import Options

EVALUATED_RATE = 0.3
ROWS_STD = 0.05
"""How far the rows of a Spanish word begin from those of its English one."""


def instructions() -> dict[str, str]:
    """By the language that is written: those that `--task translation` gives."""
    options, names = Options(), {"spoken": LANGUAGES["en"], "written": LANGUAGES["es"]}
    return {
        "en": options["instruction_recognize"].format(**names),
        "es": options["instruction_translate"].format(**names),
    }


def bilingual_vocabulary() -> list[str]:
    """All tokens, the id of each its place: those of the demo's LLaMA, then the new ones."""
    words = " ".join(instructions().values()).lower().split()
    return list(dict.fromkeys([*vocabulary(), *SPANISH.values(), *words]))


class InstructedSpelling:
    """Draws sequences `BOS instruction <damaged spelling> BOS text EOS`.

    written: the language of the text, "en" or "es"; None draws one each time.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, written: str | None = None, max_rate: float = 0.5
    ) -> None:
        self.tokenizer = tokenizer
        self.written = written
        self.max_rate = max_rate
        self.instruction_ids = {language: self._ids(text) for language, text in instructions().items()}

    def draw(self, sentence: str, rng: random.Random, rate: float | None = None) -> Slots:
        """sentence: English. rate: the damage of its spelling, drawn anew where it is None."""
        written = self.written or rng.choice(list(self.instruction_ids))
        rate = rng.uniform(0, self.max_rate) if rate is None else rate
        bos, slots = self.tokenizer.bos_token_id, Slots()
        for token in (bos, *self.instruction_ids[written]):
            slots.add(token)
        add_stream(slots, self.tokenizer, damaged(sentence, rate, rng), rng)
        text = sentence if written == "en" else translate(sentence)
        for token in (bos, *self._ids(text), self.tokenizer.eos_token_id):
            slots.labels[-1] = token
            slots.add(token)
        return slots

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids


def with_new_words(start_dir: Path, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The demo's LLaMA with rows for the new words: a Spanish word begins close to its English one."""
    llama = AutoModelForCausalLM.from_pretrained(start_dir)
    known = llama.config.vocab_size
    llama.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    llama.set_attn_implementation("eager")  # the faster one on a CPU, see make_llama
    tables = [llama.get_input_embeddings().weight, llama.get_output_embeddings().weight]
    with torch.no_grad():
        for table in tables:
            nn.init.normal_(table[known:], std=float(table[:known].std()))
            for english, spanish in SPANISH.items():
                target = tokenizer.convert_tokens_to_ids(spanish)
                if target >= known:
                    row = table[tokenizer.convert_tokens_to_ids(english)]
                    table[target] = row + ROWS_STD * torch.randn_like(row)
    return llama


def pretrain_bilingual(
    start_dir: Path,
    train_sentences: list[str],
    held_out: list[str],
    schedule: Schedule,
    out_dir: Path,
    *,
    seed: int,
    batch_size: int = 32,
) -> LlamaForCausalLM:
    """Teach the LLaMA of `start_dir` both tasks; writes it and its tokenizer to `out_dir` when it is done.

    train_sentences, held_out: GRID sentences, the latter for the figures of the log alone.
    """
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(bilingual_vocabulary())
    llama = with_new_words(start_dir, tokenizer)
    task = InstructedSpelling(tokenizer)
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)

    def loss_of_step(step: int) -> Tensor:
        sequences = [task.draw(rng.choice(train_sentences), rng) for _ in range(batch_size)]
        values, labels = embed(sequences, llama.get_input_embeddings().weight, generator)
        with quick_products():
            return text_loss(llama, values, labels)

    def report(steps_done: int) -> str:
        rates = []
        for written in task.instruction_ids:
            measured = InstructedSpelling(tokenizer, written)
            rates.append(f"{written}: {word_error_rate(llama, measured, held_out, EVALUATED_RATE):.1%}")
        return f"held-out WER at damage {EVALUATED_RATE:g}, " + ", ".join(rates)

    fit([llama], loss_of_step, schedule, report)
    temporary = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    tokenizer.save_pretrained(temporary)
    save_transformer(llama, temporary)
    shutil.rmtree(out_dir, ignore_errors=True)
    temporary.rename(out_dir)
    return llama
