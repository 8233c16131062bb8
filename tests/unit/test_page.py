"""What the page shows: answers, errors in a visitor's words, examples, HTML."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import llama_avsr
from datamodules.media import load_audio, load_video
from datamodules.media.sound import read_sound
from llama_avsr import cli, page
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.options import to_dict
from llama_avsr.options.checks import unused
from llama_avsr.page import show
from llama_avsr.page.answer import MODALITIES, Answerer, Request, in_words
from llama_avsr.page.examples import Examples, looks_cropped
from llama_avsr.transcription.modality import NO_PICTURE, choose
from llama_avsr.transcription.pipeline import Transcriber
from llama_avsr.transcription.transcript import Hypothesis, Segment, Transcript
from tests import models
from tests.speech import spoken
from tests.unit import media_files

FRAMES = 50
QUICK = {"accelerator": "cpu", "num_beams": 2, "max_dec_tokens": 5, "nbest": 2}


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    made = models.folders(tmp_path_factory.mktemp("models"))
    model = models.build(made, "audiovisual", modality_dropout=0.2)
    folder = tmp_path_factory.mktemp("run") / "avsr"
    options = to_dict(models.options(made, "audiovisual", modality_dropout=0.2))
    checkpoint.write(folder, checkpoint.saved_state(model), options)
    return llama_avsr.load(folder, **QUICK)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouth clip with its sound beside it."""
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    media_files.write_video(path, media_files.moving_bar(FRAMES))
    media_files.write_wav(path.with_suffix(".wav"), spoken(FRAMES / 25))
    return path


def test_an_example_is_the_clip_with_its_sound(clip: Path) -> None:
    examples = Examples(clip.parent)
    assert examples.names == ["clip.mp4"]
    shown = Path(examples.show("clip.mp4"))
    assert torch.equal(load_video(shown), load_video(clip))
    wanted = load_audio(clip.with_suffix(".wav"), clip).numpy()
    np.testing.assert_array_equal(read_sound(shown)[: len(wanted)], wanted)
    assert examples.show("../secret.mp4") is None
    assert Examples(None).names == []


def test_mouth_crops_are_known_by_their_size(clip: Path, tmp_path: Path) -> None:
    assert looks_cropped(clip)
    wide = np.zeros((3, 90, 160, 3), dtype=np.uint8)
    assert not looks_cropped(media_files.write_video(tmp_path / "wide.mp4", wide))
    (tmp_path / "text.mp4").write_text("no video")
    assert not looks_cropped(tmp_path / "text.mp4")


def test_an_answer_has_words_crop_and_files(transcriber: Transcriber, clip: Path) -> None:
    answerer = Answerer(transcriber)
    answer = answerer.answer(Request(clip, already_cropped=True))
    assert answer.transcript.media == ("audio", "video")
    assert answer.transcript.path == Path("clip.mp4")
    assert load_video(answer.mouth_video).shape == (FRAMES, 96, 96)
    assert {file.suffix for file in answer.files} == {".txt", ".json", ".srt", ".vtt"}
    later = answerer.answer(Request(clip, modality="audio", already_cropped=True))
    assert later.mouth_video is None
    assert answer.mouth_video.is_file()
    assert {file.parent for file in answer.files}.isdisjoint({file.parent for file in later.files})


def test_answers_at_one_time_keep_their_files(transcriber: Transcriber, clip: Path) -> None:
    answerer = Answerer(transcriber)
    with ThreadPoolExecutor(4) as pool:
        requests = [Request(clip, modality="audio", already_cropped=True)] * 20
        answers = list(pool.map(answerer.answer, requests))
    files = [file for answer in answers for file in answer.files]
    assert len(set(files)) == len(files) == 80
    assert all(file.is_file() for file in files)


def test_old_answers_go(transcriber: Transcriber, clip: Path) -> None:
    answerer = Answerer(transcriber, kept_seconds=0)
    first, second = (answerer.answer(Request(clip, "audio", already_cropped=True)) for _ in range(2))
    assert not any(file.exists() for file in first.files)
    assert all(file.exists() for file in second.files)


def test_a_recording_that_is_too_long_is_refused(transcriber: Transcriber, clip: Path) -> None:
    answerer = Answerer(transcriber, max_seconds=1)
    with pytest.raises(ValueError, match=r"clip\.mp4: found 0 minutes, expected at most"):
        answerer.answer(Request(clip, already_cropped=True))


def test_limits_and_queue_are_told() -> None:
    assert "at most 2 GB and 60 minutes" in (said := show.limits("2 GB", 3600, 64, 1800))
    assert "at most 64 wait" in said
    assert "after 30 minutes" in said
    assert "3 waiting" in show.waiting(3)


def test_noise_is_heard(transcriber: Transcriber, clip: Path, tmp_path: Path) -> None:
    hum = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    media_files.write_wav(tmp_path / "hum.wav", hum)
    answerer = Answerer(transcriber, tmp_path / "hum.wav")
    sounds = []
    for snr_db in (None, 0.0):
        answer = answerer.answer(Request(clip, already_cropped=True, snr_db=snr_db))
        sounds.append(load_audio(answer.mouth_video).numpy()[: FRAMES * 640])
    assert np.square(sounds[1]).mean() / np.square(sounds[0]).mean() == pytest.approx(2, rel=0.1)
    tone = np.abs(np.fft.rfft(sounds[1]))
    assert tone.argmax() == pytest.approx(440 * FRAMES / 25, abs=1)


def test_every_refusal_reads_without_flags() -> None:
    reasons = {"audio": ("the file has no sound track",), "video": (NO_PICTURE, "no face was found")}
    refusals = set()
    for model, asked, may_drop in itertools.product(
        [("audio",), ("video",), ("audio", "video")],
        [None, {"audio"}, {"video"}, {"audio", "video"}],
        [True, False],
    ):
        for audio, video in itertools.product([None, *reasons["audio"]], [None, *reasons["video"]]):
            lacking = {k: v for k, v in (("audio", audio), ("video", video)) if v is not None}
            try:
                choose(model, may_drop, lacking, asked)
            except ValueError as error:
                path = Path("/srv/uploads/clip.mp4")
                refusals.add(in_words(type(error)(f"{path}: {error}"), path))
    assert len(refusals) > 8
    for refusal in refusals:
        assert refusal.startswith("clip.mp4: "), refusal
        assert "--" not in refusal, refusal


def test_choices_are_what_the_model_can_do(transcriber: Transcriber) -> None:
    assert Answerer(transcriber).modalities == MODALITIES


def test_html_is_escaped_and_says_what_was_left_out() -> None:
    bad = "<script>alert(1)</script>"
    transcript = Transcript(
        path=Path("a.mp4"),
        segments=[
            Segment(0, 1.5, [Hypothesis(bad, -0.5), Hypothesis("other", -1.25)], ("audio", "video")),
            Segment(2, 3, [Hypothesis("half", -0.1, finished=False)], ("audio",)),
        ],
        duration_s=3.0,
        media=("audio", "video"),
        reason=bad,
        notes=(bad,),
        model=bad,
        seconds={"read": 0.5, "faces": 0.0, "decode": 1.0},
    )
    table = show.segments(transcript)
    texts = [
        table,
        show.status(transcript),
        show.problem(bad),
        show.heading(bad, "lips"),
        show.times(transcript),
    ]
    assert not [text for text in texts if "<script" in text]
    assert "&lt;script&gt;" in table
    assert "1 more" in table
    assert "other" in table
    assert "sound alone" in table
    assert "ran out of tokens" in table
    assert "\N{MINUS SIGN}1.250" in table
    assert "3.0 s of recording in 1.5 s, 2.0" in show.times(transcript)
    assert "faces" not in show.times(transcript)


def test_serving_needs_no_video_and_takes_none() -> None:
    served = cli.parse(["--serve", "--pretrained-model-path", "m", "--port", "8000"], "transcribe").options
    assert (served.serving.serve, served.serving.host, served.serving.port) == (True, "127.0.0.1", 8000)
    with pytest.raises(ValueError, match=r"--serve takes videos on its page, found a\.mp4"):
        cli.parse(["a.mp4", "--serve", "--pretrained-model-path", "m"], "transcribe")
    with pytest.raises(ValueError, match=r"VIDEO is missing: .* or --serve"):
        cli.parse(["--pretrained-model-path", "m"], "transcribe")
    with pytest.raises(ValueError, match="--port"):
        cli.parse(["--serve", "--pretrained-model-path", "m", "--port", "0"], "transcribe")


def test_flags_of_the_page_do_nothing_without_it() -> None:
    unserved = cli.parse(["a.mp4", "--pretrained-model-path", "m", "--noise-file", "n.wav"], "transcribe")
    notes = unused(unserved.options, unserved.explicit, "transcribe")
    assert notes == ["no effect in transcription: --noise-file"]


def test_without_gradio_one_hears_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs gradio: .*llama-avsr\[page\]"):
        page.check_installed()
