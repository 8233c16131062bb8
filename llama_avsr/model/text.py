"""Which token ids stand around the speech. Runs in the loader's workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from datamodules.batch import TextIds, Utterance
from llama_avsr.model.llm import Vocabulary
from llama_avsr.tasks import Layout


@dataclass(frozen=True)
class SpeechText:
    """`BOS before <speech> after [BOS] target EOS`, as a task lays it out."""

    vocabulary: Vocabulary
    layout: Layout

    def __call__(self, utterance: Utterance) -> TextIds:
        vocabulary = self.vocabulary
        before, after = self.layout.around(utterance)
        opening = [vocabulary.bos] if self.layout.repeats_bos else []
        target = vocabulary.encode(self.layout.target(utterance))
        return TextIds(
            prefix=torch.tensor([vocabulary.bos, *self._encode(before)]),
            suffix=torch.tensor(self._encode(after), dtype=torch.int64),
            target=torch.tensor([*opening, *target, vocabulary.eos]),
        )

    def _encode(self, text: str) -> list[int]:
        return self.vocabulary.encode(text) if text else []


@dataclass(frozen=True)
class SpeechTexts:
    """The same for several tasks."""

    by_task: Mapping[str, SpeechText]

    def __call__(self, utterance: Utterance) -> TextIds:
        made = {task: text(utterance) for task, text in self.by_task.items()}
        return replace(next(iter(made.values())), by_task=made)
