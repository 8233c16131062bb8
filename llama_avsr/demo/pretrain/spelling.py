"""What the LLaMA learns from: noisy spellings where the speech will stand, and the sentence after them.

A model pretrained on sentences alone hardly looks at what stands before the prompt; one that has to copy
a damaged spelling must. The damage copies what an encoder does to a word: letters dropped, mistaken, held,
blurred into their neighbours, at a loudness that the projector chooses.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from llama_avsr.demo.pretrain.tokenizer import CHARACTERS, PROMPTS, SPACE

IGNORED = -100
PROMPT_AUDIO, PROMPT_VIDEO, PROMPT_BOTH = PROMPTS


@dataclass
class Slots:
    """The places of one sequence. A place holds
    `gain * ((1 - blur) * embedding[id] + blur * embedding[neighbour]) + noise * random vector`."""

    ids: list[int] = field(default_factory=list)
    neighbours: list[int] = field(default_factory=list)
    blur: list[float] = field(default_factory=list)
    gain: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    """The token that this place has to predict, or IGNORED."""

    def add(
        self, token: int, *, neighbour: int = 0, blur: float = 0, gain: float = 1, noise: float = 0
    ) -> None:
        self.ids.append(token)
        self.neighbours.append(neighbour)
        self.blur.append(blur)
        self.gain.append(gain)
        self.noise.append(noise)
        self.labels.append(IGNORED)

    def __len__(self) -> int:
        return len(self.ids)


def damaged(sentence: str, rate: float, rng: random.Random) -> list[str]:
    """Spell `sentence` in character tokens, about `rate` of them dropped or mistaken."""
    spelled = [SPACE] * rng.randint(0, 2)
    for word in sentence.split():
        # A letter said by its name lasts as long as a short word.
        repeats = rng.randint(2, 3) if len(word) == 1 else 1
        for letter in word * repeats:
            fate = rng.random() / max(rate, 1e-9)
            if fate < 0.5:
                continue
            spelled.append(f"c:{letter}" if fate >= 1 else rng.choice(CHARACTERS))
            if rng.random() < 0.1:
                spelled.append(spelled[-1])
        if rng.random() < 0.4:
            spelled.append(SPACE)
    return spelled + [SPACE] * rng.randint(0, 2)


class SpellingTask:
    """Draws sequences `BOS [<audio>] A.. [</audio>] [<video> V.. </video>] prompt text EOS`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_rate: float = 0.5) -> None:
        self.tokenizer = tokenizer
        self.max_rate = max_rate
        self.character_ids = tokenizer.convert_tokens_to_ids(list(CHARACTERS))

    def draw(self, sentence: str, rng: random.Random, rate: float | None = None) -> Slots:
        """One sequence; `rate` is the damage of each stream, drawn anew for each where it is None."""
        slots = Slots()
        slots.add(self.tokenizer.bos_token_id)
        streams = 2 if rng.random() < 0.4 else 1
        # The single-projector variant has one stream, no delimiters, and the prompt of two.
        delimited = streams == 2 or rng.random() < 0.7
        delimiter_noise = 10 ** rng.uniform(-2, 0.3)
        for _ in range(streams):
            stream_rate = rng.uniform(0, self.max_rate) if rate is None else rate
            if delimited:
                slots.add(0, gain=0, noise=delimiter_noise)
            # In training, one of two streams may be left out.
            if rate is not None or streams == 1 or rng.random() > 0.1:
                add_stream(slots, self.tokenizer, damaged(sentence, stream_rate, rng), rng)
            if delimited:
                slots.add(0, gain=0, noise=delimiter_noise)
        prompt = PROMPT_BOTH if streams == 2 else rng.choice(PROMPTS)
        for token in self._ids(prompt):
            slots.add(token)
        for token in [*self._ids(sentence), self.tokenizer.eos_token_id]:
            slots.labels[-1] = token
            slots.add(token)
        return slots

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids


def add_stream(
    slots: Slots, tokenizer: PreTrainedTokenizerFast, spelled: list[str], rng: random.Random
) -> None:
    """Put character tokens into `slots`, as loud and as blurred as chance has it."""
    ids = tokenizer.convert_tokens_to_ids(spelled)
    gain = 2 ** rng.uniform(-1, 2)
    noise = gain * rng.uniform(0, 0.7)
    blur = rng.uniform(0, 0.5)
    for index, token in enumerate(ids):
        neighbour = rng.choice([ids[max(0, index - 1)], ids[min(len(ids) - 1, index + 1)]])
        slots.add(token, neighbour=neighbour, blur=rng.uniform(0, blur), gain=gain, noise=noise)


def embed(sequences: list[Slots], table: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Input embeddings [B, T, D] and labels [B, T] of `sequences`, zeros and IGNORED after their ends.

    table: [V, D], the LLaMA's input embeddings; noise is in units of their root mean square.
    """

    def padded(name: str, value: float, dtype: torch.dtype) -> Tensor:
        rows = [torch.tensor(getattr(slots, name), dtype=dtype) for slots in sequences]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

    blur, gain, noise = (padded(name, 0, torch.float32)[..., None] for name in ("blur", "gain", "noise"))
    ids, neighbours = padded("ids", 0, torch.int64), padded("neighbours", 0, torch.int64)
    scale = table.detach().pow(2).mean().sqrt()
    random_vectors = torch.randn(*ids.shape, table.shape[1], generator=generator) * scale
    values = gain * ((1 - blur) * table[ids] + blur * table[neighbours]) + noise * random_vectors
    return values, padded("labels", IGNORED, torch.int64)
