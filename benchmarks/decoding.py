"""Beam search over an LLM of SmolLM2's shape, ours against transformers' `generate`, a clip at a time.

    python -m benchmarks.decoding [--prompt-tokens 200] [--num-beams 15] [--new-tokens 32] [--clips 4]

Random weights and prompts; no text ends before its last token. Says also whether both wrote the same.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from benchmarks.alternating import machine, measure, save, table
from llama_avsr.model.attention import adopt
from llama_avsr.model.decoding import BeamSearch, beam_search
from llama_avsr.model.prompt import splice
from llama_avsr.model.reading import Reading

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": 0,
}
NO_TOKEN = -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--num-beams", type=int, default=15)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument(
        "--clips", type=int, default=4, help="of a batch; the other side takes them one by one"
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--hardware", help="a word for this machine: writes the result to benchmarks/results")
    asked = parser.parse_args()
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SMOLLM2)).eval()
    prompts = 0.02 * torch.randn(asked.clips, asked.prompt_tokens, llm.config.hidden_size)
    search = BeamSearch(num_beams=asked.num_beams, max_new_tokens=asked.new_tokens)
    batch = splice([[prompt] for prompt in prompts], "left")
    written: dict[str, list[list[int]]] = {}

    def ours(name: str, reading: Reading) -> None:
        adopt(llm)
        found = beam_search(llm, batch, NO_TOKEN, search, reading)
        llm.config._attn_implementation = "sdpa"  # the other side's
        written[name] = [nbest[0].ids for nbest in found]

    def stock() -> None:
        written["generate"] = [generate(llm, prompt, search) for prompt in prompts]

    ways = {
        "generate": stock,
        "cache of every beam": lambda: ours("cache of every beam", Reading.CACHED),
        "shared cache": lambda: ours("shared cache", Reading.SHARED),
    }
    times = measure(ways, asked.repetitions)
    rows = [
        [
            name,
            *found.row(asked.clips),
            f"{times['generate'].median_cpu / found.median_cpu:.2f}",
            "yes" if written[name] == written["generate"] else "NO",
        ]
        for name, found in times.items()
    ]
    text = (
        f"{asked.prompt_tokens} prompt tokens, {asked.num_beams} beams, {asked.new_tokens} new tokens, "
        f"{asked.clips} clips, fp32, {asked.repetitions} repetitions in turns\n{machine()}\n\n"
        + table(["search", "wall s a clip", "CPU s a clip", "CPU spread", "times as fast", "same text"], rows)
    )
    save("decoding", asked.hardware, text)


@torch.no_grad()
def generate(llm: PreTrainedModel, prompt: Tensor, search: BeamSearch) -> list[int]:
    return llm.generate(
        inputs_embeds=prompt[None],
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        num_beams=search.num_beams,
        max_new_tokens=search.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )[0].tolist()


if __name__ == "__main__":
    main()
