"""What Whisper by itself makes of GRID's test sentences, as it is and with its decoder fine-tuned.

    python -m benchmarks.whisper_on_grid --root-dir real_data --whisper openai/whisper-base
    python -m benchmarks.whisper_on_grid --root-dir real_data --whisper openai/whisper-base --minutes 45

The other side of the table in docs/grid.md: stock parts of transformers, used as most people would (30 s of
padding, greedy search). Clips, noise and scores are the same as in `eval_LLM.py`, clip by clip.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from datamodules.batch import SAMPLE_RATE_HZ
from datamodules.datamodule import DataModule
from datamodules.defaults import CLEAN_SNR_DB
from llama_avsr.evaluation.metrics.wer import score

LABELS = "grid_{}_transcript_lengths_seg16s_LLM_lowercase.csv"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SNRS_DB = (CLEAN_SNR_DB, 5.0, 0.0, -5.0)
TRAIN_SNRS_DB = (-5.0, 0.0, 5.0, 10.0, CLEAN_SNR_DB)


def normalised(text: str) -> str:
    """As the references are written: lower-case, no punctuation, digits spelled out.

    >>> normalised(" Bin blue at F3, soon.")
    'bin blue at f three soon'
    """
    words = re.findall(r"[a-z']+|\d", text.lower())
    return " ".join(DIGITS[int(word)] if word.isdigit() else word for word in words)


def clips(root_dir: Path, split: str, snrs_db: tuple[float, ...], noise: Path, epoch: int = 0):
    """(waveform, text) of every clip, in the order of the label file."""
    train = split == "train"
    data = DataModule(
        root_dir,
        media=("audio",),
        encode_text=lambda utterance: None,
        train_file=LABELS.format("train"),
        test_file=LABELS.format("test"),
        max_frames=10_000,
        noise=() if noise is None else (str(noise),),
        train_snrs_db=snrs_db,
        decode_snr_db=snrs_db[0],
    )
    data.setup("fit" if train else "test")
    dataset = data._dataset(split, snrs_db)
    order = list(range(len(dataset)))
    if train:
        random.Random(epoch).shuffle(order)
    for index in order:
        example = dataset[epoch, index]
        yield example.inputs["audio"].numpy(), example.utterance.text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root-dir", type=Path, required=True, help="what `prepare_data.py grid` made")
    parser.add_argument("--whisper", required=True, help="hub name or folder")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time to fine-tune the decoder for; 0: stock"
    )
    parser.add_argument("--lr", type=float, default=5e-5, help="peak learning rate, decayed linearly to 0")
    parser.add_argument("--batch", type=int, default=8, help="clips of a step")
    parser.add_argument("--out", type=Path, default=None, help="JSON to write scores and transcripts to")
    asked = parser.parse_args()
    torch.manual_seed(0)
    processor = WhisperProcessor.from_pretrained(asked.whisper)
    model = WhisperForConditionalGeneration.from_pretrained(asked.whisper, dtype=torch.float32)
    processor.tokenizer.set_prefix_tokens(language="english", task="transcribe")
    processor.tokenizer.pad_token = processor.tokenizer.eos_token
    model.generation_config.max_length = None  # `max_new_tokens` is what counts
    found = {"fine_tuning": fine_tune(model, processor, asked) if asked.minutes else None, "wer": {}}
    for snr_db in SNRS_DB:
        name = "clean" if snr_db == CLEAN_SNR_DB else f"{snr_db:g} dB"
        pairs = transcribe(
            model, processor, clips(asked.root_dir, "test", (snr_db,), asked.root_dir / "babble_test.wav")
        )
        result = score(*zip(*pairs, strict=True))
        found["wer"][name] = {"headline": result.headline(), "pairs": pairs}
        print(f"{name:6} {result.headline()[0]}", flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


def transcribe(model, processor, clips) -> list[tuple[str, str]]:
    """(reference, hypothesis) of every clip."""
    model.eval()
    # Told to the decoder itself: a folder converted elsewhere may not say which token means which language.
    prefix = torch.tensor([processor.tokenizer.prefix_tokens])
    pairs = []
    for waveform, text in clips:
        features = processor(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
        with torch.no_grad():
            ids = model.generate(features, decoder_input_ids=prefix, max_new_tokens=40)
        pairs.append((text, normalised(processor.batch_decode(ids, skip_special_tokens=True)[0])))
    return pairs


def fine_tune(model, processor, asked) -> dict[str, float]:
    """Train the decoder for so long; says how many clips it saw."""
    model.model.encoder.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=asked.lr)
    start, epoch, seen, batch = time.monotonic(), 0, 0, []
    done = 0.0
    while done < 1:
        for clip in clips(asked.root_dir, "train", TRAIN_SNRS_DB, asked.root_dir / "babble.wav", epoch):
            batch.append(clip)
            if len(batch) < asked.batch:
                continue
            done = (time.monotonic() - start) / 60 / asked.minutes
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = asked.lr * (1 - done)
            waveforms, texts = zip(*batch, strict=True)
            batch = []
            features = processor(
                list(waveforms), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt"
            ).input_features
            labels = processor.tokenizer(list(texts), return_tensors="pt", padding=True)
            ids = labels.input_ids.masked_fill(labels.attention_mask == 0, -100)[:, 1:]  # the decoder adds it
            model.model.decoder.train()
            loss = model(input_features=features, labels=ids).loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            seen += len(texts)
            if seen // asked.batch % 10 == 0:
                print(f"{done:.0%} epoch {epoch} clips {seen} loss {loss.item():.3f}", flush=True)
        epoch += 1
    return {"minutes": asked.minutes, "clips": seen, "epochs": seen / 800}


if __name__ == "__main__":
    main()
