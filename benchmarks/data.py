"""Clips from their files to what encoders take: ours against stock parts, as the originals use them.

    python -m benchmarks.data [--clips FOLDER] [--repetitions 5]

Stock: PyAV's frames to RGB, stacked, to 0..1, cropped, made grey, normalised; sound read by PyAV or by scipy,
noise mixed in by torchaudio, layer norm. Ours: `ClipDataset`. Both draw the same. Without a folder of mouth
clips (.mp4, and .wav of the same names) some are made.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
import torchaudio
from scipy.io import wavfile
from torch import Tensor
from torch.nn import functional

from benchmarks.alternating import machine, measure, save, table
from datamodules.batch import Utterance
from datamodules.dataset import ClipDataset
from datamodules.media.headers import num_video_frames
from datamodules.media.writing import write_video, write_waveform
from datamodules.seeding import generator, randint
from datamodules.transforms import CROP_SIDE, GREY_MEAN, GREY_STD, AudioTransform, VideoTransform
from llama_avsr.encoders._waveform import normalise

NUM_FRAMES, NUM_SAMPLES, SIDE = 75, 75 * 640, 96
SNR_DB = 0.0
SECONDS_OF_NOISE = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=Path, help="folder of mouth clips: .mp4, and .wav beside")
    parser.add_argument("--num-clips", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    noise = torch.randn(16_000 * SECONDS_OF_NOISE, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        clips = found(asked.clips, asked.num_clips) if asked.clips else made(Path(folder), asked.num_clips)
        ways = {
            ("video", "stock"): lambda: [stock_video(clip) for clip in clips],
            ("video", "ours"): ours(clips, "video", None),
            ("sound", "stock, PyAV"): lambda: [stock_sound(read_by_pyav, clip, noise) for clip in clips],
            ("sound", "stock, scipy"): lambda: [stock_sound(read_by_scipy, clip, noise) for clip in clips],
            ("sound", "ours"): ours(clips, "audio", noise),
        }
        outputs = {way: call() for way, call in ways.items()}
        times = measure(ways, asked.repetitions)
    rows = []
    for (what, side), taken in times.items():
        own = outputs[what, "ours"]
        difference = max(float((x - y).abs().max()) for x, y in zip(own, outputs[what, side], strict=True))
        difference *= 255 * GREY_STD if what == "video" else 1
        faster = taken.median_cpu / times[what, "ours"].median_cpu
        rows.append([what, side, *taken.row(len(clips) / 1000), f"{faster:.2f}", f"{difference:.2g}"])
    header = ["", "", "wall ms a clip", "CPU ms a clip", "CPU spread", "times of ours", "largest difference"]
    text = (
        f"{len(clips)} clips {'of a folder' if asked.clips else 'made'}, {sum(c.num_frames for c in clips)} "
        f"frames, {asked.repetitions} repetitions in turns; differences of video in levels of 255\n"
        f"{machine()}; PyAV {av.__version__}\n\n" + table(header, rows)
    )
    save("data", asked.hardware, text)


def found(folder: Path, number: int) -> list[Utterance]:
    videos = sorted(path for path in folder.rglob("*.mp4") if path.with_suffix(".wav").exists())[:number]
    if not videos:
        raise SystemExit(f"{folder}: found no .mp4 with a .wav beside it")
    return [clip(path, num_video_frames(path)) for path in videos]


def made(folder: Path, number: int) -> list[Utterance]:
    """Smooth moving pictures under a little noise, which take about as many bytes as mouths."""
    rng = np.random.default_rng(0)
    for name in range(number):
        coarse = rng.normal(128, 40, (1, 1, 8, 8)).astype(np.float32)
        shapes = functional.interpolate(torch.from_numpy(coarse), (SIDE + 80, SIDE + 80), mode="bicubic")
        frames = np.stack([shapes[0, 0, t : t + SIDE, 40 : 40 + SIDE] for t in range(NUM_FRAMES)])
        frames = (frames + rng.normal(0, 2, frames.shape)).clip(0, 255).astype(np.uint8)
        write_video(folder / f"{name}.mp4", frames)
        write_waveform(folder / f"{name}.wav", 0.1 * rng.normal(size=NUM_SAMPLES).astype(np.float32))
    return [clip(folder / f"{name}.mp4", NUM_FRAMES) for name in range(number)]


def clip(path: Path, num_frames: int) -> Utterance:
    return Utterance(
        id=path.stem,
        video_path=path,
        audio_path=path.with_suffix(".wav"),
        num_frames=num_frames,
        text="",
        source=f"{path.parent}:1",
    )


def ours(clips: list[Utterance], medium: str, noise: Tensor | None) -> Callable[[], list[Tensor]]:
    dataset = ClipDataset(
        clips,
        [medium],
        lambda utterance: None,
        VideoTransform(train=False),
        AudioTransform(False, noise, (SNR_DB,)) if medium == "audio" else AudioTransform(False),
        normalise,
    )
    return lambda: [dataset[0, index].inputs[medium] for index in range(len(clips))]


def stock_video(utterance: Utterance) -> Tensor:
    with av.open(str(utterance.video_path)) as container:
        frames = [frame.to_rgb().to_ndarray() for frame in container.decode(video=0)]
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
    top, left = ((side - CROP_SIDE) // 2 for side in video.shape[-2:])
    video = video[..., top : top + CROP_SIDE, left : left + CROP_SIDE]
    red, green, blue = video.unbind(-3)
    return (0.2989 * red + 0.587 * green + 0.114 * blue - GREY_MEAN) / GREY_STD


def read_by_pyav(path: Path) -> Tensor:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return torch.from_numpy(np.concatenate(frames, axis=1)[0]).float() / 32768


def read_by_scipy(path: Path) -> Tensor:
    return torch.from_numpy(wavfile.read(path)[1]).float() / 32768


def stock_sound(read: Callable[[Path], Tensor], utterance: Utterance, noise: Tensor) -> Tensor:
    waveform = read(utterance.audio_path)
    rng = generator(0, 0, utterance.id, "audio")
    randint(0, 0, rng)  # of one SNR
    start = randint(0, len(noise) - 1, rng)
    cut = noise.repeat(2)[start:] if start + len(waveform) > len(noise) else noise[start:]
    noisy = torchaudio.functional.add_noise(
        waveform[None], cut[None, : len(waveform)], torch.tensor([SNR_DB])
    )[0]
    return functional.layer_norm(noisy, noisy.shape, eps=1e-8)


if __name__ == "__main__":
    main()
