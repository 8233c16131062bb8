"""Live captions of ten minutes of the demo's test clips: how late words are, and how wrong.

    python -m benchmarks.live --model RUN --data DATA --work FOLDER [--minutes 10] [--histogram FILE.png]

The recording is played on a simulated clock: waiting takes no time, and work takes the CPU time of the one
thread that does it, whatever else the machine does. A word's delay is from its end, as the corpus knows it,
to the moment when it is fixed, and is measured for words that are right.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import matplotlib
import numpy as np
import torch

import llama_avsr
from benchmarks.alternating import machine
from benchmarks.live_corpus import SpokenWord, join
from datamodules.batch import VIDEO_FPS
from llama_avsr.live.clock import SimulatedClock
from llama_avsr.live.log import Delays
from llama_avsr.live.playing import FilePlayer
from llama_avsr.live.policy import Policy
from llama_avsr.live.running import Moment, run
from llama_avsr.live.starting import Pace, feed_of, live_of
from llama_avsr.live.state import LiveWord
from llama_avsr.options import LiveOptions
from llama_avsr.transcription.pipeline import Transcriber


@dataclass(frozen=True)
class Result:
    """One run."""

    wer: float
    shown: Delays | None
    fixed: Delays | None
    delays_s: Sequence[float]
    cpu_share: float
    """CPU seconds a second of recording."""
    passes: int
    times_encoded: float
    """How often a frame of the recording was, on average, pauses included."""
    reused_share: float
    """Positions that the LLM did not read again."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="an audio-visual run of llama-avsr demo")
    parser.add_argument("--data", type=Path, required=True, help="that demo's data")
    parser.add_argument("--work", type=Path, required=True, help="folder for the joined recording")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--num-beams", type=int, default=4)
    parser.add_argument("--step", type=float, default=LiveOptions.live_step)
    parser.add_argument("--context", type=float, nargs=2, default=LiveOptions.live_context)
    parser.add_argument("--agreement", type=int, nargs="+", default=[LiveOptions.live_agreement])
    parser.add_argument("--probability", type=float, nargs="+", default=[LiveOptions.live_probability])
    parser.add_argument("--histogram", type=Path, help="picture of the delays of the last row")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    video, spoken = join(asked.data, asked.work, asked.minutes)
    reference = " ".join(word.text for word in spoken)
    options = {"accelerator": "cpu", "num_beams": asked.num_beams, "already_cropped": True}
    transcriber = llama_avsr.load(asked.model, **options)
    print(f"{machine()}; {len(spoken)} words in {asked.minutes:g} min", flush=True)
    print("| agreement | probability | WER % | shown median s | fixed median s | p95 s | drift s/min "
          "| CPU s/s | passes | times encoded | LLM reused |\n" + "|--:" * 11 + "|")  # fmt: skip
    for agreement in asked.agreement:
        for probability in asked.probability:
            pace = Pace(asked.step, tuple(asked.context), Policy(agreement, probability))
            result = measure(transcriber, video, spoken, pace)
            print(f"| {agreement} | {probability:g} | {row(result)} |", flush=True)
    offline = jiwer.wer(reference, transcriber.transcribe(video).text)
    print(f"offline, all at once: WER {100 * offline:.2f} %")
    if asked.histogram is not None:
        draw(result, asked.histogram)


def measure(transcriber: Transcriber, video: Path, spoken: Sequence[SpokenWord], pace: Pace) -> Result:
    """Plays the recording; tells every minute how it goes."""
    clock = SimulatedClock()
    live = live_of(transcriber, pace, clock.now)
    feed, _ = feed_of(transcriber, {})
    moments: list[Moment] = []
    told, start = 0.0, time.thread_time()
    for moment in run(live, FilePlayer(video, True, True), feed, clock):
        moments.append(moment)
        if moment.update.closed and moment.seconds >= told + 60:
            told = moment.seconds
            so_far = [word for word in spoken if word.end_s < told]
            result = tally(so_far, moments, time.thread_time() - start)
            print(f"{told:.0f} s: {row(result)}", file=sys.stderr, flush=True)
    return tally(spoken, moments, time.thread_time() - start)


def tally(spoken: Sequence[SpokenWord], moments: Sequence[Moment], cpu_s: float) -> Result:
    pairs, wer = matched(spoken, [word for moment in moments for word in moment.update.fixed])
    ends = [said.end_s for said, _ in pairs]
    delays = [word.fixed_s - said.end_s for said, word in pairs]
    seconds, updates = moments[-1].seconds, [moment.update for moment in moments]
    return Result(
        wer=wer,
        shown=Delays.of(ends, [word.partial_s - said.end_s for said, word in pairs]),
        fixed=Delays.of(ends, delays),
        delays_s=delays,
        cpu_share=cpu_s / seconds,
        passes=sum(update.passes for update in updates),
        times_encoded=sum(update.encoded for update in updates) / (seconds * VIDEO_FPS),
        reused_share=sum(u.reused for u in updates) / max(1, sum(u.read for u in updates)),
    )


def matched(
    spoken: Sequence[SpokenWord], words: Sequence[LiveWord]
) -> tuple[list[tuple[SpokenWord, LiveWord]], float]:
    """The words that are right, and the word error rate."""
    found = jiwer.process_words(" ".join(word.text for word in spoken), " ".join(word.text for word in words))
    pairs = [
        (spoken[part.ref_start_idx + i], words[part.hyp_start_idx + i])
        for part in found.alignments[0]
        if part.type == "equal"
        for i in range(part.ref_end_idx - part.ref_start_idx)
    ]
    return pairs, found.wer


def row(result: Result) -> str:
    shown, fixed = result.shown, result.fixed
    if fixed is None:
        return f"{100 * result.wer:.2f} |" + " - |" * 8
    drift = "-" if fixed.drift_s_per_min is None else f"{fixed.drift_s_per_min:+.4f}"
    cells = [f"{100 * result.wer:.2f}", f"{shown.median_s:.2f}", f"{fixed.median_s:.2f}"]
    cells += [f"{fixed.p95_s:.2f}", drift, f"{result.cpu_share:.3f}", str(result.passes)]
    return " | ".join([*cells, f"{result.times_encoded:.1f}", f"{100 * result.reused_share:.0f} %"])


def draw(result: Result, path: Path) -> None:
    """The delays, small."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3), dpi=90)
    axes.hist(result.delays_s, bins=np.arange(0, 3.01, 0.1), color="#3465a4")
    axes.axvline(np.median(result.delays_s), color="black", linewidth=1)
    axes.set_xlabel("seconds from a word's end to its being fixed (line: median)")
    axes.set_ylabel("words")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
