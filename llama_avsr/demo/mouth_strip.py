"""A picture of one clip: mouths, and below them the words where they are said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from datamodules import formats
from datamodules.batch import VIDEO_FPS
from datamodules.media import load_video
from llama_avsr.evaluation.plots import COLOURS
from llama_avsr.pretraining.targets import WordTimes

NUM_MOUTHS = 14
INCHES_A_MOUTH = 0.8
AROUND_S = 0.12
"""Shown before the first word and after the last."""
GAP_S = 0.008
"""Between the bars of two words."""


def draw_strip(root_dir: Path, name: str, path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Draw the first clip of a label file and what was written of it.

    name: of the label file, without suffix. pairs: references and hypotheses, in its order.
    """
    utterance = formats.read(formats.find(f"{name}.csv", root_dir), root_dir)[0]
    times = WordTimes.read(root_dir / "labels" / "grid_words_seg16s.csv").clips.get(utterance.id, [])
    frames = load_video(utterance.video_path, utterance.num_frames).numpy()
    start = max(0, times[0][1] - AROUND_S) if times else 0
    end = min(len(frames) / VIDEO_FPS, times[-1][2] + AROUND_S) if times else len(frames) / VIDEO_FPS
    width = (end - start) / NUM_MOUTHS
    figure = Figure(figsize=(NUM_MOUTHS * INCHES_A_MOUTH, 1.6 * INCHES_A_MOUTH + 0.3), dpi=150)
    height = INCHES_A_MOUTH / figure.get_figheight()
    axes = figure.add_axes((0, 1 - height, 1, height))
    for place in range(NUM_MOUTHS):
        left = start + place * width
        number = min(len(frames) - 1, int((left + width / 2) * VIDEO_FPS))
        extent = (left, left + width, 0, 1)
        axes.imshow(frames[number], cmap="gray", extent=extent, aspect="auto", vmin=0, vmax=255)
    words = figure.add_axes((0, 0, 1, 1 - height))
    for own in (axes, words):
        own.set_xlim(start, end)
        own.set_ylim(0, 1)
        own.axis("off")
    for word, begins, ends in times:
        bar = [begins + GAP_S, ends - GAP_S]
        words.plot(bar, [0.85, 0.85], color=COLOURS[0], linewidth=4, solid_capstyle="butt")
        words.text((begins + ends) / 2, 0.7, word, ha="center", va="top", fontsize=11)
    written = f"written: {pairs[0][1]}"
    words.text((start + end) / 2, 0.02, written, ha="center", va="bottom", fontsize=11, color=COLOURS[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
