"""The words of what was decoded, when they were said, and what tells whether they are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datamodules.batch import Batch, Padded
from llama_avsr.model.decoding import Hypothesis
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.words.aligner import Aligner
from llama_avsr.words.alignment import Placed, align
from llama_avsr.words.confidence import agreements, features


@dataclass(frozen=True)
class Evidence:
    """One word of a clip's best hypothesis."""

    text: str
    start_s: float
    """From the clip's beginning."""
    end_s: float
    features: tuple[float, ...]
    """`confidence.FEATURES`."""


def evidence(
    model: SpeechLLM,
    aligner: Aligner,
    batch: Batch,
    view: View,
    tokens: Sequence[Padded],
    frames: Mapping[str, Padded],
    nbests: Sequence[Sequence[Hypothesis]],
    length_penalty: float,
) -> list[list[Evidence] | None]:
    """Of each clip; None where no encoder has a head, or the words do not fit into the frames.

    tokens, frames: of `SpeechLLM.encode_with_frames`. nbests: what was decoded, best first.
    """
    frames = {encoder: padded for encoder, padded in frames.items() if encoder in aligner.heads}
    if not frames:
        return [None] * len(nbests)
    log_probs_of = model.token_log_probs(batch, [nbest[0].ids for nbest in nbests], tokens, view)
    clips = {encoder: padded.unpad() for encoder, padded in frames.items()}
    found: list[list[Evidence] | None] = []
    for clip, (nbest, log_probs) in enumerate(zip(nbests, log_probs_of, strict=True)):
        texts = [model.vocabulary.decode(hypothesis.ids).split() for hypothesis in nbest]
        scores, rate_hz = aligner.scores({encoder: own[clip] for encoder, own in clips.items()})
        placed = align(scores, [aligner.spelling.spell(word) for word in texts[0]], rate_hz)
        if placed is None:
            found.append(None)
            continue
        tokens_of = tokens_of_words(nbest[0].ids, model.vocabulary.decode)
        weighted = [
            (words, hypothesis.score * (len(hypothesis.ids) + 1) ** length_penalty)
            for words, hypothesis in zip(texts, nbest, strict=True)
        ]
        agreed = agreements(texts[0], weighted)
        listed = zip(texts[0], placed, tokens_of, agreed, strict=True)
        found.append([_evidence(*one, log_probs.tolist()) for one in listed])
    return found


def tokens_of_words(ids: Sequence[int], decode: Callable[[list[int]], str]) -> list[list[int]]:
    """The places in `ids` of the tokens that write each word; a token between two words is both's."""
    found: list[list[int]] = []
    for place in range(len(ids)):
        count = len(decode(list(ids[: place + 1])).split())
        begun = len(found)
        found += [[] for _ in range(count - begun)]
        # One that begins no word goes on with the last.
        for word in found[begun:] or found[-1:]:
            word.append(place)
    return found


def _evidence(
    word: str, placed: Placed, tokens: Sequence[int], agreement: float, log_probs: Sequence[float]
) -> Evidence:
    own = [log_probs[place] for place in tokens]
    return Evidence(word, placed.start_s, placed.end_s, features(own, agreement, placed.score))
