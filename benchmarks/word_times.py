"""How far the times of words are off, and how well their confidence is calibrated, on a test set.

    python -m benchmarks.word_times MODEL --root-dir DATA --test-file NAME [--words CSV]

MODEL: a checkpoint with an aligner (`llama-avsr align`). CSV: the true times, `clip,word,start_s,end_s`, like
`labels/grid_words_seg16s.csv`; without it the demo corpus is spoken anew, whose synthesiser knows them.
Only words that are right have a true time. Confidence is judged on all of them.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.alternating import machine, save, table
from llama_avsr.checkpoints.source import find_source
from llama_avsr.demo.corpus.plan import Difficulty, Settings, plan
from llama_avsr.demo.corpus.voice import synthesise
from llama_avsr.evaluation.loading import load_model
from llama_avsr.model.devices import device_of
from llama_avsr.training.aligning import Judged, judge
from llama_avsr.words import file
from llama_avsr.words.confidence import Calibration, calibration_error

Times = dict[str, list[tuple[float, float]]]
"""Utterance id -> start and end of each word of its transcript."""
NEAR_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--root-dir", type=Path, required=True)
    parser.add_argument("--test-file", nargs="+", required=True, help="label files inside labels/")
    parser.add_argument("--words", type=Path, help="true times; default: of the demo corpus")
    parser.add_argument("--noise-file", type=Path)
    parser.add_argument("--snr", type=float, nargs="*", default=[], help="decode at these SNRs (dB) as well")
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    source = find_source(asked.model)
    words = file.read(source.folder)
    if words is None:
        parser.error(f"{asked.model} has no aligner; make one with llama-avsr align")
    # Not the cache of its training, which may be any folder from here.
    options = source.trained.updated({"root_dir": asked.root_dir, "num_workers": 0, "feature_cache": None})
    if asked.noise_file is not None:
        options = options.updated({"noise_file": (str(asked.noise_file),)})
    truth = demo_times(asked.root_dir) if asked.words is None else csv_times(asked.words)
    model = load_model(options, source).requires_grad_(False).eval().to(device_of(options))
    rows = []
    for name in asked.test_file:
        for snr in (None, *asked.snr):
            judged = judge(model, words.aligner.to(device_of(options)), options, name, snr)
            shown = name.split("_transcript")[0] + ("" if snr is None else f", {snr:g} dB")
            rows.append([shown, *row(judged, truth, words.calibration)])
    header = ["test set", "words", "right %", "start ms", "end ms", "within 200 ms %", "ECE", "AUROC"]
    save("word_times", asked.hardware, f"{asked.model}; {machine()}\n\n{table(header, rows)}")


def row(judged: Sequence[Judged], truth: Times, calibration: Calibration | None) -> list[str]:
    """Words, share that is right, mean absolute error of start and end, share of both within 200 ms; expected
    calibration error in points, area under the curve for "this word is wrong"."""
    right = np.array([word.is_right for word in judged])
    off = np.abs(
        [
            np.subtract((word.evidence.start_s, word.evidence.end_s), truth[word.clip][word.said])
            for word in judged
            if word.is_right
        ]
    )
    cells = [str(len(judged)), f"{100 * right.mean():.1f}"]
    cells += [f"{1000 * off[:, 0].mean():.0f}", f"{1000 * off[:, 1].mean():.0f}"]
    cells.append(f"{100 * (off < NEAR_SECONDS).mean():.1f}")
    if calibration is None:
        return [*cells, "-", "-"]
    sure = np.array([calibration(word.evidence.features) for word in judged])
    auroc = f"{roc_auc_score(~right, -sure):.3f}" if 0 < right.sum() < len(right) else "-"
    return [*cells, f"{100 * calibration_error(sure, right):.1f}", auroc]


def csv_times(path: Path) -> Times:
    found: Times = {}
    with path.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            found.setdefault(line["clip"], []).append((float(line["start_s"]), float(line["end_s"])))
    return found


def demo_times(root_dir: Path) -> Times:
    """Of all but the training clips."""
    made = json.loads((root_dir / "corpus.json").read_text())
    made.pop("format_version")
    settings = Settings(**{**made, "difficulty": Difficulty(**made["difficulty"])})
    clips = [clip for clip in plan(settings) if clip.split != "train"]
    return {clip.id: synthesise(clip.text, clip.speaker).words for clip in clips}


if __name__ == "__main__":
    main()
