"""What an LLM writes of speech that is not over yet, behind the words that are fixed.

Letters: L positions of the LLM's input, D LLM width, K tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from datamodules.batch import Batch
from llama_avsr.live.cache import Read, read_on
from llama_avsr.live.encoding import padded
from llama_avsr.live.policy import Guess
from llama_avsr.model.attention import sees_everything
from llama_avsr.model.decoding import BeamSearch, Hypothesis, beam_search, search_from
from llama_avsr.model.llm import Vocabulary
from llama_avsr.model.lora import activate
from llama_avsr.model.prompt import splice
from llama_avsr.model.reading import Reading, going_on, read_whole
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.transcription.loops import is_loop


@dataclass(frozen=True)
class Written:
    """One pass."""

    guesses: Sequence[Guess]
    """All words, the fixed ones first."""
    ids: Sequence[int]
    """Their tokens."""
    ends: Sequence[int]
    """How many tokens spell the text up to the end of each word."""
    read: Read | None
    """For the next pass."""


@torch.inference_mode()
def write(
    model: SpeechLLM,
    view: View,
    search: BeamSearch,
    batch: Batch,
    tokens: Sequence[Tensor],
    fixed: Sequence[int],
    before: Read | None,
) -> Written:
    """Write down speech.

    tokens: [K, D] of every stream. fixed: token ids that the text begins with. before: what the LLM has read.
    """
    llm = model.llm
    activate(llm, view.adapters)
    texts = [texts.of(view.task) for texts in batch.text_ids]
    start = torch.cat(model.parts(texts, padded(tokens), with_target=False, view=view)[0])
    prompt = torch.cat([start, _embedded(model, fixed)])
    longest = max(1, search.max_new_tokens - len(fixed))
    search = replace(search, max_new_tokens=longest, num_best=search.num_beams)
    if model.reading is Reading.SHARED and sees_everything(llm, len(prompt) + search.max_new_tokens):
        read = read_on(llm, before, prompt)
        reader = going_on(llm, read.cache, search.num_beams, search.max_new_tokens - 1)
        best = _chosen(model, fixed, search_from(reader, read.logits, model.vocabulary.eos, search)[0])
        logits = read_on(llm, read, torch.cat([prompt, _embedded(model, best.ids)]), len(best.ids) + 1).logits
    else:
        read = None
        (nbest,) = beam_search(llm, splice([[prompt]], "left"), model.vocabulary.eos, search, model.reading)
        best = _chosen(model, fixed, nbest)
        sequence = torch.cat([prompt, _embedded(model, best.ids)])[None]
        logits = read_whole(llm, sequence, len(best.ids) + 1).logits[0].float()
    chosen = torch.tensor(best.ids, dtype=torch.int64, device=logits.device)
    probabilities = logits[:-1].softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
    ids = [*fixed, *best.ids]
    words, ends = words_of(model.vocabulary, ids)
    known = [1.0] * len(fixed) + probabilities
    starts = [0, *ends][: len(words)]
    guesses = [
        Guess(word, min(known[start:end], default=0.0))
        for word, start, end in zip(words, starts, ends, strict=True)
    ]
    return Written(guesses, ids, ends, read)


def _chosen(model: SpeechLLM, fixed: Sequence[int], nbest: Sequence[Hypothesis]) -> Hypothesis:
    """The best that is no loop; nothing, where all are: what follows may tell more."""
    decode = model.vocabulary.decode
    told = (one for one in nbest if not is_loop(decode([*fixed, *one.ids]), one.finished))
    return next(told, Hypothesis(0.0, [], finished=False))


def words_of(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[list[str], list[int]]:
    """The words of a text, and how many of its tokens spell it up to the end of each."""
    words, ends = vocabulary.decode(list(ids)).split(), []
    for count in range(1, len(ids) + 1):
        so_far = vocabulary.decode(list(ids[:count])).split()
        while len(ends) < len(words) and so_far[: len(ends) + 1] == words[: len(ends) + 1]:
            ends.append(count)
    return words, ends + [len(ids)] * (len(words) - len(ends))


def _embedded(model: SpeechLLM, ids: Sequence[int]) -> Tensor:
    table = model.llm.get_input_embeddings()
    return table(torch.tensor(list(ids), dtype=torch.int64, device=table.weight.device))
