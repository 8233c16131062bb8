"""Transcribing with tiny random models: what is read, used, batched, written and refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import llama_avsr
from datamodules.media import MediaError
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from llama_avsr.transcription import program
from llama_avsr.transcription.batches import Job, Piece, grouped
from llama_avsr.transcription.loops import Loops
from llama_avsr.transcription.mouths import Mouths
from llama_avsr.transcription.outputs import WRITERS
from llama_avsr.transcription.pipeline import Transcriber
from preparation.faces.readers import CroppedTrack, Found, Task
from tests import models
from tests.speech import spoken
from tests.unit import media_files, recordings

QUICK = {"accelerator": "cpu", "num_beams": 2, "max_dec_tokens": 5, "nbest": 2}
SPOKEN = [(0.6, False), (1.2, True), (0.8, False), (0.8, True), (0.8, False), (1.6, True), (0.6, False)]
NUM_FRAMES = 160


@pytest.fixture(autouse=True)
def _believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models repeat themselves, which is not what is tested here."""
    monkeypatch.setattr("llama_avsr.transcription.loops.is_loop", lambda text, finished: False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models.folders(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folders(made: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    root = tmp_path_factory.mktemp("checkpoints")
    kinds = {
        "asr": ("audio", {}),
        "vsr": ("video", {}),
        "avsr": ("audiovisual", {"modality_dropout": 0.2}),
        "rigid": ("audiovisual", {}),
        "joint": ("audiovisual_avhubert", {"modality_dropout": 0.2}),
        "units": ("video", {"compression_mode": "units"}),
    }
    for name, (modality, more) in kinds.items():
        model = models.build(made, modality, **more)
        options = to_dict(models.options(made, modality, **more))
        checkpoint.write(root / name, checkpoint.saved_state(model), options)
    return {name: root / name for name in kinds}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, Transcriber]:
    return {name: llama_avsr.load(folders[name], **QUICK) for name in ("asr", "vsr", "avsr", "joint")}


@pytest.fixture(scope="module")
def crop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouth clip of 6.4 s with three stretches of speech, its sound beside it."""
    path = tmp_path_factory.mktemp("media") / "crop.mp4"
    media_files.write_video(path, media_files.moving_bar(NUM_FRAMES))
    media_files.write_wav(path.with_suffix(".wav"), speech())
    return path


def speech() -> np.ndarray:
    rng = np.random.default_rng(0)
    pieces = [spoken(seconds) if speaks else np.zeros(round(seconds * 16000)) for seconds, speaks in SPOKEN]
    return (np.concatenate(pieces) + 1e-4 * rng.standard_normal(NUM_FRAMES * 640)).clip(-1, 1)


class OneFace:
    """Stands in for the face detector: a mouth in some of the frames."""

    def __init__(self, *spans: tuple[int, int]) -> None:
        self.spans = spans

    def read(self, task: Task) -> Found:
        rng = np.random.default_rng(1)
        tracks = [
            CroppedTrack(
                rng.integers(0, 255, (stop - start, 96, 96), dtype=np.uint8),
                start,
                np.tile(np.array([(10, 10), (60, 10), (60, 60), (10, 60)]), (stop - start, 1, 1)),
                np.arange(stop - start) % 2 == 0,
            )
            for start, stop in self.spans
        ]
        return Found(tracks, NUM_FRAMES, () if tracks else ("0.00-6.40 s: no face",))


@pytest.mark.parametrize("name", ["asr", "vsr", "avsr", "joint"])
def test_segments_of_a_crop(loaded: dict[str, Transcriber], crop: Path, name: str) -> None:
    found = loaded[name].transcribe(crop, already_cropped=True)
    assert found.media == loaded[name].trained.media
    assert len(found.segments) == 3
    assert found.duration_s == NUM_FRAMES / 25
    # The bar in the picture never rests: lips do not widen anything.
    assert [s.start_s for s in found.segments] == pytest.approx([0.56, 2.56, 4.16], abs=0.1)
    assert [s.end_s for s in found.segments] == pytest.approx([1.96, 3.56, 5.92], abs=0.1)
    for segment in found.segments:
        assert [h.score for h in segment.hypotheses] == sorted(h.score for h in segment.hypotheses)[::-1]
        assert len(segment.hypotheses) == 2
    assert found.text == " ".join(s.text for s in found.segments if s.text)
    assert list(found.seconds) == ["read", "faces", "crop", "encode", "decode"]
    assert found.seconds["decode"] > 0


def test_batches_change_nothing(folders: dict[str, Path], loaded: dict[str, Transcriber], crop: Path) -> None:
    alone = llama_avsr.load(folders["avsr"], **QUICK, test_max_frames=1)
    one, many = (t.transcribe(crop, already_cropped=True) for t in (alone, loaded["avsr"]))
    assert [s.text for s in one.segments] == [s.text for s in many.segments]
    scores = [[s.score for s in found.segments] for found in (one, many)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_pieces_share_batches_by_medium_and_length() -> None:
    sound, both = ("audio",), ("audio", "video")
    pieces = [Piece(0, 10, both), Piece(20, 24, both), Piece(30, 38, sound), Piece(40, 49, both)]
    groups = grouped([Job(piece, None, None, ("en", "en"), Loops()) for piece in pieces], 20)
    assert sorted(job.piece.start for group in groups for job in group) == [0, 20, 30, 40]
    assert [[job.piece.start for job in group] for group in groups] == [[30], [0, 40], [20]]
    alone = Job(Piece(0, 100, sound), None, None, ("en", "en"), Loops())
    assert grouped([alone], 20) == [[alone]]


def test_pieces_of_several_recordings_share_a_batch(
    loaded: dict[str, Transcriber], crop: Path, tmp_path: Path
) -> None:
    model = loaded["avsr"]
    shifted = media_files.write_video(tmp_path / "b.mp4", media_files.moving_bar(NUM_FRAMES)[::-1].copy())
    media_files.write_wav(shifted.with_suffix(".wav"), 0.5 * speech()[::-1].copy())
    paths = [crop, shifted]
    alone = [model.transcribe(path, already_cropped=True) for path in paths]
    prepared = [model.prepare(path, already_cropped=True) for path in paths]
    jobs = [job for one in prepared for job in one.jobs]
    assert {job.media for job in jobs} == {("audio", "video")}
    assert len(jobs) == sum(len(one.segments) for one in alone) == 6
    together = model.decode(jobs[::2]), model.decode(jobs[1::2])
    segments = [segment for pair in zip(*together, strict=True) for segment in pair]
    count = len(prepared[0].jobs)
    for one, own, found in zip(prepared, alone, (segments[:count], segments[count:]), strict=True):
        again = model.finish(one, found)
        assert [(s.start_s, s.end_s, s.text) for s in again.segments] == [
            (s.start_s, s.end_s, s.text) for s in own.segments
        ]
        assert [s.score for s in again.segments] == pytest.approx([s.score for s in own.segments], abs=1e-3)


def test_without_a_picture_the_sound_is_used(loaded: dict[str, Transcriber], crop: Path) -> None:
    found = loaded["avsr"].transcribe(crop.with_suffix(".wav"))
    assert found.media == ("audio",)
    assert found.reason == "sound alone: the file has no picture"
    asked = loaded["avsr"].transcribe(crop, already_cropped=True, modality="audio")
    assert asked.reason == "sound alone, as asked for"
    assert [s.text for s in asked.segments] == [s.text for s in found.segments]


def test_without_a_face_the_sound_is_used(loaded: dict[str, Transcriber], crop: Path, tmp_path: Path) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(NUM_FRAMES), waveform=speech())
    found = loaded["avsr"].transcribe(video, reader=OneFace())
    assert (found.media, found.reason) == (("audio",), "sound alone: no face was found")
    with pytest.raises(ValueError, match=r"a\.mp4: no face was found; this model reads lips only"):
        loaded["vsr"].transcribe(video, reader=OneFace())


def test_the_own_detector_reads_one_recording_after_another(
    loaded: dict[str, Transcriber], tmp_path: Path
) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(25), waveform=speech()[:16000])
    for _ in range(2):
        found = loaded["avsr"].transcribe(video)
        assert found.reason.startswith("sound alone: no face was found"), found.reason


def test_lips_where_there_are_lips(loaded: dict[str, Transcriber], tmp_path: Path) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(NUM_FRAMES), waveform=speech())
    found = loaded["avsr"].transcribe(video, reader=OneFace((0, 60)))
    assert [s.media for s in found.segments] == [("audio", "video"), ("audio",), ("audio",)]
    assert any("no mouth is seen, sound alone is used" in note for note in found.notes)
    # The mouth appears near the end of the second stretch of speech: the cut is made in the pause.
    later = loaded["avsr"].transcribe(video, reader=OneFace((0, 55), (84, 160)))
    assert [s.media for s in later.segments] == [("audio", "video"), ("audio",), ("audio", "video")]
    # It appears in the midst of the third.
    amid = loaded["avsr"].transcribe(video, reader=OneFace((0, 60), (130, 160)))
    assert [s.media for s in amid.segments][2:] == [("audio",), ("audio", "video")]
    assert amid.segments[2].end_s == amid.segments[3].start_s
    assert 118 <= round(amid.segments[3].start_s * 25) <= 142
    lips = loaded["vsr"].transcribe(video, reader=OneFace((0, 60)))
    assert len(lips.segments) == 1
    assert any(note.endswith("no mouth is seen, nothing is written") for note in lips.notes)


def test_silent_videos_are_cut_by_their_tracks(loaded: dict[str, Transcriber], tmp_path: Path) -> None:
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(NUM_FRAMES))
    found = loaded["avsr"].transcribe(video, reader=OneFace((5, 60), (60, 150)))
    assert found.reason == "lips alone: the file has no sound track"
    assert [(s.start_s, s.end_s) for s in found.segments] == [(0.2, 2.4), (2.4, 6.0)]


def test_silence_has_an_empty_transcript(
    loaded: dict[str, Transcriber], folders: dict[str, Path], tmp_path: Path
) -> None:
    path = media_files.write_wav(tmp_path / "silent.wav", np.zeros(32000))
    found = loaded["asr"].transcribe(path)
    assert (found.text, found.segments, found.media, found.duration_s) == ("", [], (), 2.0)
    assert "silent" in found.reason
    for writer in WRITERS.values():
        writer(found)
    # A model that was never trained with lips alone has nothing to say of a silent video.
    video = media_files.write_video(tmp_path / "a.mp4", media_files.moving_bar(50), waveform=np.zeros(32000))
    assert loaded["avsr"].transcribe(video, already_cropped=True).media == ("video",)
    rigid = llama_avsr.load(folders["rigid"], **QUICK)
    assert rigid.transcribe(video, already_cropped=True).media == ()


def test_long_speech_is_cut_and_the_cut_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    path = media_files.write_wav(tmp_path / "a.wav", spoken(5))
    model = llama_avsr.load(folders["asr"], **QUICK, max_segment_seconds=2)
    found = model.transcribe(path)
    ends = [s.end_s for s in found.segments]
    assert [s.start_s for s in found.segments] == [0.0, *ends[:-1]]
    assert ends[-1] == 5.0
    assert any("no pause, cut where it is quietest" in note for note in found.notes)


def test_pictures(loaded: dict[str, Transcriber], tmp_path: Path) -> None:
    video = media_files.write_video(
        tmp_path / "a.mp4", media_files.moving_bar(NUM_FRAMES, side=128), waveform=speech()
    )
    loaded["avsr"].transcribe(
        video, reader=OneFace((0, 60)), mouth_video=tmp_path / "m.mp4", overlay=tmp_path / "o.mp4"
    )
    mouth, overlay = (pictures(tmp_path / name) for name in ("m.mp4", "o.mp4"))
    assert mouth.shape == (NUM_FRAMES, 96, 96, 3)
    assert mouth[:60].std() > 40
    assert mouth[62:].max() < 20
    assert overlay.shape == (NUM_FRAMES, 384, 384, 3)
    # Three times as large, the box runs along x = 30.
    green = (overlay[10, 60:150, 28:34].astype(int) @ [-1, 2, -1]).max(axis=1)
    assert green.min() > 50
    assert (overlay[100, 60:150, 28:34].astype(int) @ [-1, 2, -1]).max() < 50
    assert (tmp_path / "m.mp4").stat().st_size > 0
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def pictures(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_what_cannot_be_loaded(folders: dict[str, Path]) -> None:
    for name, more, said in (
        ("asr", {"num_beans": 3}, "did you mean num_beams"),
        ("asr", {"lang": "en-es"}, "this model only transcribes"),
        ("asr", {"lang": "en es"}, "expected one direction"),
        ("asr", {"downsample_ratio_audio": 7}, "contradicts the checkpoint"),
        ("asr", {"max_segment_seconds": 40}, "at most 30 s"),
        ("rigid", {"min_pause_seconds": 0.01}, "shortest pause"),
        ("units", {}, "--units-centroids"),
    ):
        with pytest.raises(ValueError, match=said):
            llama_avsr.load(folders[name], **QUICK | more)


def test_a_model_that_always_had_both_is_not_left_with_one(folders: dict[str, Path], crop: Path) -> None:
    model = llama_avsr.load(folders["rigid"], **QUICK)
    with pytest.raises(ValueError, match="trained with both at all times"):
        model.transcribe(crop.with_suffix(".wav"))
    found = model.transcribe(crop.with_suffix(".wav"), modality="audio")
    assert "expect errors" in found.reason
    asked = llama_avsr.load(folders["rigid"], **QUICK, modality="video", already_cropped=True)
    assert asked.transcribe(crop).media == ("video",)


def test_program_goes_on_past_broken_files(
    folders: dict[str, Path], crop: Path, tmp_path: Path, capsys, caplog, monkeypatch
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    from llama_avsr import cli

    words = [broken, tmp_path / "no, such.mp4", crop, "--already-cropped", "--output-dir", tmp_path / "out"]
    words += ["--pretrained-model-path", folders["avsr"], "--num-beams", 2, "--max-dec-tokens", 4]
    words += ["--accelerator", "cpu", "--save-mouth-video"]
    parsed = cli.parse(list(map(str, words)), program="transcribe")
    with caplog.at_level(logging.INFO, logger="llama_avsr"):
        assert program.run(parsed.options, parsed.explicit) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"== {crop}\n[00:00.")
    assert said.out.count("\n") == 4
    assert "2 of 3 could not be transcribed" in said.err
    assert "seconds by stage" in said.err
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert "broken.mp4: cannot be decoded" in errors[0]
    assert "no, such.mp4: no such file" in errors[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("crop.json", "crop.mouth.mp4", "crop.srt", "crop.txt", "crop.vtt")
    ]


@pytest.mark.parametrize("flags", [(), ("--live",)])
def test_nothing_to_do_is_told_before_the_model_is_loaded(flags: tuple[str, ...], tmp_path: Path) -> None:
    from llama_avsr.commands import transcribe

    words = [tmp_path / "none.mp4", "--pretrained-model-path", tmp_path / "no_model", *flags]
    with pytest.raises(ValueError, match=r"none\.mp4: no such file"):
        transcribe.main(list(map(str, words)))


def test_one_name_for_two_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would both be written as a;"):
        program.check_names([tmp_path / "a.mp4", tmp_path / "b" / "a.mkv"])
    (tmp_path / "b").mkdir()
    # The sound beside a video of its name belongs to it.
    for name in ("a.mkv", "a.wav", "c.mp4", "d.mp3", "e.FLAC", "readme.txt"):
        (tmp_path / "b" / name).touch()
    assert [path.name for path in program.expanded([tmp_path / "b", tmp_path / "x.mp4"])] == [
        *("a.mkv", "c.mp4", "d.mp3", "e.FLAC", "x.mp4")
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no video and no sound file"):
        program.expanded([tmp_path / "empty"])


def test_mouths_on_the_time_axis() -> None:
    found = Mouths.of(OneFace((10, 20), (40, 50), (110, 120)).read(Task(Path())))
    assert found.stretches(125) == [(0, 62), (98, 125)]
    held = found.cut(5, 35)
    assert (held[:5] == found.tracks[0].frames[0]).all()
    assert (held[5:15] == found.tracks[0].frames).all()
    assert (held[15:24] == found.tracks[0].frames[-1]).all()
    assert (held[-1] == found.tracks[1].frames[0]).all()


def test_options_reach_the_transcriber(folders: dict[str, Path]) -> None:
    made = llama_avsr.load(
        folders["asr"], **QUICK, speaker=2, detect_every=3, segment_margins=(0.1, 0.3), detector="landmarks"
    )
    assert made.settings.faces.speaker == 2
    assert made.settings.faces.detect_every == 3
    assert made.settings.margin_seconds == (0.1, 0.3)
    assert not any(parameter.requires_grad for parameter in made.trained.model.parameters())
    assert not made.trained.model.training
    assert made.trained.autocast is None
    assert made.trained.device == torch.device("cpu")


def test_damage_is_noted_and_gone_over(loaded: dict[str, Transcriber], crop: Path, tmp_path: Path) -> None:
    """Half a crop: what is there is read."""
    front = media_files.write_video(
        tmp_path / "a.mp4",
        media_files.moving_bar(NUM_FRAMES),
        waveform=speech(),
        movflags="faststart",
    )
    front.write_bytes(front.read_bytes()[: 2 * front.stat().st_size // 3])
    found = loaded["avsr"].transcribe(front, already_cropped=True)
    assert found.media == ("audio", "video")
    assert len(found.segments) in (1, 2, 3)
    assert any("picture is truncated" in note for note in found.notes)


def test_a_picture_that_cannot_be_read_leaves_the_sound(
    loaded: dict[str, Transcriber], crop: Path, tmp_path: Path
) -> None:
    wide = media_files.write_video(
        tmp_path / "a.mp4", media_files.moving_bar(NUM_FRAMES, side=400), waveform=speech()
    )
    found = loaded["avsr"].transcribe(wide, already_cropped=True)
    assert found.media == ("audio",)
    assert "400x400" in found.reason
    with pytest.raises(ValueError, match="400x400"):
        loaded["vsr"].transcribe(wide, already_cropped=True)


def test_a_pipe_is_refused(loaded: dict[str, Transcriber], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(MediaError, match=r"a\.wav: found a pipe"):
        loaded["asr"].transcribe(tmp_path / "a.wav")


def test_one_of_several_sound_tracks_is_asked_for(folders: dict[str, Path], tmp_path: Path) -> None:
    path = recordings.write_sound(tmp_path / "a.mka", [speech() / 50, speech()])
    model = llama_avsr.load(folders["asr"], **QUICK, audio_track=2)
    assert len(model.transcribe(path).segments) == 3
    with pytest.raises(MediaError, match="2 sound tracks, expected one numbered 3"):
        llama_avsr.load(folders["asr"], **QUICK, audio_track=3).transcribe(path)
