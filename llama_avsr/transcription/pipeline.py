"""From a recording to its words: sound and mouth, segments, batches, model, text.

Letters: T frames of 25 per second, N samples of 16 kHz.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from datamodules.batch import SAMPLES_PER_VIDEO_FRAME, VIDEO_FPS, TextIds, Utterance
from llama_avsr.decoding import BeamSearch
from llama_avsr.model import SpeechLLM
from llama_avsr.transcription import segments as cutting
from llama_avsr.transcription.batches import Piece, batches
from llama_avsr.transcription.modality import Choice, Media, UnusableError, choose, named
from llama_avsr.transcription.mouths import CroppedReader, FaceReader, FaceSettings, MouthReader, Mouths
from llama_avsr.transcription.reading import Contents, contents, read_sound
from llama_avsr.transcription.segments import Cutting, Span
from llama_avsr.transcription.transcript import STAGES, Hypothesis, Segment, Transcript

Progress = Callable[[str, float, float], None]
"""(stage, what was done since the last call, what there is to do): seconds of video, or segments."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How recordings are transcribed, unless a call says otherwise."""

    already_cropped: bool = False
    asked: tuple[str, ...] | None = None
    """Media to use; None: what model and file have."""
    languages: tuple[str, str] = ("en", "en")
    min_pause_seconds: float = 0.5
    max_segment_seconds: float = 15.0
    margin_seconds: tuple[float, float] = (0.04, 0.12)
    """Kept before and after the speech of a segment."""
    faces: FaceSettings = field(default_factory=FaceSettings)

    @property
    def cutting(self) -> Cutting:
        return Cutting.of_seconds(self.min_pause_seconds, self.max_segment_seconds, self.margin_seconds)


@dataclass(frozen=True)
class Trained:
    """A model, and what of its training matters here."""

    model: SpeechLLM
    name: str
    may_drop: bool
    """Whether it learnt to do without one of its streams."""
    encode_text: Callable[[Utterance], TextIds]
    device: torch.device
    autocast: torch.dtype | None
    """What it computes in; None: float32."""
    max_batch_frames: int

    @property
    def media(self) -> Media:
        taken = {medium for stream in self.model.streams for medium in stream.media}
        return tuple(medium for medium in ("audio", "video") if medium in taken)


@dataclass
class Recording:
    """One file, read."""

    path: Path
    waveform: np.ndarray | None
    """float32 [N]."""
    mouths: Mouths | None
    choice: Choice
    notes: list[str]

    @property
    def num_frames(self) -> int:
        sound = 0 if self.waveform is None else -(-len(self.waveform) // SAMPLES_PER_VIDEO_FRAME)
        return max(sound, 0 if self.mouths is None else self.mouths.num_frames)


class Transcriber:
    """A loaded model that stays warm from one recording to the next. `llama_avsr.load` makes one."""

    def __init__(self, trained: Trained, search: BeamSearch, settings: Settings) -> None:
        self.trained = trained
        self.search = search
        self.settings = settings
        self._face_readers: dict[FaceSettings, FaceReader] = {}

    def transcribe(
        self,
        path: Path | str,
        *,
        modality: str | None = None,
        already_cropped: bool | None = None,
        mouth_video: Path | str | None = None,
        overlay: Path | str | None = None,
        progress: Progress = lambda stage, done, total: None,
        reader: MouthReader | None = None,
        hear: Callable[[np.ndarray], np.ndarray] = lambda waveform: waveform,
    ) -> Transcript:
        """Write down what is said in a video or sound file.

        modality: "audio", "video" or "audiovisual", what is used of the file; None: what it has.
        already_cropped: whether the video shows a mouth and nothing else; None: as the settings say.
        mouth_video, overlay: files to write, which show what the model saw and what it wrote.
        reader: finds the mouths, in place of the settings' face detector.
        hear: what becomes of the sound, float32 [N] of 16 kHz, before all else: add noise, for one.

        Raises:
            ValueError: the file cannot be read (MediaError), or lacks what the model needs.
        """
        settings = self.settings
        if already_cropped is not None:
            settings = replace(settings, already_cropped=already_cropped)
        if modality is not None:
            settings = replace(settings, asked=media_of(modality))
        clock = _Clock(self.trained.device)
        recording = self._read(Path(path), settings, reader, hear, clock, progress)
        pieces = self._pieces(recording, settings.cutting)
        segments = self._decode(recording, pieces, settings.languages, clock, progress)
        transcript = Transcript(
            path=recording.path,
            segments=segments,
            duration_s=recording.num_frames / VIDEO_FPS,
            media=recording.choice.media,
            reason=recording.choice.reason,
            notes=(*recording.notes, *_notes(segments)),
            model=self.trained.name,
            languages=settings.languages,
            seconds={stage: clock.seconds.get(stage, 0.0) for stage in STAGES},
        )
        if mouth_video is not None or overlay is not None:
            from llama_avsr.transcription import overlay as pictures

            if mouth_video is not None:
                pictures.write_mouth_video(Path(mouth_video), recording.mouths, recording.waveform)
            if overlay is not None:
                pictures.write_overlay(Path(overlay), transcript, recording.mouths, recording.waveform)
        return transcript

    def _read(
        self,
        path: Path,
        settings: Settings,
        reader: MouthReader | None,
        hear: Callable[[np.ndarray], np.ndarray],
        clock: _Clock,
        progress: Progress,
    ) -> Recording:
        """Raises MediaError or UnusableError, which names the file."""
        trained = self.trained
        with clock.stage("read"):
            found = contents(path)
            # Lips are cut at the pauses of the sound as well.
            waveform, why_silent = read_sound(path, found, settings.already_cropped)
        waveform = None if waveform is None else hear(waveform)
        lacking = {} if waveform is not None else {"audio": why_silent}
        if not found.picture:
            lacking["video"] = "the file has no picture"
        choice = _choose(path, trained, lacking, settings)
        mouths, notes = None, []
        if "video" in choice.media:
            mouths = self._mouths(path, settings, reader, clock, progress)
            notes += [f"no mouth at {reason}" for reason in mouths.rejected if mouths.tracks]
            if not mouths.tracks:
                lacking["video"] = "no face was found"
                if mouths.rejected:
                    lacking["video"] += f" ({'; '.join(mouths.rejected[:3])})"
                mouths, choice = None, _choose(path, trained, lacking, settings)
        return Recording(path, waveform, mouths, choice, notes)

    def _mouths(
        self,
        path: Path,
        settings: Settings,
        reader: MouthReader | None,
        clock: _Clock,
        progress: Progress,
    ) -> Mouths:
        if reader is None:
            reader = CroppedReader() if settings.already_cropped else self._face_reader(settings.faces)
        total = _video_seconds(path)
        with clock.stage("read" if settings.already_cropped else "crop"):
            mouths = reader(path, lambda seconds: progress("faces", seconds, total))
        clock.move("crop", "faces", mouths.detecting_seconds)
        return mouths

    def _face_reader(self, faces: FaceSettings) -> FaceReader:
        return self._face_readers.setdefault(faces, FaceReader(faces))

    def _pieces(self, recording: Recording, rules: Cutting) -> list[Piece]:
        """The segments, in order; notes in the recording what is left out and what was cut hard."""
        choice, mouths = recording.choice, recording.mouths
        activity, spans = _activity_and_spans(recording, rules)
        if mouths is None:
            parts = [(span, choice.media) for span in spans]
        else:
            inside, outside = cutting.apart(spans, _places(recording))
            parts = [(span, choice.media) for span in inside]
            rest = tuple(medium for medium in choice.media if medium != "video")
            if rest and self.trained.may_drop:
                parts += [(span, rest) for span in outside]
                recording.notes += _listed(outside, f"no mouth is seen, {named(rest)} alone is used")
            else:
                recording.notes += _listed(outside, "no mouth is seen, nothing is written")
        pieces = []
        for span, media in sorted(parts):
            cuts = cutting.cut_long([span], activity, rules.max_length)
            if len(cuts) > 1 and recording.waveform is not None:
                recording.notes += _listed([span], "no pause, cut where it is quietest")
            pieces += [Piece(start, stop, media) for start, stop in cuts]
        return pieces

    def _decode(
        self,
        recording: Recording,
        pieces: Sequence[Piece],
        languages: tuple[str, str],
        clock: _Clock,
        progress: Progress,
    ) -> list[Segment]:
        trained, model = self.trained, self.trained.model
        hearing = [stream.encoder for stream in model.streams if "audio" in stream.media]
        prepare = model.encoders[hearing[0]].prepare_audio if hearing else None
        found: dict[Piece, Segment] = {}
        for group, batch in batches(
            pieces,
            recording.waveform,
            recording.mouths,
            prepare,
            trained.encode_text,
            languages,
            trained.max_batch_frames,
        ):
            with torch.inference_mode(), self._precision():
                with clock.stage("encode"):
                    tokens = model.encode(batch.to(trained.device))
                with clock.stage("decode"):
                    nbests = model.generate(batch, self.search, tokens)
            for piece, nbest in zip(group, nbests, strict=True):
                hypotheses = [Hypothesis(model.vocabulary.decode(h.ids), h.score, h.finished) for h in nbest]
                found[piece] = Segment(
                    piece.start / VIDEO_FPS, piece.stop / VIDEO_FPS, hypotheses, piece.media
                )
            progress("decode", len(group), len(pieces))
        return [found[piece] for piece in pieces]

    @contextmanager
    def _precision(self) -> Iterator[None]:
        dtype = self.trained.autocast
        with torch.autocast(self.trained.device.type, dtype=dtype, enabled=dtype is not None):
            yield


def media_of(modality: str) -> Media:
    """The media of a `--modality`. Raises ValueError for one that does not exist."""
    known = {"audio": ("audio",), "video": ("video",), "audiovisual": ("audio", "video")}
    known["audiovisual_avhubert"] = known["audiovisual"]
    if modality not in known:
        raise ValueError(f"found modality {modality!r}, expected one of {', '.join(known)}")
    return known[modality]


def _choose(path: Path, trained: Trained, lacking: dict[str, str], settings: Settings) -> Choice:
    try:
        return choose(trained.media, trained.may_drop, lacking, settings.asked)
    except UnusableError as error:
        raise UnusableError(f"{path}: {error}") from None


def _activity_and_spans(recording: Recording, rules: Cutting) -> tuple[np.ndarray, list[Span]]:
    """What is least where a cut hurts least, for each frame, and the stretches of speech."""
    waveform, mouths, num_frames = recording.waveform, recording.mouths, recording.num_frames
    moving = np.zeros(num_frames)
    for track in () if mouths is None else mouths.tracks:
        moving[track.first : track.first + len(track.frames)] = cutting.motion(track.frames)
    if waveform is None:
        return moving, mouths.spans
    levels = cutting.levels_db(waveform)
    spans = cutting.speech_spans(levels, rules.min_pause)
    if mouths is not None:
        spans = cutting.follow_lips(spans, moving)
    levels = np.pad(levels, (0, num_frames - len(levels)), constant_values=levels.min())
    return levels, cutting.with_margins(spans, rules.margins, num_frames)


def _places(recording: Recording) -> list[Span]:
    """Where there is a mouth to be read."""
    if recording.waveform is None:
        return recording.mouths.spans
    return recording.mouths.stretches(recording.num_frames)


def _listed(spans: Sequence[Span], what: str) -> list[str]:
    if not spans:
        return []
    times = [f"{start / VIDEO_FPS:.1f}-{stop / VIDEO_FPS:.1f} s" for start, stop in spans]
    more = f" and {len(times) - 5} more" if len(times) > 5 else ""
    return [f"{', '.join(times[:5])}{more}: {what}"]


def _notes(segments: Sequence[Segment]) -> list[str]:
    if not segments:
        return ["no speech was found"]
    cut_short = [segment for segment in segments if not segment.hypotheses[0].finished]
    if not cut_short:
        return []
    return [
        f"{len(cut_short)} of {len(segments)} segments ran out of tokens, the first at "
        f"{cut_short[0].start_s:.1f} s: raise --max-dec-tokens, if their words are right so far"
    ]


def _video_seconds(path: Path) -> float:
    from preparation.video import duration_seconds

    return duration_seconds(path) or 0.0


class _Clock:
    """Adds up the time of every stage."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def move(self, source: str, target: str, seconds: float) -> None:
        """Give `seconds` of one stage to another."""
        if seconds:
            self.seconds[source] -= seconds
            self.seconds[target] = self.seconds.get(target, 0.0) + seconds
