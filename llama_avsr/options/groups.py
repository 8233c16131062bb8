"""All options of a run, in groups, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules import registry
from llama_avsr.options.data import AugmentationOptions, DataOptions
from llama_avsr.options.encoders import AVHUBERT, EncoderChoice, choose_encoder
from llama_avsr.options.faces import FaceOptions
from llama_avsr.options.live import LiveOptions
from llama_avsr.options.modalities import MODALITIES
from llama_avsr.options.model import (
    CompressionOptions,
    EncoderOptions,
    LLMOptions,
    LoraOptions,
    ProjectorOptions,
    TaskOptions,
)
from llama_avsr.options.plugins import constant
from llama_avsr.options.running import DecodingOptions, RunOptions
from llama_avsr.options.schema import Schema
from llama_avsr.options.scoring import ScoringOptions
from llama_avsr.options.training import CheckpointOptions, HardwareOptions, TrainingOptions
from llama_avsr.options.transcribing import ApiOptions, ServingOptions, TranscribingOptions
from llama_avsr.options.views import views_of

if TYPE_CHECKING:
    from llama_avsr.tasks import EncoderSlot, Layout, Stream, Task

TASKS = "llama_avsr.tasks"
KINDS = ("tasks", "encoders", "compressors", "formats", "detectors")
"""Plug-ins whose options are among these."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every option. A flag's name is unique over all groups."""

    data: DataOptions = field(default_factory=DataOptions)
    goal: TaskOptions = field(default_factory=TaskOptions)
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    compression: CompressionOptions = field(default_factory=CompressionOptions)
    projector: ProjectorOptions = field(default_factory=ProjectorOptions)
    llm: LLMOptions = field(default_factory=LLMOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    hardware: HardwareOptions = field(default_factory=HardwareOptions)
    run: RunOptions = field(default_factory=RunOptions)
    transcribing: TranscribingOptions = field(default_factory=TranscribingOptions)
    faces: FaceOptions = field(default_factory=FaceOptions)
    serving: ServingOptions = field(default_factory=ServingOptions)
    captions: LiveOptions = field(default_factory=LiveOptions)
    api: ApiOptions = field(default_factory=ApiOptions)
    plugins: dict[str, dict[str, Any]] = field(default_factory=lambda: SCHEMA.plugin_defaults())
    """Group of a plug-in (`encoders/whisper`) -> option -> value."""

    @property
    def schema(self) -> Schema:
        """What it holds."""
        return SCHEMA

    def __getitem__(self, name: str) -> Any:
        """The value of an option by its own name: `options["lr"]`."""
        return self.schema.get(self, name)

    def updated(self, values: Mapping[str, Any]) -> Options:
        """A copy with some options, by their own names, set anew."""
        return SCHEMA.updated(self, values)

    def of(self, kind: str, name: str) -> dict[str, Any]:
        """The options of a plug-in, as arguments: `options.of("encoders", "whisper")`."""
        return self.plugins.get(f"{kind}/{name}", {})

    def by_name(self, kind: str) -> dict[str, dict[str, Any]]:
        """The options of all plug-ins of a kind, by their names."""
        prefix = f"{kind}/"
        return {g.removeprefix(prefix): own for g, own in self.plugins.items() if g.startswith(prefix)}

    # --- task and streams ---------------------------------------------------------------------------------

    @property
    def modality(self) -> str:
        """Raises ValueError where none was given."""
        if self.goal.modality is None:
            raise ValueError(f"--modality is missing; choose one of {', '.join(MODALITIES)}")
        return self.goal.modality

    @property
    def task_names(self) -> tuple[str, ...]:
        return self.goal.tasks or (self.task_name,)

    @property
    def task_name(self) -> str:
        """Of several, the first."""
        return next(iter(self.goal.tasks), self.goal.task) or MODALITIES[self.modality].task

    @property
    def task(self) -> Task:
        """Of several, the first."""
        return _task(self.task_name)

    @property
    def layouts(self) -> dict[str, Layout]:
        """Of each task, the text around the speech. Raises ValueError where its options make none."""
        return {name: _task(name).layout(**self.of("tasks", name)) for name in self.task_names}

    @property
    def layout(self) -> Layout:
        """Of several tasks, the first one's."""
        return self.layouts[self.task_name]

    @property
    def tokens(self) -> tuple[str, ...]:
        """What the tasks add to the LLM's vocabulary."""
        return tuple(dict.fromkeys(token for name in self.task_names for token in _task(name).tokens))

    @property
    def translates(self) -> bool:
        """Whether one of its tasks does."""
        return any(_task(name).translates for name in self.task_names)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Of all tasks, each once. Raises ValueError where a task does not take the modality."""
        found: dict[str, Stream] = {}
        for name in self.task_names:
            modality = self.modality_of(name)
            for stream in _task(name).streams_of(modality, self.projector.single_projector_avhubert):
                if found.setdefault(stream.name, stream).slot != stream.slot:
                    raise ValueError(
                        f"--tasks {name} --modality {self.modality}: its {stream.name} would go through "
                        "another encoder than that of the tasks before it; use --modality audiovisual"
                    )
        return tuple(found.values())

    def modality_of(self, task_name: str) -> str:
        """What a task takes of the modality. Raises ValueError where it can take nothing."""
        known = _task(task_name).streams
        if self.modality in known:
            return self.modality
        parts = [name for name in known if {*MODALITIES[name].media} <= {*self.media}]
        if not self.goal.tasks or not parts:
            flag = "--tasks" if self.goal.tasks else "--task"
            raise ValueError(f"{flag} {task_name} --modality {self.modality}: it takes {', '.join(known)}")
        return parts[0]

    @property
    def views(self) -> tuple[Options, ...]:
        """A model for several tasks, or at several compression rates, as models for one task at one rate; of
        a model that is one of these, the options as they are."""
        return views_of(self)

    @property
    def view_name(self) -> str:
        """Of a model for one task at one rate: the task and the rates of its streams, `avsr_4_2`."""
        rates = [str(rate) for stream in self.streams for rate in self.rates(stream)]
        return "_".join([self.task_name, *rates])

    @property
    def media(self) -> tuple[str, ...]:
        """What clips must bring: "audio", "video"."""
        return MODALITIES[self.modality].media

    @property
    def slots(self) -> tuple[EncoderSlot, ...]:
        """The encoders of the model, each once."""
        return tuple(dict.fromkeys(s.slot for stream in self.streams for s in stream.sources))

    def has_slot(self, name: str) -> bool:
        return any(slot.name == name for slot in self.slots)

    def folds_frames(self, stream: str) -> bool:
        """Whether neighbouring frames of a stream are folded at its compression rate."""
        folds = constant("compressors", self.compression.compression_mode, "FOLDS_BY_RATIO")
        return folds and any(s.name == stream for s in self.streams)

    def folds_at_one_rate(self, stream: str) -> bool:
        return self.folds_frames(stream) and not self[f"downsample_ratios_{stream}"]

    def rates(self, stream: Stream) -> tuple[int, ...]:
        """Compression rates of a stream; none where its frames are not folded."""
        if not self.folds_frames(stream.name):
            return ()
        return (self[stream.ratios] if stream.ratios else ()) or (self[stream.ratio],)

    @property
    def draws_rates(self) -> bool:
        """Whether the parts that a training step goes through are drawn."""
        rates = self.compression
        lists = (
            rates.downsample_ratios_audio,
            rates.downsample_ratios_video,
            rates.downsample_ratios_audiovisual,
        )
        return self.training.rates_per_step == "drawn" and any(len(several) > 1 for several in lists)

    # --- plug-ins -----------------------------------------------------------------------------------------

    def encoder_of(self, slot: EncoderSlot) -> EncoderChoice | None:
        """What encodes a slot; None where the options do not say."""
        named = None if slot.named_by is None else self[slot.named_by]
        return choose_encoder(slot, named, self[slot.avhubert_by])

    def _may_be(self, slot: EncoderSlot, plug_in: str) -> bool:
        choice = self.encoder_of(slot)
        if choice is not None and choice.plug_in is not None:
            return plug_in == choice.plug_in
        if choice is None and slot.default is not None:
            return plug_in == slot.default
        # What a hub name stands for shows when it is loaded; AV-HuBERT has none.
        return plug_in != AVHUBERT

    @property
    def audio_is_avhubert(self) -> bool:
        """Whether the sound goes through AV-HuBERT. A lone AV-HuBERT audio path says so as well."""
        choices = [self.encoder_of(slot) for slot in self.slots if slot.name == "audio"]
        return any(choice is not None and choice.plug_in == AVHUBERT for choice in choices)

    @property
    def has_avhubert(self) -> bool:
        """Whether an AV-HuBERT encodes anything."""
        return self.chooses("encoders", AVHUBERT)

    def chooses(self, kind: str, name: str) -> bool:
        """Whether a plug-in is in use, or may be."""
        if kind == "tasks":
            return name in self.task_names
        if kind == "compressors":
            return name == self.compression.compression_mode
        if kind == "detectors":
            return name == self.faces.detector
        if kind == "encoders":
            return any(self._may_be(slot, name) for slot in self.slots)
        return True

    # --- what follows -------------------------------------------------------------------------------------

    @property
    def max_frames_by(self) -> str:
        """The option with the largest training batch."""
        if len(self.media) > 1:
            return "max_frames_audiovisual"
        return "max_frames_audio" if self.media == ("audio",) else "max_frames_video"

    @property
    def train_max_frames(self) -> int:
        """Largest training batch, in 25 Hz frames."""
        return self[self.max_frames_by]

    @property
    def test_max_frames(self) -> int:
        """Largest batch of validation and test, in 25 Hz frames."""
        return self.decoding.test_max_frames or self.train_max_frames

    @property
    def trained_modules(self) -> tuple[str, ...]:
        """What is trained besides all that is new: as asked, or the adapters there are."""
        lora = {
            "peft_llm": self.lora.add_PETF_LLM is not None,
            "lora_avhubert": self["use_lora_avhubert"] and self.has_avhubert,
        }
        named = self.training.unfrozen_modules
        if named is None:
            named = tuple(name for name, there in lora.items() if there)
        late = ("encoder",) if self.training.encoder_unfreeze_step is not None else ()
        return tuple(dict.fromkeys((*(name for name in named if lora.get(name, True)), *late)))

    @property
    def run_name(self) -> str:
        return self.run.exp_name or self.goal.modality or "run"

    @property
    def run_dir(self) -> Path:
        """Folder of this run's logs and checkpoints."""
        return self.run.exp_dir / self.run_name


def _task(name: str) -> Task:
    return registry.load(TASKS, name).TASK


SCHEMA = Schema(Options, KINDS)
FIELDS = SCHEMA.fields
BY_SPELLING = SCHEMA.by_spelling
