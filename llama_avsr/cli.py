"""From a command line to Options; logging; errors a person can read.

    def main(argv: list[str]) -> None:
        parsed = cli.parse(argv, program="train")
        cli.setup_logging(parsed.options.run.debug)
        parsed.log_notes()
        ...  # the heavy imports, then the work

    if __name__ == "__main__":
        cli.run(main)

argparse is not used: it takes `-5,0` for a flag, abbreviates, and does not tell a default from a
value that was set, which evaluation needs.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from llama_avsr.boundary import program_name, rank, run
from llama_avsr.faults import OWN as OWN_LOGGERS
from llama_avsr.faults import is_own
from llama_avsr.options.checks import missing_at_start, problems, unused
from llama_avsr.options.config_file import read_config, write_config
from llama_avsr.options.fields import Field, canonical
from llama_avsr.options.groups import BY_SPELLING, Options, defaults
from llama_avsr.options.help_text import help_text
from llama_avsr.options.saved import MODEL_FIELDS
from llama_avsr.options.transcribing import TRANSCRIBING, VIDEOS
from llama_avsr.options.values import FALSE_WORDS, TRUE_WORDS, describe, is_list

LOGGER = logging.getLogger(__name__)
Program = Literal["train", "eval", "transcribe"]
__all__ = ["Parsed", "parse", "run", "setup_logging"]

COMMAND_LINE = "command line"

NOISY_WARNINGS = (
    r".*does not have many workers which may be a bottleneck",
    r"The number of training batches .* is smaller than the logging interval",
    r"Checkpoint directory .* exists and is not empty",
    r"Found \d+ module\(s\) in eval mode at the start of training",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Support for mismatched key_padding_mask and attn_mask is deprecated",
)
"""Advice that does not hold here (workers, logging, folders and frozen modules are ours to choose), and what
libraries tell each other."""


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a command line says."""

    options: Options
    sources: dict[str, str]
    """Option -> `command line` or `file:line`, for those that were set."""
    notes: tuple[str, ...]
    """Flags without effect, and the like: for the log."""

    @property
    def explicit(self) -> frozenset[str]:
        """Options that the user set, here or in a config file."""
        return frozenset(self.sources)

    def log_notes(self) -> None:
        for note in self.notes:
            LOGGER.info(note)


def parse(argv: Sequence[str], program: Program, name: str | None = None) -> Parsed:
    """Options of a command line (without the program's name). Opens config files and nothing else.

    --help and --print-config print and leave through SystemExit(0). Options of `train` come out checked
    and complete; those of `eval` and `transcribe` wait for `merge_with_checkpoint`, but name a model and
    what to use it on. Words without a flag are the videos of `transcribe`: they stand before the flags,
    after a flag's one value, or after `--`.
    Raises ValueError for what the user should correct.
    """
    name = name or program_name()
    command, configs, wants_print = _command(argv, program, name)
    found: dict[str, tuple[Any, str]] = {}
    for config in configs:
        found |= read_config(config)
    found |= command
    options = defaults(program).updated({key: value for key, (value, _) in found.items()})
    base = defaults(program)
    # An unset option in a config file (null) says nothing; on the command line it does.
    sources = {
        key: source
        for key, (value, source) in found.items()
        if value is not None or base[key] is not None or source == COMMAND_LINE
    }
    notes = unused(options, sources, program)
    lacking = missing_at_start(options, program)
    if wants_print:
        _print_config(options, sources, program, name, [*lacking, *notes])
    faults = [*problems(options, program), *lacking] if program == "train" else lacking
    if faults:
        raise ValueError("\n".join(faults))
    # Evaluation notes what its flags do not do when it knows the checkpoint.
    return Parsed(options=options, sources=sources, notes=tuple(notes) if program == "train" else ())


def setup_logging(debug: bool = False) -> None:
    """Our messages from INFO (DEBUG with `debug`), those of libraries from WARNING (INFO), to stderr.

    Of several processes only the first says more than warnings. Call before the heavy imports.
    """
    own, others = (logging.DEBUG, logging.INFO) if debug else (logging.INFO, logging.WARNING)
    if rank() > 0 and not debug:
        own = others = logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: record.levelno >= (own if is_own(record.name) else others))
    logging.basicConfig(handlers=[handler], level=others, force=True)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(own)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        # It advises, whenever peft imports it, on kernels that are not used here.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        for message in NOISY_WARNINGS:
            warnings.filterwarnings("ignore", message=message)


def _command(
    argv: Sequence[str], program: str, name: str
) -> tuple[dict[str, tuple[Any, str]], list[Path], bool]:
    """(options set by flags, config files, whether to print)."""
    found: dict[str, tuple[Any, str]] = {}
    configs: list[Path] = []
    wants_print = False
    videos: list[str] | None = [] if program == "transcribe" else None
    for flag, texts in _words(argv, videos):
        spelling = canonical(flag.lstrip("-"))
        if spelling in ("help", "h"):
            print(help_text(program, name), end="")
            sys.exit(0)
        elif spelling == "print_config":
            wants_print = _bool_value(flag, texts)
        elif spelling == "config":
            if not texts:
                raise ValueError("--config needs a value: a YAML file")
            configs += [Path(text).expanduser() for text in texts]
        else:
            field, value = _set(flag, spelling, texts)
            found[field.name] = (value, COMMAND_LINE)
    if videos:
        # Paths already: text would be split at commas and spaces.
        found[VIDEOS] = (BY_SPELLING[VIDEOS].convert([Path(video) for video in videos]), COMMAND_LINE)
    return found, configs, wants_print


def _words(argv: Sequence[str], loose: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(flag, the words after it). loose: gets the words that are no flag's; None where there must be none."""
    flag, texts, is_closed = None, [], False
    for index, word in enumerate(argv):
        if loose is not None and word == "--":
            loose += argv[index + 1 :]
            break
        if word == "-h" or (word.startswith("--") and len(word) > 2):
            if flag is not None:
                yield flag, texts
            flag, equals, value = word.partition("=")
            texts, is_closed = [value] if equals else [], bool(equals)
        elif flag is not None and (loose is None or (not is_closed and _takes(flag, texts, word))):
            texts.append(word)
        elif loose is not None:
            loose.append(word)
        else:
            raise ValueError(f"unexpected {word!r}: every value follows a flag (--help lists them)")
    if flag is not None:
        yield flag, texts


def _takes(flag: str, texts: list[str], word: str) -> bool:
    """Whether a flag that has the values `texts` goes on with `word`."""
    spelling = canonical(flag.lstrip("-"))
    field = BY_SPELLING.get(spelling)
    if field is None:  # --help, --no-x, or one that is unknown
        return spelling == "config" and not texts
    if field.is_bool:
        return not texts and word.lower() in (*TRUE_WORDS, *FALSE_WORDS)
    return is_list(field.hint) or not texts


def _set(flag: str, spelling: str, texts: list[str]) -> tuple[Field, Any]:
    field = BY_SPELLING.get(spelling)
    if field is None:
        positive = BY_SPELLING.get(spelling.removeprefix("no_"))
        if positive is None or not positive.is_bool:
            raise ValueError(f"unknown flag {flag}{_closest(spelling)}")
        if texts:
            raise ValueError(f"{flag} takes no value, found {' '.join(texts)!r}")
        return positive, False
    if field.is_bool and not texts:
        return field, True
    if not texts:
        raise ValueError(f"{flag} needs a value: {describe(field.hint)}")
    if is_list(field.hint):
        return field, field.convert(texts if len(texts) > 1 else texts[0], flag)
    if len(texts) > 1:
        joined = " ".join(texts)
        raise ValueError(
            f"{flag} takes one value, found {len(texts)}; quotes keep words together: '{joined}'"
        )
    return field, field.convert(texts[0], flag)


def _bool_value(flag: str, texts: list[str]) -> bool:
    if len(texts) > 1 or (texts and texts[0].lower() not in ("true", "false")):
        raise ValueError(f"{flag} takes no value, found {' '.join(texts)!r}")
    return not texts or texts[0].lower() == "true"


def _closest(spelling: str) -> str:
    flags = {key: field.flag for key, field in BY_SPELLING.items()}
    flags |= {f"no_{key}": f"--no-{field.flag[2:]}" for key, field in BY_SPELLING.items() if field.is_bool}
    flags |= {"config": "--config", "print_config": "--print-config", "help": "--help"}
    close = difflib.get_close_matches(spelling, flags, n=1)
    return f"; did you mean {flags[close[0]]}?" if close else "; --help lists all"


def _print_config(
    options: Options, sources: dict[str, str], program: str, name: str, remarks: list[str]
) -> NoReturn:
    hidden = () if program == "train" else MODEL_FIELDS - sources.keys()
    left_out = () if program == "transcribe" else TRANSCRIBING
    faults = problems(options, program) if program == "train" else []
    header = [f"{name} --config this_file", *faults, *remarks]
    print(write_config(options, sources, header, hidden, left_out), end="")
    sys.exit(0)
