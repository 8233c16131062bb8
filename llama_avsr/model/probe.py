"""What this project asks of an LLM, tried on the loaded model with a few tokens before hours are spent.

Names of architectures are not asked: a model that trains is one whose answers here are right, and one that is
decoded in some way is one that gave, in that way, what it gives for the whole text.
Letters: B clips, L positions, D LLM width, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from llama_avsr.model.llm import Vocabulary, first_line
from llama_avsr.model.prompt import Sequences, splice
from llama_avsr.model.reading import Reading, call, read_packed, read_whole, reader

LOGGER = logging.getLogger(__name__)
LENGTHS = (11, 8)
"""Tokens of the two clips that are tried."""
STEPS = 3
"""How many of their last tokens are read one by one."""
POISON = 4.0
"""Padding is filled with embeddings so many times too large: what leaks is seen."""
TOLERANCE = 1e-3
"""Largest relative deviation of logits that is put down to rounding in float32."""
COARSE_TOLERANCE = 0.25
"""The same for the median position of 16 bits and fewer, where an expert may be swapped for another."""
LEAST_EFFECT = 1e-6


class Unsuitable(ValueError):
    """What an LLM cannot do that is asked of it."""


@dataclass(frozen=True)
class Abilities:
    """The fastest ways in which an LLM is right."""

    reading: Reading = Reading.SHARED
    """In decoding."""
    packs: bool = False
    """In training: whether clips can lie behind each other without padding."""


def examine(llm: PreTrainedModel, vocabulary: Vocabulary, name: str) -> Abilities:
    """What the LLM can do. Neither weights nor random numbers are changed.

    Raises ValueError naming `--llm-model` for an LLM that cannot be trained, or not be decoded.
    """
    device = llm.get_input_embeddings().weight.device
    devices = [device] if device.type == "cuda" else []
    try:
        with _evaluating(llm), torch.random.fork_rng(devices):
            trial = _Trial(llm, vocabulary)
            trial.check_training()
            abilities = Abilities(trial.way_of_decoding(), trial.packs())
            trial.check_gradients()
    except Unsuitable as error:
        raise ValueError(
            f"--llm-model {name}: {error}; expected a decoder-only LLM that takes embeddings (LLaMA, Qwen, "
            "Gemma, Mistral, ...): choose another one"
        ) from error
    if abilities.reading not in (Reading.SHARED, Reading.CACHED):
        LOGGER.warning("--llm-model %s: is decoded %s, which is slower", name, abilities.reading.value)
    return abilities


class _Trial:
    """Two clips of random tokens, and what the LLM answers to each of them alone."""

    def __init__(self, llm: PreTrainedModel, vocabulary: Vocabulary) -> None:
        self.llm = llm
        table = llm.get_input_embeddings()
        size = min(len(vocabulary.tokenizer), table.weight.shape[0])
        special = {*vocabulary.tokenizer.all_special_ids, vocabulary.eos, vocabulary.bos}
        usual = torch.tensor([i for i in range(size) if i not in special] or list(range(size)))
        drawn = torch.randint(len(usual), (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
        self.ids = usual[drawn].to(table.weight.device).split(LENGTHS)
        with torch.no_grad():
            self.clips = [table(ids) for ids in self.ids]
        self.other = usual[:1].to(table.weight.device)
        self.exact = all(p.dtype is torch.float32 for p in llm.parameters() if p.is_floating_point())
        self.exact &= not getattr(llm, "is_quantized", False)
        self.expected: list[Tensor] = []

    @torch.no_grad()
    def check_training(self) -> None:
        """Raises Unsuitable where the loss of a batch would not be that of its clips."""
        with _asked("it cannot be given embeddings in place of token ids"):
            self.expected = [self._whole(clip[None], len(clip))[0] for clip in self.clips]
            by_ids = [call(self.llm, input_ids=ids[None], use_cache=False).logits[0] for ids in self.ids]
        if any(not logits.isfinite().all() for logits in self.expected):
            raise Unsuitable("it computes values that are not finite")
        if not self._equal(by_ids, self.expected):
            raise Unsuitable("it gives other results for embeddings than for the token ids they belong to")
        padded = _poisoned(splice([[clip] for clip in self.clips], "right"))
        with _asked("it cannot read a batch of clips"):
            kept = LENGTHS[0] - 2
            batch = self._whole(padded.embeddings, kept)
        tails = [logits[max(LENGTHS) - kept :] for logits in self.expected]
        if not self._equal([row[: len(tail)] for row, tail in zip(batch, tails, strict=True)], tails):
            raise Unsuitable(
                "what it predicts for a clip depends on what follows or on the other clips of the batch"
            )

    @torch.no_grad()
    def way_of_decoding(self) -> Reading:
        """Raises Unsuitable where no way of going on from a prefix gives what the whole text gives."""
        for reading in Reading:
            try:
                right = self._decodes(reading)
            except Exception as error:  # of whatever kind: the model was not made for it
                LOGGER.debug("decoding %s: %s", reading.value, error, exc_info=True)
                continue
            if right and reading is Reading.SHARED:
                # Where a window of attention is shorter than a text, `reader` takes the next one.
                right = self._decodes(Reading.CACHED)
            if right:
                return reading
        raise Unsuitable("it can be trained but not decoded: going on from a prefix gives other results")

    @torch.no_grad()
    def packs(self) -> bool:
        """Whether the LLM predicts the same of clips that lie behind each other."""
        wanted = [torch.arange(2, length, 3) for length in LENGTHS]
        try:
            found = read_packed(self.llm, self.clips, wanted)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of whatever kind: the model was not made for it
            LOGGER.debug("packed clips: %s", error, exc_info=True)
            return False
        expected = [logits[places] for logits, places in zip(self.expected, wanted, strict=True)]
        return self._equal([found], [torch.cat(expected)])

    @torch.enable_grad()
    def check_gradients(self) -> None:
        """Raises Unsuitable where neither the speech nor the adapters would learn."""
        clip = self.clips[0].detach().clone().requires_grad_(True)
        adapters = {n: p for n, p in self.llm.named_parameters() if p.requires_grad and "lora_" in n}
        with _asked("gradients do not pass through it"):
            logits = self._whole(clip[None], len(clip)).float()
            aim = logits.log_softmax(dim=-1)[0, :, self.ids[0]].mean()
            found, *others = torch.autograd.grad(aim, [clip, *adapters.values()], allow_unused=True)
        if found is None or not found.isfinite().all() or found.abs().max() <= 0:
            raise Unsuitable("gradients do not pass through it to the speech")
        # Experts learn when they are chosen.
        gradients = {n: g for n, g in zip(adapters, others, strict=True) if "experts" not in n.split(".")}
        if idle := [name for name, gradient in gradients.items() if gradient is None]:
            raise Unsuitable(
                f"{len(idle)} of its {len(adapters)} adapters would learn nothing ({idle[0]}); name other "
                "layers with --lora-targets"
            )

    def _decodes(self, reading: Reading) -> bool:
        """Whether reading a prefix, then token by token with two beams, gives what the whole text gives."""
        groups = [[0], [1]] if reading is Reading.CLIP_BY_CLIP else [[0, 1]]
        return all(self._goes_on(reading, group) for group in groups)

    def _goes_on(self, reading: Reading, clips: Sequence[int]) -> bool:
        """The true text hops from beam to beam; the beams beside it hold another token.

        At the end the last of several clips is dropped, as one that has been decided.
        """
        prompt = _poisoned(splice([[self.clips[clip][:-STEPS]] for clip in clips], "left"))
        read = reader(self.llm, reading, max(LENGTHS))
        logits = read.read(prompt, 2, STEPS)[:, None].expand(-1, 2, -1)
        found, expected = [], []
        true = 0
        for step in range(STEPS + 1):
            found += list(logits[:, true])
            expected += [self.expected[clip][step - STEPS - 1] for clip in clips]
            if step == STEPS:
                break
            if step == STEPS - 1 and len(clips) > 1:
                clips = clips[:-1]
                read.keep(torch.arange(len(clips), device=logits.device))
            before, true = true, 1 - true if step < 2 else true
            parents = torch.full((len(clips), 2), 1 - before, device=logits.device)
            parents[:, true] = before
            tokens = self.other.repeat(len(clips), 2)
            tokens[:, true] = torch.stack([self.ids[clip][step - STEPS] for clip in clips])
            logits = read.step(parents, tokens)
        return self._equal(found, expected)

    def _whole(self, embeddings: Tensor, kept: int) -> Tensor:
        return read_whole(self.llm, embeddings, kept).logits

    def _equal(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
        """found, expected: logits [..., V]."""
        if any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
            return False
        width = found[0].shape[-1]
        a = torch.cat([logits.reshape(-1, width) for logits in found]).double()
        b = torch.cat([logits.reshape(-1, width) for logits in expected]).double()
        off = (a - b).norm(dim=-1) / (b - b.mean(dim=-1, keepdim=True)).norm(dim=-1).clamp(min=LEAST_EFFECT)
        worst = off.max() if self.exact else off.median()
        return bool(worst <= (TOLERANCE if self.exact else COARSE_TOLERANCE))


def _poisoned(sequences: Sequences) -> Sequences:
    invalid = sequences.attention_mask[..., None] == 0
    poison = POISON * sequences.embeddings[:1].flip(1)
    embeddings = torch.where(invalid, poison, sequences.embeddings)
    return Sequences(embeddings, sequences.lengths, sequences.attention_mask, sequences.position_ids)


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Whatever the model raises is what it cannot do."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of whatever kind: the model was not made for it
        raise Unsuitable(f"{what} ({first_line(error)})") from error


@contextmanager
def _evaluating(llm: PreTrainedModel) -> Iterator[None]:
    modes = {module: module.training for module in llm.modules()}
    llm.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
