"""From a recording to its words: sound and mouth, segments, batches, model, text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
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
from llama_avsr.transcription.batches import Piece, batches
from llama_avsr.transcription.clock import Clock
from llama_avsr.transcription.loops import Loops
from llama_avsr.transcription.modality import NO_PICTURE, Choice, Media, UnusableError, choose
from llama_avsr.transcription.mouths import FaceSettings, Mouths
from llama_avsr.transcription.plan import Recording, pieces_of
from llama_avsr.transcription.reading import contents, missing_seconds, read_sound
from llama_avsr.transcription.segments import Cutting
from llama_avsr.transcription.transcript import STAGES, Hypothesis, Segment, Transcript, Word
from llama_avsr.transcription.words import words_of
from llama_avsr.words.file import WordModel
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


class Transcriber:
    """A loaded model that stays warm from one recording to the next. `llama_avsr.load` makes one."""

    def __init__(self, trained: Trained, search: BeamSearch, settings: Settings) -> None:
        self.trained = trained
        self.search = search
        self.settings = settings

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
        settings = self.settings
        if already_cropped is not None:
            settings = replace(settings, already_cropped=already_cropped)
        if modality is not None:
            settings = replace(settings, asked=media_of(modality))
        clock = Clock(self.trained.device)
        recording = self._read(Path(path), settings, reader, hear, clock, progress)
        pieces = pieces_of(recording, settings.cutting, self.trained.may_drop)
        segments = self._decode(recording, pieces, settings.languages, clock, progress)
        transcript = Transcript(
            path=recording.path,
            segments=segments,
            duration_s=recording.num_frames / VIDEO_FPS or duration_seconds(recording.path) or 0.0,
            media=recording.choice.media,
            reason=recording.choice.reason,
            notes=(*recording.notes, *_notes(segments), *self._notes_on_words(segments, settings)),
            model=self.trained.name,
            languages=settings.languages,
            seconds={stage: clock.seconds.get(stage, 0.0) for stage in STAGES},
        )
        if mouth_video is None and overlay is None:
            return transcript
        from llama_avsr.transcription.overlay import write_pictures

        return write_pictures(transcript, recording.mouths, recording.waveform, mouth_video, overlay)

    def _notes_on_words(self, segments: Sequence[Segment], settings: Settings) -> list[str]:
        if settings.languages[0] != settings.languages[1]:
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
        mouths = None
        if "video" in choice.media:
            mouths, why_unseen = self._mouths(path, settings, reader, clock, progress, notes)
            if mouths is None:
                lacking["video"] = why_unseen
                choice = _choose(path, trained, lacking, settings)
        recording = Recording(path, waveform, mouths, choice, notes)
        if mouths is None and waveform is not None:
            # Of a picture that breaks off, its reader has told.
            note = missing_seconds(path, recording.num_frames / VIDEO_FPS)
            recording.notes.extend([note] if note else [])
        return recording

    def _mouths(
        self,
        path: Path,
        settings: Settings,
        reader: MouthReader | None,
        clock: Clock,
        progress: Progress,
        notes: list[str],
    ) -> tuple[Mouths | None, str]:
        """The mouths, or why there are none."""
        if reader is None:
            reader = CroppedReader() if settings.already_cropped else self._face_reader
        total = duration_seconds(path) or 0.0
        task = Task(path, notes=notes, progress=lambda seconds: progress("faces", seconds, total))
        try:
            with clock.stage("read" if settings.already_cropped else "crop"):
                found = reader.read(task)
        except MediaError as error:
            # A model that hears can go on with the sound.
            return None, f"its picture cannot be read ({str(error).removeprefix(f'{path}: ')})"
        clock.move("crop", "faces", found.detecting_seconds)
        if not found.tracks:
            return None, _why_no_mouth(found)
        notes += [f"no mouth at {reason}" for reason in found.rejected]
        return Mouths.of(found), ""

    @cached_property
    def _face_reader(self) -> FaceReader:
        """Its detector is kept for the next recording."""
        return self.settings.faces.reader()

    def _decode(
        self,
        recording: Recording,
        pieces: Sequence[Piece],
        languages: tuple[str, str],
        clock: Clock,
        progress: Progress,
    ) -> list[Segment]:
        left, found, loops = list(pieces), {}, Loops()
        while left:
            repeating = []
            for piece, segment in self._segments(recording, left, languages, clock, loops):
                if segment is None:
                    repeating.append(piece)
                else:
                    found[piece] = segment
                    progress("decode", 1, len(pieces))
            left = [half for piece in repeating for half in loops.halves(piece, recording.waveform)]
        recording.notes += loops.notes
        return [found[piece] for piece in sorted(found, key=lambda piece: piece.start)]

    def _segments(
        self,
        recording: Recording,
        pieces: Sequence[Piece],
        languages: tuple[str, str],
        clock: Clock,
        loops: Loops,
    ) -> Iterator[tuple[Piece, Segment | None]]:
        """Each piece with what is said in it, or None where that is a loop whatever hypothesis one takes."""
        trained, model = self.trained, self.trained.model
        # Loops are replaced by what comes next, and words are the surer the more hypotheses have them.
        search = replace(self.search, num_best=self.search.num_beams)
        for group, batch in batches(
            pieces,
            recording.waveform,
            recording.mouths,
            model.prepare_audio,
            trained.encode_text,
            languages,
            trained.max_batch_frames,
        ):
            view = trained.view_of(group[0].media)
            with torch.inference_mode(), trained.precision():
                with clock.stage("encode"):
                    tokens, frames = model.encode_with_frames(batch.to(trained.device), view)
                with clock.stage("decode"):
                    nbests = model.generate(batch, search, tokens, view)
                    chosen = [loops.sorted_out(nbest, model.vocabulary.decode) for nbest in nbests]
                    believed = [own or nbest for own, nbest in zip(chosen, nbests, strict=True)]
                    words: Sequence[Sequence[Word] | None] = [None] * len(group)
                    if trained.words is not None and languages[0] == languages[1]:
                        words = words_of(
                            trained.words, model, batch, view, tokens, frames, believed, search.length_penalty
                        )
            for piece, nbest, own_words in zip(group, chosen, words, strict=True):
                yield piece, self._segment(piece, nbest, own_words) if nbest else None

    def _segment(self, piece: Piece, nbest: Sequence[Decoded], words: Sequence[Word] | None) -> Segment:
        """words: with times from the piece's beginning."""
        start, stop = piece.start / VIDEO_FPS, piece.stop / VIDEO_FPS
        decode = self.trained.model.vocabulary.decode
        shown = nbest[: self.search.num_best]
        if words is not None:
            words = [
                replace(word, start_s=start + word.start_s, end_s=min(start + word.end_s, stop))
                for word in words
            ]
        hypotheses = [Hypothesis(decode(h.ids), h.score, h.finished) for h in shown]
        return Segment(start, stop, hypotheses, piece.media, words)


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
