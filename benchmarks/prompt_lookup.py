"""How many tokens of a text could be guessed from those before it, as speculative decoding by look-up does.

    python -m benchmarks.prompt_lookup --tokenizer FOLDER texts.txt [...]

texts.txt: a transcript a line. A guess is what followed the last two tokens, or else the last one, when
they last stood in instruction or text. Were every guess free, greedy search could be
1 / (1 - share) times as fast.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

LONGEST_KEY = 2
INSTRUCTION = "transcribe speech and video to text ."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("texts", type=Path, nargs="+")
    asked = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(asked.tokenizer)
    instruction = tokenizer(INSTRUCTION).input_ids
    for path in asked.texts:
        texts = [tokenizer(line).input_ids for line in path.read_text().splitlines() if line.strip()]
        right = sum(
            guess([*instruction, *ids[:place]]) == token for ids in texts for place, token in enumerate(ids)
        )
        share = right / max(sum(map(len, texts)), 1)
        print(f"{path.name}: {len(texts)} texts, {share:.1%} guessed, at most {1 / (1 - share):.2f}x")


def guess(seen: Sequence[int]) -> int | None:
    """The token that followed when the end of `seen` last stood in it.

    >>> guess([5, 6, 7, 5, 6])
    7
    """
    for length in range(LONGEST_KEY, 0, -1):
        key = list(seen[-length:])
        for start in range(len(seen) - length - 1, -1, -1):
            if list(seen[start : start + length]) == key:
                return seen[start + length]
    return None


if __name__ == "__main__":
    main()
