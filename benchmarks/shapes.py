"""Models of known shapes with random weights, put together as `build_model` does; nothing is downloaded.

On the meta device they take neither memory nor time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperModel,
)

from av_hubert import AVHubert, AVHubertConfig
from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, Batch, Padded, TextIds, Utterance
from llama_avsr.encoders.avhubert import AVHubertEncoder
from llama_avsr.encoders.wavlm import WavLMEncoder
from llama_avsr.encoders.whisper import WhisperEncoder
from llama_avsr.model.attention import NAME as ATTENTION
from llama_avsr.model.attention import adopt
from llama_avsr.model.build import assemble, prepare_llm
from llama_avsr.model.int8 import Int8Linear
from llama_avsr.model.llm import Vocabulary
from llama_avsr.model.lora import whole_names
from llama_avsr.model.probe import Abilities
from llama_avsr.model.quantisation import EIGHT_BIT, NONE
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options
from llama_avsr.provenance import new_names, pretrained
from llama_avsr.tasks import EncoderSlot

BLOCK, BLOCK_OF_SCALES = 64, 256
"""Weights with one scale in nf4, and scales with one of their own."""
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
LLMS = {
    # (as SIZES), key-value heads, width of a head, tied, model type
    "Llama-3.2-1B": (128256, 2048, 8192, 16, 32, 8, 64, True, "llama"),
    "Llama-3.2-3B": (128256, 3072, 8192, 28, 24, 8, 128, True, "llama"),
    "Meta-Llama-3-8B": (128256, 4096, 14336, 32, 32, 8, 128, False, "llama"),
    "Llama-3.1-8B": (128256, 4096, 14336, 32, 32, 8, 128, False, "llama"),
    "Meta-Llama-3.1-8B": (128256, 4096, 14336, 32, 32, 8, 128, False, "llama"),
    "Llama-3.1-70B": (128256, 8192, 28672, 80, 64, 8, 128, False, "llama"),
    "Llama-2-7b-hf": (32000, 4096, 11008, 32, 32, 32, 128, False, "llama"),
    "Llama-2-13b-hf": (32000, 5120, 13824, 40, 40, 40, 128, False, "llama"),
    "TinyLlama_v1.1": (32000, 2048, 5632, 22, 32, 4, 64, False, "llama"),
    "SmolLM2-135M": (49152, 576, 1536, 30, 9, 3, 64, True, "llama"),
    "SmolLM2-360M": (49152, 960, 2560, 32, 15, 5, 64, True, "llama"),
    "SmolLM2-1.7B": (49152, 2048, 8192, 24, 32, 32, 64, True, "llama"),
    "Qwen2.5-0.5B": (151936, 896, 4864, 24, 14, 2, 64, True, "qwen2"),
    "Qwen2.5-1.5B": (151936, 1536, 8960, 28, 12, 2, 128, True, "qwen2"),
    "Qwen2.5-3B": (151936, 2048, 11008, 36, 16, 2, 128, True, "qwen2"),
    "Qwen2.5-7B": (152064, 3584, 18944, 28, 28, 4, 128, False, "qwen2"),
    "tiny": (512, 64, 128, 2, 4, 2, 16, True, "llama"),
}
WHISPERS = {
    # width, layers, heads, mel bands
    "tiny": (384, 4, 6, 80),
    "base": (512, 6, 8, 80),
    "small": (768, 12, 12, 80),
    "medium": (1024, 24, 16, 80),
    "large": (1280, 32, 20, 80),
    "large-v2": (1280, 32, 20, 80),
    "large-v3": (1280, 32, 20, 128),
    "nano": (32, 1, 2, 80),
}
WAVLM_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
AV_HUBERT = {
    "large": AVHubertConfig(num_layers=24, dim=1024, ffn_dim=4096, num_heads=16),
    "base": AVHubertConfig(),
    "tiny": AVHubertConfig(
        num_layers=1, dim=32, ffn_dim=32, num_heads=2, conv_pos=16, resnet_planes=(8, 8, 8, 8)
    ),
}


def llm_config(name: str) -> PretrainedConfig:
    """Of a known LLM, by the last part of its hub name, or of a folder with a config.json.

    Raises ValueError that lists the known ones.
    """
    if Path(name, "config.json").is_file():
        return AutoConfig.from_pretrained(name)
    if (short := name.rpartition("/")[2]) not in LLMS:
        raise ValueError(
            f"--llm-model {name}: expected a folder with a config.json, or one of {', '.join(LLMS)}"
        )
    *sizes, kv_heads, head_dim, tied, kind = LLMS[short]
    return AutoConfig.for_model(
        kind,
        **dict(zip(SIZES, sizes, strict=True)),
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
    )


def model_of(options: Options, device: torch.device | str, dtype: torch.dtype) -> SpeechLLM:
    """The options' model. dtype: of frozen weights. Raises ValueError for a shape that is not known."""
    attention = options.hardware.attn_implementation
    config = llm_config(options.llm.llm_model)
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa" if attention == "auto" else attention
        )
        encoders = {slot.name: _encoder(slot, options).to(dtype) for slot in options.slots}
    adopt(llm)
    # As `probe.examine` would find.
    abilities = Abilities(packs=llm.config._attn_implementation == ATTENTION)
    llm = pretrained(llm).requires_grad_(False).eval()
    quantise(llm, options.llm.quantization)
    for encoder in encoders.values():
        pretrained(encoder.to(device)).eval()
    vocabulary = _vocabulary(options)
    with torch.device(device):
        prepared = prepare_llm(options, llm, vocabulary)
        model = assemble(options, prepared, vocabulary, encoders, abilities)
    return model.to(device)


def quantise(llm: PreTrainedModel, mode: str) -> None:
    """Give the linear layers inside the blocks, in place, weights of the size that quantised ones have.

    Raises ValueError for nf4 off the meta device: bitsandbytes alone packs such weights.
    """
    if mode == NONE:
        return
    new = new_names(llm)
    for name in whole_names(llm):
        layer = llm.get_submodule(name)
        if layer.weight.is_meta:
            packed = PackedShape(layer, mode)
        elif mode == EIGHT_BIT:
            weight = torch.randint(
                -127, 128, layer.weight.shape, dtype=torch.int8, device=layer.weight.device
            )
            packed = Int8Linear(weight, layer.weight.abs().amax(dim=1).float(), layer.bias)
        else:
            raise ValueError(f"--quantization {mode}: is there on the meta device only")
        llm.set_submodule(name, packed)
    pretrained(llm, missing=new).requires_grad_(False)


class PackedShape(nn.Linear):
    """A linear layer that takes the memory of a quantised one; on the meta device."""

    def __init__(self, layer: nn.Linear, mode: str) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        count = layer.weight.numel()
        if mode == EIGHT_BIT:
            size, scales = count, 4 * layer.out_features
        else:
            size, scales = count // 2, count // BLOCK + 4 * count // BLOCK // BLOCK_OF_SCALES
        self.weight = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scales", torch.empty(scales, dtype=torch.uint8, device="meta"), False)

    def forward(self, x: Tensor) -> Tensor:
        return _Unpacked.apply(x, self.out_features)


class _Unpacked(torch.autograd.Function):
    """The weights are there as numbers while a pass needs them, in the precision of the arithmetic."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, width: int) -> Tensor:
        ctx.columns = x.shape[-1]
        return x @ x.new_empty(ctx.columns, width)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ gradient.new_empty(gradient.shape[-1], ctx.columns), None


def _encoder(slot: EncoderSlot, options: Options) -> nn.Module:
    """Of the size that the name of its weights tells: `medium.en`, `large_vox_iter5.pt`."""
    choice = options.encoder_of(slot)
    name = "" if choice is None else Path(choice.name).name.lower()
    if "wavlm" in name:
        return WavLMEncoder(WavLMModel(WavLMConfig(**WAVLM_LARGE)))
    if name.startswith("whisper-"):
        size = name.removeprefix("whisper-").removesuffix(".en")
        if size not in WHISPERS:
            raise ValueError(
                f"--audio-encoder-name {choice.name}: known sizes of Whisper are {', '.join(WHISPERS)}"
            )
        own = options.of("encoders", "whisper")
        return WhisperEncoder(WhisperModel(_whisper(*WHISPERS[size])).encoder, own["whisper_padding"])
    size = next((size for size in ("base", "tiny") if size in name), "large")
    network = AVHubert(AV_HUBERT[size])
    if options["use_lora_avhubert"]:
        network.add_lora()
    return AVHubertEncoder(network)


def _whisper(width: int, layers: int, heads: int, bands: int) -> WhisperConfig:
    return WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        num_mel_bins=bands,
        decoder_layers=1,
        decoder_attention_heads=heads,
        decoder_ffn_dim=8,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


def _vocabulary(options: Options) -> Vocabulary:
    """As small as can be: the LLM's matrices keep the size that its config says."""
    words = {word: index for index, word in enumerate(("<s>", "</s>", "<unk>", *options.task.tokens))}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")), bos_token="<s>"
    )
    added = tuple(words[token] for token in options.task.tokens)
    return Vocabulary(tokenizer=tokenizer, bos=0, eos=1, unknown=None, added=added)


def batch_of(
    model: SpeechLLM, frames: list[int], target_tokens: list[int], prompt_tokens: int, **inputs_at: Any
) -> Batch:
    """Clips of random pictures and sound. frames: of each, at 25 Hz; inputs_at: `device=`, `generator=`."""
    generator = torch.Generator().manual_seed(0)
    sources = [source for stream in model.streams for source in stream.sources]
    media = {medium: model.encoders[s.encoder] for s in sources for medium in s.media}
    inputs = {}
    for medium, encoder in media.items():
        if medium == "video":
            shapes = [(n, 88, 88) for n in frames]
        elif isinstance(encoder, AVHubertEncoder):
            shapes = [(n, encoder.encoder.config.audio_dim) for n in frames]
        else:
            shapes = [(n * SAMPLES_PER_VIDEO_FRAME,) for n in frames]
        longest = max(shapes)
        lengths = torch.tensor([shape[0] for shape in shapes])
        values = torch.randn(len(frames), *longest, **inputs_at)
        inputs[medium] = Padded(values, lengths)
    size = model.llm.get_input_embeddings().weight.shape[0]
    return Batch(
        utterances=[
            Utterance(
                id=f"clip{index}",
                video_path=Path("none.mp4"),
                audio_path=Path("none.wav"),
                num_frames=n,
                text="",
                source=f"none.csv:{index + 1}",
                run_lengths=(2,) * (n // 2) + (1,) * (n % 2),
            )
            for index, n in enumerate(frames)
        ],
        inputs=inputs,
        text_ids=[
            TextIds(
                prefix=torch.tensor([0]),
                suffix=torch.randint(3, size, (prompt_tokens,), generator=generator),
                target=torch.randint(3, size, (n,), generator=generator),
            )
            for n in target_tokens
        ],
    )
