"""A training step of one model for three tasks against the steps of three specialists, on the demo's models.

    python -m benchmarks.elastic_step

Forward and backward pass, media in memory, the finest rates; the specialists have a step each. With adapters
by task the LLM reads each task by itself, otherwise all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternating import machine, measure, save, table
from datamodules.batch import Batch, Padded, Utterance
from llama_avsr.model.build import build_model, text_of
from llama_avsr.model.loss import Loss
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import Mix
from llama_avsr.options import Options

CLIPS, FRAMES, REPETITIONS = 6, 75, 5
MODEL = {
    "audio_encoder_name": "demo:whisper",
    "whisper_padding": "none",
    "pretrain_avhubert_enc_video_path": Path("demo:av_hubert"),
    "llm_model": "demo:llama",
    "use_lora_avhubert": True,
    "intermediate_size": 256,
    "compression_mode": "avg-pooling",
    "add_PETF_LLM": "lora",
    "lora_rank": 16,
}
ELASTIC = {
    "modality": "audiovisual",
    "tasks": ("asr", "vsr", "avsr"),
    "downsample_ratios_audio": (4, 16),
    "downsample_ratios_video": (2, 5),
}
SHARINGS = {"adapters shared": "shared", "adapters by task and shared": "both"}
ONE_RATE = {"downsample_ratio_audio": 4, "downsample_ratio_video": 2}


def main() -> None:
    torch.set_num_threads(1)
    specialists = [step_of({"modality": m, **ONE_RATE}) for m in ("audio", "video", "audiovisual")]
    ways = {
        "three specialists": lambda: [step() for step in specialists],
        **{
            f"one elastic model, {name}": step_of({**ELASTIC, "lora_sharing": sharing})
            for name, sharing in SHARINGS.items()
        },
    }
    times = measure(ways, REPETITIONS)
    whole = times["three specialists"].median_cpu
    rows = [[name, *found.row(1), f"{found.median_cpu / whole:.2f}"] for name, found in times.items()]
    header = ["a step of", "wall s", "CPU s", "CPU, least to most", "of the first"]
    about = f"{CLIPS} clips of {FRAMES / 25:g} s, demo models, {REPETITIONS} repetitions in turns"
    save("elastic_step", "cpu", f"{machine()}\n\n{about}\n\n{table(header, rows)}")


def step_of(options: dict[str, Any]) -> Callable[[], None]:
    given = Options().updated({**MODEL, **options})
    model = build_model(given)
    model.train()
    batch, mix = batch_for(given, model), Mix(list(model.views.values()))
    shares = mix.at({"audio": 4, "video": 2})

    def step() -> None:
        model.zero_grad()
        loss = Loss.mixed(model.losses(batch, [share.view for share in shares]), shares)
        loss.cross_entropy.backward()

    return step


def batch_for(options: Options, model: SpeechLLM) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "audio": torch.randn(CLIPS, FRAMES * 640, generator=generator),
        "video": torch.randn(CLIPS, FRAMES, 88, 88, generator=generator),
    }
    utterance = Utterance(
        id="a",
        video_path=Path(),
        audio_path=Path(),
        num_frames=FRAMES,
        text="place red at g nine",
        source="a:1",
    )
    return Batch(
        utterances=[utterance] * CLIPS,
        inputs={name: Padded.from_list(list(inputs[name])) for name in options.media},
        text_ids=[text_of(options, model.vocabulary)(utterance)] * CLIPS,
    )


if __name__ == "__main__":
    main()
