"""What a model is asked to do, one file each: which streams of speech it gets, and the text around them.

A module of this folder offers `TASK`; a dataclass `Options` in it adds flags, whose values go to
`TASK.layout`. Nothing here imports torch: the command line knows tasks before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from datamodules.languages import LANGUAGES, Direction

if TYPE_CHECKING:
    from datamodules.batch import Utterance

MARKERS = ("<audio>", "</audio>", "<video>", "</video>")
PAD = "<pad>"
TOKENS = (PAD, *MARKERS)
"""In the order in which Llama-AVSR adds their rows to the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class EncoderSlot:
    """An encoder of the model, and the options that say which."""

    name: str
    """Its key in `SpeechLLM.encoders`, and so in checkpoints."""
    named_by: str | None
    """The option with the name of an encoder of any kind."""
    avhubert_by: str
    """The option with the path of an AV-HuBERT checkpoint."""
    default: str | None = None
    """The kind of encoder it is where the options name none."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Speech as the LLM sees it: frames of an encoder, or of several, compressed and projected."""

    name: str
    """Its key in `SpeechLLM.projectors`, and so in checkpoints."""
    media: tuple[str, ...]
    """What the encoder is fed: "audio", "video"."""
    slot: EncoderSlot
    """Streams of one slot share an encoder's weights."""
    ratio: str
    """The option with its compression rate."""
    ratios: str | None = None
    """The option with several of them, for a model that is trained at each."""
    markers: tuple[str, str] | None
    """Tokens before and after the stream."""
    fuses: tuple[Stream, ...] = ()
    """Where it joins the frames of several encoders, one to one: the streams whose encoders these are, the
    one that is heard first."""

    @property
    def sources(self) -> tuple[Stream, ...]:
        """The streams whose encoders make its frames: itself, or what it fuses."""
        return self.fuses or (self,)

    @property
    def encoder(self) -> str:
        """Key of its encoder in `SpeechLLM.encoders`."""
        return self.slot.name


class Layout(Protocol):
    """The text around the speech: `BOS before <speech> after [BOS] target EOS`."""

    repeats_bos: bool
    """Whether a BOS stands before the target, and is learnt like it."""

    def around(self, utterance: Utterance) -> tuple[str, str]:
        """Text before and after the speech; either may be empty."""
        ...

    def target(self, utterance: Utterance) -> str:
        """What is to be written."""
        ...


@dataclass(frozen=True)
class Prompt:
    """The same prompt between speech and transcript, as Llama-AVSR."""

    text: str
    repeats_bos = False

    def around(self, utterance: Utterance) -> tuple[str, str]:
        return "", self.text

    def target(self, utterance: Utterance) -> str:
        return utterance.text


@dataclass(frozen=True)
class Instruction:
    """An instruction before the speech that depends on the clip's languages, as VSP-LLM.

    `{spoken}` and `{written}` stand for the languages' names. Raises ValueError for other words in braces.
    """

    recognize: str
    """For clips that are written in the language spoken."""
    translate: str
    """For the others."""
    repeats_bos = True

    def __post_init__(self) -> None:
        for template in (self.recognize, self.translate):
            try:
                template.format(spoken="", written="")
            except (KeyError, IndexError, ValueError):
                raise ValueError(
                    f"{template!r}: expected {{spoken}} and {{written}} in braces, if any"
                ) from None

    def around(self, utterance: Utterance) -> tuple[str, str]:
        spoken, written = utterance.languages
        template = self.recognize if spoken == written else self.translate
        return template.format(spoken=LANGUAGES[spoken], written=LANGUAGES[written]), ""

    def target(self, utterance: Utterance) -> str:
        return utterance.text


def wer_or_bleu(direction: Direction) -> str:
    """WER where the written language is the spoken one, else BLEU."""
    spoken, written = direction
    return "wer" if spoken == written else "bleu"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to do with speech."""

    streams: Mapping[str, tuple[Stream, ...]]
    """Value of `--modality` -> the streams in the order of the sequence."""
    joint: Mapping[str, tuple[Stream, ...]] = field(default_factory=dict)
    """The same with `--single-projector-avhubert`, where that makes a difference."""
    layout: Callable[..., Layout]
    """Makes the layout from the task's own options."""
    tokens: tuple[str, ...] = TOKENS
    """Tokens it adds to the LLM's vocabulary."""
    translates: bool = False
    """Whether clips may be written in another language than the one spoken."""
    learns_unknown: bool = True
    """Whether the LLM's unknown token is learnt where a target holds it."""
    metric: Callable[[Direction], str] = wer_or_bleu
    """(spoken, written) -> name of the metric that judges such clips."""

    def streams_of(self, modality: str, joint: bool) -> tuple[Stream, ...]:
        return self.joint.get(modality, self.streams[modality]) if joint else self.streams[modality]


EAR = EncoderSlot(
    name="audio",
    named_by="audio_encoder_name",
    avhubert_by="pretrain_avhubert_enc_audio_path",
)
EYE = EncoderSlot(
    name="video",
    named_by="video_encoder_name",
    avhubert_by="pretrain_avhubert_enc_video_path",
    default="avhubert",
)
EAR_AND_EYE = EncoderSlot(
    name="audiovisual",
    named_by=None,
    avhubert_by="pretrain_avhubert_enc_audiovisual_path",
    default="avhubert",
)
AUDIO = Stream(
    name="audio",
    media=("audio",),
    slot=EAR,
    ratio="downsample_ratio_audio",
    ratios="downsample_ratios_audio",
    markers=("<audio>", "</audio>"),
)
VIDEO = Stream(
    name="video",
    media=("video",),
    slot=EYE,
    ratio="downsample_ratio_video",
    ratios="downsample_ratios_video",
    markers=("<video>", "</video>"),
)
