"""All options of a run, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llama_avsr.options.data import EVALUATION_FILES, AugmentationOptions, DataOptions
from llama_avsr.options.fields import Field, canonical, fields_of, groups_of
from llama_avsr.options.modalities import MODALITIES, Modality
from llama_avsr.options.model import (
    CompressionOptions,
    EncoderOptions,
    LLMOptions,
    LoraOptions,
    ProjectorOptions,
    TaskOptions,
)
from llama_avsr.options.running import DecodingOptions, RunOptions
from llama_avsr.options.training import CheckpointOptions, HardwareOptions, TrainingOptions
from llama_avsr.options.transcribing import TRANSCRIPTION, ServingOptions, TranscribingOptions

PROGRAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "train": {},
    "eval": EVALUATION_FILES,
    "transcribe": {**EVALUATION_FILES, **TRANSCRIPTION},
}
"""Defaults of each program, where they differ from the declared ones."""


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
    hardware: HardwareOptions = field(default_factory=HardwareOptions)
    run: RunOptions = field(default_factory=RunOptions)
    transcribing: TranscribingOptions = field(default_factory=TranscribingOptions)
    serving: ServingOptions = field(default_factory=ServingOptions)

    def __getitem__(self, name: str) -> Any:
        """The value of an option by its own name: `options["lr"]`."""
        return getattr(getattr(self, FIELDS[name].group), name)

    def updated(self, values: Mapping[str, Any]) -> Options:
        """A copy with some options, by their own names, set anew."""
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            by_group.setdefault(FIELDS[name].group, {})[name] = value
        return replace(
            self, **{group: replace(getattr(self, group), **new) for group, new in by_group.items()}
        )

    @property
    def modality(self) -> Modality:
        """What the chosen modality uses."""
        if self.goal.modality is None:
            raise ValueError(f"--modality is missing: one of {', '.join(MODALITIES)}")
        return MODALITIES[self.goal.modality]

    @property
    def prompt(self) -> str:
        return self[self.modality.prompt]

    @property
    def train_max_frames(self) -> int:
        """Largest training batch, in 25 Hz frames."""
        return self[self.modality.max_frames]

    @property
    def test_max_frames(self) -> int:
        """Largest batch of validation and test, in 25 Hz frames."""
        return self.decoding.test_max_frames or self.train_max_frames

    @property
    def has_avhubert(self) -> bool:
        """Whether an AV-HuBERT encodes anything."""
        return self.modality.avhubert is not None or self.encoder.audio_is_avhubert

    @property
    def trained_modules(self) -> tuple[str, ...]:
        """What is trained besides the projectors: as asked, or the adapters there are."""
        lora = {
            "peft_llm": self.lora.add_PETF_LLM is not None,
            "lora_avhubert": self.encoder.use_lora_avhubert and self.has_avhubert,
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


FIELDS: dict[str, Field] = fields_of(Options)
GROUPS: list[tuple[str, type]] = groups_of(Options)
BY_SPELLING = {canonical(name): field for name, field in FIELDS.items()}


def defaults(program: str) -> Options:
    """The options of `train`, `eval` or `transcribe` before anyone sets one."""
    return Options().updated(PROGRAM_DEFAULTS[program])
