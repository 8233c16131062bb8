"""Whole tiny models, from options as a user gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import av_hubert
from av_hubert.units import Centroids
from datamodules.batch import Batch, Padded, Utterance
from llama_avsr.compressors._speech_rate import SpeechRatePredictor
from llama_avsr.model.build import build_model
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.text import SpeechText
from llama_avsr.options import Options
from llama_avsr.tasks import Layout, Prompt
from tests import tiny


def folders(root: Path) -> dict[str, str]:
    """Every tiny pretrained model, made below `root`."""
    return {
        "llm": tiny.llm(root / "llm"),
        "whisper": tiny.whisper(root / "whisper"),
        "wavlm": tiny.wavlm(root / "wavlm"),
        "av_hubert": tiny.av_hubert(root / "av_hubert"),
    }


def options(made: dict[str, str], modality: str, audio: str = "whisper", **more: Any) -> Options:
    return Options().updated(
        {
            "modality": modality,
            "llm_model": made["llm"],
            "audio_encoder_name": made[audio],
            "whisper_padding": "none",
            "pretrain_avhubert_enc_video_path": Path(made["av_hubert"]),
            "pretrain_avhubert_enc_audiovisual_path": Path(made["av_hubert"]),
            "intermediate_size": 24,
            "add_PETF_LLM": "lora",
            "lora_rank": 4,
            "alpha": 8.0,
            **more,
        }
    )


def build(made: dict[str, str], modality: str, **more: Any) -> SpeechLLM:
    """A model whose adapters are not zero any more."""
    model = build_model(options(made, modality, **more))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def centroids(made: dict[str, str], folder: Path, count: int = 4) -> Path:
    """Centroids of visual units in the tiny AV-HuBERT's first layer, of random videos."""
    network = av_hubert.load_checkpoint(made["av_hubert"])
    with torch.no_grad():
        features = network.extract(video=torch.randn(1, 1, 40, 88, 88), layer=1)[0]
    path = folder / "centroids.npz"
    Centroids(values=features[:count].numpy(), layer=1, silent_audio=True).save(path)
    return path


def speech_rate_predictor(folder: Path, dim: int = 16) -> Path:
    """A random one for an encoder of so many values a frame, whose clips speak at different rates."""
    torch.manual_seed(8)
    config = av_hubert.AVHubertConfig(
        num_layers=1, dim=8, ffn_dim=12, num_heads=4, conv_pos=8, conv_pos_groups=2
    )
    predictor = SpeechRatePredictor(dim, config)
    with torch.no_grad():
        for name, weight in predictor.named_parameters():
            if weight.dim() > 1 and "pos_conv" not in name:
                weight.normal_()
        predictor.sr_predictor.bias.fill_(1.5)
    path = folder / "predictor.safetensors"
    save_file({f"sr_predictor.{name}": weight for name, weight in predictor.state_dict().items()}, path)
    return path


QFORMER: dict[str, Any] = {
    "task": "fused",
    "compression_mode": "qformer",
    "projector_type": "two-linear",
    "qformer_queries_per_second": 6,
    "qformer_max_seconds": 3.0,
    "qformer_width": 16,
    "qformer_heads": 2,
    "qformer_ffn_width": 24,
}
"""Options of MMS-LLaMA, small."""


def clips(
    model: SpeechLLM,
    prompt: str,
    seconds: tuple[float, ...] = (1.2, 0.6, 0.88),
    layout: Layout | None = None,
) -> list[Batch]:
    """One batch of one clip for each length, the second from English to Spanish, each with units."""
    generator = torch.Generator().manual_seed(1)
    texts = ("the quick brown fox", "hello world", "jumps over the lazy dog")
    encode = SpeechText(model.vocabulary, layout or Prompt(prompt))
    made = []
    for index, (length, words) in enumerate(zip(seconds, texts, strict=True)):
        frames = round(length * 25)
        prepare = model.encoders[model.streams[0].encoder].prepare_audio
        inputs = {
            "audio": prepare(torch.randn(frames * 640, generator=generator)),
            "video": torch.randn(frames, 88, 88, generator=generator),
        }
        if (
            len({medium for stream in model.streams for medium in stream.media}) > 1
            and inputs["audio"].dim() > 1
        ):
            inputs["audio"] = inputs["audio"][:frames]
        utterance = Utterance(
            id=f"clip{index}",
            video_path=Path("none.mp4"),
            audio_path=Path("none.wav"),
            num_frames=frames,
            text=words,
            source=f"none.csv:{index + 1}",
            languages=("en", "es") if index == 1 else ("en", "en"),
            run_lengths=(3, 1, 4, frames - 8),
        )
        made.append(
            Batch(
                utterances=[utterance],
                inputs={name: Padded.from_list([value]) for name, value in inputs.items()},
                text_ids=[encode(utterance)],
            )
        )
    return made


def joined(batches: list[Batch], poison: float = 1e3) -> Batch:
    """One batch of all clips, with poison in the padding."""
    inputs = {}
    for medium in batches[0].inputs:
        values = [batch.inputs[medium].values[0] for batch in batches]
        longest = max(values, key=len)
        padded = Padded.from_list([*values, longest.new_zeros(len(longest) + 3, *longest.shape[1:])])
        padded = Padded(padded.values[:-1], padded.lengths[:-1])
        padded.values[~padded.mask] = poison
        inputs[medium] = padded
    return Batch(
        utterances=[u for batch in batches for u in batch.utterances],
        inputs=inputs,
        text_ids=[ids for batch in batches for ids in batch.text_ids],
    )
