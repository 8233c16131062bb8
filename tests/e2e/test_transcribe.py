"""transcribe.py as a user calls it: words of a long recording are those of its clips."""

from __future__ import annotations

import json
from pathlib import Path

import jiwer
import numpy as np
import pytest

from datamodules.clip_files import write_video, write_waveform
from datamodules.media import load_audio, load_video
from tests.e2e.conftest import Listener
from tests.e2e.programs import run

pytestmark = pytest.mark.slow
PAUSE_FRAMES = (15, 30)
NUM_CLIPS = 20


def test_a_long_recording_is_written_down_as_its_clips_are(listener: Listener, tmp_path: Path) -> None:
    clips, references = _clips(listener.data)
    assert len(clips) == NUM_CLIPS
    joined = _joined(clips, tmp_path / "joined.mp4")
    common = ("--pretrained-model-path", listener.run, "--already-cropped", "--num-beams", 4)
    done = run("transcribe.py", joined, *clips, *common, "--output-dir", tmp_path / "out")
    whole, *single = (
        json.loads((tmp_path / "out" / f"{path.stem}.json").read_text()) for path in (joined, *clips)
    )
    assert len(whole["segments"]) == NUM_CLIPS
    clip_by_clip = 100 * jiwer.wer(references, [found["text"] for found in single])
    at_once = 100 * jiwer.wer(" ".join(references), whole["text"])
    assert clip_by_clip < 25
    assert abs(at_once - clip_by_clip) <= 2
    assert done.stdout.count("== ") == NUM_CLIPS + 1
    assert "seconds by stage" in done.stderr
    assert len((tmp_path / "out" / "joined.srt").read_text().split("\n\n")) == NUM_CLIPS


def _clips(data: Path) -> tuple[list[Path], list[str]]:
    paths, texts = [], []
    labels = data / "labels" / "demo_test_seen_transcript_lengths_seg16s_LLM_lowercase.csv"
    for line in labels.read_text().splitlines()[:NUM_CLIPS]:
        dataset, path, _, _, text = line.split(",", 4)
        paths.append(data / dataset / path)
        texts.append(text)
    return paths, texts


def _joined(clips: list[Path], path: Path) -> Path:
    """The clips with pauses between them, in which the mouth rests and a little noise is heard."""
    rng = np.random.default_rng(0)
    pictures, sounds = [], []
    for clip in clips:
        frames, sound = load_video(clip).numpy(), load_audio(clip.with_suffix(".wav")).numpy()
        before, after = rng.integers(*PAUSE_FRAMES, 2)
        pictures += [frames[:1].repeat(before, 0), frames, frames[-1:].repeat(after, 0)]
        sound = np.pad(sound, (0, max(0, len(frames) * 640 - len(sound))))[: len(frames) * 640]
        sounds.append(np.pad(sound, (before * 640, after * 640)))
    waveform = np.concatenate(sounds)
    write_video(path, np.concatenate(pictures))
    write_waveform(path.with_suffix(".wav"), waveform + 1e-4 * rng.standard_normal(len(waveform)))
    return path
