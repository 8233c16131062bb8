"""Speech streams and an LLM: loss and generation, without Lightning and without files.

Letters: B clips, K tokens of one stream, L positions of the LLM's input, D LLM width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from datamodules.batch import Batch, Padded, TextIds
from llama_avsr.decoding import BeamSearch, Hypothesis, beam_search
from llama_avsr.freezing import is_trained, set_training_mode
from llama_avsr.llm import Vocabulary
from llama_avsr.prompt import splice
from llama_avsr.sink import sink_loss
from llama_avsr.tasks import Stream


@dataclass(frozen=True)
class Loss:
    """Sums over a batch; whoever owns the global batch divides them by its number of tokens."""

    cross_entropy: Tensor
    """Sum over the target tokens."""
    num_tokens: int
    """Target tokens."""
    correct: Tensor
    """Target tokens that the model would have chosen, a count."""
    sink: Tensor | None
    """Each clip's sink loss for each of its target tokens, weighted and summed; None where it is switched
    off. So it is averaged as the cross entropy is."""
    num_positions: int
    """Valid positions of the LLM's input."""
    num_padded: int
    """All positions of the LLM's input, padding included."""


class SpeechLLM(nn.Module):
    """Encoders, compressors and projectors in front of a causal LLM.

    encoders, compressors and projectors are keyed by `Stream.encoder`, `Stream.name` and `Stream.name`.
    sink_loss_factor: weight of the attention-sink regulariser; 0 switches it off.
    stream_dropout: probability with which a clip of several streams loses one of them in training.
    """

    def __init__(
        self,
        *,
        llm: PreTrainedModel,
        vocabulary: Vocabulary,
        streams: Sequence[Stream],
        encoders: Mapping[str, nn.Module],
        compressors: Mapping[str, nn.Module],
        projectors: Mapping[str, nn.Module],
        sink_loss_factor: float = 0.0,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.llm = llm
        self.vocabulary = vocabulary
        self.streams = tuple(streams)
        self.encoders = nn.ModuleDict(encoders)
        self.compressors = nn.ModuleDict(compressors)
        self.projectors = nn.ModuleDict(projectors)
        self.sink_loss_factor = sink_loss_factor
        self.stream_dropout = stream_dropout
        self.changed: set[str] = set()
        """State-dict keys whose tensors differ from the pretrained files': what a checkpoint must hold."""

    def train(self, mode: bool = True) -> SpeechLLM:
        """Training mode for what is trained; frozen modules stay in eval mode."""
        set_training_mode(self, mode)
        return self

    def loss(self, batch: Batch) -> Loss:
        """Cross entropy of the batch's target tokens, given its speech."""
        tokens = self._streams_to_tokens(batch)
        parts = self._parts(batch.text_ids, tokens, with_target=True)
        sequences = splice(parts, "right")
        targets = [len(ids.target) for ids in batch.text_ids]
        # Everything before the first position that predicts a target needs no logits.
        starts = [int(n) - t for n, t in zip(sequences.lengths, targets, strict=True)]
        kept = sequences.embeddings.shape[1] - (min(starts) - 1)
        output = self.llm(
            inputs_embeds=sequences.embeddings,
            # Padding lies to the right of everything valid, where causal attention cannot see it: neither
            # mask nor positions are needed, and attention takes its fastest path.
            logits_to_keep=kept,
            output_hidden_states=self.sink_loss_factor > 0,
            use_cache=False,
        )
        places, labels = _targets(batch.text_ids, starts, kept, sequences.embeddings)
        logits = output.logits.flatten(0, 1)[places].float()
        sink = None
        if self.sink_loss_factor > 0:
            per_clip = sink_loss(output.hidden_states, starts)
            sink = self.sink_loss_factor * (per_clip * per_clip.new_tensor(targets)).sum()
        return Loss(
            cross_entropy=functional.cross_entropy(logits, labels, reduction="sum"),
            num_tokens=sum(targets),
            correct=(logits.detach().argmax(-1) == labels).sum(),
            sink=sink,
            num_positions=int(sequences.lengths.sum()),
            num_padded=sequences.embeddings.shape[0] * sequences.embeddings.shape[1],
        )

    @torch.no_grad()
    def generate(self, batch: Batch, search: BeamSearch) -> list[list[Hypothesis]]:
        """The n-best hypotheses of every clip, best first."""
        parts = self._parts(batch.text_ids, self._streams_to_tokens(batch), with_target=False)
        return beam_search(self.llm, splice(parts, "left"), self.vocabulary.eos, search)

    def _streams_to_tokens(self, batch: Batch) -> list[Padded]:
        """Per stream [B, K, D]."""
        tokens = [self._encode(stream, batch) for stream in self.streams]
        if self.training and self.stream_dropout > 0 and len(tokens) > 1:
            dropped = torch.where(
                torch.rand(len(batch)) < self.stream_dropout, torch.randint(len(tokens), (len(batch),)), -1
            )
            tokens = [
                Padded(padded.values, padded.lengths.masked_fill(dropped == stream, 0))
                for stream, padded in enumerate(tokens)
            ]
        return tokens

    def _encode(self, stream: Stream, batch: Batch) -> Padded:
        encoder, compressor = self.encoders[stream.encoder], self.compressors[stream.name]
        media = {medium: batch.inputs[medium] for medium in stream.media}
        if stream.media == ("video",):
            # The published models cut a video to whole groups before encoding it.
            media["video"] = _whole_groups(media["video"], compressor.ratio)
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(encoder)):
            frames = encoder(**media)
        return self._project(stream, compressor(frames))

    def _project(self, stream: Stream, tokens: Padded) -> Padded:
        projector = self.projectors[stream.name]
        values = projector(tokens.zeroed().values.to(next(projector.parameters()).dtype))
        return Padded(values.to(self.llm.get_input_embeddings().weight.dtype), tokens.lengths)

    def _parts(
        self, text_ids: Sequence[TextIds], tokens: Sequence[Padded], with_target: bool
    ) -> list[list[Tensor]]:
        """Each clip's pieces [n, D] in the order of the sequence: prefix, streams, suffix, target."""
        pieces: list[list[Tensor | list[int]]] = []
        for clip, ids in enumerate(text_ids):
            row: list[Tensor | list[int]] = [ids.prefix]
            for stream, padded in zip(self.streams, tokens, strict=True):
                speech = padded.values[clip, : int(padded.lengths[clip])]
                row += [speech] if stream.markers is None else self._marked(speech, stream.markers)
            row += [ids.suffix, ids.target] if with_target else [ids.suffix]
            pieces.append(row)
        return self._embed(pieces)

    def _marked(self, speech: Tensor, markers: tuple[str, str]) -> list[Tensor]:
        opening, closing = (torch.tensor([self.vocabulary.id_of(marker)]) for marker in markers)
        return [opening, speech, closing]

    def _embed(self, pieces: list[list[Tensor]]) -> list[list[Tensor]]:
        """Replace the token ids among the pieces (1-D) by their embeddings, looked up all at once."""
        table = self.llm.get_input_embeddings()
        device = table.weight.device
        ids = [piece for row in pieces for piece in row if piece.dim() == 1]
        embedded = table(torch.cat(ids).to(device)).split([len(piece) for piece in ids])
        remaining = iter(embedded)
        return [[next(remaining) if piece.dim() == 1 else piece for piece in row] for row in pieces]


def _targets(
    text_ids: Sequence[TextIds], starts: Sequence[int], kept: int, embeddings: Tensor
) -> tuple[Tensor, Tensor]:
    """Where targets are predicted among the last `kept` positions of all clips, and which: [n] each."""
    first_kept = embeddings.shape[1] - kept
    places = [
        clip * kept + start - 1 - first_kept + torch.arange(len(ids.target))
        for clip, (ids, start) in enumerate(zip(text_ids, starts, strict=True))
    ]
    labels = torch.cat([ids.target for ids in text_ids])
    device = embeddings.device
    return torch.cat(places).to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _whole_groups(video: Padded, ratio: int) -> Padded:
    lengths = video.lengths // ratio * ratio
    return Padded(video.values[:, : int(lengths.max())], lengths)
