"""Any causal LM of transformers, and the tokens added to it.

What a model needs to know about its LLM is asked of the tokenizer and the config, never of the name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import google.protobuf
import torch
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
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
from llama_avsr.model.attention import adopt
from llama_avsr.provenance import new_names, pretrained
from llama_avsr.tasks import TOKENS

ROWS_SEED = 0
CPU = torch.device("cpu")
QUANTISATION_MARKS = (
    "is_quantized",
    "quantization_method",
    "hf_quantizer",
    "is_loaded_in_4bit",
    "is_loaded_in_8bit",
)
"""What transformers and peft ask a quantised model for."""


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
    with _named(name, "its config.json cannot be used", "that of a decoder-only LLM"):
        config = AutoConfig.from_pretrained(name, **_gguf(name))
    known = set(tokenizer.get_vocab())
    if tokens:
        tokenizer.add_special_tokens(
            {"pad_token": tokens[0], "extra_special_tokens": list(tokens[1:])},
            replace_extra_special_tokens=False,
        )
    # Multimodal configs keep their ids in the text's part, or repeat them.
    parts = (config.get_text_config(decoder=True), config)
    eos = _first(tokenizer.eos_token_id, *(getattr(part, "eos_token_id", None) for part in parts))
    if eos is None:
        raise ValueError(
            f"--llm-model {name}: neither its tokenizer nor its config.json names an end-of-text token; "
            "set eos_token in its tokenizer_config.json"
        )
    return Vocabulary(
        tokenizer=tokenizer,
        # Some LLMs have no beginning-of-text token; there the end-of-text token separates texts.
        bos=_first(tokenizer.bos_token_id, *(getattr(part, "bos_token_id", None) for part in parts), eos),
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

    device: where it is put, tensor by tensor out of the mapped files; a quantised one once and for all.

    Raises ValueError where it cannot be quantised.
    """
    quantised = quantization != quantisation.NONE
    if quantised:
        quantisation.check_quantisation(quantization, device)
        _check_stored_plainly(name, quantization)
    arguments = (
        quantisation.loading_arguments(quantization, dtype, device)
        if quantised
        else {**_gguf(name), **_placed(device)}
    )
    if "gguf_file" in arguments:
        # Plain weights: what is left in GGUF's blocks can neither be adapted everywhere nor saved.
        arguments["quantization_config"] = GgufConfig(dequantize=True)
    with _named(name, "transformers makes no causal LM of it", "a decoder-only LLM"):
        llm, report = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, attn_implementation=attention, output_loading_info=True, **arguments
        )
        llm = language_part(pretrained(llm, missing=report["missing_keys"]))
        token_matrices(llm)
    new = new_names(llm)
    if quantised:
        quantisation.settle(llm)
    adopt(llm)
    return pretrained(llm, missing=new).requires_grad_(False).eval()


def _placed(device: torch.device) -> dict[str, dict[str, torch.device]]:
    """The argument that makes transformers load to `device`; without accelerate it loads to the CPU."""
    is_known = device.type != "cpu" and importlib.util.find_spec("accelerate") is not None
    return {"device_map": {"": device}} if is_known else {}


def language_part(llm: PreTrainedModel) -> PreTrainedModel:
    """The causal LM inside a multimodal model: its own class around the very same layers.

    What sees and hears is left behind: it would take memory, be adapted, and get no gradients. A model that
    is of text alone, or whose text part transformers knows only inside it, is returned as it is.
    """
    config = llm.config.get_text_config(decoder=True)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if config is llm.config or kind is None or isinstance(llm, kind):
        return llm
    decoder = llm.get_decoder()
    with torch.device("meta"):
        bare = kind(config)
    if type(bare.base_model) is not type(decoder):
        return llm
    setattr(bare, bare.base_model_prefix, decoder)
    bare.set_output_embeddings(llm.get_output_embeddings())
    if any(tensor.is_meta for tensor in (*bare.parameters(), *bare.buffers())):
        return llm
    for name in QUANTISATION_MARKS:
        if hasattr(llm, name):
            setattr(bare, name, getattr(llm, name))
    if hasattr(llm.config, "quantization_config"):
        bare.config.quantization_config = llm.config.quantization_config
    bare.generation_config = llm.generation_config
    return bare


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
        with _named(llm.name_or_path, "its embedding cannot be extended", "a decoder-only LLM"):
            llm.resize_token_embeddings(size, mean_resizing=False)
        pretrained(llm, missing=new)  # larger matrices with the old rows, and rows that checkpoints keep
    if any(matrix.shape[0] < size for matrix in token_matrices(llm).values()):
        raise ValueError(
            f"--llm-model {llm.name_or_path}: this LLM ({llm.config.model_type}) does not take the project's "
            f"tokens, expected room for {size} altogether; choose another one"
        )
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
    expected = (
        "tokenizer.json, or a tokenizer.model that sentencepiece and protobuf can read "
        f"(installed: protobuf {google.protobuf.__version__})"
    )
    with _named(name, "its tokenizer cannot be read", expected), _sentencepiece_readable():
        return AutoTokenizer.from_pretrained(name, **_gguf(name))


@contextmanager
def _named(name: str, what: str, expected: str) -> Iterator[None]:
    """What transformers raises for a folder that it can open and not use, in a sentence with the flag."""
    try:
        yield
    except (HFValidationError, torch.OutOfMemoryError):
        raise
    except (ValueError, ImportError, AttributeError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"--llm-model {name}: {what} ({first_line(error)}); expected {expected}") from error


@contextmanager
def _sentencepiece_readable() -> Iterator[None]:
    """Let transformers read a `tokenizer.model` with protobuf 4, which mediapipe holds it at.

    The description of the format that comes with sentencepiece asks for protobuf 5 or later; transformers has
    one that does not, and uses it only where sentencepiece is missing.
    """
    name = "sentencepiece_model_pb2"
    try:
        importlib.import_module(f"sentencepiece.{name}")
    except ImportError:
        described = importlib.import_module(f"transformers.utils.{name}_new")
    else:
        yield
        return
    import sentencepiece

    sentencepiece.sentencepiece_model_pb2 = described
    try:
        yield
    finally:
        del sentencepiece.sentencepiece_model_pb2


def first_line(error: Exception) -> str:
    """What an error of a library says, in short."""
    return str(error).strip().split("\n")[0][:200] or type(error).__name__


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
