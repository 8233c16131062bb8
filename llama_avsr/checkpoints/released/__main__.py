"""Convert a published checkpoint once: `llama-avsr convert`, or `python -m llama_avsr.released convert`."""

from __future__ import annotations

import sys
from pathlib import Path

from llama_avsr import cli
from llama_avsr.checkpoints import released


def main(argv: list[str]) -> None:
    usage = "usage: llama-avsr convert released.pth OUT_DIR <the flags of its README>"
    if argv[:1] in ([], ["--help"], ["-h"]):
        print(released.__doc__.strip() + "\n\n" + usage)
        return
    if argv[0] != "convert" or len(argv) < 3 or any(word.startswith("-") for word in argv[1:3]):
        raise ValueError(f"{usage}; found {' '.join(argv)}")
    path, folder = Path(argv[1]), Path(argv[2])
    if not path.is_file():
        raise ValueError(f"{path}: found no such file; expected a published .pth")
    # The data set plays no part in a conversion.
    parsed = cli.parse(
        [*argv[3:], "--pretrained-model-path", str(path), "--root-dir", str(folder)], "eval", "convert"
    )
    cli.setup_logging(parsed.options.run.debug)
    options = released.release_options(parsed.options, parsed.explicit)
    imported = released.convert(path, folder, options)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): {imported}")
    print(f"{folder} ({size:.1f} MB) holds those of its own and those that differ")


if __name__ == "__main__":
    cli.run(main, sys.argv[1:])
