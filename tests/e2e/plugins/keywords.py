"""A task with prompts of its own, before and after the speech: the transcript's first word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_avsr.tasks import AUDIO, VIDEO, Task

if TYPE_CHECKING:
    from datamodules.batch import Utterance


@dataclass(frozen=True, kw_only=True)
class Options:
    """Task keywords"""

    keyword_before: str = "video to text"
    """Text before the speech, with --task keywords."""
    keyword_after: str = "transcribe ."
    """Text after the speech, with --task keywords."""


@dataclass(frozen=True)
class Layout:
    before: str
    after: str
    repeats_bos = False

    def around(self, utterance: Utterance) -> tuple[str, str]:
        return self.before, self.after

    def target(self, utterance: Utterance) -> str:
        return utterance.text.split()[0]


TASK = Task(
    streams={"audio": (AUDIO,), "video": (VIDEO,)},
    layout=lambda keyword_before, keyword_after: Layout(keyword_before, keyword_after),
)
