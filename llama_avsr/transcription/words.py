"""The words of segments: what `llama_avsr.words` finds, as transcripts have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datamodules.batch import Batch, Padded
from llama_avsr.model.decoding import Hypothesis
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.transcription.transcript import Word
from llama_avsr.words.evidence import evidence
from llama_avsr.words.file import WordModel


def words_of(
    words: WordModel,
    model: SpeechLLM,
    batch: Batch,
    view: View,
    tokens: Sequence[Padded],
    frames: Mapping[str, Padded],
    nbests: Sequence[Sequence[Hypothesis]],
    length_penalty: float,
) -> list[list[Word] | None]:
    """Of each clip's best hypothesis, with times from the clip's beginning.

    None where no head aligns what was encoded, or a text has more letters than there is room for.
    """
    found = evidence(model, words.aligner, batch, view, tokens, frames, nbests, length_penalty)
    calibrated = words.calibration or (lambda features: None)
    return [
        None
        if clip is None
        else [Word(word.text, word.start_s, word.end_s, calibrated(word.features)) for word in clip]
        for clip in found
    ]
