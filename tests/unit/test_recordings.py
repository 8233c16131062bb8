"""Recordings as people have them are read; clips of a data set that are like this are broken."""

import os
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from datamodules.media import MediaError, load_audio, load_video, spool
from datamodules.media.pictures import decoded
from datamodules.media.resampling import To16kHz
from datamodules.media.sound import read_sound
from datamodules.media.spool import Spool
from llama_avsr.transcription.reading import contents, missing_seconds
from llama_avsr.transcription.reading import read_sound as sound_and_reason
from preparation.datasets import subtitles
from preparation.faces.video import frame_chunks
from tests.unit.media_files import moving_bar, tone, write_video, write_wav
from tests.unit.recordings import bend, bursts, write_float_wav, write_gap, write_sound, write_ts


def num_frames(path, notes=None):
    return sum(len(chunk) for chunk in frame_chunks(path, notes))


def test_a_damaged_packet_of_sound_is_skipped(tmp_path):
    path = write_sound(tmp_path / "a.aac", [bursts(4, 44_100)], "aac", 44_100, "adts")
    bend(path, b"\xff\xf1", 7, 53)
    notes = []
    waveform = load_audio(path, notes=notes)
    assert len(waveform) / 16_000 == pytest.approx(4, abs=0.1)
    assert any("damaged" in note for note in notes)
    assert len(load_audio(path)) == len(waveform)
    for strict in ({"num_frames": 100}, {"strict": True}):
        with pytest.raises(MediaError, match=r"a\.aac: cannot be decoded"):
            load_audio(path, **strict)


def test_a_file_of_damage_alone_is_no_recording(tmp_path):
    path = write_sound(tmp_path / "a.mka", [bursts(1)], "aac")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] + os.urandom(len(content)))
    with suppress(MediaError):
        assert len(load_audio(path, notes=[])) > 0


def test_joined_files(tmp_path):
    one = write_sound(tmp_path / "one.mp3", [bursts(4, 44_100)], "libmp3lame", 44_100)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(one.read_bytes() * 2)
    assert len(load_audio(joined)) / 16_000 == pytest.approx(8, abs=0.3)


def test_a_damaged_picture_is_skipped(tmp_path):
    path = write_ts(tmp_path / "a.ts", moving_bar(100, 128), gop=10)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    content[middle : middle + 188 * 6] = bytes(188 * 6)
    path.write_bytes(bytes(content))
    assert num_frames(path) >= 95


def test_clocks_that_begin_again_or_jump(tmp_path):
    parts = [write_ts(tmp_path / f"{i}.ts", moving_bar(50, 128), first) for i, first in ((0, 500), (1, 0))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = []
    assert num_frames(joined, notes) == 100
    assert any("timestamps" in note for note in notes)
    assert num_frames(write_gap(tmp_path / "g.mp4", [0, 1, 2, 450_000, 450_001])) <= 10


def test_pictures_that_change_their_size_are_scaled_to_the_first(tmp_path):
    parts = [
        write_ts(tmp_path / f"{i}.ts", moving_bar(25, side), 25 * i) for i, side in enumerate((128, 256))
    ]
    for order in (parts, parts[::-1]):
        path = tmp_path / "joined.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in order))
        chunks = list(frame_chunks(path))
        assert {chunk.shape[1:] for chunk in chunks} == {chunks[0].shape[1:]}
    small, _ = (part.read_bytes() for part in parts)
    path.write_bytes(small + write_ts(tmp_path / "c.ts", moving_bar(25, 96), 25).read_bytes())
    with pytest.raises(MediaError, match="frames of one size"):
        load_video(path)


def test_a_stream_that_begins_between_key_frames(tmp_path):
    path = write_ts(tmp_path / "a.ts", moving_bar(300, 128), gop=50)
    packets = path.stat().st_size // 188
    path.write_bytes(path.read_bytes()[188 * (packets // 24) :])
    notes = []
    assert num_frames(path, notes) > 200
    assert not any("truncated" in note for note in notes)


@pytest.mark.parametrize(("layouts", "rates"), [((1, 2), (48, 48)), ((2, 1), (48, 48)), ((1, 1), (48, 44.1))])
def test_channels_and_rates_may_change(tmp_path, layouts, rates):
    content = b""
    for index, (channels, rate) in enumerate(zip(layouts, rates, strict=True)):
        sound = np.stack([bursts(2, round(1000 * rate))] * channels)
        part = write_sound(tmp_path / f"{index}.aac", [sound], "aac", round(1000 * rate), "adts")
        content += part.read_bytes()
    path = tmp_path / "joined.aac"
    path.write_bytes(content)
    waveform = load_audio(path).numpy()
    assert len(waveform) / 16_000 == pytest.approx(4, abs=0.25)
    loud = np.sqrt((waveform.reshape(-1)[: 16_000 * 4 // 1].reshape(-1, 800) ** 2).mean(1)) > 0.05
    assert 0.4 < loud.mean() < 0.6


@pytest.mark.parametrize("right", [-1.0, -0.9])
def test_channels_that_cancel_each_other(tmp_path, right):
    left = tone(32_000)
    path = write_wav(tmp_path / "a.wav", np.stack([left, right * left], axis=1))
    notes = []
    waveform = load_audio(path, notes=notes).numpy()
    assert np.abs(waveform - left).max() < 1e-3
    assert any("channel 1" in note for note in notes)
    flac = write_sound(tmp_path / "a.mka", [np.stack([left, right * left])])
    assert np.abs(load_audio(flac).numpy() - left).max() < 1e-3


def test_one_channel_of_many_is_averaged(tmp_path):
    left = tone(3200)
    path = write_wav(tmp_path / "a.wav", np.stack([left, *np.zeros((5, 3200))], axis=1))
    assert np.abs(load_audio(path).numpy() - left / 6).max() < 1e-3


def test_the_track_that_is_not_silent(tmp_path):
    speech = bursts(3)
    silence = 0 * speech
    cases = [
        ([silence, speech], None, speech, "track 2 of 2"),
        ([silence, silence, speech], None, speech, "track 3 of 3"),
        ([speech, silence], 1, speech, "track 1 of 2"),
        ([speech, speech / 2], 1, speech / 2, "track 2 of 2"),
        ([speech, speech / 2], None, speech, "track 1 of 2"),
    ]
    for tracks, default, expected, said in cases:
        path = write_sound(tmp_path / "a.mka", tracks, default=default)
        notes = []
        waveform, reason = sound_and_reason(path, contents(path), False, notes)
        assert reason == ""
        assert np.abs(waveform - expected).max() < 1e-3, said
        assert any(said in note for note in notes)
    assert np.abs(read_sound(path, track=2, has_picture=False) - speech / 2).max() < 1e-3
    for track in (0, 3):
        with pytest.raises(MediaError, match="2 sound tracks, expected one"):
            read_sound(path, track=track, has_picture=False)


@pytest.mark.parametrize("sizes", [(0, 36), (0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0x7FFFFFFF, 0x7FFFFFFF)])
def test_wav_headers_that_do_not_know_their_size(tmp_path, sizes):
    path = write_wav(tmp_path / "a.wav", tone(48_000))
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4], content[4:8] = struct.pack("<I", sizes[0]), struct.pack("<I", sizes[1])
    path.write_bytes(bytes(content))
    assert len(load_audio(path)) == pytest.approx(48_000, abs=16)


def test_a_wav_that_is_cut_short(tmp_path):
    path = write_wav(tmp_path / "a.wav", tone(48_000))
    path.write_bytes(path.read_bytes()[:50_001])
    for options in ({}, {"num_frames": 75}):
        with pytest.raises(MediaError, match="truncated"):
            load_audio(path, **options)
    notes = []
    assert len(load_audio(path, notes=notes)) == (50_001 - 44) // 2
    assert any("truncated" in note for note in notes)


def test_ends_are_compared_not_lengths(tmp_path):
    late = write_sound(tmp_path / "late.mka", [bursts(5)], start_s=5.0)
    assert missing_seconds(late, 5.0) == ""
    assert "is the file whole" in missing_seconds(late, 2.0)
    whole = write_sound(tmp_path / "whole.mka", [bursts(5)])
    assert missing_seconds(whole, 5.0) == ""
    assert missing_seconds(whole, 2.0) != ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 32_767.0])
def test_samples_that_are_no_sound(tmp_path, value):
    samples = tone(16_000)
    samples[5000:5010] = value
    path = write_float_wav(tmp_path / "a.wav", samples)
    for options in ({}, {"num_frames": 25}):
        with pytest.raises(MediaError, match=r"a\.wav: found invalid samples"):
            load_audio(path, **options)
    notes = []
    waveform = load_audio(path, notes=notes).numpy()
    assert np.isfinite(waveform).all()
    assert np.abs(waveform).max() < 1
    assert any("10 invalid samples" in note for note in notes)


@pytest.mark.parametrize("rate_hz", [1, 100, 3_999, 2_000_000, 2**31 - 1])
def test_rates_that_no_recording_has(tmp_path, rate_hz):
    path = write_float_wav(tmp_path / "float.wav", tone(16_000), rate_hz)
    pcm = write_wav(tmp_path / "pcm.wav", tone(16_000))
    content = bytearray(pcm.read_bytes())
    content[24:28] = struct.pack("<I", rate_hz)
    pcm.write_bytes(bytes(content))
    for claims in (path, pcm):
        with pytest.raises(MediaError):
            load_audio(claims)


def test_lengths_are_compared_with_the_label_before_memory_is_taken(tmp_path):
    hours = tmp_path / "hours.wav"
    num_bytes = 2 * 16_000 * 3600 * 10
    header = b"RIFF" + struct.pack("<I", 36 + num_bytes) + b"WAVEfmt "
    header += (
        struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", num_bytes)
    )
    hours.write_bytes(header)
    os.truncate(hours, len(header) + num_bytes)  # sparse
    claims = tmp_path / "claims.wav"
    claims.write_bytes(header + bytes(1000))
    gap = write_gap(tmp_path / "gap.mp4", [0, 1, 450_000])
    gaps = write_gap(tmp_path / "gaps.mp4", range(0, 14_000 * 30, 14_000))
    tracemalloc.start()
    try:
        for load in (
            lambda: load_audio(hours, num_frames=100),
            lambda: load_audio(claims),
            lambda: load_audio(claims, num_frames=100),
            lambda: load_video(gap, 20),
            lambda: load_video(gap),
            lambda: load_video(gaps, 20),
        ):
            with pytest.raises(MediaError):
                load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("channels", [65, 1000, 65_535])
def test_channels_that_no_recording_has(tmp_path, channels):
    path = write_wav(tmp_path / "a.wav", tone(80_000))
    content = bytearray(path.read_bytes())
    content[22:24], content[32:34] = struct.pack("<H", channels), struct.pack("<H", 2 * channels % 65_536)
    path.write_bytes(bytes(content))
    with pytest.raises(MediaError):
        load_audio(path)


def test_a_sound_track_that_is_longer_than_its_label(tmp_path):
    path = write_sound(tmp_path / "a.mka", [bursts(60)], "libopus", 48_000)
    with pytest.raises(MediaError, match="the label promises"):
        load_audio(path, num_frames=25)


def test_pipes_folders_and_playlists_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "live.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n"
    )
    (tmp_path / "null.mp4").symlink_to("/dev/zero")
    for name in ("pipe.wav", "pipe.mp4", "folder.mp4", "live.m3u8", "null.mp4"):
        for load in (load_audio, load_video, lambda path: list(decoded(path)), contents):
            with pytest.raises(MediaError, match=name):
                load(tmp_path / name)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_video(tmp_path / "talk:1.mp4", moving_bar(5)).relative_to(tmp_path)
    assert len(load_video(path)) == 5


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_resampling_by_blocks_equals_resampling_at_once(rate_hz, tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.media.resampling.BLOCK_SECONDS", 1)
    waveform = np.random.default_rng(0).standard_normal(5 * rate_hz + 77).astype(np.float32)
    resampler, found = To16kHz(tmp_path, rate_hz), []
    for start in range(0, len(waveform), 3000):
        found.append(resampler(waveform[start : start + 3000]))
    found = np.concatenate([*found, resampler.end()])
    expected = resample(torch.from_numpy(waveform), rate_hz, 16_000).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_waits_in_a_file_is_what_waits_in_memory(monkeypatch):
    frames = np.random.default_rng(0).integers(0, 255, (700, 8, 6), dtype=np.uint8)
    views = []
    for limit in (2**20, 1000):
        monkeypatch.setattr(spool, "MEMORY_BYTES", limit)
        held = Spool()
        for start in range(0, 700, 30):
            held.add(frames[start : start + 30])
        assert np.array_equal(held.values(), frames)
        spool.release(held.values())
        assert np.array_equal(held.values(), frames)
        views.append(held.frames(100, 690))
    in_memory, on_disk = views
    assert isinstance(in_memory, np.ndarray)
    assert not isinstance(on_disk, np.ndarray)
    assert on_disk.shape == in_memory.shape
    assert len(on_disk) == 590
    assert np.array_equal(np.asarray(on_disk), in_memory)
    assert np.array_equal(np.stack(list(on_disk)), in_memory)
    assert np.array_equal(on_disk[5:9], in_memory[5:9])
    assert np.array_equal(on_disk[-1], in_memory[-1])
    with pytest.raises(IndexError):
        on_disk[590]


def test_memory_does_not_grow_with_the_length_of_the_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MEMORY_BYTES", 2**20)
    path = write_wav(tmp_path / "a.wav", np.zeros(48_000 * 300) + 0.1, 48_000)
    load_audio(write_wav(tmp_path / "b.wav", tone(4800), 48_000))
    tracemalloc.start()
    try:
        waveform = load_audio(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(waveform) == 16_000 * 300
    assert peak < 60e6 < waveform.nbytes * 3.2


def test_an_arrow_in_a_subtitle(tmp_path):
    words = subtitles.parse(
        "1\n00:00:01,000 --> 00:00:02,000\nfrom a --> b\n\n2\n00:00:03,000 --> 00:00:04,000\nc\n"
    )
    assert [word.text for word in words] == ["from a --> b", "c"]
    with pytest.raises(ValueError, match="line 2: expected times"):
        subtitles.parse("1\n00:00:0x --> 00:00:02,000\na\n")
