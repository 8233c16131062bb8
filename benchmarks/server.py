"""A load test of `transcribe.py --serve-api`: requests a second, how long they take, errors.

    python -m benchmarks.server --pretrained-model-path runs/demo/avsr \
        --clips demo_data/demo/demo_video_seg16s/test_unseen [--clients 1 8 50] [--requests 100]

Starts a server, sends it clips through OpenAI's client, as many at a time as there are clients, and says
whether everybody got the words that a client alone gets. A sound that lies beside a clip is put into it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import openai
import psutil

from benchmarks.alternating import machine, save, table
from datamodules.media.headers import duration_seconds
from llama_avsr.page.examples import playable

ROOT = Path(__file__).parents[1]
MODEL = "loaded"
TIMEOUT_SECONDS = 600
HEADER = [
    *("clients", "requests", "errors", "requests/s", "p50 s", "p95 s", "x real time"),
    *("CPU s a request", "pieces a pass", "same words"),
]


@dataclass
class Load:
    """What became of the requests of so many clients."""

    clients: int
    seconds: list[float] = field(default_factory=list)
    """Of each answer."""
    words: list[tuple[int, str]] = field(default_factory=list)
    """Number of the clip, and what was said in it."""
    errors: list[str] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0
    """Of the server."""
    pieces_a_pass: float = 0.0

    def row(self, lengths: Sequence[float], alone: dict[int, str]) -> list[str]:
        recorded = sum(lengths[clip] for clip, _ in self.words)
        p50, p95 = np.percentile(self.seconds or [np.nan], [50, 95])
        answered = max(1, len(self.words))
        same = all(alone.get(clip, text) == text for clip, text in self.words)
        return [
            *(str(self.clients), str(len(self.words) + len(self.errors)), str(len(self.errors))),
            *(f"{len(self.words) / self.wall:.2f}", f"{p50:.2f}", f"{p95:.2f}"),
            *(f"{recorded / self.wall:.1f}", f"{self.cpu / answered:.2f}", f"{self.pieces_a_pass:.1f}"),
            "yes" if same else "NO",
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pretrained-model-path", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True, help="folder of mouth crops, or of sound files")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 50])
    parser.add_argument("--requests", type=int, default=100, help="for each number of clients")
    parser.add_argument("--num-clips", type=int, default=20, help="different clips to send")
    parser.add_argument("--num-beams", type=int, default=4)
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clips = _clips(asked.clips, asked.num_clips, Path(scratch))
        lengths = [duration_seconds(clip) or 0.0 for clip in clips]
        with _server(asked.pretrained_model_path, asked.num_beams, max(asked.clients)) as (url, process):
            asyncio.run(_load(url, process, clips, 1, len(clips)))  # what the first requests wait for
            loads = [
                asyncio.run(_load(url, process, clips, clients, asked.requests)) for clients in asked.clients
            ]
    alone = dict(loads[0].words)
    text = (
        f"# Server: {len(clips)} clips of {min(lengths):.1f}-{max(lengths):.1f} s, {asked.num_beams} beams, "
        f"load average {os.getloadavg()[1]:.1f}\n\n{machine()}\n\n"
        + table(HEADER, [load.row(lengths, alone) for load in loads])
    )
    errors = sorted({error for load in loads for error in load.errors})
    save("server", asked.hardware, "\n".join([text, *errors]))


def _clips(folder: Path, count: int, scratch: Path) -> list[Path]:
    from preparation.faces.sources import recordings_below

    found = recordings_below(folder)
    chosen = [found[i * len(found) // min(count, len(found))] for i in range(min(count, len(found)))]
    return [playable(path, scratch) for path in chosen]


@contextmanager
def _server(model: Path, num_beams: int, clients: int) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, ROOT / "transcribe.py", "--serve-api", "--port", port, "--model-id", MODEL]
    words += ["--pretrained-model-path", model, "--num-beams", num_beams, "--already-cropped"]
    words += ["--max-requests", max(64, clients)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            line = server.stdout.readline()
            if url not in line:
                raise SystemExit(f"the server did not start: {line}")
            yield url, psutil.Process(server.pid)
        finally:
            server.terminate()


async def _load(
    url: str, process: psutil.Process, clips: Sequence[Path], clients: int, requests: int
) -> Load:
    load, numbers = Load(clients), iter(range(requests))
    before, cpu = _passes(url), sum(process.cpu_times()[:2])

    async def one_client(client: openai.AsyncOpenAI) -> None:
        for number in numbers:
            clip, start = number % len(clips), time.perf_counter()
            try:
                found = await client.audio.transcriptions.create(file=clips[clip], model=MODEL)
            except openai.APIError as error:
                load.errors.append(f"{type(error).__name__}: {error}")
            else:
                load.words.append((clip, found.text))
                load.seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1",
        api_key="none",
        max_retries=0,
        timeout=TIMEOUT_SECONDS,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),  # a proxy would not find it
    ) as client:
        await asyncio.gather(*(one_client(client) for _ in range(clients)))
    load.wall, load.cpu = time.perf_counter() - start, sum(process.cpu_times()[:2]) - cpu
    pieces, passes = (after - old for after, old in zip(_passes(url), before, strict=True))
    load.pieces_a_pass = pieces / max(1, passes)
    return load


def _passes(url: str) -> tuple[float, float]:
    """Pieces that the model has seen, and in how many passes."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return tuple(
        float(re.search(rf"^llama_avsr_batch_pieces_{name} (\S+)$", text, re.MULTILINE)[1])
        for name in ("sum", "count")
    )


if __name__ == "__main__":
    main()
