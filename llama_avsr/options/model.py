"""Options that define the model: a checkpoint keeps them and evaluation reads them from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from llama_avsr.options.fields import check_fields
from llama_avsr.options.values import NonNegativeInt, PositiveFloat, PositiveInt, Probability, Registered

AVHUBERT_NAME = "av-hubert"
"""The value of --audio-encoder-name that means AV-HuBERT's own audio stream."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Task and prompt"""

    modality: Literal["audio", "video", "audiovisual", "audiovisual_avhubert"] | None = None
    """What the model hears and sees: sound, lips, both with an encoder each, or both through one
    AV-HuBERT. In transcription: what of it is used; left out, what the file has."""
    task: Annotated[str, Registered("llama_avsr.tasks")] | None = None
    """What is asked of the model. Left out: to transcribe (asr, vsr or avsr, as --modality says).
    translation: an instruction before the speech asks for the transcript or a translation, clip by clip."""
    instruction_recognize: str = "Recognize this speech in {spoken}. Input : "
    """Instruction before speech that is to be transcribed, with --task translation."""
    instruction_translate: str = "Translate this {spoken} speech to {written}. Input : "
    """Instruction before speech that is to be translated, with --task translation."""
    prompt_audio: str = "Transcribe speech to text."
    """Instruction between speech and transcript, with --modality audio."""
    prompt_video: str = "Transcribe video to text."
    """The same, with --modality video."""
    prompt_audiovisual: str = "Transcribe speech and video to text."
    """The same, with both streams."""

    __post_init__ = check_fields


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Encoders"""

    audio_encoder_name: str | None = None
    """Encoder of the sound: the hub name or local folder of a Whisper or WavLM model
    (`openai/whisper-medium.en`, `microsoft/wavlm-large`), or `av-hubert`."""
    pretrain_avhubert_enc_video_path: Path | None = None
    """AV-HuBERT checkpoint that encodes video (--modality video, audiovisual)."""
    pretrain_avhubert_enc_audio_path: Path | None = None
    """AV-HuBERT checkpoint that encodes sound (--audio-encoder-name av-hubert)."""
    pretrain_avhubert_enc_audiovisual_path: Path | None = None
    """AV-HuBERT checkpoint that encodes both (--modality audiovisual_avhubert)."""
    use_lora_avhubert: bool = False
    """Adapt AV-HuBERT with LoRA (bottleneck: a sixteenth of its width, scale 2)."""
    whisper_padding: Literal["30s", "none"] = "30s"
    """What Whisper encodes: every clip padded to 30 seconds, as published, or its real length only,
    which is faster."""
    whisper_length_rounding: Literal["exact", "float32", "bfloat16"] = "exact"
    """Arithmetic that counts Whisper's valid frames (50 Hz). Models trained by the original code
    in bf16 need bfloat16."""
    encoder_layer_drop: Probability | None = None
    """Share of AV-HuBERT's layers left out of a step while it is trained. Left out, here and below: as
    its checkpoint says."""
    encoder_input_dropout: Probability | None = None
    """Dropout between AV-HuBERT's front ends and its transformer, while it is trained."""
    encoder_dropout: Probability | None = None
    """Dropout on the outputs of AV-HuBERT's blocks, while it is trained."""
    encoder_attention_dropout: Probability | None = None
    """Dropout on AV-HuBERT's attention weights, while it is trained."""
    encoder_activation_dropout: Probability | None = None
    """Dropout inside AV-HuBERT's feed-forward blocks, while it is trained."""

    __post_init__ = check_fields

    @property
    def regularisation(self) -> dict[str, float]:
        """AV-HuBERT's settings that differ from its checkpoint's."""
        names = ("layer_drop", "input_dropout", "dropout", "attention_dropout", "activation_dropout")
        asked = {name: getattr(self, f"encoder_{name}") for name in names}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def audio_is_avhubert(self) -> bool:
        """Whether the sound goes through AV-HuBERT. A lone AV-HuBERT audio path says so as well."""
        if self.audio_encoder_name is None:
            return self.pretrain_avhubert_enc_audio_path is not None
        return self.audio_encoder_name.replace("-", "").lower() == AVHUBERT_NAME.replace("-", "")


@dataclass(frozen=True, kw_only=True)
class CompressionOptions:
    """Compression"""

    compression_mode: Annotated[str, Registered("llama_avsr.compressors")] = "stack"
    """How neighbouring encoder frames become one LLM token: stack concatenates, avg-pooling averages, units
    averages runs of frames that belong to one visual unit."""
    units_centroids: Path | None = None
    """Centroids (`prepare_data.py units fit`) that find the units on the fly, with --compression-mode units.
    Left out: the label files bring them (`.cluster_counts`)."""
    units_layer: NonNegativeInt | None = None
    """AV-HuBERT layer whose features the centroids were made of. Left out: as the centroids' file says."""
    downsample_ratio_audio: PositiveInt = 3
    """Audio frames folded into one LLM token (Whisper, WavLM: 50 frames a second)."""
    downsample_ratio_video: PositiveInt = 3
    """Video frames folded into one LLM token (25 frames a second)."""
    downsample_ratio_audiovisual: PositiveInt = 2
    """Audio-visual AV-HuBERT frames folded into one LLM token (25 frames a second)."""

    __post_init__ = check_fields


@dataclass(frozen=True, kw_only=True)
class ProjectorOptions:
    """Projector"""

    projector_type: Literal["mlp", "linear"] = "mlp"
    """mlp: two layers with a ReLU between, as Llama-AVSR; linear: one, as VSP-LLM."""
    intermediate_size: PositiveInt = 2048
    """Width of the projector's hidden layer."""
    layernorm_projector: bool = False
    """End the projector with a LayerNorm."""
    single_projector_avhubert: bool = False
    """One projector and no delimiters for AV-HuBERT's joint features
    (--modality audiovisual_avhubert)."""

    __post_init__ = check_fields


@dataclass(frozen=True, kw_only=True)
class LLMOptions:
    """Language model"""

    llm_model: str | None = None
    """Any causal LM of Hugging Face: hub name (`meta-llama/Llama-3.2-1B`) or local folder."""
    pretrained_rounding: Literal["none", "bfloat16"] = "none"
    """Round the pretrained weights, encoders' included, to bfloat16 when loading them. The published
    models were; their import switches it on."""
    rotary_rounding: Literal["none", "bfloat16"] = "none"
    """Round the frequencies of the LLM's rotary position embedding to bfloat16, as casting a whole model
    does. The published models were trained so; their import switches it on."""
    quantization: Literal["none", "8bit", "nf4"] = "none"
    """Keep the frozen weights of the LLM's linear layers in 8 or 4 bits (QLoRA), which takes a half or
    a quarter of the memory of 16. Needs bitsandbytes."""

    __post_init__ = check_fields


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Adapters of the language model"""

    add_PETF_LLM: Literal["lora"] | None = None
    """Adapt the LLM; left out, it stays as it is and only the projectors learn."""
    reduction_lora: PositiveInt | None = None
    """Size of the adapters as a share of the LLM's width: rank = width / this, scale = alpha / this."""
    lora_rank: PositiveInt | None = None
    """Size of the adapters as such, in place of --reduction_lora; scale = alpha / rank."""
    alpha: PositiveFloat | None = None
    """Strength of the adapters. Left out with --lora-rank: twice the rank."""
    lora_dropout: Probability = 0.0
    """Dropout on the input of the adapters, in training."""
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Linear layers that get an adapter, by the last part of their names, or `all-linear`."""

    __post_init__ = check_fields

    def rank(self, width: int) -> int:
        """Rank of the adapters of an LLM whose hidden size is `width`."""
        if self.lora_rank is not None:
            return self.lora_rank
        if self.reduction_lora is None:
            raise ValueError("--add_PETF_LLM lora needs --reduction_lora or --lora-rank")
        rank = round(width / self.reduction_lora)
        if rank < 1:
            raise ValueError(
                f"--reduction_lora {self.reduction_lora} leaves no rank of the LLM's width {width}; "
                f"expected at most {width}"
            )
        return rank

    @property
    def scale(self) -> float:
        """Factor on the adapters' output (in PEFT: lora_alpha / r)."""
        divisor = self.lora_rank or self.reduction_lora
        if divisor is None:
            raise ValueError("--add_PETF_LLM lora needs --reduction_lora or --lora-rank")
        return 2.0 if self.alpha is None else self.alpha / divisor
