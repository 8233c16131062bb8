"""Any causal LM of transformers, and the tokens added to it.

What a model needs to know about its LLM is asked of the tokenizer and the config, never of the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import cached_file

from llama_avsr.model import quantisation
from llama_avsr.provenance import new_names, pretrained
from llama_avsr.tasks import TOKENS

ROWS_SEED = 0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, the ids with a meaning of their own, and the ids that this project added."""

    tokenizer: PreTrainedTokenizerBase
    bos: int
    eos: int
    unknown: int | None
    """What stands for text that the vocabulary cannot spell."""
    added: tuple[int, ...]
    """Ids of the task's tokens that the tokenizer did not have."""

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def id_of(self, token: str) -> int:
        return self.tokenizer.convert_tokens_to_ids(token)


def load_vocabulary(name: str, tokens: Sequence[str] = TOKENS) -> Vocabulary:
    """Tokenizer of the LLM `name` (hub name or folder), with a task's `tokens` added, `<pad>` first.

    Raises ValueError where neither tokenizer nor config says how a text ends.
    """
    tokenizer = _load_tokenizer(name)
    config = AutoConfig.from_pretrained(name, **_gguf(name))
    known = set(tokenizer.get_vocab())
    if tokens:
        tokenizer.add_special_tokens(
            {"pad_token": tokens[0], "extra_special_tokens": list(tokens[1:])},
            replace_extra_special_tokens=False,
        )
    eos = _first(tokenizer.eos_token_id, config.eos_token_id)
    if eos is None:
        raise ValueError(
            f"--llm-model {name}: neither its tokenizer nor its config.json names an end-of-text token; "
            "set eos_token in its tokenizer_config.json"
        )
    return Vocabulary(
        tokenizer=tokenizer,
        # Some LLMs have no beginning-of-text token; there the end-of-text token separates texts.
        bos=_first(tokenizer.bos_token_id, config.bos_token_id, eos),
        eos=eos,
        unknown=tokenizer.unk_token_id,
        added=tuple(tokenizer.convert_tokens_to_ids(t) for t in tokens if t not in known),
    )


def load_llm(
    name: str,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
    quantization: str = quantisation.NONE,
    device: torch.device = CPU,
) -> PreTrainedModel:
    """The LLM `name` (hub name or folder), all parameters frozen.

    device: where a quantised one is put, once and for all; others are on the CPU and may be moved.

    Raises ValueError where it cannot be quantised.
    """
    quantised = quantization != quantisation.NONE
    if quantised:
        quantisation.check_quantisation(quantization, device)
        _check_stored_plainly(name, quantization)
    arguments = quantisation.loading_arguments(quantization, dtype, device) if quantised else _gguf(name)
    if "gguf_file" in arguments:
        # Plain weights: what is left in GGUF's blocks can neither be adapted everywhere nor saved.
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    llm, report = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, attn_implementation=attention, output_loading_info=True, **arguments
    )
    if quantised:
        quantisation.settle(llm)
    return pretrained(llm, missing=report["missing_keys"]).requires_grad_(False).eval()


def _check_stored_plainly(name: str, quantization: str) -> None:
    """Raises ValueError for an LLM whose files are quantised already."""
    form = "gguf" if _gguf(name) else None
    stored = None if form else getattr(AutoConfig.from_pretrained(name), "quantization_config", None)
    if stored is not None:
        form = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if form is not None:
        raise ValueError(
            f"--quantization {quantization}: --llm-model {name} is stored in the form {form} and cannot be "
            "quantised once more; leave the flag out, or give the same model in 16 or 32 bits"
        )


def add_token_rows(llm: PreTrainedModel, vocabulary: Vocabulary) -> None:
    """Give every added token a row in the embedding and the head, in place.

    New rows are drawn like the old ones are spread, from a fixed seed, and stay frozen.
    """
    size = len(vocabulary.tokenizer)
    spread = {name: weight.float().std() for name, weight in token_matrices(llm).items()}
    if size > llm.get_input_embeddings().weight.shape[0]:
        new = new_names(llm)
        llm.resize_token_embeddings(size, mean_resizing=False)
        pretrained(llm, missing=new)  # larger matrices with the old rows, and rows that checkpoints keep
    generator = torch.Generator().manual_seed(ROWS_SEED)
    for name, weight in token_matrices(llm).items():
        weight.requires_grad_(False)
        rows = torch.randn(len(vocabulary.added), weight.shape[1], generator=generator)
        weight[list(vocabulary.added)] = (rows.to(weight.device) * spread[name]).to(weight.dtype)


def token_matrices(llm: PreTrainedModel) -> dict[str, Tensor]:
    """The matrices with one row a token: "embedding", and "head" where it is not tied to it."""
    embedding = llm.get_input_embeddings().weight
    head = llm.get_output_embeddings()
    matrices = {"embedding": embedding}
    if isinstance(head, nn.Module) and head.weight is not embedding:
        matrices["head"] = head.weight
    return matrices


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    # tokenizer.json is taken at its word: LLaMA's own class would rebuild it and put a space before the text.
    if cached_file(name, "tokenizer.json", _raise_exceptions_for_missing_entries=False) is not None:
        return PreTrainedTokenizerFast.from_pretrained(name)
    return AutoTokenizer.from_pretrained(name, **_gguf(name))


def _first(*ids: int | list[int] | None) -> int | None:
    """The first id that is given; a config may list several."""
    for found in ids:
        if found is not None:
            return found[0] if isinstance(found, list) else found
    return None


def _gguf(name: str) -> dict[str, str]:
    """The argument that makes transformers read a folder's GGUF file, where the folder holds just that."""
    folder = Path(name)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return {}
    files = sorted(folder.glob("*.gguf"))
    return {"gguf_file": files[0].name} if files else {}
