"""The memory estimate beside what a training step really takes on this CPU.

    python -m benchmarks.memory_check [--hardware NAME]

Measured in a process of its own for every line: resident memory before the model is built, after a first
step of a tiny one has loaded all libraries, against the highest during the second optimiser step of the
real one (VmHWM, started anew through /proc/self/clear_refs). glibc is told to give freed memory back at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from benchmarks.alternating import machine, save, table
from benchmarks.shapes import batch_of, model_of
from benchmarks.step_memory import step_memory
from datamodules.batch import Batch
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options

MB = 1e6
GIVES_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
BASE = {
    "modality": "audio",
    "llm_model": "SmolLM2-135M",
    "audio_encoder_name": "openai/whisper-base",
    "add_PETF_LLM": "lora",
    "lora_rank": 16,
    "whisper_padding": "none",
}
CASES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M, LoRA": {},
    "the same, gradient checkpointing": {"gradient_checkpointing": True},
    "the same, 8-bit weights": {"quantization": "8bit"},
    "the same, Whisper padded to 30 s": {"whisper_padding": "30s"},
    "the same, the whole LLM trained": {"unfrozen_modules": ("llm",)},
    "SmolLM2-135M and AV-HuBERT base": {
        "modality": "video",
        "audio_encoder_name": None,
        "pretrain_avhubert_enc_video_path": Path("base"),
    },
}
CLIPS, FRAMES, TARGET_TOKENS, PROMPT_TOKENS = 8, 75, 24, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured(options_of(CASES[asked.measure]))))
        return
    rows = []
    for name, case in CASES.items():
        found, expected = measured_apart(name), estimated(options_of(case))
        off = 100 * (expected / found - 1)
        rows.append([name, f"{expected / MB:.0f}", f"{found / MB:.0f}", f"{off:+.1f} %"])
    text = (
        f"One process, fp32, {CLIPS} clips of {FRAMES / 25:g} s, {TARGET_TOKENS} tokens of text each\n"
        f"{machine()}\n\n" + table(["training", "estimated MB", "measured MB", "off by"], rows)
    )
    save("memory_check", asked.hardware, text)


def options_of(case: dict[str, Any]) -> Options:
    return Options().updated({**BASE, **case})


def model_and_batch(options: Options, device: str) -> tuple[SpeechLLM, Batch]:
    model = model_of(options, device, torch.float32)
    return model, batch_of(model, [FRAMES] * CLIPS, [TARGET_TOKENS] * CLIPS, PROMPT_TOKENS, device=device)


def estimated(options: Options) -> float:
    model, batch = model_and_batch(options, "meta")
    own = {id(t): t.nbytes for t in (*model.parameters(), *model.buffers())}
    own |= {id(padded): padded.values.nbytes for padded in batch.inputs.values()}
    # On a CPU AdamW goes from weight to weight.
    return sum(own.values()) + step_memory(model, batch, torch.float32, foreach=False).total()


def measured_apart(name: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory_check", "--measure", name]
    done = subprocess.run(command, env={**os.environ, **GIVES_BACK}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(options: Options) -> float:
    """Bytes that model, batch and the second step take at most."""
    tiny = options.updated({"llm_model": "tiny"})
    _steps(*model_and_batch(tiny, "cpu"))
    before = _status("VmRSS")
    model, batch = model_and_batch(options, "cpu")
    _steps(model, batch)
    return _status("VmHWM") - before


def _steps(model: SpeechLLM, batch: Batch) -> None:
    optimiser = AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    model.train()
    for step in range(2):
        if step == 1:
            Path("/proc/self/clear_refs").write_text("5")
        loss = model.loss(batch)
        total = sum(loss.added.values(), loss.cross_entropy)
        del loss
        total.backward()
        del total
        optimiser.step()
        optimiser.zero_grad()


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
