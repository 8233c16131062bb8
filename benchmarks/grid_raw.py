"""GRID's raw, uncropped clips through the transcriber: faces found, mouths cut, words written.

    python -m benchmarks.grid_raw runs/real/avsr GRID/s1 --labels real_data/labels/grid_test_...csv
    python -m benchmarks.grid_raw runs/real/avsr GRID/s1 --labels .../grid_test_...csv --joined 20
    python -m benchmarks.grid_raw runs/real/avsr GRID/s26 GRID/s31

What was said is read from the files' names. --joined puts so many clips behind each other into one recording.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import llama_avsr
from llama_avsr.evaluation.metrics.wer import score
from preparation.datasets.grid import SENTENCE, spelled
from preparation.faces.sources import videos_below

SECONDS_A_CLIP = 3
FRAME_RATE = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="run, checkpoint folder, or user/model")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of raw clips")
    parser.add_argument("--labels", type=Path, help="only clips of this label file")
    parser.add_argument("--modality", help="audio, video or audiovisual; default: what the recording has")
    parser.add_argument("--joined", type=int, default=1, help="clips of one recording")
    parser.add_argument("--margins", type=float, nargs=2, help="as --segment-margins of transcribe.py")
    parser.add_argument("--num-beams", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON to write transcripts to")
    asked = parser.parse_args()
    clips = [
        path for folder in asked.folders for path in videos_below(folder) if SENTENCE.fullmatch(path.stem)
    ]
    if asked.labels is not None:
        named = {Path(line.split(",")[1]).stem for line in asked.labels.read_text().splitlines()}
        clips = [path for path in clips if path.stem in named]
    margins = {} if asked.margins is None else {"segment_margins": tuple(asked.margins)}
    transcriber = llama_avsr.load(asked.model, num_beams=asked.num_beams, max_dec_tokens=256, **margins)
    groups = [clips[start : start + asked.joined] for start in range(0, len(clips), asked.joined)]
    pairs, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, group in enumerate(groups):
            recording = group[0] if len(group) == 1 else join(group, Path(folder, f"{number}.mp4"))
            said = " ".join(spelled(SENTENCE.fullmatch(path.stem)[1]) for path in group)
            transcript = transcriber.transcribe(recording, modality=asked.modality)
            pairs.append((said, " ".join(transcript.text.split())))
    seconds = time.perf_counter() - start
    for line in score(*zip(*pairs, strict=True)).headline():
        print(line)
    print(
        f"{len(groups)} recordings, {len(clips)} clips, {seconds:.0f} s, {seconds / len(clips):.2f} s a clip"
    )
    if asked.out is not None:
        asked.out.write_text(json.dumps(pairs, indent=1) + "\n")


def join(clips: list[Path], path: Path) -> Path:
    """Write clips behind each other, 3 s each: H.264 of their own size, and AAC."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=FRAME_RATE, options={"crf": "18"})
        audio = target.add_stream("aac", rate=44_100)
        video.pix_fmt = "yuv420p"
        audio.layout = "mono"
        frames = samples = 0
        for clip in clips:
            pictures, sound = read(clip)
            if not frames:
                video.height, video.width = pictures[0].shape[:2]
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = frames, Fraction(1, FRAME_RATE)
                frames += 1
                target.mux(video.encode(frame))
            heard = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 44_100, samples, Fraction(1, 44_100)
            samples += len(sound)
            target.mux(audio.encode(heard))
        target.mux(video.encode())
        target.mux(audio.encode())
    return path


def read(clip: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """75 pictures [H, W, 3] and 3 s of sound [N] at 44.1 kHz, cut or continued."""
    with av.open(str(clip)) as source:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    resampler = av.AudioResampler("fltp", "mono", 44_100)
    with av.open(str(clip)) as source:
        heard = [
            part.to_ndarray()[0] for frame in source.decode(audio=0) for part in resampler.resample(frame)
        ]
    count, length = SECONDS_A_CLIP * FRAME_RATE, SECONDS_A_CLIP * 44_100
    pictures = (pictures + pictures[-1:] * count)[:count]
    sound = np.concatenate(heard)[:length]
    return pictures, np.ascontiguousarray(np.pad(sound, (0, length - len(sound))))


if __name__ == "__main__":
    main()
