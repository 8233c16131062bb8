"""Take the language model out of a checkpoint, for use without this project.

    llama-avsr export adapters CHECKPOINT OUT_DIR    PEFT's own format
    llama-avsr export merge    CHECKPOINT OUT_DIR    a plain Hugging Face folder

CHECKPOINT is a checkpoint folder, or the folder of a run. Both need the pretrained LLM where the checkpoint
names it, or where `--llm-model` says.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints.source import Checkpoint
from llama_avsr.model.build import build_llm, round_llm
from llama_avsr.model.llm import Vocabulary, add_token_rows, load_llm, load_vocabulary
from llama_avsr.model.lora import SHARED
from llama_avsr.model.quantisation import dequantised_weights
from llama_avsr.options import Options

LOGGER = logging.getLogger(__name__)
OF_THE_LLM = ("llm.", checkpoint.ADDED)
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def load_trained_llm(
    folder: Path, llm_model: str | None = None
) -> tuple[PreTrainedModel, Vocabulary, Options]:
    """The LLM of a checkpoint with its adapters and added rows, its vocabulary, and its options.

    llm_model: where the pretrained LLM lies; by default where the checkpoint says.
    """
    options = Checkpoint(folder).trained.updated({"accelerator": "cpu"})
    if llm_model is not None:
        options = options.updated({"llm_model": llm_model})
    vocabulary = load_vocabulary(options.llm.llm_model, options.tokens)
    llm = build_llm(options, vocabulary, torch.float32)
    round_llm(llm, options)
    state = {key: value for key, value in checkpoint.read_state(folder).items() if key.startswith(OF_THE_LLM)}
    checkpoint.load_llm_state(llm, vocabulary, state)
    return llm, vocabulary, options


def export_adapters(folder: Path, out: Path, llm_model: str | None = None) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, which `PeftModel.from_pretrained` reads.

    The adapter of a task goes into a folder of its name inside `out`, as PEFT has it.
    Raises ValueError for a checkpoint without adapters.
    """
    llm, _, options = load_trained_llm(folder, llm_model)
    if not getattr(llm, "peft_config", None):
        raise ValueError(f"{folder}: its LLM was trained without adapters; there is nothing to export")
    if options.llm.pretrained_rounding != "none":
        LOGGER.warning(
            "the adapters were trained on weights rounded to %s: convert the base model to it and back",
            options.llm.pretrained_rounding,
        )
    _note_rotary(options)
    for name, config in llm.peft_config.items():
        config.base_model_name_or_path = options.llm.llm_model
        config.inference_mode = True
        own = out if name == SHARED else out / name
        own.mkdir(parents=True, exist_ok=True)
        # Not the embeddings: only their added rows differ, and those mean nothing without the speech.
        state = get_peft_model_state_dict(llm, adapter_name=name, save_embedding_layers=False)
        prefixed = {f"base_model.model.{key}": value.contiguous() for key, value in state.items()}
        save_file(prefixed, own / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config.save_pretrained(own)


def export_merged(folder: Path, out: Path, llm_model: str | None = None) -> None:
    """Write the LLM with its adapters added to its weights, and its tokenizer, as a Hugging Face folder.

    Of an LLM that was quantised or rounded the weights are the rounded ones: those that the adapters were
    trained on. Raises ValueError for one whose adapters differ from task to task.
    """
    llm, vocabulary, options = load_trained_llm(folder, llm_model)
    if set(getattr(llm, "peft_config", {})) - {SHARED}:
        raise ValueError(
            f"{folder}: its LLM has adapters for each of {', '.join(options.task_names)}, and no weights "
            "that are all of them; export the adapters instead"
        )
    _note_rotary(options)
    plain = load_llm(options.llm.llm_model)
    add_token_rows(plain, vocabulary)
    trained = llm.state_dict() | dequantised_weights(llm)
    with torch.no_grad():
        for key, tensor in plain.state_dict().items():
            tensor.copy_(trained.get(key, trained.get(_adapted(key))))
        for name, module in llm.named_modules():
            if isinstance(module, LoraLayer):
                layer, delta = plain.get_submodule(name), module.get_delta_weight(SHARED)
                # peft turns a Conv1D's update itself, unless the layer had been quantised.
                turn = isinstance(layer, Conv1D) and not module.fan_in_fan_out
                layer.weight += delta.T if turn else delta
    plain.save_pretrained(out)
    vocabulary.tokenizer.save_pretrained(out)


def _note_rotary(options: Options) -> None:
    if options.llm.rotary_rounding != "none":
        LOGGER.warning(
            "the model was trained with rotary frequencies rounded to %s, which no Hugging Face folder can "
            "say: its logits will differ a little",
            options.llm.rotary_rounding,
        )


def _adapted(key: str) -> str:
    name, _, kind = key.rpartition(".")
    return f"{name}.base_layer.{kind}"
