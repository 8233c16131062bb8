"""Train an AV-HuBERT on lips, average its last checkpoints, and write it as a converted checkpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

import av_hubert
from av_hubert import AVHubert, AVHubertConfig
from datamodules import formats
from datamodules.batch import TextIds, Utterance
from datamodules.datamodule import DataModule
from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.lightning.data import build_datamodule
from llama_avsr.lightning.loggers import finish
from llama_avsr.model.summary import summarise
from llama_avsr.options.pretraining import NAME, NetworkOptions, PretrainingOptions
from llama_avsr.pretraining.model import LipReader
from llama_avsr.pretraining.module import LipReaderModule, held_out_errors
from llama_avsr.pretraining.targets import Characters, FrameClasses, WordTimes, alphabet_of, read_units
from llama_avsr.training import account
from llama_avsr.training.run import fit_and_average, in_run_folder, loggers_of, optimisation_of


def pretrain(options: PretrainingOptions) -> None:
    """The work of `pretrain_video.py`."""
    in_run_folder(options, _pretrain)


def _pretrain(options: PretrainingOptions, resume_from: Path | None) -> None:
    datamodule = build_datamodule(options)
    datamodule.encode_text = no_text
    datamodule.setup("fit")
    torch.manual_seed(options.hardware.seed)
    encoder = make_encoder(options.network)
    model = LipReader(encoder, make_targets(options, datamodule, encoder.dim))
    module = LipReaderModule(
        model,
        optimisation=optimisation_of(options),
        seed=options.hardware.seed,
        max_skipped_steps=options.training.max_skipped_steps,
    )
    parts = {"AV-HuBERT": encoder, **{f"{name} head": head for name, head in model.targets.items()}}
    loggers = loggers_of(options, resume=resume_from is not None)
    trainer, average = fit_and_average(options, module, datamodule, loggers, parts, resume_from)
    model.load_state_dict(checkpoint.read_state(average.folder))
    trainer.validate(module, datamodule=datamodule, verbose=False)
    if trainer.is_global_zero:
        folder = options.run_dir / NAME
        av_hubert.save_pretrained(encoder, folder, dtype=torch.float16)
        errors = ", ".join(f"{name} {error:.1%}" for name, error in held_out_errors(trainer).items())
        print(f"held-out errors of the average: {errors}")
        print(f"encoder    {folder}, for --pretrain-avhubert-enc-video-path")
        account.write(
            options,
            trainer,
            summarise(model, parts),
            datamodule,
            f"{', '.join(options.target.targets)} from lips",
            f"Held-out errors of the average: {errors}",
        )
    finish(loggers)


def make_encoder(network: NetworkOptions) -> AVHubert:
    """Raises ValueError where the AV-HuBERT to go on from cannot be read."""
    if network.start_from is not None:
        return av_hubert.load_checkpoint(network.start_from, dropout=network.dropout)
    return AVHubert(
        AVHubertConfig(
            num_layers=network.num_layers,
            dim=network.dim,
            ffn_dim=4 * network.dim,
            num_heads=network.num_heads,
            resnet_planes=network.resnet_planes,
            video_side=network.video_side,
            # With so few channels a CPU spends a fifth of its time on PReLUs.
            resnet_activation="relu",
            dropout=network.dropout,
            attention_dropout=network.dropout,
        )
    )


def make_targets(options: PretrainingOptions, datamodule: DataModule, dim: int) -> dict[str, nn.Module]:
    """The heads, and what they should say of each clip. Raises ValueError for files that do not fit."""
    target, clips = options.target, datamodule.utterances
    train, both = clips["train"], [*clips["train"], *clips["val"]]
    made: dict[str, nn.Module] = {}
    if "words" in target.targets:
        times = WordTimes.read(datamodule.root_dir / "labels" / target.word_times_file)
        counts = Counter(word for clip in train for word, _, _ in times.clips.get(clip.id, ()))
        if not counts:
            raise ValueError(
                f"--word-times-file {target.word_times_file}: found no words of the clips of "
                f"{options.data.train_file}"
            )
        words = [word for word, _ in counts.most_common(target.max_words)]
        places = {word: place for place, word in enumerate(sorted(words), start=1)}
        labels = {clip.id: times.labels(clip, places) for clip in both}
        made["words"] = FrameClasses(dim, len(places) + 1, labels)
    if "units" in target.targets:
        labels = {}
        for split, file in (("train", options.data.train_file), ("val", options.data.val_file)):
            labels |= read_units(formats.find(file, datamodule.root_dir).with_suffix(".km"), clips[split])
        made["units"] = FrameClasses(dim, 1 + max(int(units.max()) for units in labels.values()), labels)
    if "characters" in target.targets:
        made["characters"] = Characters(dim, alphabet_of(train))
    return made


def no_text(utterance: Utterance) -> TextIds:
    """There is no LLM that would read one."""
    none: Tensor = torch.empty(0, dtype=torch.int64)
    return TextIds(prefix=none, suffix=none, target=none)
