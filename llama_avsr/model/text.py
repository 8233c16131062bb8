"""Which token ids stand around the speech. Both run in the loader's workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from datamodules.batch import TextIds, Utterance
from datamodules.languages import LANGUAGES
from llama_avsr.model.llm import Vocabulary


@dataclass(frozen=True)
class PromptedText:
    """Llama-AVSR's sequence: `BOS <speech> prompt text EOS`."""

    vocabulary: Vocabulary
    prompt: str

    def __call__(self, utterance: Utterance) -> TextIds:
        vocabulary = self.vocabulary
        return TextIds(
            prefix=torch.tensor([vocabulary.bos]),
            suffix=torch.tensor(vocabulary.encode(self.prompt), dtype=torch.int64),
            target=torch.tensor([*vocabulary.encode(utterance.text), vocabulary.eos]),
        )


@dataclass(frozen=True)
class InstructedText:
    """VSP-LLM's sequence: `BOS instruction <speech> BOS text EOS`; the second BOS is predicted like text."""

    vocabulary: Vocabulary
    recognize: str
    """Instruction for clips that are written in the language spoken; `{spoken}` stands for its name."""
    translate: str
    """Instruction for the others; `{spoken}` and `{written}`."""

    def __call__(self, utterance: Utterance) -> TextIds:
        vocabulary = self.vocabulary
        return TextIds(
            prefix=torch.tensor([vocabulary.bos, *vocabulary.encode(self.instruction(utterance))]),
            suffix=torch.empty(0, dtype=torch.int64),
            target=torch.tensor([vocabulary.bos, *vocabulary.encode(utterance.text), vocabulary.eos]),
        )

    def instruction(self, utterance: Utterance) -> str:
        spoken, written = utterance.languages
        template = self.recognize if spoken == written else self.translate
        return template.format(spoken=LANGUAGES[spoken], written=LANGUAGES[written])
