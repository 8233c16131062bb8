"""A data set of a few random clips, in auto-avsr's layout."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np

TEXTS = ("the quick brown fox", "hello world", "jumps over the lazy dog", "the fox", "brown dog and lazy fox")


def make(root: Path, num_train: int = 13, num_test: int = 5, video: bool = True) -> Path:
    """Writes `root/labels/{train,val,test}.csv`, the media, and a noise file."""
    rng = np.random.default_rng(0)
    (root / "labels").mkdir(parents=True)
    for split, count in (("train", num_train), ("val", num_test), ("test", num_test)):
        lines = []
        for index in range(count):
            frames = int(rng.integers(15, 40))
            name = f"mini_video_seg16s/{split}/{index:02d}.mp4"
            path = root / "mini" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(path.with_suffix(".wav"), rng.standard_normal(frames * 640) * 0.1)
            if video:
                write_mp4(path, rng.integers(0, 256, (frames, 96, 96), dtype=np.uint8))
            lines.append(f"mini,{name},{frames},0,{TEXTS[index % len(TEXTS)]}\n")
        (root / "labels" / f"{split}.csv").write_text("".join(lines))
    write_wav(root / "noise.wav", rng.standard_normal(32000) * 0.1)
    return root


def make_manifests(root: Path) -> None:
    """Beside each CSV of `make` a manifest with units: English and, for every second clip, "Spanish"."""
    rng = np.random.default_rng(1)
    for csv in sorted((root / "labels").glob("*.csv")):
        rows, texts, counts = [f"{root}"], [], []
        for index, line in enumerate(csv.read_text().splitlines()):
            dataset, path, frames, _, text = line.split(",")
            written = "es" if index % 2 else "en"
            video = f"{dataset}/{path}"
            rows.append(f"mini/en-{written}\t{video}\t{video[:-4]}.wav\t{frames}\t{int(frames) * 640}")
            texts.append(" ".join(reversed(text.split())) if written == "es" else text)
            ends = sorted({*rng.integers(1, int(frames), 8).tolist(), int(frames)})
            counts.append(" ".join(map(str, np.diff([0, *ends]))))
        for suffix, lines in ((".tsv", rows), (".wrd", texts), (".cluster_counts", counts)):
            csv.with_suffix(suffix).write_text("\n".join(lines) + "\n")


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())


def write_mp4(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        # One thread and no macroblock tree: the same bytes every time.
        stream = container.add_stream("libx264", rate=25, options={"mbtree": "0"})
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
