"""Sound and lips joined frame by frame, and queries whose number follows duration and speech rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from datamodules.batch import Padded
from llama_avsr.compressors import Heard, _speech_rate, qformer
from llama_avsr.model.fusion import Fusion
from llama_avsr.options import Options
from tests import models


def compressor(**more: object) -> qformer.Compressor:
    torch.manual_seed(0)
    return qformer.make(4, 1, **{**qformer.TINY, **more}).eval()


def test_stretching_is_linear_interpolation_of_each_clip_alone() -> None:
    clips = [torch.randn(length, 3) for length in (13, 7, 25)]
    factors = torch.tensor([1.37, 1.0, 2.0], dtype=torch.float64)
    padded = Padded.from_list(clips)
    padded.values[~padded.mask] = float("nan")
    found = qformer._stretched(padded, factors)
    assert found.lengths.tolist() == [17, 7, 50]
    for clip, stretched in zip(clips, found.unpad(), strict=True):
        expected = functional.interpolate(clip.T[None], size=len(stretched), mode="linear")[0].T
        torch.testing.assert_close(stretched, expected)


@pytest.mark.parametrize(("seconds", "factor", "count"), [(0.4, 1, 3), (2, 1, 6), (2, 1.5, 9), (30, 2, 120)])
def test_as_many_queries_as_duration_and_rate_ask_for(seconds: float, factor: float, count: int) -> None:
    made = compressor()
    made.factors = lambda lengths, heard: torch.tensor([factor], dtype=torch.float64)
    frames = Padded.from_list([torch.randn(round(seconds * 25), 4)])
    assert made(frames).lengths.tolist() == [count]
    assert count <= made.num_tokens(len(frames.values[0]))


def test_frames_at_another_rate_are_as_many_seconds() -> None:
    frames = Padded.from_list([torch.randn(100, 4)])
    heard = Heard(torch.tensor([2.0], dtype=torch.float64))
    assert compressor()(frames).lengths.tolist() == [12]
    assert compressor()(frames, heard=heard).lengths.tolist() == [6]


def test_a_predictor_decides_and_is_not_trained(tmp_path: Path) -> None:
    made = compressor(speech_rate_predictor=models.speech_rate_predictor(tmp_path, dim=6))
    sound = Padded.from_list([torch.randn(100, 6), torch.randn(60, 6)])
    frames = Padded.from_list([torch.randn(50, 4), torch.randn(30, 4)])
    heard = Heard(frames.lengths.double() / 25, sound, 50)
    at_12_5 = heard.sound_at(12.5)
    assert at_12_5.lengths.tolist() == [25, 15]
    assert torch.equal(at_12_5.values[0], sound.values[0, ::4])
    rates = made.predictor(at_12_5)
    assert rates.unique().numel() == 2
    expected = [int(s * 3 * r) for s, r in zip((2, 1.2), rates.double().clamp(1, 2).tolist(), strict=True)]
    assert made(frames, heard=heard).lengths.tolist() == expected
    assert made(frames, heard=Heard(heard.seconds)).lengths.tolist() == [6, 3]
    with pytest.raises(ValueError, match="takes frames of width 6, the encoder of the sound makes 4"):
        made(frames, heard=Heard(heard.seconds, frames, 25))


def test_files_that_are_no_predictor(tmp_path: Path) -> None:
    good = models.speech_rate_predictor(tmp_path)
    state = load_file(good)
    assert _speech_rate.load(good).in_dim == 16
    broken = {
        "nothing.pt": (None, "no such file"),
        "text.safetensors": (b"not a file", "not readable"),
        "other.safetensors": ({"a": torch.zeros(1)}, r"no linear.weight among its 0 tensors"),
        "less.safetensors": ({k: v for k, v in state.items() if "token" not in k}, "Missing key.*sr_token"),
    }
    for name, (content, message) in broken.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            save_file(content, path)
        with pytest.raises(ValueError, match=f"--speech-rate-predictor .*{message}"):
            _speech_rate.load(path)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="--qformer-heads 3: expected a divisor of --qformer-width 8"):
        compressor(qformer_heads=3)


def test_what_is_fused_is_as_long_as_the_shorter_medium() -> None:
    fusion = Fusion(3, 2, step=2)
    sound = Padded(torch.randn(2, 21, 3), torch.tensor([21, 8]))
    lips = Padded(torch.randn(2, 12, 2), torch.tensor([12, 3]))
    sound.values[1, 8:] = lips.values[1, 3:] = float("nan")
    fused = fusion(sound, lips)
    assert fused.lengths.tolist() == [10, 3]
    first, second = fused.unpad()
    torch.testing.assert_close(first[:, 3:], lips.values[0, :10])
    alone = fusion(Padded.from_list([sound.values[1, :8]]), Padded.from_list([lips.values[1, :3]]))
    torch.testing.assert_close(second, alone.values[0])
    torch.testing.assert_close(second[0, :3], fusion.slow_down(sound.values[1:, :2].transpose(1, 2))[0, :, 0])


def test_a_medium_that_is_not_there_is_zeros() -> None:
    fusion = Fusion(3, 2, step=2)
    sound, lips = Padded.from_list([torch.randn(8, 3)]), Padded.from_list([torch.randn(4, 2)])
    both = fusion(sound, lips).values
    assert torch.equal(fusion(sound, None).values, torch.cat([both[..., :3], torch.zeros(1, 4, 2)], 2))
    assert torch.equal(fusion(None, lips).values, torch.cat([torch.zeros(1, 4, 3), both[..., 3:]], 2))


def test_frame_rates_that_do_not_fit_are_refused() -> None:
    class Encoder:
        dim = 4

        def __init__(self, frame_rate_hz: float) -> None:
            self.frame_rate_hz = frame_rate_hz

    assert Fusion.of([Encoder(25), Encoder(25)]).step == 1
    with pytest.raises(ValueError, match="40 frames of sound a second and 25 of video"):
        Fusion.of([Encoder(40), Encoder(25)])


def test_a_compressor_that_folds_by_no_ratio_has_no_rates() -> None:
    options = Options().updated({"modality": "audiovisual", **models.QFORMER})
    assert [stream.name for stream in options.streams] == ["audiovisual"]
    assert {slot.name for slot in options.slots} == {"audio", "video"}
    assert options.view_name == "fused"
    assert options.updated({"compression_mode": "stack"}).view_name == "fused_2"
