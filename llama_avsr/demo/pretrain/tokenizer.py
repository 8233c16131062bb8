"""The word-level tokenizer of the demo's LLaMA."""

from __future__ import annotations

import string
from collections.abc import Sequence

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from llama_avsr.demo.corpus.grammar import WORDS

BOS, EOS, UNKNOWN = "<s>", "</s>", "<unk>"
PROMPTS = (
    "Transcribe speech to text.",
    "Transcribe video to text.",
    "Transcribe speech and video to text.",
)
SPACE = "c:_"
CHARACTERS = (SPACE, *(f"c:{letter}" for letter in string.ascii_lowercase))
"""What the LLaMA is taught to read; apart from the words, as GRID's letters are words."""


def vocabulary() -> list[str]:
    """All tokens, the id of each its place."""
    prompt_words = [word for prompt in PROMPTS for word in prompt.lower().split()]
    return list(dict.fromkeys([BOS, EOS, UNKNOWN, *WORDS, *prompt_words, *CHARACTERS]))


def make_tokenizer(tokens: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """One token a word, lower-cased; as LLaMA's own does, it puts `<s>` before a text unless told not to.

    tokens: all that it knows, in the order of their ids (default: `vocabulary()`).
    """
    ids = {token: index for index, token in enumerate(vocabulary() if tokens is None else tokens)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
