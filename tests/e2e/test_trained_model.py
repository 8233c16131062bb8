"""A model that has really learnt to listen: its words come from the speech, in clips and recordings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest

import prepare_data
from datamodules.media import load_audio, load_video
from datamodules.media.writing import write_video, write_waveform
from llama_avsr.demo.corpus.speakers import training_speakers
from llama_avsr.demo.corpus.voice import synthesise
from tests import models
from tests.e2e.programs import ROOT, run, train_flags

pytestmark = pytest.mark.slow
PAUSE_FRAMES = (15, 30)
NUM_CLIPS = 20
SENTENCE = "set blue with f two now"


@dataclass(frozen=True)
class Listener:
    """The demo's ASR after a short training."""

    data: Path
    """Root folder of its corpus."""
    run: Path
    """Folder of its run."""


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Listener:
    """Takes a minute or two: hence one module for all tests that ask for it."""
    root = tmp_path_factory.mktemp("listener")
    data, runs = root / "data", root / "runs"
    run("prepare_data.py", "demo", "--root-dir", data, "--num-train", 400, "--num-val", 10, "--num-test", 40)
    common = ("--root-dir", data, "--num-workers", 0, "--noise-file", data / "babble.wav")
    short = ("--max-epochs", 4, "--exp-dir", runs, "--exp-name", "asr", "--no-auto-test")
    run("train_LLM.py", "--config", ROOT / "recipes/demo/asr.yaml", *common, *short)
    return Listener(data, runs / "asr")


def test_the_words_come_from_the_speech(listener: Listener) -> None:
    """Loose bounds: far below what a short training reaches, far above guessing."""
    data = listener.data
    test = ("--root-dir", data, "--num-workers", 0, "--noise-file", data / "babble.wav")
    test += ("--test-file", "demo_test_seen_transcript_lengths_seg16s_LLM_lowercase.csv", "--num-beams", 4)
    for flag in ((), ("--shuffle-speech",)):
        run("eval_LLM.py", "--pretrained-model-path", listener.run, *test, *flag)
    results = listener.run / "results" / "average"
    wer = {path.parent.name: json.loads(path.read_text())["wer"] for path in results.rglob("summary.json")}
    heard, shuffled = (wer[name] for name in sorted(wer, key=len))
    assert heard < 25
    assert shuffled > 70


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


def test_a_real_face_that_says_a_sentence(listener: Listener, real_video: Path, tmp_path: Path) -> None:
    """A man's picture with a synthetic voice: cropped, checked, and written down."""
    videos, root = tmp_path / "videos", tmp_path / "data"
    videos.mkdir()
    talk = _with_sound(real_video, synthesise(SENTENCE, training_speakers()[0]).waveform, videos / "talk.mkv")
    talk.with_suffix(".txt").write_text(SENTENCE)
    assert prepare_data.main(["crop", str(videos), "--root-dir", str(root), "--num-workers", "1"]) == 0
    assert (root / "labels" / "own.csv").read_text().endswith(f",,{SENTENCE}\n")
    assert prepare_data.main(["validate", "own.csv", "--root-dir", str(root)]) == 0
    out = ("--output-dir", tmp_path / "out", "--num-beams", 4)
    run("transcribe.py", talk, "--pretrained-model-path", listener.run, *out)
    heard = json.loads((tmp_path / "out" / "talk.json").read_text())
    assert jiwer.wer(SENTENCE, heard["text"]) <= 0.5
    # The face as well, through a model of sound and lips that has learnt nothing: what it used counts.
    made, runs = models.folders(tmp_path / "models"), tmp_path / "runs"
    labels = {f"{split}_file": "own.csv" for split in ("train", "val", "test")}
    both = train_flags(root, runs, made, "audiovisual", **labels, max_epochs=1, num_average_epochs=1)
    run("train_LLM.py", *both, "--max-frames-audiovisual", 200, "--no-auto-test")
    run("transcribe.py", talk, "--pretrained-model-path", runs / "audiovisual", *out, "--save-overlay")
    seen = json.loads((tmp_path / "out" / "talk.json").read_text())
    assert seen["media"] == ["audio", "video"]
    with av.open(str(tmp_path / "out" / "talk.overlay.mp4")) as overlay:
        assert {stream.type for stream in overlay.streams} == {"video", "audio"}


def _with_sound(video: Path, waveform: np.ndarray, path: Path) -> Path:
    """The pictures of a video as they are, with other sound at 48 kHz, in stereo."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        pictures = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("aac", rate=48_000, layout="stereo")
        samples = np.pad(waveform, (8_000, 8_000)).repeat(3)
        frame = av.AudioFrame.from_ndarray(
            np.stack([samples, samples]).astype(np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate = 48_000
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        for packet in (*sound.encode(frame), *sound.encode()):
            target.mux(packet)
    return path


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
