"""Options that define the model: a checkpoint keeps them and evaluation reads them from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from llama_avsr.options.fields import TRAINING, group, option
from llama_avsr.options.values import PositiveFloat, PositiveInt, Probability, Registered


@group(fixed=True)
class TaskOptions:
    """Task"""

    modality: Literal["audio", "video", "audiovisual", "audiovisual_avhubert"] | None = option(
        None, needed_by=TRAINING
    )
    """What the model is given: sound, lips, both with an encoder each, or both through one AV-HuBERT. In
    transcription: which of these to use; default: whatever the recording has."""
    task: Annotated[str, Registered("llama_avsr.tasks")] | None = None
    """What the model is trained to do. Default: transcribe (asr, vsr or avsr, according to --modality).
    translation: an instruction before the speech asks for a transcript or a translation, clip by clip."""
    tasks: tuple[Annotated[str, Registered("llama_avsr.tasks")], ...] = ()
    """Several tasks for one model, in place of --task (`asr vsr avsr`): each takes of --modality what it can,
    and every batch serves them all. In evaluation: which of them to test; default: each."""


@group(fixed=True)
class EncoderOptions:
    """Encoders"""

    audio_encoder_name: str | None = option(None, may_differ=True, when=lambda o: o.has_slot("audio"))
    """Encoder of the sound: the hub name or local folder of a Whisper or WavLM model
    (`openai/whisper-medium.en`, `microsoft/wavlm-large`), or `av-hubert`. Encoders that have no Hugging Face
    config go by their own name: `NAME` or `NAME:WEIGHTS`."""
    video_encoder_name: str | None = option(None, may_differ=True, when=lambda o: o.has_slot("video"))
    """Encoder of the lips, by its own name (`NAME` or `NAME:WEIGHTS`). Default: the AV-HuBERT of
    --pretrain-avhubert-enc-video-path."""
    pretrain_avhubert_enc_video_path: Path | None = option(
        None, may_differ=True, when=lambda o: o.has_slot("video")
    )
    """AV-HuBERT checkpoint that encodes video (--modality video, audiovisual)."""
    pretrain_avhubert_enc_audio_path: Path | None = option(
        None, may_differ=True, when=lambda o: o.has_slot("audio") and o.audio_is_avhubert
    )
    """AV-HuBERT checkpoint that encodes sound (--audio-encoder-name av-hubert)."""
    pretrain_avhubert_enc_audiovisual_path: Path | None = option(
        None, may_differ=True, when=lambda o: o.has_slot("audiovisual")
    )
    """AV-HuBERT checkpoint that encodes both (--modality audiovisual_avhubert)."""


@group(fixed=True)
class CompressionOptions:
    """Compression"""

    compression_mode: Annotated[str, Registered("llama_avsr.compressors")] = "stack"
    """How encoder frames are compressed into LLM tokens: stack concatenates neighbouring frames, avg-pooling
    averages them, units averages runs of frames that belong to the same visual unit, qformer has as many
    learned queries look at them as duration and speech rate ask for."""
    downsample_ratio_audio: PositiveInt = option(3, when=lambda o: o.folds_at_one_rate("audio"))
    """Audio frames per LLM token (Whisper, WavLM: 50 frames per second)."""
    downsample_ratio_video: PositiveInt = option(3, when=lambda o: o.folds_at_one_rate("video"))
    """Video frames per LLM token (25 frames per second)."""
    downsample_ratio_audiovisual: PositiveInt = option(2, when=lambda o: o.folds_at_one_rate("audiovisual"))
    """Audio-visual frames per LLM token (25 frames per second), of AV-HuBERT or --task fused."""
    downsample_ratios_audio: tuple[PositiveInt, ...] = option((), when=lambda o: o.folds_frames("audio"))
    """Several compression rates for one model, in place of --downsample-ratio-audio, with a projector for
    each. In evaluation: which of them to test (--downsample-ratio-audio N for one); default: each."""
    downsample_ratios_video: tuple[PositiveInt, ...] = option((), when=lambda o: o.folds_frames("video"))
    """The same for video frames."""
    downsample_ratios_audiovisual: tuple[PositiveInt, ...] = option(
        (), when=lambda o: o.folds_frames("audiovisual")
    )
    """The same for audio-visual frames."""


@group(fixed=True)
class ProjectorOptions:
    """Projector"""

    projector_type: Literal["mlp", "linear", "two-linear"] = "mlp"
    """mlp: two linear layers with a ReLU between them, as in Llama-AVSR; linear: one, as in VSP-LLM;
    two-linear: two with nothing between them, as in MMS-LLaMA."""
    intermediate_size: PositiveInt = option(2048, when=lambda o: o.projector.hidden_size is not None)
    """Width of the projector's hidden layer."""
    layernorm_projector: bool = False
    """Add a LayerNorm at the end of the projector."""
    single_projector_avhubert: bool = option(False, when=lambda o: o.goal.modality in o.task.joint)
    """Use one projector, without delimiter tokens, for AV-HuBERT's joint features
    (--modality audiovisual_avhubert)."""

    @property
    def hidden_size(self) -> int | None:
        """Width of the hidden layer; None where there is none."""
        return None if self.projector_type == "linear" else self.intermediate_size


@group(fixed=True)
class LLMOptions:
    """Language model"""

    llm_model: str | None = option(None, may_differ=True, needed_by=TRAINING)
    """Causal LM of transformers: hub name (`meta-llama/Llama-3.2-1B`) or local folder."""
    pretrained_rounding: Literal["none", "bfloat16"] = "none"
    """Round the pretrained weights, encoders' included, to bfloat16 when loading them. The published
    models were; their import switches it on."""
    rotary_rounding: Literal["none", "bfloat16", "float16"] = "none"
    """Round the frequencies of the LLM's rotary position embedding to 16 bits, as casting a whole model
    does. The published models were trained so; their import switches it on."""
    quantization: Literal["none", "8bit", "nf4"] = "none"
    """Keep the frozen weights of the LLM's linear layers in 8 or 4 bits (QLoRA), which takes a half or
    a quarter of the memory of 16. Needs bitsandbytes."""


@group(fixed=True)
class LoraOptions:
    """Adapters of the language model"""

    add_PETF_LLM: Literal["lora"] | None = option(None, flag="--add_PETF_LLM")
    """Adapt the LLM with LoRA. Default: the LLM stays frozen."""
    reduction_lora: PositiveInt | None = option(None, flag="--reduction_lora")
    """LoRA rank as a divisor of the LLM's width: rank = width / this, scale = alpha / this."""
    lora_rank: PositiveInt | None = None
    """LoRA rank, instead of --reduction_lora; scale = alpha / rank."""
    alpha: PositiveFloat | None = None
    """LoRA alpha. Default with --lora-rank: twice the rank."""
    lora_dropout: Probability = option(0.0, programs=TRAINING)
    """Dropout on the adapters' input, in training."""
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Linear layers to adapt, by the last part of their names, or `all-linear`."""
    lora_sharing: Literal["shared", "task", "both"] = option("shared", when=lambda o: bool(o.goal.tasks))
    """Of a model for several --tasks: one adapter for all of them, one for each, or both, summed."""

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
