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

NUM_MOUTHS = 15
INCHES_A_MOUTH = 0.75


def draw_strip(root_dir: Path, name: str, path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Draw the first clip of a label file with all that was written of it.

    name: of the label file, without suffix. pairs: references and hypotheses, in its order.
    """
    utterance = formats.read(formats.find(f"{name}.csv", root_dir), root_dir)[0]
    times = WordTimes.read(root_dir / "labels" / "grid_words_seg16s.csv").clips.get(utterance.id, [])
    frames = load_video(utterance.video_path, utterance.num_frames).numpy()
    shown = [round(place * (len(frames) - 1) / (NUM_MOUTHS - 1)) for place in range(NUM_MOUTHS)]
    figure = Figure(figsize=(NUM_MOUTHS * INCHES_A_MOUTH, 1.75), dpi=150)
    axes = figure.add_axes((0, 0.36, 1, 0.64))
    side = frames.shape[2]
    for place, number in enumerate(shown):
        axes.imshow(
            frames[number], cmap="gray", extent=(place * side, (place + 1) * side, 0, side), vmin=0, vmax=255
        )
    axes.set_xlim(0, NUM_MOUTHS * side)
    axes.set_ylim(0, side)
    axes.axis("off")
    words = figure.add_axes((0, 0, 1, 0.36))
    duration = len(frames) / VIDEO_FPS
    words.set_xlim(0, duration)
    words.set_ylim(0, 2)
    words.axis("off")
    for word, start, end in times:
        words.plot([start, end], [1.75, 1.75], color=COLOURS[0], linewidth=3, solid_capstyle="butt")
        words.text((start + end) / 2, 1.55, word, ha="center", va="top", fontsize=11)
    words.text(
        duration / 2, 0.1, f"written: {pairs[0][1]}", ha="center", va="bottom", fontsize=10, color="#555555"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
