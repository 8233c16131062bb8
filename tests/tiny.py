"""Tiny random models of real classes, made on the spot: tests never download."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from datamodules import registry

SMALL_LLM = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
"""Sizes of an LLM of any kind."""
WORDS = (
    *("transcribe", "speech", "to", "text", ".", "video", "and", "the", "quick", "brown", "fox"),
    *("jumps", "over", "lazy", "dog", "hello", "world"),
)


def llm(folder: Path, *, tied: bool = False, seed: int = 0, width: int = 32) -> str:
    """A LLaMA with a word tokenizer; returns its folder as a name."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(["<s>", "</s>", "<unk>", *WORDS])}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def whisper(folder: Path) -> str:
    return registry.load("llama_avsr.encoders", "whisper").tiny(folder)


def wavlm(folder: Path, *, norm: str = "layer") -> str:
    """norm: "group" takes statistics over time."""
    name = registry.load("llama_avsr.encoders", "wavlm").tiny(folder)
    if norm == "layer":
        return name
    torch.manual_seed(2)
    config = WavLMConfig.from_pretrained(folder, feat_extract_norm=norm, do_stable_layer_norm=False)
    WavLMModel(config).save_pretrained(folder)
    return name


def data2vec(folder: Path, seed: int = 4) -> str:
    """Its stacked position convolutions carry padding into the clip."""
    torch.manual_seed(seed)
    config = Data2VecAudioConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
    )
    Data2VecAudioModel(config).save_pretrained(folder)
    return str(folder)


def wav2vec2_with_adapter(folder: Path, seed: int = 5) -> str:
    """Its last, strided convolutions make another width and a quarter of the frames."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        add_adapter=True,
        num_adapter_layers=2,
        output_hidden_size=24,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return str(folder)


def av_hubert(folder: Path) -> str:
    return registry.load("llama_avsr.encoders", "avhubert").tiny(folder)
