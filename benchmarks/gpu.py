"""One command, under ten minutes on one GPU: is everything right there, and how fast is it.

    python -m benchmarks.gpu                        writes benchmarks/results/gpu_[GPU]_[date].md
    python -m benchmarks.gpu --device cpu --tiny    runs every part with tiny shapes, in a minute, on a CPU

First the checks (benchmarks/gpu_checks.py), then, for shapes of 1B and 8B with random weights: a training
step (bf16, LoRA, gradient checkpointing), and a test set as large as LRS3's, decoded.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import transformers
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.alternating import machine, save, table
from benchmarks.gpu_checks import CHECKS, NotHere
from benchmarks.memory import GIB, PROMPT_TOKENS
from benchmarks.shapes import batch_of, model_of
from benchmarks.step_memory import Ledger, step_memory
from datamodules.batch import VIDEO_FPS, Batch
from llama_avsr.model.decoding import BeamSearch, beam_search
from llama_avsr.model.prompt import splice
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options

PEAK_TFLOPS = {
    "H100 PCIe": 756,
    "H100": 989,
    "H200": 989,
    "A100": 312,
    "L40S": 362,
    "A6000": 155,
    "4090": 165,
}
"""Dense bf16, as the makers' data sheets say; the first name that is part of the GPU's counts."""
RECIPE = {
    "modality": "audiovisual",
    "audio_encoder_name": "openai/whisper-medium.en",
    "whisper_padding": "none",
    "pretrain_avhubert_enc_video_path": "large",
    "downsample_ratio_audio": 4,
    "downsample_ratio_video": 2,
    "add_PETF_LLM": "lora",
    "reduction_lora": 64,
    "alpha": 8.0,
    "gradient_checkpointing": True,
}
"""Llama-AVSR's audio-visual one, without Whisper's padding to 30 s."""
TINY = {"audio_encoder_name": "openai/whisper-nano", "pretrain_avhubert_enc_video_path": "tiny"}
TINY |= {"reduction_lora": 8, "intermediate_size": 64}
TOKENS_A_SECOND = 4
NO_TOKEN = -1
STEP_COLUMNS = ["LLM", "clips", "s a step", "LLM tokens a s", "speech s a s", "TFLOP", "MFU", "peak GiB"]
STEP_COLUMNS += ["estimated GiB"]
TEST_COLUMNS = [
    "LLM",
    "s in all",
    "s of encoders",
    "s of search",
    "tokens a s",
    "times real time",
    "peak GiB",
]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large everything is."""

    llms: tuple[str, ...]
    train_clips: tuple[int, ...]
    """Clips of 4 s in a batch; 10 are what the recipe allows a GPU."""
    clip_seconds: float
    repetitions: int
    test_clips: int
    test_minutes: float
    decode_clips: int
    """Of a batch."""
    num_beams: int
    new_tokens: int


FULL = Plan(
    llms=("Llama-3.2-1B", "Llama-3.1-8B"),
    train_clips=(10, 40),
    clip_seconds=4.0,
    repetitions=5,
    test_clips=1321,
    test_minutes=50.0,
    decode_clips=64,
    num_beams=15,
    new_tokens=32,
)
SMALL = Plan(
    llms=("tiny",),
    train_clips=(2,),
    clip_seconds=1.0,
    repetitions=1,
    test_clips=5,
    test_minutes=0.1,
    decode_clips=3,
    num_beams=3,
    new_tokens=4,
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="tiny shapes: tries the program, measures nothing"
    )
    parser.add_argument("--peak-tflops", type=float, help="of this GPU, dense bf16; for MFU")
    parser.add_argument("--decode-clips", type=int, help="clips of a batch in decoding (default: 64)")
    parser.add_argument("--minutes", type=float, default=9.0, help="what would begin later is left out")
    parser.add_argument("--name", help="of this machine, in the result's file name (default: the GPU's)")
    asked = parser.parse_args(argv)
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "benchmarks.gpu: error: found no GPU that PyTorch can use; `--device cpu --tiny` tries all "
            "of this on a CPU"
        )
    if asked.device == "cpu" and not asked.tiny:
        sys.exit("benchmarks.gpu: error: a CPU would take days for these shapes; add --tiny, or take a GPU")
    device = torch.device(asked.device)
    plan = SMALL if asked.tiny else FULL
    if asked.decode_clips:
        plan = Plan(**{**vars(plan), "decode_clips": asked.decode_clips})
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, tiny shapes"
    peak = asked.peak_tflops or next((t for part, t in PEAK_TFLOPS.items() if part in gpu), None)
    bench = Bench(plan, device, asked.tiny, peak, time.monotonic() + 60 * asked.minutes)
    text, sound = bench.run()
    text = f"{gpu}; CUDA {torch.version.cuda}, transformers {transformers.__version__}\n{machine()}\n\n{text}"
    if asked.tiny and not asked.name:
        print(text)
    else:
        save("gpu", asked.name or re.sub(r"\W+", "-", gpu).lower(), text)
    sys.exit(0 if sound else 1)


class Bench:
    """All measurements on one device, one after the other, for as long as there is time."""

    def __init__(
        self, plan: Plan, device: torch.device, tiny: bool, peak_tflops: float | None, until: float
    ) -> None:
        self.plan = plan
        self.device = device
        self.options = Options().updated({**RECIPE, **(TINY if tiny else {})})
        self.peak_tflops = peak_tflops
        self.until = until

    def run(self) -> tuple[str, bool]:
        """The report, and whether all checks held."""
        checks, sound = self._checks()
        steps, tests = [], []
        for name in self.plan.llms:
            options = self.options.updated({"llm_model": name})
            if self._is_late(name):
                break
            model = model_of(options, self.device, torch.bfloat16)
            for clips in self.plan.train_clips:
                if not self._is_late(f"{name}, a step of {clips} clips"):
                    steps.append([name, str(clips), *self._attempt(7, self._step, options, model, clips)])
            if not self._is_late(f"{name}, the test set"):
                tests.append([name, *self._attempt(6, self._test_set, model)])
            del model
            self._forget()
        return "\n\n".join((table(["check", "found"], checks), *self._told(steps, tests))), sound

    def _told(self, steps: list[list[str]], tests: list[list[str]]) -> list[str]:
        plan = self.plan
        peak = f", against {self.peak_tflops:g} TFLOP/s" if self.peak_tflops else ""
        return [
            f"A training step: clips of {plan.clip_seconds:g} s with both streams, bf16, LoRA, gradient "
            f"checkpointing, AdamW; the median of {plan.repetitions}. MFU counts the arithmetic of the step "
            f"itself, encoders included, without what checkpointing computes anew{peak}.",
            table(STEP_COLUMNS, steps),
            f"A test set of LRS3's size: {plan.test_clips} clips, {plan.test_minutes:g} minutes, "
            f"{plan.num_beams} beams, {plan.new_tokens} tokens each (no text ends earlier), "
            f"{plan.decode_clips} clips at a time, by length.",
            table(TEST_COLUMNS, tests),
        ]

    def _checks(self) -> tuple[list[list[str]], bool]:
        rows, sound = [], True
        for name, check in CHECKS.items():
            try:
                rows.append([name, check(self.device)])
            except NotHere as reason:
                rows.append([name, f"not tried: {reason}"])
            except Exception as error:  # the other checks and the figures are worth having all the same
                rows.append([name, f"**FAILED**: {_first_line(error)}"])
                sound = False
            print(f"{name}: {rows[-1][1]}", file=sys.stderr, flush=True)
        return rows, sound

    def _is_late(self, what: str) -> bool:
        late = time.monotonic() > self.until
        print(f"{what}{': left out, no time' if late else ' ...'}", file=sys.stderr, flush=True)
        return late

    def _attempt(self, columns: int, measure: Callable[..., list[str]], *arguments: object) -> list[str]:
        """What was measured, or that memory did not suffice."""
        try:
            return measure(*arguments)
        except torch.OutOfMemoryError:
            return ["out of memory", *[""] * (columns - 1)]
        finally:
            self._forget()

    # --- a training step ----------------------------------------------------------------------------------

    def _step(self, options: Options, model: SpeechLLM, clips: int) -> list[str]:
        batch = self._batch(model, [self.plan.clip_seconds] * clips)
        optimiser = AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
        model.train()
        taken = []
        for _ in range(2 + self.plan.repetitions):
            start = self._now()
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = model.loss(batch)
            positions = loss.num_positions
            loss.cross_entropy.backward()
            optimiser.step()
            optimiser.zero_grad()
            taken.append(self._now() - start)
        seconds = statistics.median(taken[2:])
        work, estimate = self._on_paper(options, clips)
        mfu = f"{work / seconds / self.peak_tflops / 1e12:.1%}" if self.peak_tflops else "-"
        return [
            f"{seconds:.3f}",
            f"{positions / seconds:.0f}",
            f"{clips * self.plan.clip_seconds / seconds:.0f}",
            f"{work / 1e12:.2f}",
            mfu,
            self._peak(),
            f"{estimate / GIB:.1f}",
        ]

    def _on_paper(self, options: Options, clips: int) -> tuple[float, float]:
        """Floating-point operations of a step, and the bytes it should take, from the meta device."""
        seconds = [self.plan.clip_seconds] * clips
        model = model_of(options, "meta", torch.bfloat16)
        batch = self._batch(model, seconds, "meta")
        own = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        own += sum(padded.values.nbytes for padded in batch.inputs.values())
        taken = step_memory(model, batch, torch.bfloat16, foreach=self.device.type == "cuda").total()
        return step_flops(options, clips, self.plan.clip_seconds), own + taken

    # --- decoding -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _test_set(self, model: SpeechLLM) -> list[str]:
        plan = self.plan
        model.eval()
        search = BeamSearch(num_beams=plan.num_beams, max_new_tokens=plan.new_tokens)
        lengths = sorted(clip_seconds(plan.test_clips, 60 * plan.test_minutes), reverse=True)
        groups = [lengths[at : at + plan.decode_clips] for at in range(0, len(lengths), plan.decode_clips)]
        self._decode(model, self._batch(model, groups[0]), search)  # the first call loads kernels
        encoding = searching = 0.0
        for group in groups:
            first, then = self._decode(model, self._batch(model, group), search)
            encoding += first
            searching += then
        total = encoding + searching
        tokens = len(lengths) * plan.new_tokens
        return [
            f"{total:.1f}",
            f"{encoding:.1f}",
            f"{searching:.1f}",
            f"{tokens / searching:.0f}",
            f"{sum(lengths) / total:.0f}",
            self._peak(),
        ]

    def _decode(self, model: SpeechLLM, batch: Batch, search: BeamSearch) -> tuple[float, float]:
        """Seconds of the encoders, and of the search."""
        start = self._now()
        with torch.autocast(self.device.type, torch.bfloat16):
            tokens = model.encode(batch)
            encoded = self._now()
            prompt = splice(model.parts(batch.text_ids, tokens, with_target=False), "left")
            beam_search(model.llm, prompt, NO_TOKEN, search, model.reading)
        return encoded - start, self._now() - encoded

    # --- what both need -----------------------------------------------------------------------------------

    def _batch(self, model: SpeechLLM, seconds: Sequence[float], device: str | None = None) -> Batch:
        frames = [round(length * VIDEO_FPS) for length in seconds]
        targets = [max(1, round(length * TOKENS_A_SECOND)) for length in seconds]
        return batch_of(model, frames, targets, PROMPT_TOKENS, device=device or self.device)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _peak(self) -> str:
        return f"{torch.cuda.max_memory_allocated() / GIB:.1f}" if self.device.type == "cuda" else "-"

    def _forget(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def step_flops(options: Options, clips: int, seconds: float) -> float:
    """Floating-point operations of forward and backward pass, without what is computed anew."""
    model = model_of(options.updated({"gradient_checkpointing": False}), "meta", torch.bfloat16)
    tokens = max(1, round(seconds * TOKENS_A_SECOND))
    frames = round(seconds * VIDEO_FPS)
    batch = batch_of(model, [frames] * clips, [tokens] * clips, PROMPT_TOKENS, device="meta")
    model.train()
    with FlopCounterMode(display=False) as counter, Ledger():
        model.loss(batch).cross_entropy.backward()
    return counter.get_total_flops()


def clip_seconds(clips: int, total: float) -> list[float]:
    """Lengths as a test set's are spread: most are short, a few are long. Drawn from a fixed seed."""
    drawn = torch.randn(clips, generator=torch.Generator().manual_seed(0)).mul(0.6).exp()
    return (drawn * (total / float(drawn.sum()))).clamp(0.5, 16.0).tolist()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]


if __name__ == "__main__":
    main()
