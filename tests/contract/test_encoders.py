"""What every encoder promises: a clip alone and in a padded, poisoned batch gives the same frames."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datamodules import registry
from datamodules.batch import Padded
from llama_avsr import encoders
from llama_avsr.options import Options
from tests import tiny

LENGTHS_S = (1.28, 0.6, 0.96)
POISON = 1e3

PACKAGE = "llama_avsr.encoders"
PLUG_INS = {name: registry.load(PACKAGE, name) for name in registry.names(PACKAGE)}
OTHERS = {
    "whisper none": ("whisper", PLUG_INS["whisper"].tiny, {"whisper_padding": "none"}, ("audio",)),
    "wavlm group norm": ("wavlm", lambda folder: tiny.wavlm(folder, norm="group"), {}, ("audio",)),
    "data2vec": ("wavlm", tiny.data2vec, {}, ("audio",)),
    "wav2vec 2.0 with an adapter": ("wavlm", tiny.wav2vec2_with_adapter, {}, ("audio",)),
    "avhubert lora": (
        "avhubert",
        PLUG_INS["avhubert"].tiny,
        {"use_lora_avhubert": True},
        ("audio", "video"),
    ),
}


def cases() -> dict[str, tuple[str, Callable[[Path], str], dict[str, object], tuple[str, ...]]]:
    """Every plug-in's own tiny instance, fed each medium it takes and all of them; and special ones."""
    found = {}
    for name, module in PLUG_INS.items():
        for media in dict.fromkeys([*((medium,) for medium in module.MEDIA), module.MEDIA]):
            found[f"{name}-{'-'.join(media)}"] = (name, module.tiny, {}, media)
    return found | OTHERS


CASES = cases()


def test_some_are_found() -> None:
    assert {"whisper", "wavlm", "avhubert"} <= set(PLUG_INS)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[encoders.Encoder, tuple[str, ...]]:
    name, make, options, media = CASES[request.param]
    own = Options().of("encoders", name)
    encoder = PLUG_INS[name].load(make(tmp_path), dtype=torch.float32, **{**own, **options})
    return encoder.eval(), media


def clips(encoder: encoders.Encoder, media: tuple[str, ...]) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for seconds in LENGTHS_S:
        clip = {}
        if "audio" in media:
            waveform = torch.randn(round(seconds * 16000), generator=generator) * 0.1
            clip["audio"] = encoder.prepare_audio(waveform)
        if "video" in media:
            clip["video"] = torch.randn(round(seconds * 25), 88, 88, generator=generator)
        made.append(
            {name: value[: round(seconds * 25)] if len(media) > 1 else value for name, value in clip.items()}
        )
    return made


def poisoned(sequences: list[torch.Tensor]) -> Padded:
    padded = Padded.from_list(
        [*sequences, sequences[0].new_zeros(len(sequences[0]) + 7, *sequences[0].shape[1:])]
    )
    values, lengths = padded.values[:-1], padded.lengths[:-1]
    mask = Padded(values, lengths).mask
    values[~mask] = POISON
    return Padded(values, lengths)


@torch.no_grad()
def test_batched_equals_single(case: tuple[encoders.Encoder, tuple[str, ...]]) -> None:
    encoder, media = case
    made = clips(encoder, media)
    batch = encoder(**{name: poisoned([clip[name] for clip in made]) for name in media})
    for clip, frames in zip(made, batch.unpad(), strict=True):
        (alone,) = encoder(**{name: Padded.from_list([clip[name]]) for name in media}).unpad()
        assert alone.shape == frames.shape
        torch.testing.assert_close(frames, alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_width_and_frame_rate(case: tuple[encoders.Encoder, tuple[str, ...]]) -> None:
    encoder, media = case
    made = clips(encoder, media)
    batch = encoder(**{name: Padded.from_list([clip[name] for clip in made]) for name in media})
    assert batch.values.shape[2] == encoder.dim
    for seconds, length in zip(LENGTHS_S, batch.lengths.tolist(), strict=True):
        assert abs(length - seconds * encoder.frame_rate_hz) <= 1


def test_gradients_reach_the_weights(case: tuple[encoders.Encoder, tuple[str, ...]]) -> None:
    encoder, media = case
    made = clips(encoder, media)[:1]
    batch = encoder(**{name: Padded.from_list([clip[name] for clip in made]) for name in media})
    batch.values.square().sum().backward()
    trained = [p for p in encoder.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert trained


def test_only_what_mixes_clips_is_run_clip_by_clip(tmp_path: Path) -> None:
    makers = {
        "plain": tiny.wavlm,
        "group": lambda folder: tiny.wavlm(folder, norm="group"),
        "stacked": tiny.data2vec,
        "adapter": tiny.wav2vec2_with_adapter,
    }
    found = {
        name: registry.load("llama_avsr.encoders", "wavlm").load(make(tmp_path / name)).one_by_one
        for name, make in makers.items()
    }
    assert found == {"plain": False, "group": True, "stacked": True, "adapter": True}


def test_an_encoder_that_never_repeats_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wavlm = registry.load("llama_avsr.encoders", "wavlm")
    encode, calls = wavlm.WavLMEncoder._encode, iter(range(100))
    monkeypatch.setattr(
        wavlm.WavLMEncoder, "_encode", lambda *arguments: encode(*arguments) + 0.1 * next(calls)
    )
    with pytest.raises(ValueError, match="other frames"):
        wavlm.load(tiny.wavlm(tmp_path))
