"""Which token ids stand around the speech."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from datamodules.batch import TextIds, Utterance
from llama_avsr.llm import Vocabulary


@dataclass(frozen=True)
class PromptedText:
    """Llama-AVSR's sequence: `BOS <speech> prompt text EOS`. Runs in the loader's workers."""

    vocabulary: Vocabulary
    prompt: str

    def __call__(self, utterance: Utterance) -> TextIds:
        vocabulary = self.vocabulary
        return TextIds(
            prefix=torch.tensor([vocabulary.bos]),
            suffix=torch.tensor(vocabulary.encode(self.prompt), dtype=torch.int64),
            target=torch.tensor([*vocabulary.encode(utterance.text), vocabulary.eos]),
        )
