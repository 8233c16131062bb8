"""Speech streams and an LLM: loss and generation, without Lightning and without files.

Letters: B clips, K tokens of one stream, L positions of the LLM's input, D LLM width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from datamodules.batch import VIDEO_FPS, Batch, Padded, TextIds
from llama_avsr.compressors import Heard
from llama_avsr.model.attention import sees_everything
from llama_avsr.model.ctc import ctc_loss
from llama_avsr.model.decoding import BeamSearch, Hypothesis, beam_search
from llama_avsr.model.feature_cache import FeatureCache
from llama_avsr.model.freezing import is_trained, set_training_mode
from llama_avsr.model.llm import Vocabulary
from llama_avsr.model.lora import activate
from llama_avsr.model.loss import Answer, Loss, Question
from llama_avsr.model.mismatch import mismatched
from llama_avsr.model.prompt import splice
from llama_avsr.model.reading import Reading, read_packed, read_padded
from llama_avsr.model.sink import sink_loss
from llama_avsr.model.views import View
from llama_avsr.tasks import PAD, Stream

Encoded = tuple[Padded, Sequence[Tensor | None]]
"""Frames, and each clip's runs of equal units where they are known."""


class SpeechLLM(nn.Module):
    """Encoders, compressors and projectors in front of a causal LLM.

    views: what it can be used for; where none is named, the first.
    encoders are keyed by `Stream.encoder`, compressors and projectors by `View.parts`, fusions by the names
    of the streams that fuse.
    sink_loss_factor: weight of the attention-sink regulariser; 0 switches it off.
    ctc_weight: of the loss that pulls speech tokens to the embeddings of their words; 0 switches it off.
    stream_dropout: probability with which a clip of several streams loses one of them in training.
    lips_mismatch: probability with which the LLM is given another clip's lips for a moment, in training on
        sound and lips.
    loss_reduction: "token" for the mean over target tokens, "utterance" for the mean over clips' means.
    label_smoothing: share of the target spread over the vocabulary, in training.
    reading: how the LLM decodes, packs: whether it reads clips without padding (`probe.examine`).
    feature_cache: where the frames of frozen encoders are kept.
    """

    def __init__(
        self,
        *,
        llm: PreTrainedModel,
        vocabulary: Vocabulary,
        views: Sequence[View],
        encoders: Mapping[str, nn.Module],
        compressors: Mapping[str, nn.Module],
        projectors: Mapping[str, nn.Module],
        fusions: Mapping[str, nn.Module] | None = None,
        sink_loss_factor: float = 0.0,
        ctc_weight: float = 0.0,
        stream_dropout: float = 0.0,
        lips_mismatch: float = 0.0,
        loss_reduction: Literal["token", "utterance"] = "token",
        label_smoothing: float = 0.0,
        reading: Reading = Reading.SHARED,
        packs: bool = False,
        feature_cache: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        self.llm = llm
        self.vocabulary = vocabulary
        self.views = {view.name: view for view in views}
        self.view = views[0]
        """What it is used for where nothing else is said."""
        self.encoders = nn.ModuleDict(encoders)
        self.fusions = nn.ModuleDict(fusions or {})
        self.compressors = nn.ModuleDict(compressors)
        self.projectors = nn.ModuleDict(projectors)
        self.sink_loss_factor = sink_loss_factor
        self.ctc_weight = ctc_weight
        self.stream_dropout = stream_dropout
        self.lips_mismatch = lips_mismatch
        self.loss_reduction = loss_reduction
        self.label_smoothing = label_smoothing
        self.reading = reading
        self.packs = packs
        self.feature_cache = feature_cache
        self.encoders_wait = False
        self.aligning = False
        """Whether the loss is CTC's alone, and the LLM does not run."""
        self.changed: set[str] = set()
        """State-dict keys whose tensors differ from the pretrained files': what a checkpoint must hold."""

    def train(self, mode: bool = True) -> SpeechLLM:
        """Training mode for what is trained; frozen modules stay in eval mode."""
        set_training_mode(self, mode)
        if self.encoders_wait:
            self.encoders.eval()
        return self

    def hold_encoders(self, hold: bool) -> None:
        """Have trained encoders wait (eval mode, no gradients), or let them go on."""
        self.encoders_wait = hold
        self.train(self.training)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Of all views."""
        return tuple(
            {stream.name: stream for view in self.views.values() for stream in view.streams}.values()
        )

    @property
    def prepare_audio(self) -> Callable[[Tensor], Tensor] | None:
        """What the encoder that hears has done to a waveform; None where there is none."""
        sources = [source for stream in self.streams for source in stream.sources]
        hearing = [source.encoder for source in sources if "audio" in source.media]
        return self.encoders[hearing[0]].prepare_audio if hearing else None

    def loss(self, batch: Batch, view: View | None = None) -> Loss:
        """Cross entropy of the batch's target tokens, given its speech."""
        return self.losses(batch, [view or self.view])[0]

    def losses(self, batch: Batch, views: Sequence[View]) -> list[Loss]:
        """The same for several views, with one pass through each encoder, and through the LLM where it reads
        clips without padding with the same adapters."""
        questions = [
            self._question([ids.of(view.task) for ids in batch.text_ids], tokens, view)
            for view, tokens in zip(views, self.encode_views(batch, views), strict=True)
        ]
        if self.aligning:
            return [self._alignment_loss(question) for question in questions]
        return [
            self._loss(question, answer)
            for question, answer in zip(questions, self._answers(questions), strict=True)
        ]

    def _question(self, text_ids: Sequence[TextIds], tokens: Sequence[Padded], view: View) -> Question:
        clips = []
        if not self.aligning:
            seen = self._mismatched(tokens, view)
            clips = [torch.cat(row) for row in self.parts(text_ids, seen, with_target=True, view=view)]
        return Question(view=view, text_ids=text_ids, tokens=tokens, clips=clips)

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        """Have the LLM read, what it reads with the same adapters at once."""
        answers = []
        for adapters, group in groupby(questions, lambda question: question.view.adapters):
            activate(self.llm, adapters)
            answers += self._read(list(group))
        return answers

    def _read(self, questions: Sequence[Question]) -> list[Answer]:
        sinks = self.sink_loss_factor > 0
        longest = max(length for question in questions for length in question.lengths)
        if self.packs and not sinks and sees_everything(self.llm, longest):
            clips = [clip for question in questions for clip in question.clips]
            wanted = [positions for question in questions for positions in question.wanted]
            logits = read_packed(self.llm, clips, wanted).split([int(q.counts.sum()) for q in questions])
            return [Answer(of_one, None, True) for of_one in logits]
        read = [read_padded(self.llm, q.clips, q.wanted, hidden=sinks) for q in questions]
        return [Answer(logits, hidden_states, False) for logits, hidden_states in read]

    def _loss(self, question: Question, answer: Answer) -> Loss:
        logits, labels, counts = answer.logits.float(), question.labels, question.counts
        num_positions, num_clips = sum(question.lengths), len(counts)
        clip_weights = self._clip_weights(counts)
        added = {}
        if self.sink_loss_factor > 0:
            per_clip = sink_loss(answer.hidden_states, question.starts)
            added["sink_loss"] = self.sink_loss_factor * (per_clip * clip_weights.to(per_clip)).sum()
        if self.ctc_weight > 0:
            added["ctc_loss"] = self._ctc_loss(question, clip_weights / counts)
        return Loss(
            cross_entropy=self._cross_entropy(logits, labels, clip_weights / counts, counts),
            weight=int(clip_weights.sum()),
            num_tokens=len(labels),
            correct=(logits.detach().argmax(-1) == labels).sum(),
            added=added,
            num_speech_tokens=question.num_speech_tokens,
            num_positions=num_positions,
            num_padded=num_positions if answer.packed else num_clips * max(question.lengths),
        )

    def _clip_weights(self, counts: Tensor) -> Tensor:
        """[B]: what each clip counts. counts: its target tokens."""
        return torch.ones(len(counts)) if self.loss_reduction == "utterance" else counts.float()

    @torch.no_grad()
    def generate(
        self,
        batch: Batch,
        search: BeamSearch,
        tokens: Sequence[Padded] | None = None,
        view: View | None = None,
    ) -> list[list[Hypothesis]]:
        """The n-best hypotheses of every clip, best first. tokens: what `encode` made of the batch."""
        view = view or self.view
        activate(self.llm, view.adapters)
        text_ids = [ids.of(view.task) for ids in batch.text_ids]
        parts = self.parts(text_ids, tokens or self.encode(batch, view), with_target=False, view=view)
        return beam_search(self.llm, splice(parts, "left"), self.vocabulary.eos, search, self.reading)

    @torch.no_grad()
    def token_log_probs(
        self, batch: Batch, ids: Sequence[Sequence[int]], tokens: Sequence[Padded], view: View | None = None
    ) -> list[Tensor]:
        """The log-probability of each token of a text, of each clip: float32 [n].

        ids: the texts, without the end-of-text token. tokens: what `encode` made of the batch.
        """
        view = view or self.view
        activate(self.llm, view.adapters)
        texts = [torch.tensor(text, dtype=torch.int64) for text in ids]
        around = [own.of(view.task) for own in batch.text_ids]
        targets = [replace(own, target=text) for own, text in zip(around, texts, strict=True)]
        clips = [torch.cat(pieces) for pieces in self.parts(targets, tokens, with_target=True, view=view)]
        # A token is predicted one position before it.
        wanted = [
            torch.arange(len(clip) - len(text) - 1, len(clip) - 1)
            for clip, text in zip(clips, texts, strict=True)
        ]
        logits, _ = read_padded(self.llm, clips, wanted, hidden=False)
        flat = torch.cat(texts).to(logits.device)
        log_probs = logits.float().log_softmax(-1).gather(1, flat[:, None])[:, 0]
        return list(log_probs.split([len(text) for text in texts]))

    def encode(self, batch: Batch, view: View | None = None) -> list[Padded]:
        """The speech as the LLM sees it, per stream [B, K, D].

        A medium that the batch lacks is left out: a stream of nothing else has length zero, as one that
        `stream_dropout` takes away.
        """
        return self.encode_views(batch, [view or self.view])[0]

    def encode_with_frames(
        self, batch: Batch, view: View | None = None
    ) -> tuple[list[Padded], dict[str, Padded]]:
        """The same, and what each encoder made of it: frames [B, T, C] by the encoder's name."""
        view = view or self.view
        encoded: dict[str, Encoded | None] = {}
        (tokens,) = self.encode_views(batch, [view], encoded)
        found = {source.encoder: encoded[source.name] for s in view.streams for source in s.sources}
        return tokens, {encoder: one[0] for encoder, one in found.items() if one is not None}

    def encode_views(
        self, batch: Batch, views: Sequence[View], encoded: dict[str, Encoded | None] | None = None
    ) -> list[list[Padded]]:
        """The same for several views: each encoder runs once, and each projector.

        encoded: receives what the encoders made, by the names of the streams.
        """
        encoded = {} if encoded is None else encoded
        tokens: dict[str, Padded] = {}
        for view in views:
            for stream, part in zip(view.streams, view.parts, strict=True):
                for source in stream.sources:
                    if source.name not in encoded:
                        encoded[source.name] = self._encode(source, part, batch)
                if part not in tokens:
                    made = [encoded[source.name] for source in stream.sources]
                    tokens[part] = self._compress(stream, part, made, len(batch))
        return [self._dropped([tokens[part] for part in view.parts], batch) for view in views]

    def _dropped(self, tokens: list[Padded], batch: Batch) -> list[Padded]:
        if self.training and self.stream_dropout > 0 and len(tokens) > 1:
            dropped = torch.where(
                torch.rand(len(batch)) < self.stream_dropout, torch.randint(len(tokens), (len(batch),)), -1
            )
            tokens = [
                Padded(padded.values, padded.lengths.masked_fill(dropped == stream, 0))
                for stream, padded in enumerate(tokens)
            ]
        return tokens

    def _mismatched(self, tokens: Sequence[Padded], view: View) -> Sequence[Padded]:
        if not self.training or self.lips_mismatch == 0 or len(tokens) == 1:
            return tokens
        return [
            mismatched(padded, self.lips_mismatch) if stream.media == ("video",) else padded
            for stream, padded in zip(view.streams, tokens, strict=True)
        ]

    def _encode(self, source: Stream, part: str, batch: Batch) -> Encoded | None:
        """Frames, and the runs that they fall into; None where the batch has nothing for the stream."""
        encoder, compressor = self.encoders[source.encoder], self.compressors[part]
        media = {medium: batch.inputs[medium] for medium in source.media if medium in batch.inputs}
        if not media:
            return None
        fuses = any(stream.fuses for stream in self.streams)
        if source.media == ("video",) and part == source.name and not fuses:
            # The published models for one rate cut a video to whole groups before encoding it.
            media["video"] = _whole_groups(media["video"], compressor.ratio)
        trained = is_trained(encoder) and not self.encoders_wait
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            if compressor.units is None:
                frames, runs = self._frames(encoder, media), batch.run_lengths
            else:
                finder = compressor.units
                frames, features = encoder.with_layer(finder.layer, finder.silent_audio, **media)
                runs = finder(features)
        return frames, runs

    def _compress(self, stream: Stream, part: str, made: Sequence[Encoded | None], num_clips: int) -> Padded:
        """What becomes of a stream's frames. made: by each of its sources."""
        present = [one for one in made if one is not None]
        if not present:
            return self._absent(num_clips)
        frames, runs = present[-1]
        if stream.fuses:
            frames = self.fusions[stream.name](*(None if one is None else one[0] for one in made))
        compressor = self.compressors[part]
        more = {"heard": self._heard(stream, frames, made)} if getattr(compressor, "listens", False) else {}
        return self._project(part, compressor(_as_trained(frames, compressor), runs, **more))

    def _heard(self, stream: Stream, frames: Padded, made: Sequence[Encoded | None]) -> Heard:
        """frames: those that are compressed."""
        rate_hz = VIDEO_FPS if stream.fuses else self.encoders[stream.encoder].frame_rate_hz
        seconds = frames.lengths.double() / rate_hz
        for source, one in zip(stream.sources, made, strict=True):
            if source.media == ("audio",) and one is not None:
                return Heard(seconds, one[0], self.encoders[source.encoder].frame_rate_hz)
        return Heard(seconds)

    def _frames(self, encoder: nn.Module, media: Mapping[str, Padded]) -> Padded:
        if self.feature_cache is None or is_trained(encoder):
            return encoder(**media)
        return self.feature_cache(encoder, **media)

    def _absent(self, num_clips: int) -> Padded:
        weight = self.llm.get_input_embeddings().weight
        return Padded(
            weight.new_empty(num_clips, 0, weight.shape[1]), torch.zeros(num_clips, dtype=torch.int64)
        )

    def _project(self, part: str, tokens: Padded) -> Padded:
        projector = self.projectors[part]
        values = projector(tokens.zeroed().values.to(next(projector.parameters()).dtype))
        return Padded(values.to(self.llm.get_input_embeddings().weight.dtype), tokens.lengths)

    def _alignment_loss(self, question: Question) -> Loss:
        counts, tokens = question.counts, question.tokens
        clip_weights = self._clip_weights(counts)
        nothing = tokens[0].values.new_zeros((), dtype=torch.float32)
        return Loss(
            cross_entropy=nothing,
            weight=int(clip_weights.sum()),
            num_tokens=int(counts.sum()),
            correct=nothing,
            added={"ctc_loss": self._ctc_loss(question, clip_weights / counts)},
            num_speech_tokens=question.num_speech_tokens,
            num_positions=question.num_speech_tokens,
            num_padded=sum(padded.values.shape[0] * padded.values.shape[1] for padded in tokens),
        )

    def _ctc_loss(self, question: Question, weights: Tensor) -> Tensor:
        """Weighted sum over the clips, of each clip the mean over its streams."""
        ignored = question.view.ignored_target
        unsaid = torch.tensor([self.vocabulary.eos, *([] if ignored is None else [ignored])])
        targets = [ids.target[~torch.isin(ids.target, unsaid)] for ids in question.text_ids]
        table, blank = self.llm.get_input_embeddings().weight, self.vocabulary.id_of(PAD)
        streams = [ctc_loss(padded, targets, table, blank) for padded in question.tokens]
        per_clip = torch.stack(streams).mean(0)
        return self.ctc_weight * (per_clip * weights.to(per_clip)).sum()

    def _cross_entropy(self, logits: Tensor, labels: Tensor, token_weights: Tensor, counts: Tensor) -> Tensor:
        """Weighted sum. token_weights, counts: each clip's weight of a token, and its tokens."""
        smoothing = self.label_smoothing if self.training else 0.0
        losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (losses * token_weights.repeat_interleave(counts).to(losses)).sum()

    def parts(
        self,
        text_ids: Sequence[TextIds],
        tokens: Sequence[Padded],
        with_target: bool,
        view: View | None = None,
    ) -> list[list[Tensor]]:
        """Each clip's pieces [n, D] in the order of the sequence: prefix, streams, suffix, target."""
        pieces = []
        for clip, ids in enumerate(text_ids):
            row = [ids.prefix]
            for stream, padded in zip((view or self.view).streams, tokens, strict=True):
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


def _as_trained(frames: Padded, module: nn.Module) -> Padded:
    """Frames in the precision of a module's own weights, where it has some."""
    dtypes = [parameter.dtype for parameter in module.parameters()]
    return Padded(frames.values.to(dtypes[0]), frames.lengths) if dtypes else frames


def _whole_groups(video: Padded, ratio: int) -> Padded:
    lengths = video.lengths // ratio * ratio
    return Padded(video.values[:, : int(lengths.max())], lengths)
