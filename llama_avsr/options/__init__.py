"""Every option, declared once: the field's docstring is the flag's help. Imports nothing heavy."""

from llama_avsr.options.checks import check, missing, problems, unused
from llama_avsr.options.data import AugmentationOptions, DataOptions
from llama_avsr.options.groups import FIELDS, SCHEMA, Options
from llama_avsr.options.live import LiveOptions
from llama_avsr.options.modalities import MODALITIES, Modality
from llama_avsr.options.model import (
    CompressionOptions,
    EncoderOptions,
    LLMOptions,
    LoraOptions,
    ProjectorOptions,
    TaskOptions,
)
from llama_avsr.options.programs import PROGRAMS, Program, defaults
from llama_avsr.options.running import DecodingOptions, RunOptions
from llama_avsr.options.saved import MODEL_FIELDS, from_dict, merge_with_checkpoint, to_dict
from llama_avsr.options.training import CheckpointOptions, HardwareOptions, TrainingOptions
from llama_avsr.options.transcribing import ApiOptions, TranscribingOptions

__all__ = [
    "FIELDS",
    "MODALITIES",
    "MODEL_FIELDS",
    "PROGRAMS",
    "SCHEMA",
    "ApiOptions",
    "AugmentationOptions",
    "CheckpointOptions",
    "CompressionOptions",
    "DataOptions",
    "DecodingOptions",
    "EncoderOptions",
    "HardwareOptions",
    "LLMOptions",
    "LiveOptions",
    "LoraOptions",
    "Modality",
    "Options",
    "Program",
    "ProjectorOptions",
    "RunOptions",
    "TaskOptions",
    "TrainingOptions",
    "TranscribingOptions",
    "check",
    "defaults",
    "from_dict",
    "merge_with_checkpoint",
    "missing",
    "problems",
    "to_dict",
    "unused",
]
