"""The demo's Whisper: its encoder, trained as the project runs it without 30 s padding.

Letters: B clips, N samples, T frames at 50 Hz.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from datamodules.batch import SAMPLE_RATE_HZ, Padded
from datamodules.defaults import CLEAN_SNR_DB
from llama_avsr.demo.pretrain.clips import Clip
from llama_avsr.demo.pretrain.heads import Errors, Heads, padded_labels
from llama_avsr.demo.pretrain.sounds import Microphone, Sound, named
from llama_avsr.demo.pretrain.training import Schedule, fit, quick_products
from llama_avsr.demo.pretrain.weights import save_transformer
from llama_avsr.encoders.whisper import SAMPLES_PER_FRAME, WhisperEncoder, num_frames

CTC_AFTER = 0.1
"""Share of the steps before the words join in: learnt from the start they stay blank for long."""
EVALUATED_SNRS_DB = (CLEAN_SNR_DB, 5.0, 0.0, -5.0)
EVALUATION_BATCH = 20


def make_whisper(
    dim: int = 128, num_layers: int = 3, num_heads: int = 4, ffn_dim: int = 512, max_frames: int = 1500
) -> WhisperModel:
    """A Whisper with random weights and no decoder layers: the project has another one, the LLM."""
    whisper = WhisperModel(
        WhisperConfig(
            num_mel_bins=80,
            d_model=dim,
            encoder_layers=num_layers,
            encoder_attention_heads=num_heads,
            encoder_ffn_dim=ffn_dim,
            max_source_positions=max_frames,
            decoder_layers=0,
            decoder_attention_heads=num_heads,
            decoder_ffn_dim=ffn_dim,
            max_target_positions=1,
            vocab_size=3,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        )
    )
    # On a CPU the backward pass of the fused attention costs more than everything else together.
    whisper.set_attn_implementation("eager")
    return whisper


def frame_labels(clip: Clip, sound: Sound) -> np.ndarray:
    """The phone at each 50 Hz frame [T]: after its two convolutions, frame t is centred on 20 t ms."""
    length = int(num_frames(torch.tensor([len(sound.waveform)])))
    times_s = np.arange(length) * (SAMPLES_PER_FRAME / SAMPLE_RATE_HZ)
    return clip.labels((times_s / sound.stretch).astype(np.float32))


def encode(
    encoder: WhisperEncoder, clips: Sequence[Clip], sounds: Sequence[Sound]
) -> tuple[Padded, Tensor, list[str]]:
    """Frames [B, T, C], their labels [B, T], and the texts."""
    waveforms = [encoder.prepare_audio(sound.waveform) for sound in sounds]
    labels = [frame_labels(clip, sound) for clip, sound in zip(clips, sounds, strict=True)]
    return encoder(audio=Padded.from_list(waveforms)), padded_labels(labels), [clip.text for clip in clips]


def errors(
    encoder: WhisperEncoder, heads: Heads, clips: Sequence[Clip], noise: Sequence[Clip], snr_db: float
) -> Errors:
    """How wrong the encoder's heads are about `clips` with `noise` at `snr_db`."""
    microphone, counted = Microphone(noise, seed=0), Errors()
    for start in range(0, len(clips), EVALUATION_BATCH):
        batch = clips[start : start + EVALUATION_BATCH]
        counted.add(heads, *encode(encoder, batch, [microphone.plain(clip, snr_db) for clip in batch]))
    return counted


def pretrain_whisper(
    train: Sequence[Clip],
    held_out: Mapping[str, Sequence[Clip]],
    schedule: Schedule,
    out_dir: Path,
    *,
    seed: int,
    batch_size: int = 16,
    whisper: WhisperModel | None = None,
) -> WhisperModel:
    """Teach a Whisper encoder phones and words, in babble and out of it; writes it to `out_dir` as it goes.

    held_out: clips by name ("seen", "unseen" voices), for the figures of the log alone.
    """
    torch.manual_seed(seed)
    rng, microphone = random.Random(seed), Microphone(train, seed)
    whisper = make_whisper() if whisper is None else whisper
    encoder, heads = WhisperEncoder(whisper.encoder, padding="none"), Heads(whisper.config.d_model)
    WhisperFeatureExtractor(feature_size=whisper.config.num_mel_bins).save_pretrained(out_dir)

    def loss_of_step(step: int) -> Tensor:
        clips = rng.sample(train, batch_size)
        sounds = [microphone.varied(clip, stretched=True) for clip in clips]
        with quick_products():
            frames, labels, texts = encode(encoder, clips, sounds)
        loss = heads.phone_loss(frames, labels)
        if step >= CTC_AFTER * schedule.steps:
            loss = loss + heads.word_loss(frames, texts)
        return loss

    def report(steps_done: int) -> str:
        save_transformer(whisper, out_dir)
        snrs_db = EVALUATED_SNRS_DB if steps_done == schedule.steps else EVALUATED_SNRS_DB[::2]
        return "; ".join(
            f"{name} {named(snr_db)}: {errors(encoder, heads, clips, train, snr_db)}"
            for name, clips in held_out.items()
            for snr_db in snrs_db
        )

    fit([encoder, heads], loss_of_step, schedule, report)
    return whisper
