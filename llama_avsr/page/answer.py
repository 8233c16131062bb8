"""What the page does with one recording.

Letter: N samples of 16 kHz.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from datamodules.media import load_audio
from datamodules.noise import add_noise, excerpt
from llama_avsr.transcription import outputs
from llama_avsr.transcription.mouths import CroppedReader, FaceReader, MouthReader, Mouths
from llama_avsr.transcription.overlay import write_mouth_video
from llama_avsr.transcription.pipeline import Progress, Transcriber
from llama_avsr.transcription.transcript import Transcript

AUTO = "auto"
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
    "use one that hears, another --detector, or --already-cropped if": "tick “mouth crop” if",
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
    """

    def __init__(self, transcriber: Transcriber, noise_path: Path | None = None) -> None:
        self.transcriber = transcriber
        self.hears = "audio" in transcriber.trained.media
        self.reads_lips = "video" in transcriber.trained.media
        self._noise = None if noise_path is None or not self.hears else load_audio(noise_path)
        self._faces = FaceReader(transcriber.settings.faces)
        self._files: tempfile.TemporaryDirectory[str] | None = None

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
        """Transcribe. The answer's files are there until the next one.

        Raises ValueError or OSError for a recording that cannot be used; `in_words` makes it readable.
        """
        reader = _Kept(CroppedReader() if request.already_cropped else self._faces)
        heard = _Heard(self._noise, request.snr_db)
        transcript = self.transcriber.transcribe(
            request.path,
            modality=None if request.modality == AUTO else request.modality,
            already_cropped=request.already_cropped,
            progress=progress,
            reader=reader,
            hear=heard,
        )
        transcript = replace(transcript, path=Path(request.path.name))
        folder = self._new_folder()
        mouth_video = None
        if "video" in transcript.media and reader.mouths is not None and reader.mouths.tracks:
            mouth_video = folder / f"{request.path.stem}.mouth.mp4"
            write_mouth_video(mouth_video, reader.mouths, heard.waveform)
        files = outputs.save(transcript, folder, tuple(outputs.WRITERS))
        return Answer(transcript, mouth_video, files)

    def _new_folder(self) -> Path:
        if self._files is not None:
            self._files.cleanup()
        self._files = tempfile.TemporaryDirectory(prefix="answer_")
        return Path(self._files.name)


def in_words(error: Exception, path: Path) -> str:
    """An error as a sentence for a visitor: no paths of the server, no flags."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.replace(str(path), path.name)
    for flags, words in ON_THE_PAGE.items():
        text = text.replace(flags, words)
    return text if path.name in text else f"{path.name}: {text}"


class _Kept:
    """A reader of mouths that keeps what it found."""

    def __init__(self, reader: MouthReader) -> None:
        self._reader = reader
        self.mouths: Mouths | None = None

    def __call__(self, path: Path, progress: object) -> Mouths:
        self.mouths = self._reader(path, progress)
        return self.mouths


class _Heard:
    """Adds the noise, and keeps what is heard."""

    def __init__(self, noise: torch.Tensor | None, snr_db: float | None) -> None:
        self._noise, self._snr_db = noise, snr_db
        self.waveform: np.ndarray | None = None

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        if self._noise is not None and self._snr_db is not None:
            # Always from the noise's beginning: one recording has one answer.
            noise = excerpt(self._noise, 0, len(waveform))
            waveform = add_noise(torch.from_numpy(waveform), noise, self._snr_db).numpy()
        self.waveform = waveform
        return waveform
