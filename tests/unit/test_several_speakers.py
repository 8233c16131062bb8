"""`--speaker all`: each face its own lips, its own words, its own name."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

import llama_avsr
from llama_avsr import cli
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from llama_avsr.page import show
from llama_avsr.transcription.modality import Choice
from llama_avsr.transcription.mouths import Mouths
from llama_avsr.transcription.outputs import as_json, as_srt, as_txt, as_vtt, for_screen
from llama_avsr.transcription.people import Person, people_of
from llama_avsr.transcription.pipeline import Transcriber
from llama_avsr.transcription.plan import Recording, pieces_of
from llama_avsr.transcription.segments import Cutting
from llama_avsr.transcription.transcript import Hypothesis, Segment, Transcript
from preparation.faces.crop import CropOptions, cut_mouths
from preparation.faces.options import ALL
from preparation.faces.readers import CroppedTrack, Found, Task
from tests import models
from tests.faces import FakeDetector, face_at, textured
from tests.speech import spoken
from tests.unit import media_files

BOTH = ("audio", "video")
RULES = Cutting.of_seconds(0.5, 15.0, (0.04, 0.12))


def track(first: int, length: int, x: float, seed: int, moves: float = 40.0) -> CroppedTrack:
    """A mouth of a person's own look (`seed`), more or less in motion."""
    rng = np.random.default_rng(seed)
    look = rng.integers(60, 190, (12, 12)).repeat(8, 0).repeat(8, 1)
    motion = np.zeros((length, 96, 96))
    motion[::2, 40:60, 30:66] = moves
    frames = (look + motion).clip(0, 255).astype(np.uint8)
    box = np.array([(x, 10), (x + 50, 10), (x + 50, 60), (x, 60)])
    return CroppedTrack(frames, first, np.tile(box, (length, 1, 1)), np.ones(length, dtype=bool))


def test_people_are_numbered_as_they_come_and_known_again() -> None:
    right, left = track(0, 50, 200, seed=1), track(0, 40, 20, seed=2)
    back = track(60, 30, 90, seed=2)  # the left one, elsewhere after a cut
    late = track(70, 20, 300, seed=3)
    people = people_of(Found([right, left, back, late], 100))
    assert [person.label for person in people] == ["speaker 1", "speaker 2", "speaker 3"]
    assert [list(person.mouths.tracks) for person in people] == [[left, back], [right], [late]]
    assert people[0].mouths.spans == [(0, 40), (60, 90)]
    # Twins that are seen together are two.
    twins = people_of(Found([track(0, 50, 20, seed=1), track(0, 50, 200, seed=1)], 50))
    assert len(twins) == 2


def test_all_cuts_what_each_number_cuts(tmp_path: Path) -> None:
    """Two faces side by side."""
    video = media_files.write_video(tmp_path / "a.mp4", textured(40, 256, 512))
    faces = [[face_at(0, scale=0.8), face_at(260, scale=0.8)] for _ in range(40)]
    found = {
        speaker: cut_mouths(video, FakeDetector(faces), CropOptions(speaker=speaker)).tracks
        for speaker in (1, 2, ALL)
    }
    assert len(found[ALL]) == 2
    for one, (own,) in zip(found[ALL], (found[1], found[2]), strict=True):
        assert (one.first, len(one.frames)) == (own.first, len(own.frames)) == (0, 40)
        assert np.array_equal(one.frames[:], own.frames[:])
    assert not np.array_equal(found[ALL][0].frames[:], found[ALL][1].frames[:])


def test_faces_that_come_and_go_lie_in_their_own_lanes(tmp_path: Path) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", textured(60, 256, 512))
    left, right = face_at(0, scale=0.8), face_at(260, scale=0.8)
    faces = [[left] * (t < 25 or t >= 40) + [right] * (10 <= t < 50) for t in range(60)]
    options = CropOptions(speaker=ALL, max_gap_seconds=0.2)
    tracks = cut_mouths(video, FakeDetector(faces), options).tracks
    assert [(t.first, t.first + len(t.frames), bool(t.corners[0, 0, 0] > 200)) for t in tracks] == [
        *((0, 25, False), (10, 50, True), (40, 60, False))
    ]
    alone = [
        cut_mouths(video, FakeDetector([[left] for _ in range(60)]), CropOptions()).tracks[0],
        cut_mouths(video, FakeDetector([[right] for _ in range(60)]), CropOptions()).tracks[0],
    ]
    for one, own in zip(tracks, (alone[0], alone[1], alone[0]), strict=True):
        assert np.array_equal(one.frames[:], own.frames[:][one.first : one.first + len(one.frames)])


def recording(people: list[Person], waveform: np.ndarray | None, media: tuple[str, ...]) -> Recording:
    return Recording(Path("a.mp4"), waveform, people, Choice(media, ""), [])


def speech(*parts: tuple[float, bool]) -> np.ndarray:
    """Seconds, and whether somebody speaks."""
    made = [spoken(seconds) if speaks else np.zeros(round(seconds * 16000)) for seconds, speaks in parts]
    return np.concatenate(made).astype(np.float32)


def person(number: int, *tracks: CroppedTrack, num_frames: int = 200) -> Person:
    return Person(f"speaker {number}", Mouths(tracks, num_frames))


def test_who_listens_is_not_transcribed() -> None:
    """One talks, then the other; what is heard while nobody is seen is nobody's."""
    sound = speech((0.5, False), (2.0, True), (1.0, False), (2.0, True), (1.0, False), (1.5, True))
    one = person(1, track(0, 75, 20, 1, moves=60), track(75, 75, 20, 1, moves=4))
    two = person(2, track(0, 75, 200, 2, moves=4), track(75, 75, 200, 2, moves=60))
    found = recording([one, two], sound, BOTH)
    pieces = pieces_of(found, RULES, may_drop=True)
    assert [(piece.speaker, piece.media) for piece in pieces] == [
        *(("speaker 1", BOTH), ("speaker 2", BOTH), (None, ("audio",)))
    ]
    assert pieces[0].stop <= 75 <= pieces[1].start
    assert any("no mouth is seen, sound alone" in note for note in found.notes)
    assert found.mouths_of("speaker 2") is two.mouths
    assert found.mouths_of(None) is None


def test_lips_that_are_seen_when_the_voice_is_over_are_no_speech() -> None:
    sound = speech((0.5, False), (2.0, True), (2.5, False))
    seen = person(1, track(63, 12, 20, 1, moves=60), track(75, 50, 20, 1, moves=2))
    found = recording([seen], sound, BOTH)
    pieces = pieces_of(found, RULES, may_drop=True)
    assert [piece.media for piece in pieces] == [("audio",)]
    assert 40 < pieces[0].stop <= 66


def test_who_talks_at_once_is_transcribed_each() -> None:
    people = [person(1, track(0, 100, 20, 1)), person(2, track(20, 100, 200, 2))]
    silent = pieces_of(recording(people, None, ("video",)), RULES, may_drop=True)
    assert [(p.speaker, p.start, p.stop) for p in silent] == [
        *(("speaker 1", 0, 100), ("speaker 2", 20, 120))
    ]
    heard = pieces_of(
        recording(people, speech((0.4, False), (3.0, True), (4.6, False)), BOTH), RULES, may_drop=True
    )
    assert {p.speaker for p in heard} == {"speaker 1", "speaker 2"}
    assert all(p.media == BOTH for p in heard)


class TwoFaces:
    """Stands in for the face detector."""

    def read(self, task: Task) -> Found:
        return Found([track(0, 60, 20, 1), track(0, 60, 200, 2)], 60)


@pytest.fixture(autouse=True)
def _believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models repeat themselves, which is not what is tested here."""
    monkeypatch.setattr("llama_avsr.transcription.loops.is_loop", lambda text, finished: False)


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    made = models.folders(tmp_path_factory.mktemp("models"))
    folder = tmp_path_factory.mktemp("run") / "vsr"
    options = to_dict(models.options(made, "video"))
    checkpoint.write(folder, checkpoint.saved_state(models.build(made, "video")), options)
    return llama_avsr.load(folder, accelerator="cpu", num_beams=2, max_dec_tokens=5, speaker="all")


def test_each_is_transcribed_by_their_own_lips(transcriber: Transcriber, tmp_path: Path) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(60, side=128))
    found = transcriber.transcribe(
        video, reader=TwoFaces(), mouth_video=tmp_path / "m.mp4", overlay=tmp_path / "o.mp4"
    )
    assert [(s.speaker, s.start_s, s.end_s) for s in found.segments] == [
        *(("speaker 1", 0.0, 2.4), ("speaker 2", 0.0, 2.4))
    ]
    for segment, one in zip(found.segments, TwoFaces().read(Task(video)).tracks, strict=True):

        class OneFace:
            def read(self, task: Task, one: CroppedTrack = one) -> Found:
                return Found([one], 60)

        (alone,) = transcriber.transcribe(video, reader=OneFace()).segments
        assert alone.text == segment.text
        assert alone.score == pytest.approx(segment.score, abs=1e-3)
    with av.open(str(tmp_path / "m.mp4")) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (192, 96)
    assert (tmp_path / "o.mp4").stat().st_size > 0


def test_a_real_face_twice(transcriber: Transcriber, real_video: Path, tmp_path: Path) -> None:
    """Side by side, found by the detector: two speakers who say the same."""
    doubled = tmp_path / "two.mp4"
    with av.open(str(real_video)) as source, av.open(str(doubled), "w") as file:
        stream = None
        for frame in source.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            twice = np.concatenate([image, image], axis=1)
            if stream is None:
                stream = file.add_stream("libx264", rate=source.streams.video[0].average_rate)
                stream.height, stream.width, stream.pix_fmt = *twice.shape[:2], "yuv420p"
                stream.options = {"crf": "10"}
            file.mux(stream.encode(av.VideoFrame.from_ndarray(twice, format="rgb24")))
        file.mux(stream.encode(None))
    found = transcriber.transcribe(doubled)
    speakers = {segment.speaker for segment in found.segments}
    assert speakers == {"speaker 1", "speaker 2"}
    spans = {name: [(s.start_s, s.end_s) for s in found.segments if s.speaker == name] for name in speakers}
    assert spans["speaker 1"][0] == pytest.approx(spans["speaker 2"][0], abs=0.2)
    assert json.loads(as_json(found))["segments"][0]["speaker"] == "speaker 1"


def named_transcript() -> Transcript:
    def said(start: float, text: str, speaker: str | None) -> Segment:
        return Segment(start, start + 1, [Hypothesis(text, -0.5)], BOTH, speaker=speaker)

    segments = [said(0, "are you <there>", "speaker 1"), said(1, "yes", "speaker 2"), said(3, "bye", None)]
    return Transcript(path=Path("a.mp4"), segments=segments, duration_s=5.0, media=BOTH)


def test_every_output_names_the_speakers() -> None:
    found = named_transcript()
    assert as_txt(found) == "speaker 1: are you <there>\nspeaker 2: yes\nbye\n"
    assert "\nspeaker 1: are you <there>\n" in as_srt(found)
    assert "\n<v speaker 1>are you &lt;there&gt;\n" in as_vtt(found)
    assert "\nbye\n" in as_vtt(found)
    assert for_screen(found).splitlines()[1] == "[00:01.000 - 00:02.000] speaker 2: yes"
    assert [segment.get("speaker") for segment in json.loads(as_json(found))["segments"]] == [
        *("speaker 1", "speaker 2", None)
    ]
    assert "<strong>speaker 2</strong> yes" in show.segments(found)
    assert found.text == "are you <there> yes bye"


def test_the_flag() -> None:
    words = ["a.mp4", "--pretrained-model-path", "m", "--speaker", "all"]
    assert cli.parse(words, "transcribe").options.faces.speaker == "all"
    with pytest.raises(ValueError, match="expected largest, talking, all, or the number"):
        CropOptions(speaker="loudest")
    from llama_avsr.commands.prepare._faces import FaceCommandOptions, FaceOptions, crop_options

    with pytest.raises(ValueError, match="--speaker all is for transcription"):
        crop_options(FaceCommandOptions(faces=FaceOptions(speaker="all")))
