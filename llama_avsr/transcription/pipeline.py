"""From a recording to its words: sound and mouth, segments, batches, model, text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from datamodules.batch import VIDEO_FPS, TextIds, Utterance
from datamodules.media import MediaError
from datamodules.media.headers import duration_seconds
from llama_avsr.model.decoding import BeamSearch
from llama_avsr.model.decoding import Hypothesis as Decoded
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.model.views import View
from llama_avsr.options import TranscribingOptions
from llama_avsr.transcription.batches import Job, batch_of, grouped
from llama_avsr.transcription.clock import Clock
from llama_avsr.transcription.loops import Loops, most_tokens
from llama_avsr.transcription.modality import NO_PICTURE, Choice, Media, UnusableError, choose
from llama_avsr.transcription.mouths import FaceSettings, Mouths
from llama_avsr.transcription.people import Person, people_of
from llama_avsr.transcription.plan import Recording, pieces_of
from llama_avsr.transcription.reading import contents, missing_seconds, read_sound
from llama_avsr.transcription.segments import Cutting
from llama_avsr.transcription.transcript import STAGES, Hypothesis, Segment, Transcript, Word
from llama_avsr.transcription.words import words_of
from llama_avsr.words.file import WordModel
from preparation.faces.options import ALL
from preparation.faces.readers import CroppedReader, FaceReader, Found, MouthReader, Task

Progress = Callable[[str, float, float], None]
"""(stage, what was done since the last call, what there is to do): seconds of video, or segments."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How recordings are transcribed, unless a call says otherwise."""

    already_cropped: bool = False
    asked: tuple[str, ...] | None = None
    """Media to use; None: what model and file have."""
    languages: tuple[str, str] = ("en", "en")
    min_pause_seconds: float = TranscribingOptions.min_pause_seconds
    max_segment_seconds: float = TranscribingOptions.max_segment_seconds
    audio_track: int | None = None
    """Of several, from 1; None: the one marked default, or the first that is not silent."""
    margin_seconds: tuple[float, float] = TranscribingOptions.segment_margins
    """Kept before and after the speech of a segment."""
    faces: FaceSettings = field(default_factory=FaceSettings)
    word_times: bool = False
    """Whether they are asked for; where a model has them, they are there either way."""

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
    views: Mapping[Media, View]
    """What the model is used for where a recording has these media."""
    encode_text: Callable[[Utterance], TextIds]
    device: torch.device
    autocast: torch.dtype | None
    """What it computes in; None: float32."""
    max_batch_frames: int
    words: WordModel | None = None
    """What finds the times of words; None where it was never trained."""

    @property
    def media(self) -> Media:
        """Of all that it can use."""
        return max(self.views, key=len)

    def precision(self) -> AbstractContextManager[None]:
        """What its layers compute in, while this is entered."""
        dtype = self.autocast
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def view_of(self, media: Media) -> View:
        """Where there is none for these media alone, that of all of them does without the others."""
        return self.views.get(media, self.views[self.media])


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording on its way to its words."""

    recording: Recording
    jobs: Sequence[Job]
    """Its pieces, in order."""
    loops: Loops
    settings: Settings
    clock: Clock


class Transcriber:
    """A loaded model that stays warm from one recording to the next. `llama_avsr.load` makes one."""

    def __init__(self, trained: Trained, search: BeamSearch, settings: Settings) -> None:
        self.trained = trained
        self.search = search
        self.settings = settings
        self._own = threading.local()

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

        >>> transcript = llama_avsr.load("runs/first").transcribe("talk.mp4")            # doctest: +SKIP
        >>> transcript.save("texts", ["txt", "srt"])                                     # doctest: +SKIP
        [PosixPath('texts/talk.txt'), PosixPath('texts/talk.srt')]

        modality: "audio", "video" or "audiovisual", what is used of the file; None: what it has.
        already_cropped: whether the video shows a mouth and nothing else; None: as the settings say.
        mouth_video, overlay: files to write, which show what the model saw and what it wrote.
        reader: finds the mouths, in place of the settings' face detector.
        hear: what becomes of the sound, float32 [N] of 16 kHz, before all else: add noise, for one.

        Raises:
            ValueError: the file cannot be read (MediaError), or lacks what the model needs.
        """
        prepared = self.prepare(
            path,
            modality=modality,
            already_cropped=already_cropped,
            progress=progress,
            reader=reader,
            hear=hear,
        )
        segments: list[Segment] = []
        left = prepared.jobs
        while left:
            repeating = []
            for group in grouped(left, self.trained.max_batch_frames):
                for job, segment in zip(group, self.decode(group, prepared.clock), strict=True):
                    if segment is None:
                        repeating.append(job)
                    else:
                        segments.append(segment)
                        progress("decode", 1, len(prepared.jobs))
            left = [half for job in repeating for half in job.halves()]
        transcript = self.finish(prepared, segments)
        if mouth_video is None and overlay is None:
            return transcript
        from llama_avsr.transcription.overlay import write_pictures

        recording = prepared.recording
        return write_pictures(transcript, recording.people, recording.waveform, mouth_video, overlay)

    def prepare(
        self,
        path: Path | str,
        *,
        modality: str | None = None,
        already_cropped: bool | None = None,
        progress: Progress = lambda stage, done, total: None,
        reader: MouthReader | None = None,
        hear: Callable[[np.ndarray], np.ndarray] = lambda waveform: waveform,
    ) -> Prepared:
        """The first half of `transcribe`, which runs no model: read a file and cut it into pieces.

        Several threads may do so at once.
        """
        settings = self.settings
        if already_cropped is not None:
            settings = replace(settings, already_cropped=already_cropped)
        if modality is not None:
            settings = replace(settings, asked=media_of(modality))
        clock = Clock(self.trained.device)
        recording = self._read(Path(path), settings, reader, hear, clock, progress)
        pieces = pieces_of(recording, settings.cutting, self.trained.may_drop)
        loops = Loops()
        jobs = [
            Job(piece, recording.waveform, recording.mouths_of(piece.speaker), settings.languages, loops)
            for piece in pieces
        ]
        return Prepared(recording, jobs, loops, settings, clock)

    def finish(self, prepared: Prepared, segments: Sequence[Segment]) -> Transcript:
        """segments: of `prepared.jobs`, or of the parts that they were cut into, in any order."""
        recording, settings, clock = prepared.recording, prepared.settings, prepared.clock
        segments = sorted(segments, key=lambda one: (one.start_s, one.end_s, one.speaker or ""))
        return Transcript(
            path=recording.path,
            segments=segments,
            duration_s=recording.num_frames / VIDEO_FPS or duration_seconds(recording.path) or 0.0,
            media=recording.choice.media,
            reason=recording.choice.reason,
            notes=(
                *recording.notes,
                *prepared.loops.notes,
                *_notes(segments),
                *self._notes_on_words(segments, settings),
            ),
            model=self.trained.name,
            languages=settings.languages,
            seconds={stage: clock.seconds.get(stage, 0.0) for stage in STAGES},
        )

    def _notes_on_words(self, segments: Sequence[Segment], settings: Settings) -> list[str]:
        if not _transcribes(settings.languages):
            return ["no word times: a translation has none"] if settings.word_times else []
        if self.trained.words is None:
            missing = "no word times: the model has no aligner; `llama-avsr align` adds one"
            return [missing] if settings.word_times else []
        without = [segment for segment in segments if segment.words is None]
        if not without:
            return []
        return [
            f"{len(without)} of {len(segments)} segments without word times, the first at "
            f"{without[0].start_s:.1f} s: nothing aligns there, or more letters than there is room for"
        ]

    def _read(
        self,
        path: Path,
        settings: Settings,
        reader: MouthReader | None,
        hear: Callable[[np.ndarray], np.ndarray],
        clock: Clock,
        progress: Progress,
    ) -> Recording:
        """Raises MediaError or UnusableError, which names the file."""
        trained, notes = self.trained, []
        with clock.stage("read"):
            found = contents(path)
            # Lips are cut at the pauses of the sound as well.
            waveform, why_silent = read_sound(
                path, found, settings.already_cropped, notes, settings.audio_track
            )
        waveform = None if waveform is None else hear(waveform)
        lacking = {} if waveform is not None else {"audio": why_silent}
        if not found.picture:
            lacking["video"] = NO_PICTURE
        choice = _choose(path, trained, lacking, settings)
        people: list[Person] = []
        if "video" in choice.media:
            people, why_unseen = self._people(path, settings, reader, clock, progress, notes)
            if not people:
                lacking["video"] = why_unseen
                choice = _choose(path, trained, lacking, settings)
        recording = Recording(path, waveform, people, choice, notes)
        if not people and waveform is not None:
            # Of a picture that breaks off, its reader has told.
            note = missing_seconds(path, recording.num_frames / VIDEO_FPS)
            recording.notes.extend([note] if note else [])
        return recording

    def _people(
        self,
        path: Path,
        settings: Settings,
        reader: MouthReader | None,
        clock: Clock,
        progress: Progress,
        notes: list[str],
    ) -> tuple[list[Person], str]:
        """Whose lips are read, or why nobody's are."""
        if reader is None:
            reader = CroppedReader() if settings.already_cropped else self._face_reader
        total = duration_seconds(path) or 0.0
        task = Task(path, notes=notes, progress=lambda seconds: progress("faces", seconds, total))
        try:
            with clock.stage("read" if settings.already_cropped else "crop"):
                found = reader.read(task)
        except MediaError as error:
            # A model that hears can go on with the sound.
            return [], f"its picture cannot be read ({str(error).removeprefix(f'{path}: ')})"
        clock.move("crop", "faces", found.detecting_seconds)
        if not found.tracks:
            return [], _why_no_mouth(found)
        notes += [f"no mouth at {reason}" for reason in found.rejected]
        if settings.faces.speaker == ALL:
            return people_of(found), ""
        return [Person(None, Mouths.of(found))], ""

    @property
    def _face_reader(self) -> FaceReader:
        """This thread's own, kept for the next recording: a detector knows where it is in a video."""
        if not hasattr(self._own, "face_reader"):
            self._own.face_reader = self.settings.faces.reader()
        return self._own.face_reader

    def decode(self, jobs: Sequence[Job], clock: Clock | None = None) -> list[Segment | None]:
        """One pass of the model: what is said in each of `jobs` (a group of `grouped`), in their order; None
        where that is a loop whatever hypothesis one takes (`Job.halves`)."""
        trained, model = self.trained, self.trained.model
        clock = clock or Clock(trained.device)
        # Loops are replaced by what comes next, and words are the surer the more hypotheses have them.
        longest = max(job.piece.stop - job.piece.start for job in jobs)
        search = replace(
            self.search,
            num_best=self.search.num_beams,
            max_new_tokens=min(self.search.max_new_tokens, most_tokens(longest)),
        )
        batch = batch_of(jobs, model.prepare_audio, trained.encode_text)
        view = trained.view_of(jobs[0].media)
        with torch.inference_mode(), trained.precision():
            with clock.stage("encode"):
                tokens, frames = model.encode_with_frames(batch.to(trained.device), view)
            with clock.stage("decode"):
                nbests = model.generate(batch, search, tokens, view)
                chosen = [
                    job.loops.sorted_out(nbest, model.vocabulary.decode)
                    for job, nbest in zip(jobs, nbests, strict=True)
                ]
                believed = [own or nbest for own, nbest in zip(chosen, nbests, strict=True)]
                words: Sequence[Sequence[Word] | None] = [None] * len(jobs)
                if trained.words is not None and any(_transcribes(job.languages) for job in jobs):
                    words = words_of(
                        trained.words, model, batch, view, tokens, frames, believed, search.length_penalty
                    )
        return [
            self._segment(job, nbest, own_words if _transcribes(job.languages) else None) if nbest else None
            for job, nbest, own_words in zip(jobs, chosen, words, strict=True)
        ]

    def _segment(self, job: Job, nbest: Sequence[Decoded], words: Sequence[Word] | None) -> Segment:
        """words: with times from the piece's beginning."""
        piece = job.piece
        start, stop = piece.start / VIDEO_FPS, piece.stop / VIDEO_FPS
        decode = self.trained.model.vocabulary.decode
        shown = nbest[: self.search.num_best]
        if words is not None:
            words = [
                replace(word, start_s=start + word.start_s, end_s=min(start + word.end_s, stop))
                for word in words
            ]
        hypotheses = [Hypothesis(decode(h.ids), h.score, h.finished) for h in shown]
        return Segment(start, stop, hypotheses, piece.media, words, piece.speaker)


def media_of(modality: str) -> Media:
    """The media of a `--modality`. Raises ValueError for one that does not exist."""
    known = {"audio": ("audio",), "video": ("video",), "audiovisual": ("audio", "video")}
    known["audiovisual_avhubert"] = known["audiovisual"]
    if modality not in known:
        raise ValueError(f"found modality {modality!r}, expected one of {', '.join(known)}")
    return known[modality]


def _transcribes(languages: tuple[str, str]) -> bool:
    """Whether what is written is what was spoken."""
    return languages[0] == languages[1]


def _choose(path: Path, trained: Trained, lacking: dict[str, str], settings: Settings) -> Choice:
    try:
        return choose(trained.media, trained.may_drop, lacking, settings.asked)
    except UnusableError as error:
        raise UnusableError(f"{path}: {error}") from None


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


def _why_no_mouth(found: Found) -> str:
    reasons = [reason for reason in found.rejected if not reason.endswith(": no face")]
    return f"no face could be followed ({'; '.join(reasons[:3])})" if reasons else "no face was found"
