"""Synthesis: exact times, known labels, and nothing left over from the sentence before."""

import os
import sys

import numpy as np
import pytest

from datamodules.batch import SAMPLE_RATE_HZ
from llama_avsr.demo.corpus import espeak
from llama_avsr.demo.corpus.grammar import WORDS, sentences
from llama_avsr.demo.corpus.phones import _FROM_ESPEAK, _STRESS_MARKS, PHONES, SILENCE
from llama_avsr.demo.corpus.speakers import ACCENTS, babble_speakers
from llama_avsr.demo.corpus.voice import (
    Speaker,
    pretraining_speakers,
    synthesise,
    training_speakers,
    unseen_speakers,
)

pytest.importorskip("espeakng_loader")
SENTENCE = "set white by a five soon"


def everyone() -> list[Speaker]:
    return training_speakers() + unseen_speakers() + babble_speakers()


def test_the_groups_share_no_voice():
    assert len(training_speakers()) == 40
    assert len(unseen_speakers()) == 8
    assert len({speaker.name for speaker in everyone()}) == 54
    groups = [training_speakers(), unseen_speakers(), babble_speakers()]
    variants = [{speaker.variant for speaker in group} for group in groups]
    assert sum(map(len, variants)) == len(set.union(*variants)) == 34
    assert {speaker.accent for speaker in training_speakers()} == set(ACCENTS)
    assert not {speaker.name for speaker in pretraining_speakers()} & {s.name for s in unseen_speakers()}


def test_espeak_has_every_variant():
    # It takes a name it does not know for "no variant", silently.
    folder = os.path.join(espeak.installation()[1], "voices", "!v")
    assert {speaker.variant for speaker in everyone()} <= set(os.listdir(folder))


def test_every_word_in_every_accent_has_known_phones():
    checked = 0
    for accent in ACCENTS:
        for first in range(0, len(WORDS), 6):
            text = " ".join(WORDS[first : first + 6])
            spoken = espeak.speak(text, accent, pitch=50, rate=165)
            bare = {mnemonic.lstrip(_STRESS_MARKS) for mnemonic, _ in spoken.phonemes}
            unknown = {phone for phone in bare if phone and not phone.startswith("_")} - set(_FROM_ESPEAK)
            assert not unknown, f"{accent}: {unknown}"
            checked += len(bare)
    assert checked > 200


@pytest.mark.parametrize("speaker", [*training_speakers()[:4], *unseen_speakers()[:2]], ids=lambda s: s.name)
def test_phones_tile_the_waveform(speaker):
    speech = synthesise(SENTENCE, speaker)
    assert speech.waveform.dtype == np.float32
    assert 0.1 < np.abs(speech.waveform).max() <= 1
    assert speech.phones[0].start_s == 0
    assert speech.phones[-1].end_s == pytest.approx(len(speech.waveform) / SAMPLE_RATE_HZ)
    for phone, following in zip(speech.phones, speech.phones[1:], strict=False):
        assert phone.start_s < phone.end_s == following.start_s
    labels = [phone.label for phone in speech.phones]
    assert labels[0] == labels[-1] == SILENCE
    assert set(labels) <= set(PHONES)
    assert 1 < len(speech.waveform) / SAMPLE_RATE_HZ < 3


def test_times_fit_the_sound():
    speech = synthesise(SENTENCE, training_speakers()[0])

    def level(phone):
        part = speech.waveform[int(phone.start_s * SAMPLE_RATE_HZ) : int(phone.end_s * SAMPLE_RATE_HZ)]
        return float(np.sqrt((part**2).mean()))

    vowels = [level(phone) for phone in speech.phones if phone.label in ("eh", "ay", "ey", "uw")]
    sibilants = [level(phone) for phone in speech.phones if phone.label == "s"]
    ends = [level(speech.phones[0]), level(speech.phones[-1])]
    assert len(vowels) >= 4
    assert min(vowels) > 4 * max(ends)
    assert len(sibilants) == 2

    def crossings(phone):
        part = speech.waveform[int(phone.start_s * SAMPLE_RATE_HZ) : int(phone.end_s * SAMPLE_RATE_HZ)]
        return float((part[1:] * part[:-1] < 0).mean())

    # A hiss crosses zero far more often than a vowel: the label stands where its sound is.
    hiss = min(crossings(phone) for phone in speech.phones if phone.label == "s")
    tone = max(crossings(phone) for phone in speech.phones if phone.label in ("eh", "ay", "ey"))
    assert hiss > 2 * tone


def test_there_is_no_digital_silence():
    waveform = synthesise(SENTENCE, training_speakers()[0]).waveform
    windows = waveform[: len(waveform) // 400 * 400].reshape(-1, 400)
    assert (windows**2).mean(axis=1).min() > 1e-9


def test_what_was_said_before_leaves_no_trace():
    # Noise, flutter and phase of every kind of voice live in the library's static variables.
    picked = {speaker.variant: speaker for speaker in everyone()}
    for variant in ("f1", "m1", "linda", "adam", "grandma"):
        first = synthesise(SENTENCE, picked[variant])
        synthesise(sentences(1, seed=5)[0], picked["f5"])
        again = synthesise(SENTENCE, picked[variant])
        assert np.array_equal(first.waveform, again.waveform), variant
        assert first.phones == again.phones


def test_the_letter_a_is_not_the_article():
    labels = [phone.label for phone in synthesise(SENTENCE, training_speakers()[0]).phones]
    assert "ey" in labels
    assert "ax" not in labels


def test_speakers_sound_different():
    lengths = {len(synthesise(SENTENCE, speaker).waveform) for speaker in training_speakers()[:10]}
    assert len(lengths) > 5


def test_an_empty_sentence_is_an_error():
    with pytest.raises(ValueError, match="expected words"):
        synthesise("  ", training_speakers()[0])


def test_an_unknown_voice_is_an_error():
    speaker = Speaker(name="nobody", accent="xx-nowhere", variant="f1")
    with pytest.raises(ValueError, match=r"no voice 'xx-nowhere\+f1'"):
        synthesise(SENTENCE, speaker)


def test_a_missing_library_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak.installation.cache_clear()
    try:
        with pytest.raises(ModuleNotFoundError, match=r"llama-avsr\[demo\]"):
            synthesise(SENTENCE, training_speakers()[0])
    finally:
        espeak.installation.cache_clear()
