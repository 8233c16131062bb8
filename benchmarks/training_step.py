"""A training step of ASR, ours against stock modules used as the original uses them.

    python -m benchmarks.training_step --whisper openai/whisper-base --llm HuggingFaceTB/SmolLM2-135M

The other side has the same weights in transformers' own modules: Whisper's log-mel and encoder over 30 s of
every clip, one padded batch with a mask, logits of all positions. Clips are noise of lengths as in LRS3. Both
sides train LoRA and the projector; says also how far their losses are apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

from benchmarks.alternating import machine, measure, peak_mb, save, table
from datamodules.batch import SAMPLE_RATE_HZ, Batch, Padded, Utterance
from llama_avsr.model.build import build_model, text_of
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import Options

SECONDS = (5.6, 4.9, 4.4, 4.0, 3.5, 3.1, 2.6, 2.0)
SENTENCE = "and that is why we never asked them what they thought about the house on the hill"
WORDS_PER_SECOND = 2.8
IGNORED = -100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--whisper", required=True, help="hub name or folder")
    parser.add_argument("--llm", required=True, help="hub name or folder")
    parser.add_argument("--seconds", type=float, nargs="+", default=list(SECONDS), help="of every clip")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory-of", help="measure only this side's peak memory, one step in this process")
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(options(asked))
    batch = clips(model, options(asked), asked.seconds)
    ways = {"stock": stock_loss, "ours, Whisper over 30 s": ours("30s"), "ours, real lengths": ours("none")}
    losses: dict[str, float] = {}
    steps = {name: step_of(name, loss, model, batch, losses) for name, loss in ways.items()}
    if asked.memory_of:
        before = peak_mb()
        steps[asked.memory_of]()
        print(f"{asked.memory_of}: {peak_mb() - before:.0f} MB above the loaded model")
        return
    times = measure(steps, asked.repetitions)
    rows = [
        [
            name,
            *found.row(1),
            f"{found.median_cpu / times['stock'].median_cpu:.2f}",
            f"{losses[name]:.5f}",
        ]
        for name, found in times.items()
    ]
    text = (
        f"Clips of {' '.join(f'{s:g}' for s in asked.seconds)} s, fp32, "
        f"{asked.repetitions} repetitions in turns\n"
        f"{machine()}\n\n"
        + table(["step", "wall s", "CPU s", "CPU spread", "share of stock", "first loss"], rows)
    )
    save("training_step", asked.hardware, text)


def options(asked: argparse.Namespace) -> Options:
    return Options().updated(
        {
            "modality": "audio",
            "audio_encoder_name": asked.whisper,
            "llm_model": asked.llm,
            "add_PETF_LLM": "lora",
            "lora_rank": 16,
            "alpha": 32.0,
            "downsample_ratio_audio": 4,
        }
    )


def clips(model: SpeechLLM, options: Options, seconds: list[float]) -> Batch:
    encode = text_of(options, model.vocabulary)
    generator = torch.Generator().manual_seed(1)
    utterances, waveforms = [], []
    for index, length in enumerate(seconds):
        samples = round(length * SAMPLE_RATE_HZ)
        waveforms.append(torch.randn(samples, generator=generator))
        utterances.append(
            Utterance(
                id=str(index),
                video_path=Path(),
                audio_path=Path(),
                num_frames=round(length * 25),
                text=" ".join(SENTENCE.split()[: round(length * WORDS_PER_SECOND)]),
                source=f"clips:{index}",
            )
        )
    return Batch(
        utterances=utterances,
        inputs={"audio": Padded.from_list(waveforms)},
        text_ids=[encode(utterance) for utterance in utterances],
    )


def step_of(
    name: str,
    loss_of: Callable[[SpeechLLM, Batch], Tensor],
    model: SpeechLLM,
    batch: Batch,
    losses: dict[str, float],
) -> Callable[[], None]:
    """Forward, backward and AdamW; every call starts from the same weights."""
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    start = {key: parameter.detach().clone() for key, parameter in trained.items()}
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-3)

    def step() -> None:
        with torch.no_grad():
            for key, parameter in trained.items():
                parameter.copy_(start[key])
        model.train()
        torch.manual_seed(0)
        loss = loss_of(model, batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses[name] = float(loss.detach())

    return step


def ours(padding: str) -> Callable[[SpeechLLM, Batch], Tensor]:
    def loss_of(model: SpeechLLM, batch: Batch) -> Tensor:
        model.encoders["audio"].padding = padding
        loss = model.loss(batch)
        return loss.cross_entropy / loss.weight

    return loss_of


def stock_loss(model: SpeechLLM, batch: Batch) -> Tensor:
    """The stream "audio" as its one, compressed by stacking."""
    encoder, ratio = model.encoders["audio"], model.compressors["audio"].ratio
    llm, table = model.llm, model.llm.get_input_embeddings()
    log_mel = WhisperFeatureExtractor(feature_size=encoder.encoder.config.num_mel_bins)
    waveforms = [waveform.numpy() for waveform in batch.inputs["audio"].unpad()]
    mel = log_mel(waveforms, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
    with torch.no_grad():
        frames = encoder.encoder(mel).last_hidden_state
    rows, labels = [], []
    marks = [torch.tensor([model.vocabulary.id_of(mark)]) for mark in model.streams[0].markers]
    for clip, ids in enumerate(batch.text_ids):
        length = int(encoder.num_frames(batch.inputs["audio"].lengths[clip : clip + 1]))
        stacked = frames[clip, : length // ratio * ratio].reshape(length // ratio, -1)
        before = torch.cat([ids.prefix, marks[0]])
        speech = model.projectors["audio"](stacked)
        after = torch.cat([marks[1], ids.suffix])
        rows.append(torch.cat([table(before), speech, table(after), table(ids.target)]))
        unlearnt = torch.full((len(rows[-1]) - len(ids.target),), IGNORED)
        labels.append(torch.cat([unlearnt, ids.target]))
    padded = Padded.from_list(rows)
    return llm(
        inputs_embeds=padded.values,
        attention_mask=padded.mask.long(),
        labels=torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        use_cache=False,
    ).loss


if __name__ == "__main__":
    main()
