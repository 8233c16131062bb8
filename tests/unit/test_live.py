"""Live captions: pure parts, and a tiny random model that hears a recording grow."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from datamodules.media import MediaError
from llama_avsr import cli
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.live import log, passing, session, writing
from llama_avsr.live.activity import Activity, hear, see
from llama_avsr.live.cache import read_on
from llama_avsr.live.clock import SimulatedClock
from llama_avsr.live.devices import Devices
from llama_avsr.live.encoding import Context, Encoded, Speech, encode_on, grid_frames
from llama_avsr.live.feed import CroppedStream, Feed, Taken
from llama_avsr.live.passing import Live
from llama_avsr.live.playing import FilePlayer
from llama_avsr.live.policy import Guess, Policy, shown, sure
from llama_avsr.live.running import run
from llama_avsr.live.session import finish, step
from llama_avsr.live.starting import Pace, feed_of, live_of
from llama_avsr.live.state import LiveState, LiveWord, Update
from llama_avsr.live.upload import Upload
from llama_avsr.live.writing import write
from llama_avsr.model.decoding import BeamSearch, Hypothesis, beam_search
from llama_avsr.model.prompt import splice
from llama_avsr.options import to_dict
from llama_avsr.transcription.loading import load
from llama_avsr.transcription.loops import most_tokens
from llama_avsr.transcription.modality import UnusableError
from llama_avsr.transcription.pipeline import Transcriber
from llama_avsr.words import voice
from tests import models
from tests.speech import spoken
from tests.unit import media_files

QUICK = {"accelerator": "cpu", "num_beams": 2, "max_dec_tokens": 8, "already_cropped": True}
BOTH = ("audio", "video")
SPOKEN = [(0.6, 0), (1.2, 0.2), (0.8, 0), (0.8, 0.2), (0.8, 0), (3.4, 0.2), (0.8, 0)]
"""Seconds, and how loud."""


@pytest.fixture(autouse=True)
def noise_is_speech(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the tests that say otherwise."""
    if "voices" not in request.fixturenames:
        monkeypatch.setattr(session, "is_voice", lambda sound: True)
        monkeypatch.setattr(session, "LEAST_VOICE", 0.0)


@pytest.fixture
def voices() -> None:
    """Voices are told from noise, as always."""


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    root = tmp_path_factory.mktemp("live")
    made = models.folders(root / "models")
    choices = {"modality_dropout": 0.2}
    model = models.build(made, "audiovisual", **choices)
    options = to_dict(models.options(made, "audiovisual", **choices))
    checkpoint.write(root / "avsr", checkpoint.saved_state(model), options)
    return load(root / "avsr", **QUICK, max_segment_seconds=2.4)


@pytest.fixture(scope="module")
def speech() -> Speech:
    rng = np.random.default_rng(0)
    pieces = [loud * rng.standard_normal(round(seconds * 16_000)) for seconds, loud in SPOKEN]
    sound = np.concatenate(pieces) + 1e-4 * rng.standard_normal(sum(map(len, pieces)))
    frames = len(sound) // 640
    return Speech(sound.astype(np.float32), rng.integers(0, 255, (frames, 96, 96), dtype=np.uint8))


def live(transcriber: Transcriber, **pace: object) -> Live:
    ticks = itertools.count()
    return live_of(transcriber, Pace(**pace), lambda: float(next(ticks)))


def chunks(speech: Speech, size: int = 2) -> Iterator[Speech]:
    return (speech.cut(start, start + size) for start in range(0, len(speech), size))


def played(live: Live, speech: Speech, media: tuple[str, ...] = BOTH) -> list[Update]:
    state, updates = LiveState(), []
    for chunk in chunks(speech):
        state, update = step(live, state, chunk, media)
        updates.append(update)
    return [*updates, finish(live, state)[1]]


def test_words_are_fixed_where_passes_agree_and_are_sure() -> None:
    one = [Guess("a", 0.9), Guess("b", 0.9), Guess("c", 0.9)]
    policy = Policy(agreement=2, min_probability=0.5)
    assert sure(policy, [one], 0) == 0
    assert sure(policy, [one, one], 0) == 3
    assert sure(policy, [one[:2], one], 0) == 2
    assert sure(policy, [[Guess("x", 0.9), *one[1:]], one], 0) == 0
    unsure = [one[0], Guess("b", 0.4), one[2]]
    assert sure(policy, [one, unsure], 0) == 1
    assert sure(policy, [unsure, unsure[:2]], 2) == 2, "what is fixed stays fixed"
    assert sure(replace(policy, hold_back=1), [one, one], 0) == 2
    assert sure(replace(policy, agreement=3), [one, one], 0) == 0
    assert shown(policy, [one[0], Guess("?", 0.1), one[2]], 0) == 1


def test_speech_is_noticed_at_once_and_noise_is_not_speech_for_long() -> None:
    rng = np.random.default_rng(1)
    activity, speaks = hear(Activity(), (0.1 * rng.standard_normal(25 * 640)).astype(np.float32))
    assert speaks[1:].all()
    activity, speaks = hear(activity, np.zeros(25 * 640, np.float32))
    assert not speaks[2:].any()
    hum = (0.003 * rng.standard_normal(400 * 640)).astype(np.float32)
    _, speaks = hear(Activity(), hum)
    assert not speaks[150:].any()


def test_activity_is_the_same_in_pieces(speech: Speech) -> None:
    whole, found = Activity(), []
    _, at_once = hear(whole, speech.sound)
    for chunk in chunks(speech, 3):
        whole, speaks = hear(whole, chunk.sound)
        found.append(speaks)
    assert np.array_equal(np.concatenate(found), at_once)
    assert at_once.any()
    assert not at_once.all()


def test_a_voice_is_the_same_in_pieces(voices: None) -> None:
    sound = np.concatenate([np.zeros(9600), spoken(1.5), np.zeros(16_000)]).astype(np.float32)
    sound = sound[: len(sound) // 640 * 640]
    _, at_once = voice.listen(voice.Listening(), sound)
    listening, found = voice.Listening(), []
    for start in range(0, len(sound), 3 * 640):
        before = listening
        listening, probability = voice.listen(before, sound[start : start + 3 * 640])
        again = voice.listen(before, sound[start : start + 3 * 640])[1]
        assert np.array_equal(again, probability), "what was remembered is left as it was"
        found.append(probability)
    assert np.array_equal(np.concatenate(found), at_once)
    assert at_once[:10].max() < 0.3
    assert at_once[20:40].mean() > 0.7
    assert at_once[-10:].max() < 0.3


def test_lips_that_move_speak() -> None:
    rng = np.random.default_rng(2)
    still = np.full((30, 96, 96), 90, np.uint8)
    moving = rng.integers(0, 255, (30, 96, 96), dtype=np.uint8)
    _, speaks = see(Activity(), np.concatenate([still, moving, still]))
    assert not speaks[:30].any()
    assert speaks[31:60].all()
    assert not speaks[62:].any()


def test_a_simulated_clock_counts_waiting_and_work() -> None:
    costs = iter([5.0, 5.0, 5.0, 5.0, 5.5, 5.5, 5.5])
    clock = SimulatedClock(lambda: next(costs))
    assert clock.now() == 0
    clock.wait_until(2)
    assert clock.now() == 2
    assert clock.now() == 2.5
    clock.wait_until(1)
    assert clock.now() == 2.5


def test_a_feed_joins_sound_and_mouths() -> None:
    picture = np.zeros((96, 96), np.uint8)
    feed = Feed(BOTH, True, CroppedStream())
    assert feed.chunks(Taken(np.zeros(640 * 3, np.float32), [])) == []
    ((speech, media),) = feed.chunks(Taken(np.zeros(100, np.float32), [picture, picture]))
    assert (len(speech), speech.mouths.shape, media) == (2, (2, 96, 96), BOTH)
    lost = feed.chunks(Taken(np.zeros(640 * 2, np.float32), [picture, None, None]))
    assert [(len(speech), media) for speech, media in lost] == [(1, BOTH), (2, ("audio",))]
    rigid = Feed(BOTH, False, CroppedStream())
    assert [m for _, m in rigid.chunks(Taken(np.zeros(640, np.float32), [None]))] == [()]


def test_reading_on_gives_what_reading_gives(transcriber: Transcriber) -> None:
    llm = transcriber.trained.model.llm
    torch.manual_seed(0)
    first = torch.randn(12, llm.config.hidden_size)
    other = torch.cat([first[:7], torch.randn(9, llm.config.hidden_size)])
    with torch.inference_mode():
        before = read_on(llm, None, first)
        kept = before.cache.layers[0].keys.clone()
        after, fresh = read_on(llm, before, other, kept=3), read_on(llm, None, other, kept=3)
    assert (before.reused, after.reused, fresh.reused) == (0, 7, 0)
    torch.testing.assert_close(after.logits, fresh.logits)
    assert torch.equal(before.cache.layers[0].keys, kept)
    assert read_on(llm, after, other).reused == 15


def test_growing_speech_is_encoded_as_a_whole_while_it_is_short(
    transcriber: Transcriber, speech: Speech
) -> None:
    trained, context = transcriber.trained, Context(1000, 6)
    encoded = Encoded()
    for stop in (20, 26, 34):
        encoded, tokens, batch = encode_on(trained, BOTH, speech.cut(0, stop), encoded, context, ("en", "en"))
    assert encoded.final == 27
    whole = trained.model.encode(batch, trained.view_of(BOTH))
    for stream, padded in zip(tokens, whole, strict=True):
        assert stream.shape == padded.values[0].shape
        # Past what was final, nothing was kept of earlier passes.
        torch.testing.assert_close(stream[-3:], padded.values[0, -3:])
    _, later, small = encode_on(trained, BOTH, speech.cut(0, 60), encoded, Context(8, 6), ("en", "en"))
    assert small.utterances[0].num_frames == 60 - 18
    for stream, final in zip(later, encoded.tokens, strict=True):
        assert torch.equal(stream[: len(final)], final)
        assert len(stream) > len(final)


def test_tokens_of_all_streams_begin_together(transcriber: Transcriber) -> None:
    trained = transcriber.trained
    assert grid_frames(trained.model, trained.view_of(BOTH)) == 3


def test_writing_behind_fixed_words_is_the_search_behind_them(
    transcriber: Transcriber, speech: Speech
) -> None:
    trained, model = transcriber.trained, transcriber.trained.model
    view = trained.view_of(BOTH)
    _, tokens, batch = encode_on(trained, BOTH, speech.cut(15, 45), Encoded(), Context(75, 50), ("en", "en"))
    search = transcriber.search
    with torch.inference_mode():
        written = write(model, view, search, batch, tokens, [], None)
        plain = model.generate(batch, search, model.encode(batch, view), view)[0][0]
    assert written.ids == plain.ids
    fixed = plain.ids[:2]
    again = write(model, view, search, batch, tokens, fixed, written.read)
    assert again.ids[:2] == fixed
    # The prompt was read before; its last position is, again, what the logits are behind.
    assert again.read.reused >= len(written.read.embeddings) - 1
    with torch.inference_mode():
        ids = [t.of(view.task) for t in batch.text_ids]
        parts = model.parts(ids, model.encode(batch, view), with_target=False, view=view)[0]
        prompt = splice([[*parts, model.llm.get_input_embeddings()(torch.tensor(fixed))]], "left")
        rest = replace(search, max_new_tokens=search.max_new_tokens - 2, num_best=1)
        found = beam_search(model.llm, prompt, model.vocabulary.eos, rest)[0][0]
    assert again.ids[2:] == found.ids
    assert all(0 <= guess.probability <= 1 for guess in again.guesses)


def test_a_loop_is_not_written_live(
    transcriber: Transcriber, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = transcriber.trained
    decode = trained.model.vocabulary.decode
    _, tokens, batch = encode_on(trained, BOTH, speech.cut(15, 45), Encoded(), Context(75, 50), ("en", "en"))
    search = BeamSearch(num_beams=3, max_new_tokens=4)
    arguments = (trained.model, trained.view_of(BOTH), search, batch, tokens)
    fixed = write(*arguments, [], None).ids[:1]
    found = writing.search_from

    def looping(*args: object) -> list[list[Hypothesis]]:
        (nbest,) = found(*args)
        assert len(nbest) == 3
        return [[Hypothesis(0.0, nbest[0].ids[:1] * 60, finished=False), nbest[1]][: 1 + good]]

    monkeypatch.setattr(writing, "search_from", looping)
    for good in (True, False):
        written = write(*arguments, fixed, None)
        assert written.ids[:1] == fixed
        assert (len(written.ids) > 1) == good
        assert " ".join(guess.text for guess in written.guesses) == decode(written.ids)


def test_a_pass_over_little_speech_writes_few_tokens(
    transcriber: Transcriber, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        passing,
        "write",
        lambda model, view, search, *rest: (
            asked.append(search.max_new_tokens) or write(model, view, search, *rest)
        ),
    )
    listening = live(transcriber)
    listening = replace(listening, search=replace(listening.search, max_new_tokens=1000))
    played(listening, speech)
    assert asked
    # A first look asks for few, and none for more than the longest segment has room for.
    assert min(asked) <= most_tokens(2 * listening.rules.step)
    assert max(asked) <= most_tokens(listening.rules.cutting.max_length) < 1000


def test_what_is_fixed_never_changes_and_a_pause_fixes_all(transcriber: Transcriber, speech: Speech) -> None:
    for policy in (Policy(2, 0.0), Policy(1, 0.0), Policy(2, 0.9)):
        listening = live(transcriber, policy=policy)
        state, fixed = LiveState(), []
        for chunk in chunks(speech):
            state, update = step(listening, state, chunk, BOTH)
            fixed += update.fixed
            if state.segment is not None:
                own = [word for word in fixed if word.segment == state.segment.number]
                assert list(state.segment.words) == own
                if state.segment.written is not None and own:
                    text = [guess.text for guess in state.segment.written.guesses]
                    assert text[: len(own)] == [word.text for word in own]
            if update.closed:
                assert update.partial == ""
        assert state.segment is None
        # Speech of 3.4 s is longer than a segment may be.
        assert state.segments == 4
        assert fixed
        assert all(word.partial_s <= word.fixed_s for word in fixed)
        assert [word.segment for word in fixed] == sorted(word.segment for word in fixed)


def test_a_step_is_a_function_of_its_state(transcriber: Transcriber, speech: Speech) -> None:
    def now() -> float:
        return 1.0

    listening = replace(live(transcriber, policy=Policy(2, 0.0)), now=now)
    state = LiveState()
    for chunk in chunks(speech.cut(0, 40)):
        state, _ = step(listening, state, chunk, BOTH)
    more = speech.cut(40, 48)
    assert state.segment is not None
    (_, first), (_, second) = (step(listening, state, more, BOTH) for _ in range(2))
    assert first == second
    assert first.passes == 1


def test_what_a_pass_costs_does_not_grow(transcriber: Transcriber, speech: Speech) -> None:
    listening = live(transcriber, context_s=(0.4, 0.4), step_s=0.24)
    listening = replace(listening, search=replace(listening.search, max_new_tokens=2))
    updates = [u for u in played(listening, speech.cut(115, 175)) if u.passes and not u.closed]
    assert len(updates) > 5
    # Left and right context, a step, and what is lost to whole groups of frames.
    assert max(update.encoded for update in updates) <= 10 + 10 + 6 + 2 + 3
    assert all(0 < update.reused < update.read for update in updates[1:])


def test_silence_is_not_written_down(transcriber: Transcriber) -> None:
    rng = np.random.default_rng(3)
    quiet = (1e-4 * rng.standard_normal(100 * 640)).astype(np.float32)
    updates = played(live(transcriber), Speech(quiet, np.full((100, 96, 96), 90, np.uint8)))
    assert [u for u in updates if u.passes or u.fixed] == []


@pytest.mark.usefixtures("voices")
def test_a_voice_is_written_down_and_noise_is_not(transcriber: Transcriber) -> None:
    rng = np.random.default_rng(4)
    pause = np.zeros(16_000)
    for loud, is_written in ((spoken(2.0), True), (0.1 * rng.standard_normal(32_000), False)):
        sound = np.concatenate([pause, loud, pause]).astype(np.float32)
        updates = played(live(transcriber), Speech(sound, None), ("audio",))
        assert any(update.passes for update in updates) == is_written


def test_a_mouth_that_is_lost_ends_a_segment(transcriber: Transcriber, speech: Speech) -> None:
    listening = live(transcriber)
    state, _ = step(listening, LiveState(), speech.cut(12, 30), BOTH)
    assert state.segment.media == BOTH
    state, update = step(listening, state, Speech(speech.sound[30 * 640 : 40 * 640], None), ("audio",))
    assert update.closed
    assert (state.segment.media, state.segment.start) == (("audio",), 18)
    assert finish(listening, state)[0].segment is None


def test_a_file_is_played_to_its_end(transcriber: Transcriber, speech: Speech, tmp_path: Path) -> None:
    path = media_files.write_video(tmp_path / "talk.mp4", media_files.moving_bar(len(speech)))
    media_files.write_wav(path.with_suffix(".wav"), speech.sound.clip(-1, 1))
    player = FilePlayer(path, True, True)
    feed, reason = feed_of(transcriber, {})
    assert reason == ""
    clock = SimulatedClock(lambda: 0.0)
    moments = list(run(live_of(transcriber, Pace(), clock.now), player, feed, clock))
    words = [word for moment in moments for word in moment.update.fixed]
    assert moments[-1].seconds == len(speech) / 25
    assert words
    for moment in moments:
        assert moment.now >= moment.seconds
        assert moment.now - moment.seconds <= 0.081, "computing takes no time on this clock"
    assert all(word.heard_s <= word.partial_s <= word.fixed_s for word in words)
    with pytest.raises(UnusableError, match="no mouth"):
        feed_of(transcriber, {"audio": "no microphone", "video": "no mouth"})


class Late:
    """A source that hands out everything at once, as after a long pass."""

    def __init__(self, speech: Speech) -> None:
        self.taken = Taken(sound=speech.sound, pictures=list(speech.mouths), ended=True)

    def take(self, now: float) -> Taken:
        return self.taken

    def close(self) -> None:
        pass


def test_speech_that_came_late_is_cut_at_its_pauses(transcriber: Transcriber, speech: Speech) -> None:
    in_time = [update for update in played(live(transcriber), speech) if update.closed]
    feed = Feed(BOTH, {}, CroppedStream())
    late = [
        moment.update
        for moment in run(live(transcriber), Late(speech), feed, SimulatedClock())
        if moment.update.closed
    ]
    assert len(late) == len(in_time) == 4
    assert all(len({word.segment for word in update.fixed}) == 1 for update in late)
    # One look at the end of each, none before: there is time to make up.
    assert sum(update.passes for update in late) == len(late)


def test_the_log_tells_delays_and_drift() -> None:
    words = [LiveWord(f"w{i}", 0.9, float(i), i + 0.25, i + 0.5 + i / 600, 0) for i in range(61)]
    entry = json.loads(log.line(words[6]))
    assert entry["word"] == "w6"
    assert entry["delay_s"] == pytest.approx(0.51)
    found = json.loads(log.summary(words, 61.0, 7))["summary"]
    assert (found["words"], found["passes"], found["seconds"]) == (61, 7, 61.0)
    assert found["partial"]["median_s"] == 0.25
    assert found["fixed"]["drift_s_per_min"] == pytest.approx(0.1)
    assert json.loads(log.summary([], 3.0, 0))["summary"]["fixed"] is None


def test_what_cannot_be_listened_to_is_said_at_once() -> None:
    def problem(*words: str) -> str:
        with pytest.raises(ValueError, match="--live") as raised:
            cli.parse([*words, "--live", "--pretrained-model-path", "m"], "transcribe")
        return str(raised.value)

    assert "--live plays one file, found 2" in problem("a.mp4", "b.mp4")
    assert "--live takes a.mp4 or a device" in problem("a.mp4", "--camera", "off")
    assert "--live-clock simulated needs a file" in problem("--live-clock", "simulated")
    assert "--live cannot wait for --speaker talking" in problem("--speaker", "talking")
    assert "--live and --serve are two programs" in problem("--serve")
    with pytest.raises(ValueError, match="--camera nowhere cannot be opened"):
        Devices("nowhere", "off", picture=True)
    with pytest.raises(ValueError, match="found neither camera nor microphone"):
        Devices("off", "off", picture=True)


def live_webm(path: Path, images: np.ndarray, sound: np.ndarray) -> bytes:
    """WebM as a browser makes it. images: RGB [T, H, W, 3], 25 a second; sound: [1920 T], 48 kHz."""
    with av.open(str(path), "w", format="webm", options={"live": "1", "cluster_time_limit": "200"}) as file:
        picture = file.add_stream("libvpx", rate=25, options={"deadline": "realtime"})
        picture.height, picture.width = images.shape[1:3]
        track = file.add_stream("libopus", rate=48_000, layout="mono")
        for number, image in enumerate(images):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            samples = np.ascontiguousarray(sound[None, number * 1920 : (number + 1) * 1920])
            block = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 48_000, number * 1920, Fraction(1, 48_000)
            file.mux(track.encode(block))
        file.mux(picture.encode())
        file.mux(track.encode())
    return path.read_bytes()


def test_a_recording_in_pieces_is_read_as_it_comes(tmp_path: Path) -> None:
    seconds = 3
    t = np.arange(48_000 * seconds) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * t) * (t >= 1)).astype(np.float32)
    content = live_webm(tmp_path / "talk.webm", media_files.moving_bar(25 * seconds), tone)
    upload = Upload("webm", picture=True, cropped=True)
    samples, pictures, ended = [], [], False

    def take() -> None:
        nonlocal ended
        threading.Event().wait(0.01)  # the decoder's turn
        taken = upload.take(0.0)
        samples.append(taken.sound)
        pictures.extend(taken.pictures)
        ended = taken.ended

    upload.pipe.write(content[: len(content) // 2])
    assert upload.lacking() == {}
    while len(pictures) < 15:
        take()
    assert not ended, "half of it is there, and some of that is known"
    upload.pipe.write(content[len(content) // 2 :])
    upload.pipe.end()
    while not ended:
        take()
    waveform = np.concatenate(samples)
    assert len(pictures) == pytest.approx(25 * seconds, abs=1)
    assert len(waveform) == pytest.approx(16_000 * seconds, abs=1600)
    onset = int(np.argmax(np.abs(waveform) > 0.1))
    assert onset == pytest.approx(16_000, abs=640)
    broken = Upload("webm", picture=True)
    broken.pipe.write(b"this is no recording" * 100)
    broken.pipe.end()
    broken.lacking()
    with pytest.raises(MediaError, match="cannot be read"):
        broken.take(0.0)
    with pytest.raises(ValueError, match="expected webm or mp4"):
        Upload("gif", picture=True)
