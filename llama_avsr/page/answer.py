"""What the page does with one recording.

Letter: N samples of 16 kHz.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from datamodules.media import load_audio
from datamodules.media.headers import duration_seconds
from datamodules.noise import add_noise, excerpt
from llama_avsr.transcription import outputs
from llama_avsr.transcription.pipeline import Progress, Transcriber
from llama_avsr.transcription.reading import contents
from llama_avsr.transcription.transcript import Transcript

AUTO = "auto"
KEPT_SECONDS = 3600.0
"""How long the files of a visit are kept."""
MAX_SECONDS = 3600.0
"""The longest recording; while it is answered, the others wait."""
CROPPED = "The video is a mouth crop already"
MODALITIES = {
    AUTO: "whatever the file has",
    "audiovisual": "sound and lips",
    "audio": "sound alone",
    "video": "lips alone",
}
"""`Transcriber.transcribe`'s modalities, in words."""
ON_THE_PAGE = {
    "; --modality audio tries": "; choosing “sound alone” tries",
    "; --modality video tries": "; choosing “lips alone” tries",
    " (--modality-dropout 0)": "",
    "--modality asks for": "you chose",
    "leave it out to use": f"choose “{MODALITIES[AUTO]}” to use",
    ": leave it out": f": choose “{MODALITIES[AUTO]}”",
    "--modality audio uses": "choose “sound alone”, it uses",
    "--modality video uses": "choose “lips alone”, it uses",
    "use one that hears, another --detector, or --already-cropped if": f"tick “{CROPPED}” if",
    "; --already-cropped if": f"; tick “{CROPPED}” if",
    "give it a video, or use a model that hears": "give it a video",
    "use one that reads lips, or put the sound beside the video as a .wav": "record with sound",
}
"""Advice of the command line, as the page gives it."""


@dataclass(frozen=True)
class Request:
    """A recording, and what the visitor chose."""

    path: Path
    modality: str = AUTO
    already_cropped: bool = False
    snr_db: float | None = None
    """Noise is mixed in at; None leaves the sound as it is."""


@dataclass(frozen=True)
class Answer:
    """What the page shows."""

    transcript: Transcript
    mouth_video: Path | None
    """The mouth on the recording's time axis, with the sound that the model heard."""
    files: Sequence[Path]
    """The transcript as text, subtitles, JSON."""


class Answerer:
    """Answers one request after the other with one model.

    noise_path: babble, any sound file. Raises ValueError where it cannot be read.
    max_seconds: the longest recording that is taken. kept_seconds: how long an answer's files are there.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        noise_path: Path | None = None,
        *,
        max_seconds: float = MAX_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self.max_seconds = max_seconds
        self.transcriber = transcriber
        self.hears = "audio" in transcriber.trained.media
        self.reads_lips = "video" in transcriber.trained.media
        self._noise = None if noise_path is None or not self.hears else load_audio(noise_path)
        self._folders = _Folders(kept_seconds)

    @property
    def has_noise(self) -> bool:
        return self._noise is not None

    @property
    def modalities(self) -> dict[str, str]:
        """Those that the model can do, with their names; none where there is no choice."""
        if not (self.hears and self.reads_lips):
            return {}
        if self.transcriber.trained.may_drop:
            return MODALITIES
        untrained = {name: f"{MODALITIES[name]} (not trained for)" for name in ("audio", "video")}
        return {**MODALITIES, **untrained}

    def answer(
        self,
        request: Request,
        progress: Progress = lambda stage, done, total: None,
    ) -> Answer:
        """Transcribe. Each answer has a folder of its own.

        Raises ValueError or OSError for a recording that cannot be used; `in_words` makes it readable.
        """
        path = request.path
        self._check_length(path)
        folder = self._folders.new()
        mouth_video = folder / f"{path.stem}.mouth.mp4"
        shows_mouth = self.reads_lips and request.modality != "audio" and contents(path).picture
        transcript = self.transcriber.transcribe(
            path,
            modality=None if request.modality == AUTO else request.modality,
            already_cropped=request.already_cropped,
            mouth_video=mouth_video if shows_mouth else None,
            progress=progress,
            hear=functools.partial(_noisy, self._noise, request.snr_db),
        )
        # That there is no crop to show is seen.
        notes = [note for note in transcript.notes if not note.startswith("no mouth video")]
        transcript = replace(transcript, path=Path(path.name), notes=notes)
        files = outputs.save(transcript, folder, tuple(outputs.WRITERS))
        return Answer(transcript, mouth_video if mouth_video.is_file() else None, files)

    def _check_length(self, path: Path) -> None:
        """Of what a file says of itself; a browser's own recordings don't."""
        found = duration_seconds(path) or 0.0
        if found > self.max_seconds:
            raise ValueError(
                f"{path}: found {found / 60:.0f} minutes, expected at most {self.max_seconds / 60:.0f}; cut "
                "it, or use transcribe.py, which takes any length"
            )


class _Folders:
    """A folder for each answer, until it is `kept_seconds` old."""

    def __init__(self, kept_seconds: float) -> None:
        self._kept_seconds = kept_seconds
        self._root = tempfile.TemporaryDirectory(prefix="answers_", ignore_cleanup_errors=True)
        self._made: dict[Path, float] = {}
        self._lock = threading.Lock()

    def new(self) -> Path:
        folder, now = Path(tempfile.mkdtemp(prefix="answer_", dir=self._root.name)), time.monotonic()
        with self._lock:
            old = [made for made, since in self._made.items() if now - since > self._kept_seconds]
            for made in old:
                del self._made[made]
            self._made[folder] = now
        for made in old:
            shutil.rmtree(made, ignore_errors=True)
        return folder


def in_words(error: Exception, path: Path) -> str:
    """An error as a sentence for a visitor: no paths of the server, no flags."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.replace(str(path), path.name)
    for flags, words in ON_THE_PAGE.items():
        text = text.replace(flags, words)
    return text if path.name in text else f"{path.name}: {text}"


def _noisy(noise: torch.Tensor | None, snr_db: float | None, waveform: np.ndarray) -> np.ndarray:
    """[N] -> [N]"""
    if noise is None or snr_db is None:
        return waveform
    # Always from the noise's beginning: one recording has one answer.
    return add_noise(torch.from_numpy(waveform), excerpt(noise, 0, len(waveform)), snr_db).numpy()
