"""What a model cannot take, told from the label files before anything starts.

Lengths stand in the label files and the limits are known: no clip should end a training after hours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, TextIds, Utterance
from datamodules.datamodule import DataModule
from datamodules.table import Utterances
from llama_avsr.model.build import text_of
from llama_avsr.model.reading import position_limit
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.options import FIELDS, Options
from llama_avsr.tasks import Stream

LOGGER = logging.getLogger(__name__)
NUM_NAMED = 3
TOO_SHORT = "too short for one token of speech"


def check_training(options: Options, model: SpeechLLM, datamodule: DataModule) -> None:
    """Clips too short for a token of speech are left out, with a word: there is nothing to learn from.

    Raises ValueError where the model cannot take others that it would be trained or validated on.
    """
    flag = FIELDS[options.max_frames_by].flag
    remedies = {
        "train": f"{flag} {{frames}} leaves out those that are too long",
        "val": "cut those that are too long to {frames} frames (25 a second), or take them out of the file",
    }
    for split, remedy in remedies.items():
        if clips := datamodule.utterances.get(split):
            clips = datamodule.utterances[split] = long_enough(model, clips)
            check_lengths(model, clips, text_of(options, model.vocabulary), remedy)


def check_tests(model: SpeechLLM, tests: Sequence[tuple[Options, DataModule]]) -> None:
    """Raises ValueError where the model cannot take clips of a test file."""
    remedy = (
        "cut those that are too long to {frames} frames (25 a second), take them out of the file, or "
        "lower --max-dec-tokens"
    )
    for options, datamodule in tests:
        encode_text, views = text_of(options, model.vocabulary), [model.views[options.view_name]]
        clips = datamodule.utterances["test"]
        check_lengths(model, clips, encode_text, remedy, options.decoding.max_dec_tokens, views)


def long_enough(model: SpeechLLM, clips: Sequence[Utterance]) -> Utterances:
    """The clips that make at least one token of every stream at every rate; a warning counts the others.

    Raises ValueError where there is none.
    """
    clips, dropped = Utterances.of(clips), _Faults()
    short = _too_short(_Tokens(model), clips)
    for place in np.flatnonzero(short):
        dropped.add(clips[place])
    kept = clips[~short]
    label_file, _ = clips[0].position
    if not kept:
        raise ValueError(f"{label_file}: all {len(clips)} clips are {TOO_SHORT}")
    if dropped.count:
        LOGGER.warning("%s: skipped of %d clips: %s", label_file, len(clips), dropped.told(TOO_SHORT))
    return kept


def _too_short(tokens: _Tokens, clips: Utterances) -> np.ndarray:
    """Which of the clips are, [clips] bool."""
    # Lengths alone decide, as no clip has fewer units than one: of each length one clip is looked at.
    lengths, places = np.unique(clips.num_frames, return_index=True)
    return np.isin(clips.num_frames, lengths[[tokens.too_short(clips[place]) for place in places]])


def check_lengths(
    model: SpeechLLM,
    clips: Collection[Utterance],
    encode_text: Callable[[Utterance], TextIds],
    remedy: str,
    new_tokens: int = 0,
    views: Sequence[View] | None = None,
) -> None:
    """Raises ValueError with counts and the first names where the model cannot take clips of a label file.

    remedy: what to do about clips that are too long; `{frames}` stands for the longest length that fits.
    new_tokens: room that decoding needs for text.
    views: what the model is used for; default: everything that it can.
    """
    limits = _Limits(model, encode_text, new_tokens, views)
    found: dict[str, _Faults] = {}
    for clip in clips:
        for kind in limits.passed(clip):
            found.setdefault(kind, _Faults()).add(clip)
    if not found:
        return
    label_file, _ = next(iter(clips)).position
    told = "; ".join(faults.told(kind) for kind, faults in found.items())
    shortest = min((f.shortest for kind, f in found.items() if kind != TOO_SHORT), default=None)
    does = [] if shortest is None else [remedy.format(frames=shortest - 1)]
    if TOO_SHORT in found:
        does.append("take those that are too short out of the label file")
    raise ValueError(
        f"{label_file}: of {len(clips)} clips the model cannot take some: {told}; {', and '.join(does)}"
    )


@dataclass
class _Faults:
    count: int = 0
    shortest: int = 1 << 62
    names: list[str] = field(default_factory=list)

    def add(self, clip: Utterance) -> None:
        self.count += 1
        self.shortest = min(self.shortest, clip.num_frames)
        if len(self.names) < NUM_NAMED:
            self.names.append(clip.id)

    def told(self, kind: str) -> str:
        more = ", ..." if self.count > len(self.names) else ""
        return f"{self.count} {kind} ({', '.join(self.names)}{more})"


class _Limits:
    """Of one model, for one label file."""

    def __init__(
        self,
        model: SpeechLLM,
        encode_text: Callable[[Utterance], TextIds],
        new_tokens: int,
        views: Sequence[View] | None,
    ) -> None:
        self.model = model
        self.encode_text = encode_text
        self.new_tokens = new_tokens
        self.tokens = _Tokens(model, views)
        self.positions = position_limit(model.llm)
        streams = [stream for view in self.tokens.views for stream in view.streams]
        used = {source.encoder for stream in streams for source in stream.sources}
        limits = [model.encoders[name].max_seconds for name in used]
        self.seconds = min((limit for limit in limits if limit is not None), default=None)
        self.around: dict[tuple[str, tuple[str, str]], int] = {}
        """Positions of what stands before the text, for each task and direction."""

    def passed(self, clip: Utterance) -> Iterable[str]:
        """What is wrong with a clip."""
        if self.seconds is not None and clip.num_frames > self.seconds * VIDEO_FPS:
            yield f"longer than the {self.seconds:g} s of the audio encoder"
            return
        if self.tokens.too_short(clip):
            yield TOO_SHORT
        elif self.positions is not None and any(self._too_long(clip, view) for view in self.tokens.views):
            yield (
                f"longer with prompt and text than the {self.positions} positions of the LLM "
                "(max_position_embeddings)"
            )

    def _too_long(self, clip: Utterance, view: View) -> bool:
        markers = sum(2 for stream in view.streams if stream.markers is not None)
        key = (view.task, clip.languages)
        if key not in self.around:
            ids = self.encode_text(clip).of(view.task)
            self.around[key] = len(ids.prefix) + len(ids.suffix)
        before = self.around[key] + markers + self.tokens.of(clip, view)
        # No tokenizer makes more tokens than there are bytes, and a few around them.
        if before + max(len(clip.text.encode()) + 3, self.new_tokens) <= self.positions:
            return False
        text = self.new_tokens or len(self.encode_text(clip).of(view.task).target)
        return before + text > self.positions


class _Tokens:
    """How many positions the speech of clips takes; each length is worked out once."""

    def __init__(self, model: SpeechLLM, views: Sequence[View] | None = None) -> None:
        self.model = model
        self.views = list(model.views.values()) if views is None else views
        self.known: dict[tuple[str, int], int] = {}

    def too_short(self, clip: Utterance) -> bool:
        return any(
            self._of_stream(stream, part, clip) < 1
            for view in self.views
            for stream, part in zip(view.streams, view.parts, strict=True)
        )

    def of(self, clip: Utterance, view: View) -> int:
        """At least; how many units a video has is found in it."""
        streams = zip(view.streams, view.parts, strict=True)
        return sum(self._of_stream(stream, part, clip) for stream, part in streams)

    def _of_stream(self, stream: Stream, part: str, clip: Utterance) -> int:
        compressor = self.model.compressors[part]
        key = (part, clip.num_frames)
        if key not in self.known:
            # What is fused has a frame for each of the video's.
            frames = clip.num_frames
            if not stream.fuses:
                frames = _num_frames(self.model.encoders[stream.encoder], frames)
            self.known[key] = int(compressor.num_tokens(frames))
        if compressor.units is not None:
            return min(self.known[key], 1)
        if clip.run_lengths is not None and compressor.ratio == 1:
            return min(self.known[key], len(clip.run_lengths))
        return self.known[key]


def _num_frames(encoder: nn.Module, video_frames: int) -> int:
    """Frames that an encoder makes of a clip."""
    count = getattr(encoder, "num_frames", None)
    if count is None:
        return int(video_frames * encoder.frame_rate_hz / VIDEO_FPS)
    return max(int(count(torch.tensor([video_frames * SAMPLES_PER_VIDEO_FRAME]))), 0)
