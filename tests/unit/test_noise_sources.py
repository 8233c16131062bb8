"""Noise and damage of test sets: the same for a clip wherever it is read, and what its name says."""

import wave
from typing import get_args

import numpy as np
import pytest
import torch

from datamodules import damage, noise_files, noise_sources
from datamodules.batch import Utterance
from datamodules.damage import DAMAGES
from datamodules.media import MediaError, load_audio
from datamodules.noise import excerpt
from datamodules.noise_sources import noise_of, noise_source, show_noise
from datamodules.seeding import generator
from datamodules.transforms import AudioTransform
from llama_avsr.options.data import AugmentationOptions
from llama_avsr.options.fields import fields_of

FRAMES = torch.randint(0, 256, (60, 96, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def write_wav(path, value, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.full(round(16000 * seconds), value, "<i2").tobytes())
    return path


def clip(folder, name, value=0):
    path = write_wav(folder / f"{name}.wav", value)
    return Utterance(
        id=f"own/{name}",
        video_path=path.with_suffix(".mp4"),
        audio_path=path,
        num_frames=25,
        text="a",
        source="l:1",
    )


def band_power(samples, low, high):
    power = torch.fft.rfft(samples).abs() ** 2
    hertz = torch.fft.rfftfreq(len(samples), 1 / 16000)
    return power[(hertz >= low) & (hertz < high)].sum().item()


def test_white_and_pink_noise_have_their_colours():
    white, pink = (noise_source(kind, []).draw(160_000, generator(1)) for kind in ("white", "pink"))
    assert band_power(white, 4000, 8000) / band_power(white, 2000, 4000) == pytest.approx(2, rel=0.1)
    assert band_power(pink, 4000, 8000) / band_power(pink, 2000, 4000) == pytest.approx(1, rel=0.1)
    assert band_power(pink, 0, 20) < 1e-6 * band_power(pink, 20, 40)


@pytest.mark.parametrize("kind", ["white", "pink", "speaker", "folder", "file"])
def test_noise_of_a_clip_depends_on_its_generator_alone(kind, tmp_path):
    clips = [clip(tmp_path, f"s{place}/{place}", 100 * (place + 1)) for place in range(4)]
    named = {"folder": str(tmp_path), "file": str(tmp_path / "s0" / "0.wav")}.get(kind, kind)
    source = noise_source(named, clips)
    first, again = (source.draw(20_000, generator(7, "a"), clips[0]) for _ in range(2))
    assert first.equal(again)
    assert first.shape == (20_000,)
    if kind in ("white", "pink"):
        assert not first.equal(source.draw(20_000, generator(7, "b"), clips[0]))


def test_the_interfering_speaker_is_somebody_else(tmp_path):
    clips = [clip(tmp_path, name, value) for name, value in (("s1/a", 1000), ("s1/b", 2000), ("s2/c", 3000))]
    source = noise_source("speaker", clips)
    drawn = {round(source.draw(10, generator(seed), clips[0])[0].item() * 32768) for seed in range(20)}
    assert drawn == {3000}
    drawn = {round(source.draw(10, generator(seed), clips[2])[0].item() * 32768) for seed in range(20)}
    assert drawn == {1000, 2000}
    with pytest.raises(ValueError, match="two clips or more"):
        noise_source("speaker", clips[:1]).draw(10, generator(0), clips[0])


def names_of(folder):
    return [[str(path.relative_to(folder)) for path in part] for part in noise_source(str(folder), []).parts]


def test_folders_by_layout(tmp_path):
    for channel in range(1, 17):
        write_wav(tmp_path / "DEMAND" / "PARK" / f"ch{channel:02d}.wav", 1)
    write_wav(tmp_path / "DEMAND" / "CAFE" / "ch01.wav", 1)
    assert names_of(tmp_path / "DEMAND") == [["CAFE/ch01.wav", "PARK/ch01.wav"]]
    for name in ("babble", "factory1", "chopper"):
        write_wav(tmp_path / "NOISEX" / f"{name}.wav", 1)
    assert names_of(tmp_path / "NOISEX") == [["babble.wav", "chopper.wav", "factory1.wav"]]
    for name in ("noise/free-sound/a", "noise/free-sound/b", "music/rfm/c", "speech/us-gov/d"):
        write_wav(tmp_path / "musan" / f"{name}.wav", 1)
    (tmp_path / "musan" / "noise" / "LICENSE").write_text("x")
    assert names_of(tmp_path / "musan" / "noise") == [["free-sound/a.wav", "free-sound/b.wav"]]
    assert names_of(tmp_path / "musan") == [
        ["music/rfm/c.wav"],
        ["noise/free-sound/a.wav", "noise/free-sound/b.wav"],
        ["speech/us-gov/d.wav"],
    ]
    assert show_noise(str(tmp_path / "musan" / "noise")) == "noise"
    write_wav(tmp_path / "musan" / "e.wav", 1)  # no MUSAN any more
    assert len(names_of(tmp_path / "musan")[0]) == 5


def test_what_is_no_noise(tmp_path):
    with pytest.raises(ValueError, match="found no sound files"):
        noise_source(str(tmp_path), [])
    with pytest.raises(ValueError, match="noise brown: found no such file; expected white, pink, speaker"):
        noise_source("brown", [])
    (tmp_path / "broken.wav").write_text("x")
    with pytest.raises(ValueError, match=r"noise .*broken.wav"):
        noise_source(str(tmp_path / "broken.wav"), [])


def write_samples(path, samples, rate_hz=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return path


@pytest.mark.parametrize(("length", "start"), [(3000, 10), (3000, 2900), (3000, 2999), (500, 400), (1000, 7)])
@pytest.mark.parametrize("rate_hz", [16000, 8000])
def test_a_stretch_of_a_file_is_that_of_the_whole(tmp_path, monkeypatch, length, start, rate_hz):
    rng = np.random.default_rng(0)
    path = write_samples(tmp_path / "n.wav", rng.integers(-30000, 30000, length), rate_hz)
    whole = load_audio(path)
    if rate_hz == 16000 and length > 1000:
        monkeypatch.setattr(noise_files, "load_audio", lambda *_: pytest.fail("read the whole file"))
    found = noise_files.read_stretch(path, lambda count: start if count == len(whole) else 1 / 0, 1000)
    assert found.equal(excerpt(whole, start, 1000))


def test_a_file_that_ends_early_is_used_as_far_as_it_goes(tmp_path):
    path = write_samples(tmp_path / "n.wav", np.arange(1, 5001))
    path.write_bytes(path.read_bytes()[:-4000])
    there = torch.arange(1, 3001) / 32768
    assert noise_files.read_stretch(path, lambda _: 2900, 1000).equal(excerpt(there, 2900, 1000))
    assert noise_files.read_stretch(path, lambda _: 4000, 1000).equal(there[:1000])
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(MediaError, match=r"n.wav: truncated, found 500 of 5000 samples"):
        noise_files.read_stretch(path, lambda _: 0, 3500)


def test_interfering_speakers_are_drawn_evenly_and_among_many(tmp_path):
    clips = [clip(tmp_path, f"s{place % 3}/{place}", 100 * (place + 1)) for place in range(6)]
    source = noise_source("speaker", clips)
    drawn = [source._other(clips[4], generator(seed)).id for seed in range(300)]
    assert set(drawn) == {one.id for one in clips if not one.id.startswith("own/s1")}
    assert all(45 < drawn.count(name) < 105 for name in set(drawn))
    stranger = clip(tmp_path, "elsewhere/x")
    assert {source._other(stranger, generator(seed)).id for seed in range(100)} == {one.id for one in clips}
    alone = [clip(tmp_path, f"s9/{place}") for place in range(2)]
    drawn = {noise_source("speaker", alone)._other(alone[0], generator(seed)).id for seed in range(20)}
    assert drawn == {"own/s9/1"}


def test_of_several_noises_one_is_drawn_for_each_clip(tmp_path):
    clips = [clip(tmp_path, f"s{place}/c", 100 * (place + 1)) for place in range(3)]
    loud = write_wav(tmp_path / "loud.wav", 20000)
    source = noise_of(["white", str(loud), "speaker"], clips)
    drawn = [source.draw(50, generator(seed), clips[0]) for seed in range(60)]
    levels = {round(one[0].item() * 32768) for one in drawn if (one == one[0]).all()}
    assert levels == {20000, 200, 300}
    assert any(one.std() > 0.5 for one in drawn)
    assert drawn[7].equal(source.draw(50, generator(7), clips[0]))
    # One alone is drawn as ever: results of before stay what they were.
    one = noise_of([str(loud)], clips)
    assert type(one) is type(noise_source(str(loud), clips))
    assert noise_of([], clips) is None


def test_the_snr_holds_for_every_source():
    speech = torch.randn(16_000, generator=generator(0))
    for kind in ("white", "pink"):
        added = AudioTransform(False, noise_source(kind, []), (5.0,))(speech, generator(1)) - speech
        ratio = 10 * torch.log10(speech.square().sum() / added.square().sum())
        assert ratio.item() == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize("name", [name for name, own in DAMAGES.items() if own.picture is not None])
def test_pictures_are_damaged_by_their_generator_alone(name):
    before = FRAMES.clone()
    found = DAMAGES[name].picture(FRAMES, generator(3))
    assert FRAMES.equal(before)
    assert (found.shape, found.dtype) == (FRAMES.shape, torch.uint8)
    assert not found.equal(FRAMES)
    assert found.equal(DAMAGES[name].picture(FRAMES, generator(3)))
    one = DAMAGES[name].picture(FRAMES[:1], generator(3))
    assert one.shape == (1, 96, 96)


def test_what_each_damage_does():
    assert damage.blur(FRAMES, generator(0)).float().std() < 0.2 * FRAMES.float().std()
    still = (damage.freeze(FRAMES, generator(0)).diff(dim=0) == 0).all(dim=(1, 2))
    assert still.sum() == 29
    lost = (damage.drop(FRAMES, generator(0)) == 0).all(dim=(1, 2)).sum().item()
    assert 5 <= lost <= 25
    assert damage.slow(FRAMES, generator(0))[1::2].equal(FRAMES[::2])
    hidden = damage.patch(FRAMES, generator(0)) != FRAMES
    assert hidden.sum(dim=(1, 2)).max() <= 38 * 38
    places = [frame.nonzero()[0].tolist() for frame in hidden]
    assert len({tuple(place) for place in places}) > 10
    assert not damage.black(FRAMES, generator(0)).any()


def test_late_and_early_sound():
    sound = torch.arange(1.0, 16_001)
    late, early = DAMAGES["late"].hear(sound), DAMAGES["early"].hear(sound)
    assert not late[:3200].any()
    assert late[3200:].equal(sound[:-3200])
    assert not early[-3200:].any()
    assert early[:-3200].equal(sound[3200:])
    assert not DAMAGES["silent"].hear(sound).any()
    assert DAMAGES["none"].hear(sound) is sound
    assert not DAMAGES["late"].hear(sound[:100]).any()


def test_flags_name_every_damage_and_kind():
    fields = fields_of(AugmentationOptions, "augmentation")
    assert get_args(get_args(fields["test_damage"].hint)[0]) == tuple(DAMAGES)
    assert all(kind in fields["test_noise"].help for kind in noise_sources.MADE)
