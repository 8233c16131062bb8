"""What `--pretrained-model-path` means, asked once: a checkpoint, a run, a published file, a hub name."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from torch import Tensor

from llama_avsr.checkpoints import folder as checkpoint
from llama_avsr.checkpoints import hub, released
from llama_avsr.checkpoints.folder import CONFIG, RESUME, WEIGHTS
from llama_avsr.checkpoints.integrity import FILES, digest
from llama_avsr.checkpoints.run_folder import RESULTS, RunFolder
from llama_avsr.model.builtin import located
from llama_avsr.model.speech_llm import SpeechLLM
from llama_avsr.options import FIELDS, Options, from_dict, merge_with_checkpoint, to_dict

LOGGER = logging.getLogger(__name__)
NAMES = tuple(name for name, field in FIELDS.items() if field.scope.may_differ)
"""Options that may be paths."""
FLAG = "--pretrained-model-path"


class Source(Protocol):
    """Where a trained model comes from."""

    name: str
    """The model's name in reports."""
    results: Path
    """Where its results go unless --output-dir says otherwise."""
    trained: Options | None
    """What it was trained with; None where its file does not say."""
    provenance: dict[str, str]
    """Which weights exactly: for reports."""

    def complete(self, options: Options, explicit: Collection[str], program: str = "eval") -> Options:
        """The options of a program completed by what the model was trained with, and checked.

        explicit: options that the user set. Raises ValueError for one that contradicts the model.
        """

    def load(self, model: SpeechLLM, options: Options) -> None:
        """Put the weights into a model that was built with completed options."""

    def explained(self, error: ValueError) -> ValueError:
        """An error of building the model, with what the source knows about it."""


def find_source(path: Path | str) -> Source:
    """The source that a path or a hub name means. Raises ValueError where there is none."""
    path = Path(path)
    if path.is_file():
        return _of_file(path)
    if path.is_dir():
        return Checkpoint(_in_folder(path))
    if hub.is_hub_name(str(path)):
        try:
            fetched = hub.fetch(str(path))
        except ValueError as error:
            raise ValueError(f"{FLAG} {error}") from None
        revision = {"hub": fetched.name, "revision": fetched.revision}
        return Checkpoint(fetched.folder, name=fetched.name, pinned=revision)
    raise ValueError(f"{FLAG} {path}: found no such folder; expected {_expected()}")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder, from the disk or from the hub."""

    folder: Path
    name: str = ""
    pinned: dict[str, str] = field(default_factory=dict)
    """Name and revision on the hub."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or str(self.folder))

    @property
    def results(self) -> Path:
        """Beside the folder; in the working folder for one of the hub's cache."""
        if self.pinned:
            return Path(RESULTS) / self.name.replace("/", "--")
        return self.folder.parent / RESULTS / self.folder.name

    @cached_property
    def config(self) -> dict[str, object]:
        return checkpoint.read_config(self.folder)

    @cached_property
    def trained(self) -> Options:
        """With names of local models, relative to where it was trained, as they are found from here."""
        saved = from_dict(self.config["options"])
        return saved.updated({name: str(path) for name, path in self._found_there(saved).items()})

    @property
    def provenance(self) -> dict[str, str]:
        listed = self.config[FILES]
        return {**self.pinned, "sha256": listed.get(WEIGHTS) or digest(self.folder / WEIGHTS)}

    def complete(self, options: Options, explicit: Collection[str], program: str = "eval") -> Options:
        return merge_with_checkpoint(options, explicit, to_dict(self.trained), program=program)

    def read_state(self) -> dict[str, Tensor]:
        return checkpoint.read_state(self.folder)

    def load(self, model: SpeechLLM, options: Options) -> None:
        checkpoint.load_saved_state(model, self.read_state())

    def explained(self, error: ValueError) -> ValueError:
        for name, value in self._relative(self.trained).items():
            if str(error).startswith(f"{FIELDS[name].flag} {value}:"):
                where = self.config.get(checkpoint.WORKING_FOLDER, "which it does not name")
                return ValueError(
                    f"{error}; if it is a folder, it is relative to the working folder of the training "
                    f"({where}): give {FIELDS[name].flag}"
                )
        return error

    def _relative(self, options: Options) -> dict[str, str]:
        """Options that name models by what may be a relative path."""
        named = {name: str(options[name]) for name in NAMES if isinstance(options[name], str | Path)}
        return {name: value for name, value in named.items() if not Path(located(value)).is_absolute()}

    def _found_there(self, options: Options) -> dict[str, Path]:
        """Those that lie where the model was trained and not here."""
        there = self.config.get(checkpoint.WORKING_FOLDER)
        if there is None:
            return {}
        named = {name: Path(there, value) for name, value in self._relative(options).items()}
        found = {name: path for name, path in named.items() if path.exists()}
        return {name: path for name, path in found.items() if not Path(str(options[name])).exists()}


@dataclass(frozen=True)
class Release:
    """A file that others published."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.with_suffix(""))

    @property
    def results(self) -> Path:
        return self.path.parent / RESULTS / self.path.stem

    @property
    def trained(self) -> None:
        return None

    @property
    def provenance(self) -> dict[str, str]:
        return {"file": self.path.name}

    def complete(self, options: Options, explicit: Collection[str], program: str = "eval") -> Options:
        return released.release_options(options, explicit, program)

    def load(self, model: SpeechLLM, options: Options) -> None:
        LOGGER.info("%s: %s", self.path.name, released.load_release(model, options, self.path))

    def explained(self, error: ValueError) -> ValueError:
        return error


def _of_file(path: Path) -> Source:
    """A file inside a checkpoint folder means the folder; any other should be a published one."""
    if path.name in (WEIGHTS, CONFIG, RESUME) and (path.parent / CONFIG).is_file():
        return Checkpoint(path.parent)
    if path.suffix in (".safetensors", ".yaml"):
        raise ValueError(
            f"{FLAG} {path}: found no {CONFIG} with {WEIGHTS} beside it; expected {_expected()}, or a "
            "published .pth or .pt file"
        )
    return Release(path)


def _in_folder(path: Path) -> Path:
    """The checkpoint folder itself, or the average of the run."""
    run = RunFolder(path)
    for folder in (path, run.average):
        if (folder / CONFIG).is_file():
            return folder
    what, expected = f"found no {CONFIG} in it", _expected()
    if inside := run.checkpoints():
        what, expected = "this run is not finished", f"one of its checkpoints, such as {inside[-1]}"
    raise ValueError(f"{FLAG} {path}: {what}; expected {expected}")


def _expected() -> str:
    return f"a checkpoint folder ({WEIGHTS} and {CONFIG}), the folder of a finished run, or a hub name"
